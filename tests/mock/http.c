/* SPDX-License-Identifier: Apache-2.0 */
/* One connection: HTTP/1.1 requests in, answers out, and who left when. Routes and the mock's own pages. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/mock/mock.h"

#define HEAD_MAX (64u << 10)
#define BODY_MAX (64u << 20)
#define READ_BYTES 16384
#define DRIP_US 1000

static void conn_watch(struct conn *c, int op, bool wants_out)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | (wants_out ? (uint32_t) EPOLLOUT : 0), .data.ptr = c};
    c->wants_out = wants_out;
    epoll_ctl(c->server->epoll_fd, op, c->fd, &event);
}

/* A closed connection's memory serves the next one. */
void conn_open(struct server *s, int fd)
{
    struct conn *c = s->free;
    if (c) {
        s->free = c->next_free;
    } else {
        c = mock_grow(NULL, 1, sizeof *c);
        memset(c, 0, sizeof *c);
    }
    c->server = s;
    c->fd = fd;
    c->close_after = false;
    c->in.len = c->out.len = c->sent = 0;
    conn_watch(c, EPOLL_CTL_ADD, false);
}

static void conn_close(struct conn *c)
{
    timer_unset(c);
    close(c->fd);
    c->busy = false;
    c->drip = 0;
    c->next_free = c->server->free;
    c->server->free = c;
}

/* The client left. */
static void conn_gone(struct conn *c)
{
    struct counters *count = &c->server->count;
    if (c->busy) {
        count->open--;
        count->aborts++;
        if (!c->answer.head_sent)
            count->aborts_before_answer++;
        else if (!c->answer.token_sent)
            count->aborts_before_token++;
        else
            count->aborts_mid_stream++;
    }
    conn_close(c);
}

/* ---- answers ---- */

static const char *reason(int status)
{
    static const struct {
        int status;
        const char *text;
    } REASONS[] = {{200, "OK"}, {400, "Bad Request"}, {401, "Unauthorized"}, {403, "Forbidden"}, {404, "Not Found"},
        {411, "Length Required"}, {413, "Content Too Large"}, {429, "Too Many Requests"}, {500, "Internal Server Error"},
        {503, "Service Unavailable"}, {0}};
    for (size_t i = 0; REASONS[i].status; i++)
        if (REASONS[i].status == status)
            return REASONS[i].text;
    return "Other";
}

void conn_head(struct conn *c, int status, const char *headers)
{
    bytes_addf(&c->out, "HTTP/1.1 %d %s\r\nx-request-id: mock-%llu\r\n%s%s\r\n", status, reason(status),
               (unsigned long long) c->server->count.calls, headers, c->close_after ? "Connection: close\r\n" : "");
    c->answer.head_sent = true;
}

void conn_answer(struct conn *c, int status, const char *headers, const struct bytes *body)
{
    char lines[400];
    snprintf(lines, sizeof lines, "%sContent-Length: %zu\r\n", headers, body->len);
    conn_head(c, status, lines);
    bytes_add(&c->out, body->data, body->len);
}

void conn_chunk(struct conn *c, const struct bytes *data)
{
    bytes_addf(&c->out, "%zx\r\n", data->len);
    bytes_add(&c->out, data->data, data->len);
    bytes_add(&c->out, "\r\n", 2);
}

static void answer_error(struct conn *c, int status, const char *code, const char *text)
{
    struct bytes body = {0};
    bytes_addf(&body, "{\"error\":{\"message\":\"%s\",\"type\":\"invalid_request_error\",\"param\":null,\"code\":\"%s\"}}", text, code);
    conn_answer(c, status, "Content-Type: application/json\r\n", &body);
    free(body.data);
}

static void answer_json(struct conn *c, const struct bytes *body)
{
    conn_answer(c, 200, "Content-Type: application/json\r\n", body);
}

/* ---- the mock's own pages ---- */

/* The header lines of the last call as an object, names in lower case. */
static void put_last_headers(const struct server *s, struct bytes *out)
{
    const char *at = s->last_head.data, *end = at + s->last_head.len;
    bytes_text(out, "{");
    while (s->last_head.len && at < end) {
        const char *line_end = memmem(at, (size_t) (end - at), "\r\n", 2), *colon;
        line_end = line_end ? line_end : end;
        colon = memchr(at, ':', (size_t) (line_end - at));
        if (colon) {
            bytes_text(out, out->data[out->len - 1] == '{' ? "\"" : ",\"");
            for (; at < colon; at++)
                bytes_addf(out, "%c", *at >= 'A' && *at <= 'Z' ? *at + 32 : *at);
            for (colon++; colon < line_end && *colon == ' ';)
                colon++;
            bytes_text(out, "\":\"");
            bytes_json(out, colon, (size_t) (line_end - colon));
            bytes_text(out, "\"");
        }
        at = line_end + 2;
    }
    bytes_text(out, "}");
}

static void page_state(struct conn *c, const struct request *r)
{
    const struct server *s = c->server;
    const struct counters *n = &s->count;
    const struct {
        const char *name;
        uint64_t value;
    } ROWS[] = {{"connections", n->connections}, {"calls", n->calls}, {"open", n->open}, {"completed", n->completed},
        {"broken", n->broken}, {"aborts", n->aborts}, {"aborts_before_answer", n->aborts_before_answer},
        {"aborts_before_token", n->aborts_before_token}, {"aborts_mid_stream", n->aborts_mid_stream}};
    struct bytes out = {0};
    (void) r;
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++)
        bytes_addf(&out, "%s\"%s\":%llu", i ? "," : "{", ROWS[i].name, (unsigned long long) ROWS[i].value);
    bytes_text(&out, ",\"last_body\":");
    if (s->last_body_is_json) {
        bytes_add(&out, s->last_body.data, s->last_body.len);
    } else {
        bytes_text(&out, "\"");
        bytes_json(&out, s->last_body.data, s->last_body.len);
        bytes_text(&out, "\"");
    }
    bytes_text(&out, ",\"last_headers\":");
    put_last_headers(s, &out);
    bytes_text(&out, "}");
    answer_json(c, &out);
    free(out.data);
}

/* What is open stays open. */
static void page_reset(struct conn *c, const struct request *r)
{
    struct server *s = c->server;
    struct bytes out = {0};
    (void) r;
    s->count = (struct counters){.open = s->count.open};
    s->last_body.len = s->last_head.len = 0;
    s->last_body_is_json = false;
    bytes_text(&out, "{}");
    answer_json(c, &out);
    free(out.data);
}

static void put_model(struct bytes *out, const char *name, size_t len)
{
    bytes_text(out, "{\"id\":\"");
    bytes_json(out, name, len);
    bytes_text(out, "\",\"object\":\"model\",\"created\":1700000000,\"owned_by\":\"mock\"}");
}

static void page_models(struct conn *c, const struct request *r)
{
    const struct server *s = c->server;
    struct bytes out = {0};
    (void) r;
    bytes_text(&out, "{\"object\":\"list\",\"data\":[");
    for (size_t i = 0; s->model_count ? i < s->model_count : MOCK_MODELS[i] != NULL; i++) {
        const char *name = s->model_count ? s->models[i] : MOCK_MODELS[i];
        if (i)
            bytes_text(&out, ",");
        put_model(&out, name, strlen(name));
    }
    bytes_text(&out, "]}");
    answer_json(c, &out);
    free(out.data);
}

static void page_model(struct conn *c, const struct request *r)
{
    char name[256];
    size_t len = 0;
    for (const char *at = r->path + strlen("/v1/models/"); *at && len < sizeof name - 1; at++, len++) {
        bool escaped = at[0] == '%' && at[1] == '2' && (at[2] == 'F' || at[2] == 'f');
        name[len] = escaped ? '/' : *at;
        at += escaped ? 2 : 0;
    }
    if (!model_known(c->server, name, len)) {
        answer_error(c, 404, "model_not_found", "there is no such model");
        return;
    }
    struct bytes out = {0};
    put_model(&out, name, len);
    answer_json(c, &out);
    free(out.data);
}

static void page_chat(struct conn *c, const struct request *r)
{
    chat_begin(c, r, false);
}

static void page_completion(struct conn *c, const struct request *r)
{
    chat_begin(c, r, true);
}

static const struct route {
    const char *method, *path; /* a path that ends in / is the beginning of one */
    void (*run)(struct conn *c, const struct request *r);
} ROUTES[] = {
    {"POST", "/v1/chat/completions", page_chat},
    {"POST", "/v1/completions", page_completion},
    {"GET", "/v1/models", page_models},
    {"GET", "/v1/models/", page_model},
    {"GET", "/mock/state", page_state},
    {"POST", "/mock/reset", page_reset},
};

static bool has_key(const struct server *s, const struct request *r)
{
    return !s->api_key || strncmp(r->path, "/v1/", 4) != 0 ||
           (strncmp(r->authorization, "Bearer ", 7) == 0 && strcmp(r->authorization + 7, s->api_key) == 0);
}

static void dispatch(struct conn *c, const struct request *r)
{
    if (!has_key(c->server, r)) {
        answer_error(c, 401, "invalid_api_key", "the key is not right");
        return;
    }
    for (size_t i = 0; i < sizeof ROUTES / sizeof ROUTES[0]; i++) {
        size_t len = strlen(ROUTES[i].path);
        bool begins = ROUTES[i].path[len - 1] == '/';
        if (strcmp(r->method, ROUTES[i].method) == 0 &&
            (begins ? strncmp(r->path, ROUTES[i].path, len) == 0 : strcmp(r->path, ROUTES[i].path) == 0)) {
            ROUTES[i].run(c, r);
            return;
        }
    }
    answer_error(c, 404, "not_found", "there is no such route");
}

/* ---- requests ---- */

/* The value of a header line `name:`, or NULL; *len without white space around it. */
static const char *header(const struct request *r, const char *name, size_t *len)
{
    size_t name_len = strlen(name);
    const char *at = r->head, *end = r->head + r->head_len;
    while (at < end) {
        const char *line_end = memmem(at, (size_t) (end - at), "\r\n", 2);
        line_end = line_end ? line_end : end;
        if ((size_t) (line_end - at) > name_len && at[name_len] == ':' && strncasecmp(at, name, name_len) == 0) {
            for (at += name_len + 1; at < line_end && (*at == ' ' || *at == '\t');)
                at++;
            *len = (size_t) (line_end - at);
            return at;
        }
        at = line_end + 2;
    }
    return NULL;
}

/* Refuses what cannot be read and closes: where the next request would begin is not known then. */
static void refuse(struct conn *c, int status, const char *text)
{
    c->close_after = true;
    c->in.len = 0;
    answer_error(c, status, "bad_request", text);
    conn_pump(c);
}

/* Splits the head, which ends before `head_end`; false if it is malformed. */
static bool read_head(char *data, char *head_end, struct request *r)
{
    size_t len;
    char *line_end = memmem(data, (size_t) (head_end + 2 - data), "\r\n", 2);
    char *path = memchr(data, ' ', (size_t) (line_end - data));
    char *path_end = path ? memchr(path + 1, ' ', (size_t) (line_end - path - 1)) : NULL;
    if (!path_end)
        return false;
    r->method = data;
    r->path = path + 1;
    *path = *path_end = '\0';
    r->head = line_end + 2 < head_end ? line_end + 2 : head_end;
    r->head_len = (size_t) (head_end - r->head);
    const char *key = header(r, "authorization", &len);
    snprintf(r->authorization, sizeof r->authorization, "%.*s", key ? (int) len : 0, key ? key : "");
    return true;
}

/* Answers the next request if it is there as a whole. */
static void next_request(struct conn *c)
{
    struct request r = {0};
    size_t len = 0, body_len = 0;
    char *head_end = c->in.len ? memmem(c->in.data, c->in.len, "\r\n\r\n", 4) : NULL;
    if (!head_end) {
        if (c->in.len > HEAD_MAX)
            refuse(c, 400, "the header is too long");
        return;
    }
    struct request look = {.head = c->in.data, .head_len = (size_t) (head_end - c->in.data)};
    const char *value = header(&look, "content-length", &len);
    if (value)
        body_len = strtoull(value, NULL, 10);
    if (header(&look, "transfer-encoding", &len) || body_len > BODY_MAX) {
        refuse(c, 411, "a content-length of at most 64 MiB is wanted");
        return;
    }
    size_t whole = look.head_len + 4 + body_len;
    if (c->in.len < whole) {
        bytes_reserve(&c->in, whole - c->in.len);
        return;
    }
    value = header(&look, "connection", &len);
    c->close_after = value && len == 5 && strncasecmp(value, "close", 5) == 0;
    r.body = head_end + 4;
    r.body_len = body_len;
    if (!read_head(c->in.data, head_end, &r)) {
        refuse(c, 400, "this is not HTTP/1.1");
        return;
    }
    dispatch(c, &r);
    c->in.len -= whole;
    memmove(c->in.data, c->in.data + whole, c->in.len);
    conn_pump(c);
}

/* ---- input and output ---- */

static size_t drip_size(struct conn *c, size_t left)
{
    static const unsigned char SIZES[] = {13, 1, 29, 2, 47, 3, 7, 61, 5, 19};
    size_t size = c->drip == 1 ? 1 : SIZES[c->drip_step++ % sizeof SIZES];
    return size < left ? size : left;
}

/* false: the client is gone and *c freed. */
static bool send_out(struct conn *c)
{
    while (c->sent < c->out.len) {
        size_t left = c->out.len - c->sent, wanted = c->drip ? drip_size(c, left) : left;
        ssize_t done = send(c->fd, c->out.data + c->sent, wanted, MSG_NOSIGNAL);
        if (done < 0 && errno != EAGAIN) {
            conn_gone(c);
            return false;
        }
        c->sent += done > 0 ? (size_t) done : 0;
        if (c->drip) {
            timer_set(c, mock_now_us() + DRIP_US);
            break;
        }
        if (done < 0)
            break;
    }
    bool wants_out = c->sent < c->out.len && !c->drip;
    if (wants_out != c->wants_out)
        conn_watch(c, EPOLL_CTL_MOD, wants_out);
    return true;
}

static void answer_over(struct conn *c)
{
    struct counters *count = &c->server->count;
    if (c->busy) {
        c->busy = false;
        count->open--;
        count->completed += !c->answer.broken;
        count->broken += c->answer.broken;
    }
    c->drip = 0;
    timer_unset(c);
    if (c->close_after)
        conn_close(c);
    else if (c->in.len)
        next_request(c);
}

void conn_pump(struct conn *c)
{
    while (send_out(c) && c->sent == c->out.len) {
        bool answered = c->out.len > 0 && (!c->busy || c->answer.stage == STAGE_OVER);
        c->out.len = c->sent = 0;
        if (answered) {
            answer_over(c);
            return;
        }
        if (!c->busy || c->place || c->answer.stage == STAGE_HANG)
            return;
        chat_run(c, mock_now_us()); /* it had stopped at a full queue */
    }
}

void conn_timer(struct conn *c, int64_t now_us)
{
    if (c->drip && c->sent < c->out.len) {
        conn_pump(c);
        return;
    }
    if (c->drip) { /* the head is out */
        c->drip = 0;
        c->answer.due_us = now_us;
    }
    chat_run(c, now_us);
    conn_pump(c);
}

void conn_ready(struct conn *c, uint32_t events)
{
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
        conn_gone(c);
        return;
    }
    if (events & EPOLLIN) {
        bytes_reserve(&c->in, READ_BYTES);
        ssize_t len = recv(c->fd, c->in.data + c->in.len, c->in.room - c->in.len, 0);
        if (len == 0 || (len < 0 && errno != EAGAIN)) {
            conn_gone(c);
            return;
        }
        c->in.len += len > 0 ? (size_t) len : 0;
        if (!c->busy) {
            next_request(c);
            return;
        }
    }
    if (events & EPOLLOUT)
        conn_pump(c);
}
