/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_MOCK_MOCK_H
#define TESTS_MOCK_MOCK_H
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A stand-in for a model server with the OpenAI API, which misbehaves on command (README.md). It shares no code with
 * lineshaft, so that neither can excuse the other. One thread; nothing is allocated per token. */

/* ---- bytes.c: growable bytes, zero-initialised; memory is kept for the next use ---- */
struct bytes {
    char *data;
    size_t len, room;
};
void *mock_grow(void *old, size_t count, size_t size); /* ends the program when there is no memory */
void bytes_reserve(struct bytes *b, size_t more);
void bytes_add(struct bytes *b, const void *data, size_t len);
void bytes_text(struct bytes *b, const char *text);
void bytes_addf(struct bytes *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
void bytes_json(struct bytes *b, const char *text, size_t len); /* the inside of a JSON string */

/* ---- the answer under way on a connection: models.c ---- */
enum stage { STAGE_REASONING, STAGE_TEXT, STAGE_TOOLS, STAGE_FINISH, STAGE_USAGE, STAGE_DONE, STAGE_HANG, STAGE_OVER };
enum stamp { STAMP_NONE, STAMP_FIELD, STAMP_TEXT };

struct behaviour;
struct answer {
    const struct behaviour *behaviour;
    unsigned after;          /* N of hang-after-N, cut-after-N */
    bool stream, legacy, include_usage, has_text, tool_result;
    bool head_sent, role_sent, token_sent, broken; /* broken: we cut it ourselves */
    enum stamp stamp;
    enum stage stage;
    unsigned tokens, token;  /* how many deltas, without a text; how many were sent */
    unsigned stage_token;    /* of them in this stage */
    size_t text_at;          /* of text, sent */
    int64_t pace_us, due_us; /* due: of the next token */
    struct bytes text;       /* to be answered, if has_text */
    struct bytes prefix;     /* of every record */
    size_t prefix_cut;       /* where a record may be cut into two `data:` lines */
    struct bytes model;      /* as in the request, escaped */
};

struct server;
struct conn {
    struct server *server;
    int fd;
    bool busy;               /* a request is being answered */
    bool close_after, wants_out;
    struct bytes in, out;
    size_t sent;             /* of out */
    unsigned drip, drip_step; /* > 0: out leaves in pieces of few bytes: 1: one byte each, 2: odd sizes */
    int64_t due_us;          /* of the timer */
    size_t place;            /* 1 + index in the heap; 0: not set */
    struct answer answer;
    struct conn *next_free;
};

struct request {
    const char *method, *path, *head;  /* method and path NUL-terminated; head: the header lines */
    size_t head_len;
    const char *body;
    size_t body_len;
    char authorization[300];
};

/* ---- openai.c ---- */
struct counters {
    uint64_t connections, calls, open, completed, broken, aborts, aborts_before_answer, aborts_before_token, aborts_mid_stream;
};
struct server {
    bool hung_once;  /* hang-first has had its first call */
    int epoll_fd, listen_fd;
    unsigned tokens;
    int64_t pace_us;
    const char *api_key;           /* NULL: none is asked for */
    const char **models;           /* --model */
    size_t model_count;
    struct counters count;
    struct bytes last_body, last_head;
    bool last_body_is_json;
    struct conn **heap;            /* timers, the next one first */
    size_t heap_count, heap_room;
    struct conn *free;
};
int64_t mock_now_us(void);         /* CLOCK_MONOTONIC */
void timer_set(struct conn *c, int64_t due_us);
void timer_unset(struct conn *c);

/* ---- http.c: one connection ---- */
void conn_open(struct server *s, int fd);
void conn_ready(struct conn *c, uint32_t events);
void conn_timer(struct conn *c, int64_t now_us);
void conn_pump(struct conn *c);    /* sends what can be sent; ends the answer when all is out; may free *c */
void conn_chunk(struct conn *c, const struct bytes *data);
/* A whole answer; `headers` are further header lines, each with its CRLF. */
void conn_answer(struct conn *c, int status, const char *headers, const struct bytes *body);
void conn_head(struct conn *c, int status, const char *headers);

/* ---- models.c ---- */
extern const char *const MOCK_MODELS[]; /* NULL-terminated; hang-after-3 and cut-after-3 stand for any N */
void chat_begin(struct conn *c, const struct request *r, bool legacy);
void chat_run(struct conn *c, int64_t now_us); /* produces what is due */
bool model_known(const struct server *s, const char *name, size_t len);

/* ---- records.c: the JSON of an answer ---- */
enum {
    ECHO = 1u << 0, HANG = 1u << 1, HANG_AFTER = 1u << 2, CUT_AFTER = 1u << 3, BAD_JSON = 1u << 4, NO_FINISH = 1u << 5,
    NO_DONE = 1u << 6, SLOW_HEADER = 1u << 7, ERROR_MID = 1u << 8, INT_CODE = 1u << 9, FLAT_ERROR = 1u << 10,
    REASONING = 1u << 11, REASONING_CONTENT = 1u << 12, TOOLS = 1u << 13, TOOL_NO_INDEX = 1u << 14, TOOL_OBJECT = 1u << 15,
    TOOL_NO_TYPE = 1u << 16, NO_ROLE = 1u << 17, NO_USAGE = 1u << 18, USAGE_ALWAYS = 1u << 19, CRLF = 1u << 20,
    SPLIT = 1u << 21, BIG = 1u << 22, TEXT_PLAIN = 1u << 23, NOT_STREAMING = 1u << 24, TWO_CHOICES = 1u << 25,
    NO_CHOICE_INDEX = 1u << 26, BARE = 1u << 27, USAGE_ALONE = 1u << 28, CREATED_TEXT = 1u << 29, HANG_FIRST = 1u << 30,
};
struct behaviour {
    const char *name;
    unsigned is;
    int status;         /* > 0: answers this error */
    const char *code;   /* of the error */
    const char *finish; /* finish_reason; NULL: the right one */
};
void record_prefix(struct conn *c);
bool next_piece(struct answer *a, struct bytes *piece); /* false: the text has ended */
void record_delta(struct conn *c, const char *key, const struct bytes *piece);
void record_tool(struct conn *c);
unsigned tool_fragments(const struct answer *a);
void record_finish(struct conn *c);
void record_usage(struct conn *c);
void record_error(struct conn *c);
void record_raw(struct conn *c, const char *json);
void put_error(struct bytes *out, const struct behaviour *b, int status);
void put_message(struct conn *c, struct bytes *out); /* the body of a plain answer */

#endif
