/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_ARTIFACTS_DOOR_H
#define NODES_ARTIFACTS_DOOR_H
#include "nodes/artifacts/artifacts.h"

/* The node's own HTTP server. door.c reads the path and checks the caller; what then happens is a visit's. */

struct visit;

struct visit_code {
    void (*body)(struct visit *visit, struct ls_slice bytes); /* NULL: bodies are ignored */
    void (*request)(struct visit *visit);                     /* header and body are there, and nothing was answered yet */
    void (*drained)(struct visit *visit);                     /* may be NULL */
    void (*end)(struct visit *visit, bool complete);          /* the exchange is over; frees the visit */
};

/* The head of what upload.c, download.c and job.c keep of an exchange. */
struct visit {
    LIST_ENTRY(visit) link;
    struct artifacts *a;
    const struct visit_code *code;
    struct http_exchange *x; /* NULL: the caller is on the bus (job.c), or gone */
    bool mlflow;             /* answers in MLflow's form */
    bool answered;
    char *key;               /* "" for the listing; owned */
};

int door_open(struct artifacts *a, struct ls_error *err);
void door_close(struct artifacts *a);
char *door_url(const struct artifacts *a); /* "unix:/PATH", "http://HOST:PORT"; the caller's */

/* The three kinds. Each makes a visit whose head door.c fills before it calls *_begin; the header is there, the body is not. */
struct visit *upload_new(void);
void upload_begin(struct visit *visit);
struct visit *download_new(void);
struct visit *job_new(void);
/* job_request: the same over the bus. */
enum ls_verdict job_request(struct artifacts *a, struct ls_call *call, const struct ls_event *request, struct ls_error *err);
void job_cancelled(struct ls_call *call);
void upload_leave(struct visit *visit); /* if it is an upload that waits for the store: answers 202 */

/* visit_answer and visit_fail answer the exchange, once; nothing if the caller is gone. */
void visit_answer(struct visit *visit, unsigned status, json_t *body);
void visit_fail(struct visit *visit, const struct ls_error *err);
/* The traceparent of the request (NULL: none that is well-formed), and who the caller is (NULL). */
const char *visit_trace(const struct visit *visit);
const char *visit_user(const struct visit *visit);
extern const struct visit_code upload_code;

#endif
