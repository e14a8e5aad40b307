/* SPDX-License-Identifier: Apache-2.0 */
/* A server for the tests of nodes/kit/http_server.c. It prints its address, then a line for each exchange that ends:
 *
 *     end PATH 1      (or 0: not complete)
 *
 * Arguments: address=..., and limits: header_ms=300 body_ms=... idle_ms=... body_bytes=... connections=... per_peer=... queue_bytes=...
 * Standard input takes commands, each answered by a line: "say TEXT" writes TEXT to every open stream ("say N"), "answer TEXT"
 * answers every /slow ("answer N"), "finish" ends every stream, "abort" cuts it, "counters" shows them, "drain" drains
 * ("drain N": so many exchanges are active), "go" lets paused bodies come ("go N"). The end of standard input ends the program.
 *
 * Routes: /plain; /slow (answered by the command); /stream (fed by commands; "hello" first with ?hello); /echo (body back);
 * /big?n=BYTES; /refuse (403 before the body is read); /small (body limit 10 bytes); /info (what the server saw);
 * /burst?n=BYTES (a stream that writes that much, whenever there is room, and ends); /sized?n=BYTES (the same with Content-Length;
 * /short: with one byte more than it writes); /file?n=BYTES (so many of a file, from its third byte on); /take (a body by pieces, with no
 * limit: how many bytes and pieces came; /take/paused: not before "go"; /take/enough: 409 after the first piece, /take/stream: the same as
 * a stream; /take/begun: a stream with which one says the rest, as with /stream; /take/limit: at most 10 bytes). */
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/buf.h"
#include "lib/clock.h"
#include "lib/error.h"
#include "lib/xmem.h"
#include "nodes/kit/http_server.h"

struct visit { /* what http_user points to */
    struct http_exchange *x;
    enum { OTHER, SLOW, STREAM, BURST, PAUSED } what;
    size_t left;            /* BURST: bytes to write */
    uint64_t taken, pieces; /* of a body */
    struct visit *next, **link;
};

static struct http_server *server;
static struct visit *visits;

static void on_begin(void *arg, struct http_exchange *x)
{
    (void) arg;
    struct visit *visit = xcalloc(1, sizeof *visit);
    visit->x = x;
    visit->next = visits;
    visit->link = &visits;
    if (visits)
        visits->link = &visit->next;
    visits = visit;
    http_set_user(x, visit);
    if (!strcmp(http_path(x), "/refuse"))
        http_answer(x, 403, ls_str("no\n"));
    if (!strcmp(http_path(x), "/small"))
        http_body_limit(x, 10);
    if (strncmp(http_path(x), "/take", 5) != 0)
        return;
    http_body_stream(x);
    http_body_limit(x, strcmp(http_path(x), "/take/limit") == 0 ? 10 : UINT64_MAX);
    if (!strcmp(http_path(x), "/take/paused")) {
        visit->what = PAUSED;
        http_body_pause(x);
        printf("paused %" PRId64 "\n", http_body_length(x));
    }
}

static void on_body(void *arg, struct http_exchange *x, struct ls_slice bytes)
{
    (void) arg;
    struct visit *visit = http_user(x);
    visit->taken += bytes.len;
    visit->pieces++;
    if (!strcmp(http_path(x), "/take/enough")) {
        http_answer(x, 409, ls_str("enough\n"));
    } else if (!strcmp(http_path(x), "/take/stream")) {
        http_stream_begin(x, 409);
        http_stream_write(x, ls_str("enough\n"));
        http_stream_end(x);
    } else if (!strcmp(http_path(x), "/take/begun")) {
        visit->what = STREAM;
        http_stream_begin(x, 409);
    }
}

static void on_end(void *arg, struct http_exchange *x, bool complete)
{
    (void) arg;
    struct visit *visit = http_user(x);
    printf("end %s %d\n", http_path(x), complete);
    *visit->link = visit->next;
    if (visit->next)
        visit->next->link = visit->link;
    free(visit);
}

static size_t number(struct http_exchange *x)
{
    char text[24];
    return http_query_get(x, "n", text, sizeof text) ? strtoul(text, NULL, 10) : 0;
}

static void go_on(struct visit *visit)
{
    static const char BLOCK[8192];
    while (visit->left) {
        size_t len = visit->left < sizeof BLOCK ? visit->left : sizeof BLOCK;
        if (!http_stream_write(visit->x, ls_bytes(BLOCK, len)))
            return;
        visit->left -= len;
    }
    http_stream_end(visit->x);
}

static void on_drained(void *arg, struct http_exchange *x)
{
    (void) arg;
    struct visit *visit = http_user(x);
    if (visit->what == BURST)
        go_on(visit);
}

static void show_info(struct http_exchange *x)
{
    struct buf text = {0};
    char value[64] = "-";
    http_query_get(x, "a", value, sizeof value);
    const char *agent = http_header(x, "user-AGENT");
    buf_addf(&text, "%s %s query=%s a=%s agent=%s peer=%s body=%zu\n", http_method(x), http_path(x), http_query(x), value,
             agent ? agent : "-", http_peer(x), http_body(x).len);
    http_answer_header(x, "X-Good", "yes");
    http_answer_header(x, "X-Bad", "a\r\nX-Injected: 1");
    http_answer(x, 200, ls_bytes(text.data, text.len));
    buf_fini(&text);
}

static void send_big(struct http_exchange *x)
{
    size_t len = number(x);
    char *data = xcalloc(1, len + 1);
    memset(data, 'b', len);
    http_answer(x, 200, ls_bytes(data, len));
    free(data);
}

static void send_file(struct http_exchange *x)
{
    static const char BLOCK[1 << 20] = "0123456789";
    size_t n = number(x);
    int fd = memfd_create("file", MFD_CLOEXEC);
    for (size_t done = 0; done < n + 2; done += sizeof BLOCK)
        if (write(fd, BLOCK, sizeof BLOCK) < 0)
            abort();
    http_answer_file(x, 206, fd, 2, n);
}

static void send_taken(struct http_exchange *x)
{
    const struct visit *visit = http_user(x);
    struct buf text = {0};
    buf_addf(&text, "%" PRIu64 " %d %zu\n", visit->taken, visit->pieces > 1, http_body(x).len);
    http_answer(x, 200, ls_bytes(text.data, text.len));
    buf_fini(&text);
}

static void on_request(void *arg, struct http_exchange *x)
{
    (void) arg;
    const char *path = http_path(x);
    struct visit *visit = http_user(x);
    if (!strcmp(path, "/plain")) {
        http_answer_header(x, "Content-Type", "text/plain");
        http_answer_static(x, 200, ls_str("plain\n"));
    } else if (!strcmp(path, "/echo") || !strcmp(path, "/small")) {
        http_answer(x, 200, http_body(x));
    } else if (!strcmp(path, "/info")) {
        show_info(x);
    } else if (!strcmp(path, "/big")) {
        send_big(x);
    } else if (!strncmp(path, "/take", 5)) {
        send_taken(x);
    } else if (!strcmp(path, "/file")) {
        send_file(x);
    } else if (!strcmp(path, "/sized") || !strcmp(path, "/short")) {
        visit->what = BURST;
        visit->left = number(x);
        http_stream_begin_sized(x, 200, visit->left + !strcmp(path, "/short"));
        go_on(visit);
    } else if (!strcmp(path, "/slow")) {
        visit->what = SLOW;
    } else if (!strcmp(path, "/stream") || !strcmp(path, "/burst")) {
        visit->what = path[1] == 's' ? STREAM : BURST;
        visit->left = number(x);
        http_answer_header(x, "Content-Type", "text/event-stream");
        http_stream_begin(x, 200);
        if (!strcmp(http_query(x), "hello"))
            http_stream_write(x, ls_str("hello\n"));
        if (visit->what == BURST)
            go_on(visit);
    } else {
        http_answer(x, 404, ls_str("nothing here\n"));
    }
}

/* ---- commands ---- */

static void for_each(const char *command, const char *text)
{
    unsigned count = 0;
    char *line = xasprintf("%s\n", text);
    for (struct visit *visit = visits, *next; visit; visit = next) {
        next = visit->next;
        if (visit->what == SLOW && !strcmp(command, "answer")) {
            visit->what = OTHER;
            http_answer(visit->x, 200, ls_str(line));
        } else if (visit->what == PAUSED && !strcmp(command, "go")) {
            visit->what = OTHER;
            http_body_resume(visit->x);
        } else if (visit->what == STREAM && !strcmp(command, "say")) {
            http_stream_write(visit->x, ls_str(line));
        } else if (visit->what == STREAM && !strcmp(command, "finish")) {
            http_stream_end(visit->x);
        } else if (visit->what == STREAM && !strcmp(command, "abort")) {
            http_stream_abort(visit->x);
        } else {
            continue;
        }
        count++;
    }
    free(line);
    printf("%s %u\n", command, count);
}

static void obey(char *line)
{
    struct http_server_counters n;
    char *text = strchr(line, ' ');
    if (text)
        *text++ = 0;
    if (!strcmp(line, "drain")) {
        http_server_drain(server);
        printf("drain %zu\n", http_server_active(server));
    } else if (!strcmp(line, "counters")) {
        http_server_counters(server, &n);
        printf("counters accepted=%" PRIu64 " requests=%" PRIu64 " refused_gate=%" PRIu64 " refused_limit=%" PRIu64
               " timed_out=%" PRIu64 " cut=%" PRIu64 " connections=%" PRIu64 "\n",
               n.accepted, n.requests, n.refused_gate, n.refused_limit, n.timed_out, n.cut, n.connections);
    } else {
        for_each(line, text ? text : "");
    }
}

/* Reads commands; false at the end of the input. */
static bool read_commands(void)
{
    static struct buf input;
    buf_reserve(&input, 4096);
    ssize_t got = read(STDIN_FILENO, input.data + input.len, 4096);
    if (got <= 0) {
        buf_fini(&input);
        return false;
    }
    input.len += (size_t) got;
    for (uint8_t *end; (end = memchr(input.data, '\n', input.len));) {
        size_t len = (size_t) (end - input.data) + 1;
        *end = 0;
        obey((char *) input.data);
        input.len -= len;
        memmove(input.data, input.data + len, input.len);
    }
    return true;
}

static void read_limit(struct http_limits *limits, const char *word)
{
    const char *value = strchr(word, '=');
    long n = value ? strtol(value + 1, NULL, 10) : 0;
    size_t len = value ? (size_t) (value - word) : 0;
    struct ls_slice name = ls_bytes(word, len);
    if (ls_slice_is(name, "header_ms"))
        limits->header_ms = n;
    else if (ls_slice_is(name, "body_ms"))
        limits->body_ms = n;
    else if (ls_slice_is(name, "idle_ms"))
        limits->idle_ms = n;
    else if (ls_slice_is(name, "body_bytes"))
        limits->body_bytes = (size_t) n;
    else if (ls_slice_is(name, "connections"))
        limits->connections = (unsigned) n;
    else if (ls_slice_is(name, "per_peer"))
        limits->connections_per_peer = (unsigned) n;
    else if (ls_slice_is(name, "queue_bytes"))
        limits->queue_bytes = (size_t) n;
}

static int wait_ms(void)
{
    int64_t due = http_server_due(server), now = clock_mono_ms();
    return due == INT64_MAX ? -1 : due <= now ? 0 : (int) (due - now);
}

int main(int argc, char **argv)
{
    struct http_server_options options = {.address = "127.0.0.1:0", .begin = on_begin, .body = on_body,
                                          .request = on_request, .end = on_end, .drained = on_drained};
    struct ls_error err = {0};
    for (int i = 1; i < argc; i++)
        if (!strncmp(argv[i], "address=", 8))
            options.address = argv[i] + 8;
        else
            read_limit(&options.limits, argv[i]);
    setvbuf(stdout, NULL, _IOLBF, 0);
    server = http_server_open(&options, &err);
    if (!server) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    printf("%s\n", http_server_address(server));
    for (bool going = true; going;) {
        struct pollfd polled[] = {{http_server_fd(server), POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
        poll(polled, 2, wait_ms());
        if (polled[1].revents)
            going = read_commands();
        http_server_run(server);
    }
    http_server_close(&server);
    printf("closed\n");
    return 0;
}
