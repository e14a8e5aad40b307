/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_ARTIFACT_ARTIFACT_H
#define CLI_ARTIFACT_ARTIFACT_H
#include <jansson.h>

#include "cli/options.h"
#include "lib/buf.h"
#include "lib/lineshaft.h"
#include "nodes/kit/http_client.h"

/* What the files of the program lineshaft-artifact (artifact_*.c) share. `lineshaft artifact` becomes this program, because it
 * links an HTTP client and a hash, which nothing else of the command line needs. It speaks docs/nodes/artifacts-api.md. */

extern const struct cli_command ARTIFACT; /* for messages; its help is in cmd_artifact.c */

/* ---- artifact_door.c: where the bytes go ---- */

struct door {
    char *base;          /* "http://127.0.0.1:7480", without a slash at the end */
    char *socket;        /* path of a unix socket; NULL: TCP */
    char *authorization; /* a header line; NULL: none */
    char *name;          /* for messages */
};

/* door_find: `http` (an ingress) if it is given, else asks the broker which `artifacts` node says that it has a door, and takes one
 * that can be reached from here; it waits a few seconds for one, as nodes that have just been started do not all come at once. 0, or
 * the exit status after a message. Free with door_fini in any case. */
int door_find(struct door *door, const char *http, const struct options_broker *broker);
void door_fini(struct door *door);

/* ---- the whole ---- */

struct artifact {
    struct options_broker broker;
    const char *http;   /* --http */
    const char *run_id; /* --run */
    const char *type;   /* --type */
    bool json, quiet, recursive, details, no_replace;
    char **names; /* what stands behind the options */
    size_t count;
    int64_t patience_ms; /* the longest silence of the store, or */
    bool in_all;         /* ... the longest time in all, from began_ms on */
    int64_t began_ms, moved_ms; /* moved_ms: when the last byte came or went (talk_begin) */
    bool spent;          /* patience is over: nothing more is tried */
    bool said;           /* that we wait */
    struct door door;
    struct http_client *client;
};

/* The verbs: each returns the exit status, after messages. */
int artifact_put(struct artifact *a);
int artifact_get(struct artifact *a);
int artifact_ls(struct artifact *a);
int artifact_rm(struct artifact *a);

/* artifact_goes_on: is there sense in the next of several, after one ended with `status`? artifact_says_it_waits: one line
 * on standard error, once for each `said`.
 * artifact_failed prints the error and returns the exit status for it. artifact_say: a line about what was done, on standard
 * output, made harmless; nothing with --quiet. artifact_json prints an object as one line and takes it over. */
bool artifact_goes_on(const struct artifact *a, int status);
void artifact_says_it_waits(bool *said, const char *for_what, int64_t left_ms);
int artifact_failed(const struct ls_error *err);
void artifact_say(const struct artifact *a, const char *format, ...) __attribute__((format(printf, 2, 3)));
void artifact_json(json_t *object);

/* ---- artifact_talk.c: one question to the door, and its answer ---- */

struct talk {
    const char *method, *path;       /* path and query, encoded (artifact_path) */
    const char *headers[8];          /* "Name: value", NULL-terminated */
    void *arg;
    /* A body by pieces: as in struct http_call_options, but never HTTP_CALL_WAIT. NULL: none. */
    size_t (*read)(void *arg, char *out, size_t size);
    bool (*rewind)(void *arg);       /* NULL: it can be sent once only */
    int64_t body_bytes;              /* -1: not known */
    /* The answer's header is there and good (2xx); false ends it with CANCELLED. May be NULL. */
    bool (*begin)(void *arg, const struct talk *talk);
    bool (*data)(void *arg, struct ls_slice bytes); /* of a good answer; NULL: gathered in `body` */
    /* What came. */
    unsigned status;
    char etag[200], digest[300], range[100]; /* headers ETag, Repr-Digest, Content-Range; "" */
    char deleted[24];                        /* X-Lineshaft-Deleted */
    int64_t length;                          /* Content-Length, -1 */
    int retry_ms;                            /* Retry-After, 0 */
    struct buf body;                         /* of an error, or whole; the caller's */
};

/* talk_well asks, and waits for the answer: 0 for a good one (2xx); -1 with *err for every other, in the door's own words and with its
 * code, or UNREACHABLE, TIMEOUT, CUT, CANCELLED ... What may be repeated (the door is busy, or the connection broke before the answer
 * and the body can be sent again) is repeated a few times, with pauses. */
int talk_well(struct artifact *a, struct talk *talk, struct ls_error *err);
/* talk_begin: from now on the store is waited for. talk_pause waits before try number `done` + 1 (the door said retry_ms, or 0);
 * false: that is longer than there is patience for. */
#define TALK_TRIES 5
void talk_begin(struct artifact *a);
bool talk_pause(struct artifact *a, int done, int retry_ms);

/* artifact_path: "/api/artifacts/KEY", encoded, with `query` behind it. artifact_key: the key that was written as a key, or as a URI
 * mlflow-artifacts:/KEY. Both the caller's. artifact_key_check: -1 with BAD_VALUE for one that is too long for a store, of which a message
 * can only show the begin. */
int artifact_key_check(const char *key, struct ls_error *err);
char *artifact_path(const char *key, const char *query);
char *artifact_key(const char *text);

/* ---- artifact_list.c ---- */

/* list_each calls `fn` for what is below `prefix`, page by page: objects as the door describes them, folders as {"folder": "a/b/"}.
 * It may end the list by returning false with *err. -1 with *err. */
typedef bool list_fn(void *arg, const json_t *entry, struct ls_error *err);
int list_each(struct artifact *a, const char *prefix, bool recursive, list_fn *fn, void *arg, struct ls_error *err);

/* list_is_folder: is there something below KEY/? False, too, if that cannot be learned. */
bool list_is_folder(struct artifact *a, const char *key);

/* ---- artifact_hash.c: SHA-256 (FIPS 180-4) ---- */

struct hash;
#define HASH_SIZE 32
#define HASH_TEXT_SIZE 65
struct hash *hash_new(void);
void hash_add(struct hash *hash, const void *data, size_t len);
void hash_end(struct hash **hash, uint8_t sum[HASH_SIZE]); /* frees and NULLs; sum NULL: not wanted */
void hash_text(const uint8_t sum[HASH_SIZE], char text[HASH_TEXT_SIZE]);
/* hash_digest: "sha-256=:BASE64:", as Repr-Digest has it (RFC 9530). hash_fits: does such a header, which may list others too, agree?
 * True if it names no SHA-256. */
void hash_digest(const uint8_t sum[HASH_SIZE], char text[64]);
bool hash_fits(const uint8_t sum[HASH_SIZE], const char *digest);

/* ---- artifact_progress.c ---- */

/* A bar on a terminal (standard error), or `::progress` lines for a runner (docs/nodes/task-run.md); else nothing. */
struct progress {
    bool bar, task;
    const char *verb, *name;    /* "sending", "model.bin" */
    uint64_t total, from, done; /* total 0: not known; from: there before */
    int64_t began_ms, shown_ms; /* shown_ms 0: never yet */
};
void progress_begin(struct progress *p, const struct artifact *a, const char *verb, const char *name);
void progress_show(struct progress *p); /* now and then; after changes of `done` */
void progress_end(struct progress *p);  /* wipes the bar */

#endif
