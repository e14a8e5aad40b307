/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_INGRESS_CHAT_H
#define NODES_INGRESS_CHAT_H
#include "nodes/ingress/ingress.h"

/* A chat turn, shared by the chat*.c files: chat.c is its life, chat_body.c checks what was asked, chat_stream.c and
 * chat_whole.c write the two forms of the answer, chat_piece.c reads and gathers its parts, chat_event.c records it on the bus. */

struct choice {
    struct buf text, reasoning, refusal;
    json_t *tool_calls, *logprobs; /* NULL: none */
    char finish[24];               /* "" until it ended */
    bool begun;                    /* streams: its first chunk was sent */
    bool cut;                      /* the text for the event was longer than TURN_TEXT_MAX */
};

#define TURN_TEXT_MAX (512u << 10) /* of an answer's text that is kept for the event of a stream */
#define TURN_CHOICES_MAX 128
#define TURN_ANSWER_MAX (64u << 20) /* of a choice that is gathered to be answered as a whole */

struct turn {
    LIST_ENTRY(turn) link;
    struct ingress *in;
    struct visit *v;               /* NULL: the caller is gone */
    /* What was asked. */
    json_t *body;                  /* until the request was sent */
    bool completion, stream, include_usage;
    char *model;
    char id[LS_ID_SIZE + 16];      /* chatcmpl-..., cmpl-... */
    char request_id[129], event_id[LS_ID_SIZE], trace[TRACEPARENT_SIZE], chat_id[201];
    int64_t created;               /* seconds since 1970 */
    double begun_ms, first_ms;     /* CLOCK_MONOTONIC; first_ms 0: no part has come */
    /* How it goes. */
    struct directory_wait wait;
    bool waiting;                  /* for the directory */
    uint64_t request;              /* number of the request on the bus; 0: none open */
    uint32_t spent;                /* credit used and not renewed */
    bool answering;                /* the stream's header has gone out */
    double written_ms;             /* streams: the last time bytes were written */
    struct timer timer;            /* streams: the end of holding back, then silence */
    struct choice *choices;
    uint32_t choice_count;
    uint64_t pieces;               /* parts with text: an estimate of tokens */
    struct buf usage;              /* msgpack map; empty: none came */
    char *worker, *version, *answered_by;
    struct buf head;               /* streams: a chunk up to its first choice */
};

/* chat_body.c: true if the body is a fit chat or completion request; else false after it has answered 400. */
bool chat_body_check(struct visit *v, const json_t *body, bool completion);

/* One part of the answer, read (docs/nodes/chat-generate.md). */
struct piece {
    struct ls_slice text, reasoning, refusal, tool_calls, logprobs, finish, model, version, worker, usage;
    uint64_t index;
    char version_text[24]; /* of a version that is a number */
};

/* chat_piece.c. Both: NULL, or what the worker did wrong. */
const char *piece_read(struct piece *piece, struct ls_slice part);
/* piece_gather keeps what is wanted of the piece at the end: for the event, and for the answer as a whole. */
const char *piece_gather(const struct turn *t, struct choice *c, const struct piece *piece);

/* chat_stream.c: the answer as server-sent events, form as in the OpenAI API. Nothing happens once the caller is gone. */
void stream_start(struct turn *t);                          /* sends the header if that has not been done */
bool stream_piece(struct turn *t, struct choice *c, const struct piece *piece); /* false: the client is too slow */
void stream_finish(struct turn *t);
void stream_problem(struct turn *t, const struct problem *problem, const char *text);
void stream_comment(struct turn *t);

/* chat_whole.c: the answer as one JSON object. */
void whole_finish(struct turn *t);

/* chat_event.c: what happened, as durable events of one trace. */
void event_request(struct turn *t);
void event_completed(struct turn *t);
void event_failed(struct turn *t, const struct problem *problem, const char *text);
void event_cancelled(struct turn *t, const char *reason);

double turn_now_ms(void);
/* turn_headers adds what both forms tell in headers: who answered, and the trace for those who want to add to it. */
void turn_headers(struct turn *t);
/* turn_usage appends the usage as JSON; an estimate when the worker has not told any. */
void turn_usage(const struct turn *t, struct buf *out);

#endif
