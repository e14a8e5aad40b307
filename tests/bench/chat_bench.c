/* SPDX-License-Identifier: Apache-2.0 */
/* The load of the chat bench (chat.py), one program with a mode each. It speaks HTTP over plain sockets, so that it costs
 * little and shares nothing with what it measures.
 *
 *   chat_bench latency PORT COUNT        POST a chat and read the answer, one after the other; prints each time in us
 *   chat_bench first PORT COUNT          the same with a stream: time to the first record with text, connection closed after
 *   chat_bench echo URL COUNT            a request over DEALER, answered through the hops: client, forwarder, worker and back
 *   chat_bench forward FRONT BACK        the forwarder: ROUTER to ROUTER, nothing else
 *   chat_bench worker URL                the worker: DEALER, answers what comes
 *   chat_bench streams PORT N TOKENS PACE    N streams at once; judges that no token is lost or out of order
 *   chat_bench feeds PORT N              N event feeds; "ready" when all follow; a line on stdin: publish, and wait for all */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <zmq.h>

#include "lib/buf.h"
#include "lib/xmem.h"

#define BODY_BYTES 256 /* of the echo: about what a chat request and its answer have */

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "chat_bench: %s: %s\n", what, strerror(errno));
    exit(1);
}

static double now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double) now.tv_sec * 1e6 + (double) now.tv_nsec / 1e3;
}

static int dial(int port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t) port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    if (fd < 0 || connect(fd, (struct sockaddr *) &to, sizeof to))
        fail("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

static void send_all(int fd, const char *data, size_t len)
{
    while (len) {
        ssize_t sent = send(fd, data, len, MSG_NOSIGNAL);
        if (sent <= 0)
            fail("send");
        data += sent;
        len -= (size_t) sent;
    }
}

static void post(struct buf *out, const char *path, const char *body)
{
    buf_clear(out);
    buf_addf(out, "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s", path,
             strlen(body), body);
}

/* ---- one after the other ---- */

static void read_until(int fd, struct buf *in, const char *text)
{
    buf_clear(in);
    while (!strstr(buf_text(in), text)) {
        buf_reserve(in, 65536);
        ssize_t got = recv(fd, in->data + in->len, 65535, 0);
        if (got <= 0)
            fail("recv");
        in->len += (size_t) got;
    }
}

static void latency(int port, long count, bool stream)
{
    struct buf out = {0}, in = {0};
    char body[512];
    snprintf(body, sizeof body,
             "{\"model\":\"fixed\",\"messages\":[{\"role\":\"user\",\"content\":\"How long does it take?\"}],\"stream\":%s,"
             "\"mock\":{\"tokens\":%d}}", stream ? "true" : "false", stream ? 4 : 8);
    int fd = dial(port);
    post(&out, "/v1/chat/completions", body);
    for (long i = 0; i < count; i++) {
        double begun = now_us();
        send_all(fd, (const char *) out.data, out.len);
        read_until(fd, &in, stream ? "tok0" : "\"total_tokens\"");
        printf("%.1f\n", now_us() - begun);
        if (!strstr(buf_text(&in), "200 OK"))
            fail(buf_text(&in));
        if (stream && !strstr(buf_text(&in), "[DONE]"))
            read_until(fd, &in, "[DONE]");
        if (stream && !strstr(buf_text(&in), "\r\n0\r\n\r\n")) { /* the last chunk may come by itself */
            buf_clear(&in);
            read_until(fd, &in, "0\r\n\r\n");
        }
    }
    buf_fini(&out);
    buf_fini(&in);
    close(fd);
}

/* ---- the bare four hops ---- */

static void *open_socket(void *context, int type, const char *url, bool bind)
{
    void *socket = zmq_socket(context, type);
    if (!socket || (bind ? zmq_bind(socket, url) : zmq_connect(socket, url)))
        fail(url);
    return socket;
}

static void echo(const char *url, long count)
{
    void *context = zmq_ctx_new(), *socket = open_socket(context, ZMQ_DEALER, url, false);
    char body[BODY_BYTES];
    memset(body, 'x', sizeof body);
    for (long i = 0; i < count; i++) {
        double begun = now_us();
        zmq_send(socket, body, sizeof body, 0);
        if (zmq_recv(socket, body, sizeof body, 0) < 0)
            fail("zmq_recv");
        printf("%.1f\n", now_us() - begun);
    }
}

/* Moves a message [from, body] on as [to, from, body], where `to` is the one peer of the other side. */
static void forward(const char *front_url, const char *back_url)
{
    void *context = zmq_ctx_new();
    void *front = open_socket(context, ZMQ_ROUTER, front_url, true), *back = open_socket(context, ZMQ_ROUTER, back_url, true);
    char worker[256], id[256], body[65536];
    int worker_len = zmq_recv(back, worker, sizeof worker, 0); /* the worker says that it is there */
    zmq_recv(back, body, sizeof body, 0);
    puts("ready");
    fflush(stdout);
    for (;;) {
        zmq_pollitem_t items[] = {{front, 0, ZMQ_POLLIN, 0}, {back, 0, ZMQ_POLLIN, 0}};
        zmq_poll(items, 2, -1);
        if (items[0].revents) {
            int id_len = zmq_recv(front, id, sizeof id, 0), len = zmq_recv(front, body, sizeof body, 0);
            zmq_send(back, worker, (size_t) worker_len, ZMQ_SNDMORE);
            zmq_send(back, id, (size_t) id_len, ZMQ_SNDMORE);
            zmq_send(back, body, (size_t) len, 0);
        }
        if (items[1].revents) {
            zmq_recv(back, worker, sizeof worker, 0);
            int id_len = zmq_recv(back, id, sizeof id, 0), len = zmq_recv(back, body, sizeof body, 0);
            zmq_send(front, id, (size_t) id_len, ZMQ_SNDMORE);
            zmq_send(front, body, (size_t) len, 0);
        }
    }
}

static void worker(const char *url)
{
    void *context = zmq_ctx_new(), *socket = open_socket(context, ZMQ_DEALER, url, false);
    char id[256], body[65536];
    zmq_send(socket, "here", 4, 0);
    for (;;) {
        int id_len = zmq_recv(socket, id, sizeof id, 0), len = zmq_recv(socket, body, sizeof body, 0);
        zmq_send(socket, id, (size_t) id_len, ZMQ_SNDMORE);
        zmq_send(socket, body, (size_t) len, 0);
    }
}

/* ---- many at once ---- */

struct line { /* one stream or feed */
    int fd;
    struct buf in;
    size_t seen;       /* bytes of `in` that were looked at */
    long next;         /* the token that must come next, */
    size_t at;         /* and of its text the next character */
    double last_us, gap_us;
    bool done;
};

static struct line *dial_all(int port, long count, int epoll_fd, const struct buf *request)
{
    struct line *lines = xcalloc((size_t) count, sizeof *lines);
    for (long i = 0; i < count; i++) {
        lines[i].fd = dial(port);
        send_all(lines[i].fd, (const char *) request->data, request->len);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &lines[i]};
        if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, lines[i].fd, &event))
            fail("epoll_ctl");
    }
    return lines;
}

static bool take_in(struct line *l)
{
    buf_reserve(&l->in, 65536);
    ssize_t got = recv(l->fd, l->in.data + l->in.len, 65535, MSG_DONTWAIT);
    if (got <= 0)
        return false;
    l->in.len += (size_t) got;
    return true;
}

/* The text of all tokens is "tok0 tok1 tok2 ...": each character must be the next of it, however it is cut into records. */
static void judge_text(struct line *l, const char *text, size_t len, long *wrong)
{
    for (size_t i = 0; i < len; i++) {
        char want[32];
        snprintf(want, sizeof want, l->next ? " tok%ld" : "tok%ld", l->next);
        *wrong += want[l->at++] != text[i];
        if (!want[l->at]) {
            l->at = 0;
            l->next++;
        }
    }
}

/* Reads the records that are whole; what was looked at stays behind `seen`. */
static void judge(struct line *l, long tokens, long *wrong)
{
    static const char CONTENT[] = "\"content\":\"";
    for (;;) {
        const char *text = buf_text(&l->in), *at = strstr(text + l->seen, CONTENT);
        const char *end = at ? strchr(at + strlen(CONTENT), '"') : NULL;
        if (!end)
            break;
        double now = now_us();
        if (l->last_us > 0 && now - l->last_us > l->gap_us)
            l->gap_us = now - l->last_us;
        l->last_us = now;
        judge_text(l, at + strlen(CONTENT), (size_t) (end - at) - strlen(CONTENT), wrong);
        l->seen = (size_t) (end - text);
    }
    if (strstr(buf_text(&l->in) + l->seen, "[DONE]")) {
        l->done = true;
        *wrong += l->next != tokens;
    }
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *) a, y = *(const double *) b;
    return (x > y) - (x < y);
}

static void streams(int port, long count, long tokens, double pace_ms)
{
    struct buf request = {0};
    char body[512];
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    snprintf(body, sizeof body, "{\"model\":\"fixed\",\"messages\":[{\"role\":\"user\",\"content\":\"go\"}],\"stream\":true,"
                                "\"mock\":{\"tokens\":%ld,\"pace_ms\":%g}}", tokens, pace_ms);
    post(&request, "/v1/chat/completions", body);
    struct line *lines = dial_all(port, count, epoll_fd, &request);
    long open = count, wrong = 0, cut = 0;
    while (open) {
        struct epoll_event events[256];
        int ready = epoll_wait(epoll_fd, events, 256, 30000);
        if (ready <= 0)
            fail("no stream moved for 30 s");
        for (int i = 0; i < ready; i++) {
            struct line *l = events[i].data.ptr;
            bool more = take_in(l);
            judge(l, tokens, &wrong);
            if (more && !l->done)
                continue;
            cut += !l->done;
            open--;
            epoll_ctl(epoll_fd, EPOLL_CTL_DEL, l->fd, NULL);
        }
    }
    double *gaps = xcalloc((size_t) count, sizeof *gaps);
    for (long i = 0; i < count; i++)
        gaps[i] = lines[i].gap_us / 1000;
    qsort(gaps, (size_t) count, sizeof *gaps, by_value);
    printf("{\"streams\":%ld,\"tokens\":%ld,\"wrong\":%ld,\"cut\":%ld,\"longest_gap_ms\":{\"p50\":%.1f,\"p99\":%.1f,\"max\":%.1f}}\n",
           count, tokens * count, wrong, cut, gaps[count / 2], gaps[count * 99 / 100], gaps[count - 1]);
}

static void wait_all(struct line *lines, long count, int epoll_fd, const char *text)
{
    long missing = count;
    for (long i = 0; i < count; i++)
        lines[i].done = false;
    while (missing) {
        struct epoll_event events[512];
        int ready = epoll_wait(epoll_fd, events, 512, 60000);
        if (ready <= 0)
            fail("a feed is silent");
        for (int i = 0; i < ready; i++) {
            struct line *l = events[i].data.ptr;
            if (!take_in(l))
                fail("a feed ended");
            if (l->done || !strstr(buf_text(&l->in), text))
                continue;
            l->done = true;
            buf_clear(&l->in);
            missing--;
        }
    }
}

static void feeds(int port, long count)
{
    struct buf request = {0}, event = {0};
    char line[64], marker[64];
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC), publisher = dial(port);
    buf_addf(&request, "GET /api/events?topic=bench.idle HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    struct line *lines = dial_all(port, count, epoll_fd, &request);
    wait_all(lines, count, epoll_fd, ": following");
    puts("ready");
    fflush(stdout);
    for (long round = 0; fgets(line, sizeof line, stdin); round++) {
        char body[128];
        struct buf answer = {0};
        snprintf(marker, sizeof marker, "\"data\":\"round-%ld-\"", round);
        snprintf(body, sizeof body, "{\"topic\":\"bench.idle\",\"data\":\"round-%ld-\"}", round);
        post(&event, "/api/events", body);
        double begun = now_us();
        send_all(publisher, (const char *) event.data, event.len);
        wait_all(lines, count, epoll_fd, marker);
        printf("%.1f\n", (now_us() - begun) / 1000);
        fflush(stdout);
        read_until(publisher, &answer, "\"level\"");
        buf_fini(&answer);
    }
}

int main(int argc, char **argv)
{
    const char *mode = argc > 2 ? argv[1] : "";
    long number = argc > 3 ? strtol(argv[3], NULL, 10) : 0;
    int port = argc > 2 ? (int) strtol(argv[2], NULL, 10) : 0;
    setvbuf(stdout, NULL, _IOFBF, 1 << 16);
    if (strcmp(mode, "latency") == 0)
        latency(port, number, false);
    else if (strcmp(mode, "first") == 0)
        latency(port, number, true);
    else if (strcmp(mode, "echo") == 0)
        echo(argv[2], number);
    else if (strcmp(mode, "forward") == 0 && argc > 3)
        forward(argv[2], argv[3]);
    else if (strcmp(mode, "worker") == 0)
        worker(argv[2]);
    else if (strcmp(mode, "streams") == 0 && argc > 5)
        streams(port, number, strtol(argv[4], NULL, 10), strtod(argv[5], NULL));
    else if (strcmp(mode, "feeds") == 0)
        feeds(port, number);
    else
        return fprintf(stderr, "chat_bench: see the head of its source\n"), 2;
    return 0;
}
