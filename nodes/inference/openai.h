/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_INFERENCE_OPENAI_H
#define NODES_INFERENCE_OPENAI_H
#include <jansson.h>

#include "nodes/inference/inference.h"
#include "nodes/kit/http_client.h"
#include "nodes/kit/sse.h"

/* The inside of the openai backend: a server with the OpenAI API (https://platform.openai.com/docs/api-reference), and what
 * llama.cpp, vLLM and Ollama do differently. */

/* ---- openai_request.c ---- */

/* openai_request writes the body for the backend: the caller's, text for text, but for `model`, `stream` (true), include_usage of
 * `stream_options` (true) and, if neither max_tokens nor max_completion_tokens is there, `max_tokens` (0: left out). */
void openai_request(struct buf *out, const struct request *request, const char *model, int64_t max_tokens);

/* ---- openai_error.c: errors by name UNREACHABLE, TIMEOUT, BUSY, REFUSED, BROKEN, with the number for the caller ---- */

/* openai_error_status: an answer with a status other than 2xx and (the beginning of) its body. */
void openai_error_status(struct ls_error *err, unsigned status, struct ls_slice body);
/* openai_error_record: true if `json`, a record or body under a good status, is an error; *err is filled. */
bool openai_error_record(struct ls_error *err, const json_t *json);
void openai_error_record_fill(struct ls_error *err, const json_t *json);
/* openai_error_call: what the HTTP client said. */
void openai_error_call(struct ls_error *err, const char *url, const struct ls_error *why);
/* openai_broken fills BROKEN, 502; returns -1. */
int openai_broken(struct ls_error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- openai_answer.c: records in, pieces out ---- */

struct openai_choice;
struct openai_answer {
    struct turn *turn;
    struct openai_choice *choices;
    size_t count, room;
    json_t *usage; /* the last that came; NULL: none */
    bool done;     /* [DONE] came */
};
void openai_answer_fini(struct openai_answer *o);
/* openai_answer_record takes the data of one record, or a whole plain JSON answer. -1: *err is for the caller. */
int openai_answer_record(struct openai_answer *o, struct ls_slice data, struct ls_error *err);
/* openai_answer_complete: every choice has ended. */
bool openai_answer_complete(const struct openai_answer *o);
/* openai_answer_usage: as the backend counted, or estimated; `more` is borrowed from *scratch. */
void openai_answer_usage(const struct openai_answer *o, struct usage *usage, struct buf *scratch);

/* ---- openai_tools.c: tool calls in the form that every client understands ---- */

struct openai_tool;
struct openai_tools {
    struct openai_tool *items;
    size_t count, room;
};
void openai_tools_fini(struct openai_tools *t);
/* openai_tools_put appends to *out a JSON array of the deltas: each has `index`, its first `id`, `type` and `function.name`, and
 * arguments are text. Changes `deltas`. Nothing is appended if nothing is left. */
void openai_tools_put(struct openai_tools *t, json_t *deltas, struct buf *out);

/* ---- openai_models.c: asks the backend which models it has ---- */

struct openai;
void openai_models_open(struct openai *o); /* begins to ask, again and again */
void openai_models_close(struct openai *o);

/* ---- backend_openai.c ---- */

struct openai {
    struct inference *inference;
    struct http_client *http;
    char *base;               /* the URL without a slash at its end */
    char *authorization;      /* header line; NULL: no key */
    bool down;                /* the last call found no connection */
    struct http_call *asking; /* openai_models.c */
    struct buf list;
    struct timer ask_again;
    int64_t ask_ms; /* pause before the next try while it does not answer */
};
/* openai_call fills what calls to this backend have in common; headers: room for four lines. */
void openai_call(const struct openai *o, struct http_call_options *call, const char *headers[4]);
/* openai_noted: a call ended; logs when the backend comes or goes, counts errors by class. err NULL: it answered. */
void openai_noted(struct openai *o, const struct ls_error *err);

#endif
