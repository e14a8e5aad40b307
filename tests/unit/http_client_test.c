/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP client against a server in this process that says what a test wants, when it wants; both take turns in one thread. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/buf.h"
#include "lib/clock.h"
#include "lib/xmem.h"
#include "nodes/kit/http_client.h"

#define PATIENCE_MS 20000
#define MANY 400

/* What became of a call. */
struct outcome {
    struct rig *rig;
    struct http_call *call;
    struct buf body, header; /* header: the value of X-Test */
    unsigned status, headers_done, ended;
    bool ok, stop; /* stop: the next piece is answered with false */
    struct ls_error err;
    struct http_call **cancels; /* in the next callback */
    struct outcome *starts;     /* a call begun in the next callback */
};

struct rig {
    struct http_client *client;
    int listener, port, peer;
    char url[100];
    struct buf request; /* read last from the peer */
};

/* ---- callbacks ---- */

static void start_at(struct outcome *o, const char *url, struct http_call_options options);

static void act(struct outcome *o)
{
    if (o->cancels)
        http_call_cancel(o->cancels);
    o->cancels = NULL;
    if (o->starts)
        start_at(o->starts, o->rig->url, (struct http_call_options){0});
    o->starts = NULL;
}

static void on_headers(void *arg, struct http_call *call, unsigned status)
{
    struct outcome *o = arg;
    const char *header = http_call_header(call, "x-test");
    buf_addf(&o->header, "%s", header ? header : "-");
    o->headers_done++;
    o->status = status;
    if (!o->stop)
        act(o);
}

static bool on_data(void *arg, struct http_call *call, struct ls_slice bytes)
{
    struct outcome *o = arg;
    (void) call;
    buf_add(&o->body, bytes.data, bytes.len);
    act(o);
    return !o->stop;
}

static void on_end(void *arg, struct http_call *call, unsigned status, const struct ls_error *err)
{
    struct outcome *o = arg;
    assert_ptr_equal(call, o->call);
    o->ended++;
    o->status = status;
    o->ok = !err;
    if (err)
        o->err = *err;
    act(o);
    o->call = NULL;
}

static void start_at(struct outcome *o, const char *url, struct http_call_options options)
{
    struct ls_error err;
    options.method = options.method ? options.method : "GET";
    options.url = url;
    options.arg = o;
    options.headers_done = on_headers;
    options.data = on_data;
    options.end = on_end;
    o->call = http_call_start(o->rig->client, &options, &err);
    if (!o->call)
        fail_msg("%s", err.text);
}

static struct outcome *start(struct rig *r, struct http_call_options options)
{
    struct outcome *o = xcalloc(1, sizeof *o);
    o->rig = r;
    start_at(o, r->url, options);
    return o;
}

static void forget(struct outcome *o)
{
    buf_fini(&o->body);
    buf_fini(&o->header);
    free(o);
}

/* ---- taking turns ---- */

/* One turn of the client's loop, or less when `fd` (or -1) is readable. */
static void turn(struct rig *r, int fd)
{
    struct pollfd fds[2] = {{http_client_fd(r->client), POLLIN, 0}, {fd, POLLIN, 0}};
    int64_t wait = http_client_due(r->client) - clock_mono_ms();
    poll(fds, fd < 0 ? 1 : 2, wait < 0 ? 0 : wait < 100 ? (int) wait : 100);
    http_client_run(r->client);
}

static bool readable(int fd)
{
    struct pollfd one = {fd, POLLIN, 0};
    return poll(&one, 1, 0) > 0;
}

static void until_readable(struct rig *r, int fd)
{
    int64_t deadline = clock_mono_ms() + PATIENCE_MS;
    while (!readable(fd)) {
        assert_true(clock_mono_ms() < deadline);
        turn(r, fd);
    }
}

static void until_ended(const struct outcome *o)
{
    int64_t deadline = clock_mono_ms() + PATIENCE_MS;
    while (!o->ended) {
        assert_true(clock_mono_ms() < deadline);
        turn(o->rig, -1);
    }
}

static void until_body(const struct outcome *o, size_t len)
{
    int64_t deadline = clock_mono_ms() + PATIENCE_MS;
    while (o->body.len < len) {
        assert_true(clock_mono_ms() < deadline);
        turn(o->rig, -1);
    }
}

/* The next connection becomes the peer. */
static void take_connection(struct rig *r)
{
    until_readable(r, r->listener);
    r->peer = accept(r->listener, NULL, NULL);
    assert_true(r->peer >= 0);
}

/* The next request's header, and so many bytes behind it. */
static void read_request(struct rig *r, size_t body_len)
{
    static const char END[] = "\r\n\r\n";
    char *end = NULL;
    buf_clear(&r->request);
    do {
        until_readable(r, r->peer);
        buf_reserve(&r->request, 65536);
        ssize_t got = recv(r->peer, r->request.data + r->request.len, 65536, 0);
        assert_true(got > 0);
        r->request.len += (size_t) got;
        end = memmem(r->request.data, r->request.len, END, 4);
    } while (!end || r->request.len < (size_t) (end + 4 - (char *) r->request.data) + body_len);
    buf_text(&r->request);
}

static void say(struct rig *r, const char *text)
{
    assert_int_equal(send(r->peer, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void hang_up(struct rig *r)
{
    close(r->peer);
    r->peer = -1;
}

static void assert_hung_up(struct rig *r)
{
    char byte;
    until_readable(r, r->peer);
    assert_true(recv(r->peer, &byte, 1, 0) <= 0);
    hang_up(r);
}

static bool requested(const struct rig *r, const char *text)
{
    return strstr((const char *) r->request.data, text) != NULL;
}

#define OK_HEAD "HTTP/1.1 200 OK\r\nX-Test: yes\r\n"

static int setup(void **state)
{
    struct rig *r = xcalloc(1, sizeof *r);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    r->peer = -1;
    r->client = http_client_open(NULL);
    r->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(r->listener, (struct sockaddr *) &address, len), 0);
    assert_int_equal(listen(r->listener, 1024), 0);
    assert_int_equal(getsockname(r->listener, (struct sockaddr *) &address, &len), 0);
    r->port = ntohs(address.sin_port);
    snprintf(r->url, sizeof r->url, "http://127.0.0.1:%d/path", r->port);
    *state = r;
    return 0;
}

static int teardown(void **state)
{
    struct rig *r = *state;
    http_client_close(&r->client);
    if (r->peer >= 0)
        close(r->peer);
    close(r->listener);
    buf_fini(&r->request);
    free(r);
    return 0;
}

/* ---- whole answers ---- */

static void an_answer_and_its_connection_kept(void **state)
{
    struct rig *r = *state;
    for (int i = 0; i < 3; i++) {
        struct outcome *o = start(r, (struct http_call_options){0});
        if (i == 0)
            take_connection(r);
        read_request(r, 0);
        assert_true(requested(r, "GET /path HTTP/1.1\r\n"));
        say(r, "HTTP/1.1 103 Early Hints\r\nX-Test: no\r\n\r\n");
        say(r, OK_HEAD "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
        until_body(o, 3);
        assert_int_equal(o->headers_done, 1);
        say(r, "2\r\nde\r\n0\r\nX-Trailer: t\r\n\r\n");
        until_ended(o);
        assert_true(o->ok && o->status == 200 && o->ended == 1 && o->headers_done == 1);
        assert_string_equal(buf_text(&o->body), "abcde");
        assert_string_equal(buf_text(&o->header), "yes");
        forget(o);
    }
}

static void what_is_sent_and_what_is_not(void **state)
{
    struct rig *r = *state;
    const char *headers[] = {"Content-Type: application/json", "Authorization: Bearer x", NULL};
    size_t len = 3 << 20;
    char *body = xcalloc(1, len);
    setenv("http_proxy", "http://127.0.0.1:1/", 1);
    struct outcome *o = start(r, (struct http_call_options){.method = "POST", .headers = headers, .body = {body, len}});
    free(body); /* it was copied */
    take_connection(r);
    read_request(r, len);
    unsetenv("http_proxy");
    assert_true(requested(r, "POST /path HTTP/1.1\r\n") && requested(r, "Authorization: Bearer x\r\n"));
    assert_true(requested(r, "Content-Type: application/json\r\n") && requested(r, "Content-Length: 3145728\r\n"));
    assert_false(requested(r, "Expect") || requested(r, "Accept-Encoding") || requested(r, "form-urlencoded"));
    say(r, "HTTP/1.1 302 Found\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n");
    until_ended(o);
    assert_true(o->ok && o->status == 302);
    forget(o);
    static const char *const METHODS[] = {"PUT", "DELETE", "POST", "HEAD"};
    for (size_t i = 0; i < 4; i++) {
        char line[40];
        o = start(r, (struct http_call_options){.method = METHODS[i], .body = ls_str(i ? "" : "data")});
        read_request(r, i ? 0 : 4);
        snprintf(line, sizeof line, "%s /path HTTP/1.1\r\n", METHODS[i]);
        assert_true(requested(r, line) && !requested(r, "Content-Type"));
        say(r, OK_HEAD "Content-Length: 0\r\n\r\n");
        until_ended(o);
        assert_true(o->ok);
        forget(o);
    }
}

/* On a socket that the server listens at: `path` in a new folder. */
static void listen_at_path(struct rig *r, struct sockaddr_un *address)
{
    char folder[] = "/tmp/http-client-test-XXXXXX";
    assert_non_null(mkdtemp(folder));
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(address->sun_path, sizeof address->sun_path, "%s/s", folder);
    close(r->listener);
    r->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(r->listener, (struct sockaddr *) address, sizeof *address), 0);
    assert_int_equal(listen(r->listener, 5), 0);
}

static void remove_path(struct sockaddr_un *address)
{
    unlink(address->sun_path);
    *strrchr(address->sun_path, '/') = '\0';
    rmdir(address->sun_path);
}

static void a_unix_socket(void **state)
{
    struct rig *r = *state;
    struct sockaddr_un address;
    listen_at_path(r, &address);
    struct outcome *o = start(r, (struct http_call_options){.unix_socket = address.sun_path});
    take_connection(r);
    read_request(r, 0);
    say(r, OK_HEAD "Content-Length: 0\r\n\r\n");
    until_ended(o);
    assert_true(o->ok);
    forget(o);
    remove_path(&address);
}

/* In place of the system's: with a hasty server its answer is there before curl has looked for one. */
static struct rig *hasty;
static const char *hasty_answer;
int connect(int fd, const struct sockaddr *address, socklen_t len);
int connect(int fd, const struct sockaddr *address, socklen_t len)
{
    int result = (int) syscall(SYS_connect, fd, address, len);
    if (hasty && result == 0) {
        hasty->peer = accept(hasty->listener, NULL, NULL);
        say(hasty, hasty_answer);
    }
    return result;
}

static size_t never(void *arg, struct http_call *call, char *out, size_t size)
{
    (void) arg;
    (void) call;
    (void) out;
    (void) size;
    return HTTP_CALL_WAIT;
}

static void an_answer_before_the_body_ends_the_call_however_early(void **state)
{
    static const char *const ANSWERS[] = {OK_HEAD "Content-Length: 2\r\n\r\nok",
                                          OK_HEAD "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"};
    struct rig *r = *state;
    struct sockaddr_un address;
    listen_at_path(r, &address);
    for (size_t i = 0; i < 2; i++) {
        hasty = r;
        hasty_answer = ANSWERS[i];
        struct outcome *o = start(r, (struct http_call_options){.method = "PUT", .unix_socket = address.sun_path, .read = never,
                                                                .body_bytes = 1000});
        until_ended(o);
        hasty = NULL;
        assert_true(o->ok && o->status == 200 && o->body.len == 2);
        forget(o);
        hang_up(r);
    }
    remove_path(&address);
}

static void many_at_once(void **state)
{
    struct rig *r = *state;
    static struct outcome *calls[MANY];
    static int peers[MANY];
    for (int i = 0; i < MANY; i++)
        calls[i] = start(r, (struct http_call_options){0});
    for (int i = 0; i < MANY; i++) {
        take_connection(r);
        peers[i] = r->peer;
    }
    for (int i = MANY; i-- > 0;) {
        r->peer = peers[i];
        read_request(r, 0);
        say(r, OK_HEAD "Content-Length: 2\r\n\r\nok");
    }
    for (int i = 0; i < MANY; i++) {
        until_ended(calls[i]);
        assert_true(calls[i]->ok && calls[i]->body.len == 2);
        forget(calls[i]);
    }
    for (int i = 0; i < MANY; i++)
        close(peers[i]);
    r->peer = -1;
}

/* ---- failures ---- */

static void each_phase_has_its_limit(void **state)
{
    struct rig *r = *state;
    char https[100];
    snprintf(https, sizeof https, "https://127.0.0.1:%d/", r->port);
    struct outcome *o = xcalloc(1, sizeof *o);
    o->rig = r;
    start_at(o, https, (struct http_call_options){.connect_ms = 50}); /* nobody answers the TLS hello */
    until_ended(o);
    assert_string_equal(o->err.name, "TIMEOUT");
    assert_non_null(strstr(o->err.text, "no connection within 50 ms"));
    forget(o);
    take_connection(r);
    hang_up(r);
    static const struct {
        const char *said, *text;
        int64_t first_byte_ms, stall_ms, total_ms;
    } CASES[] = {
        {"", "no answer came within 50 ms", 50, 0, 0},
        {OK_HEAD, "no answer came within 50 ms", 50, 0, 0},
        {OK_HEAD "\r\n", "no answer came within 50 ms", 50, 0, 0},
        {OK_HEAD "\r\nabc", "stood still for 50 ms", 0, 50, 0},
        {OK_HEAD "\r\nabc", "not complete within 50 ms", 0, 0, 50},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        o = start(r, (struct http_call_options){.first_byte_ms = CASES[i].first_byte_ms,
                                                .stall_ms = CASES[i].stall_ms,
                                                .total_ms = CASES[i].total_ms});
        take_connection(r);
        say(r, CASES[i].said);
        until_ended(o);
        assert_string_equal(o->err.name, "TIMEOUT");
        assert_non_null(strstr(o->err.text, CASES[i].text));
        forget(o);
        hang_up(r);
    }
}

static void the_limits_hold_on_a_kept_connection(void **state)
{
    struct rig *r = *state;
    struct outcome *o = start(r, (struct http_call_options){0});
    take_connection(r);
    read_request(r, 0);
    say(r, OK_HEAD "Content-Length: 0\r\n\r\n");
    until_ended(o);
    forget(o);
    o = start(r, (struct http_call_options){.first_byte_ms = 50});
    read_request(r, 0);
    until_ended(o);
    assert_non_null(strstr(o->err.text, "no answer came"));
    forget(o);
    assert_hung_up(r);
}

static void a_peer_that_breaks_off(void **state)
{
    struct rig *r = *state;
    static const struct {
        const char *said, *name;
    } CASES[] = {{"", "CUT"},
                 {OK_HEAD, "CUT"},
                 {OK_HEAD "Content-Length: 5\r\n\r\nabc", "CUT"},
                 {OK_HEAD "Transfer-Encoding: chunked\r\n\r\n5\r\nabc", "CUT"},
                 {OK_HEAD "Transfer-Encoding: chunked\r\n\r\nno number\r\n", "CUT"},
                 {"SSH-2.0-x\r\n", "PROTOCOL"}};
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct outcome *o = start(r, (struct http_call_options){0});
        take_connection(r);
        read_request(r, 0);
        say(r, CASES[i].said);
        hang_up(r);
        until_ended(o);
        assert_false(o->ok);
        assert_string_equal(o->err.name, CASES[i].name);
        assert_int_equal(o->ended, 1);
        forget(o);
    }
}

static void endless_headers(void **state)
{
    struct rig *r = *state;
    static const struct {
        const char *head, *line;
    } CASES[] = {{OK_HEAD "Transfer-Encoding: chunked\r\n\r\n0\r\n", "X-More: and more\r\n"}, /* trailers */
                 {OK_HEAD, "X-More: and more\r\n"},
                 {"", "HTTP/1.1 100 Continue\r\n\r\n"}};
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct outcome *o = start(r, (struct http_call_options){0});
        struct buf lines = {0};
        take_connection(r);
        read_request(r, 0);
        say(r, CASES[i].head);
        while (lines.len < 16u << 10)
            buf_add(&lines, CASES[i].line, strlen(CASES[i].line));
        for (int k = 0; k < 64 && !o->ended; k++) {
            if (send(r->peer, lines.data, lines.len, MSG_NOSIGNAL) < 0)
                break;
            turn(r, -1);
        }
        until_ended(o);
        assert_string_equal(o->err.name, "PROTOCOL");
        hang_up(r);
        buf_fini(&lines);
        forget(o);
    }
}

static void nobody_there(void **state)
{
    struct rig *r = *state;
    static const char *const URLS[] = {"http://127.0.0.1:1/", "http://169.254.169.254/latest",
                                       "http://[::ffff:169.254.169.254]/", "http://[fe80::1]/"};
    for (size_t i = 0; i < sizeof URLS / sizeof URLS[0]; i++) {
        struct outcome *o = xcalloc(1, sizeof *o);
        o->rig = r;
        start_at(o, URLS[i], (struct http_call_options){0});
        until_ended(o);
        assert_string_equal(o->err.name, "UNREACHABLE");
        forget(o);
    }
}

static void calls_that_are_none(void **state)
{
    struct rig *r = *state;
    static const char *const URLS[] = {"",        "ftp://127.0.0.1/", "file:///etc/passwd",
                                       "http://", "127.0.0.1",        "http://a b/"};
    const char *const headers[] = {"X: a\r\nY: b", NULL};
    struct ls_error err;
    for (size_t i = 0; i < sizeof URLS / sizeof URLS[0]; i++) {
        struct http_call_options options = {.method = "GET", .url = URLS[i]};
        assert_null(http_call_start(r->client, &options, &err));
        assert_string_equal(err.name, "BAD_VALUE");
    }
    struct http_call_options options = {.method = "GET", .url = r->url, .headers = headers};
    assert_null(http_call_start(r->client, &options, &err));
    assert_string_equal(err.name, "BAD_VALUE");
}

/* ---- giving up ---- */

/* Before the request is out, before the answer, and within it. */
static void cancel_closes_the_connection(void **state)
{
    struct rig *r = *state;
    for (int i = 0; i < 3; i++) {
        struct outcome *o = start(r, (struct http_call_options){0});
        take_connection(r);
        if (i > 0)
            read_request(r, 0);
        if (i > 1) {
            say(r, OK_HEAD "\r\nabc");
            until_body(o, 3);
        }
        http_call_cancel(&o->call);
        assert_null(o->call);
        assert_hung_up(r);
        assert_int_equal(o->ended, 0);
        forget(o);
    }
    struct outcome *o = start(r, (struct http_call_options){0});
    http_call_cancel(&o->call); /* curl has not run */
    http_call_cancel(&o->call);
    forget(o);
}

static void cancel_inside_callbacks(void **state)
{
    struct rig *r = *state;
    struct outcome *other = start(r, (struct http_call_options){0});
    take_connection(r);
    read_request(r, 0);
    int other_peer = r->peer;
    for (int i = 0; i < 2; i++) { /* headers_done, data */
        struct outcome *o = start(r, (struct http_call_options){0});
        take_connection(r);
        read_request(r, 0);
        o->stop = i == 1; /* then only `data` acts */
        o->cancels = &o->call;
        say(r, OK_HEAD "\r\nabc");
        assert_hung_up(r);
        assert_true(o->ended == 0 && !o->call && o->body.len == (i ? 3 : 0));
        forget(o);
    }
    struct outcome *o = start(r, (struct http_call_options){0});
    take_connection(r);
    read_request(r, 0);
    o->cancels = &other->call;
    say(r, OK_HEAD "Content-Length: 3\r\n\r\nabc");
    until_ended(o);
    hang_up(r);
    r->peer = other_peer;
    assert_hung_up(r);
    assert_true(o->ok && other->ended == 0 && !other->call);
    forget(o);
    forget(other);
}

static void a_call_may_be_cancelled_in_its_end(void **state)
{
    struct rig *r = *state;
    struct outcome *o = start(r, (struct http_call_options){.first_byte_ms = 20});
    take_connection(r);
    read_request(r, 0);
    struct http_call *again = o->call;
    o->cancels = &again;
    until_ended(o);
    assert_true(!again && o->ended == 1);
    forget(o);
}

static void data_that_is_not_wanted(void **state)
{
    struct rig *r = *state;
    struct outcome *o = start(r, (struct http_call_options){0});
    take_connection(r);
    read_request(r, 0);
    o->stop = true;
    say(r, OK_HEAD "\r\nabc");
    until_ended(o);
    assert_string_equal(o->err.name, "CANCELLED");
    assert_hung_up(r);
    forget(o);
}

static void a_call_begun_inside_a_callback(void **state)
{
    struct rig *r = *state;
    struct outcome *o = start(r, (struct http_call_options){0}), *second = xcalloc(1, sizeof *second);
    second->rig = r;
    o->starts = second;
    take_connection(r);
    read_request(r, 0);
    say(r, OK_HEAD "Content-Length: 0\r\n\r\n");
    until_ended(o);
    int first_peer = r->peer;
    if (!readable(r->listener)) /* it may come on the connection that has become free */
        turn(r, r->listener);
    if (readable(r->listener))
        take_connection(r);
    read_request(r, 0);
    say(r, OK_HEAD "Content-Length: 0\r\n\r\n");
    until_ended(second);
    assert_true(o->ok && second->ok);
    if (r->peer != first_peer)
        close(first_peer);
    forget(o);
    forget(second);
}

static void closing_the_client_ends_what_is_open(void **state)
{
    struct rig *r = *state;
    struct outcome *o = start(r, (struct http_call_options){0});
    take_connection(r);
    read_request(r, 0);
    http_client_close(&r->client);
    assert_null(r->client);
    char byte;
    assert_true(recv(r->peer, &byte, 1, 0) <= 0);
    assert_int_equal(o->ended, 0);
    forget(o);
    http_client_close(&r->client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_answer_and_its_connection_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_sent_and_what_is_not, setup, teardown),
        cmocka_unit_test_setup_teardown(a_unix_socket, setup, teardown),
        cmocka_unit_test_setup_teardown(an_answer_before_the_body_ends_the_call_however_early, setup, teardown),
        cmocka_unit_test_setup_teardown(many_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(each_phase_has_its_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(the_limits_hold_on_a_kept_connection, setup, teardown),
        cmocka_unit_test_setup_teardown(a_peer_that_breaks_off, setup, teardown),
        cmocka_unit_test_setup_teardown(endless_headers, setup, teardown),
        cmocka_unit_test_setup_teardown(nobody_there, setup, teardown),
        cmocka_unit_test_setup_teardown(calls_that_are_none, setup, teardown),
        cmocka_unit_test_setup_teardown(cancel_closes_the_connection, setup, teardown),
        cmocka_unit_test_setup_teardown(cancel_inside_callbacks, setup, teardown),
        cmocka_unit_test_setup_teardown(a_call_may_be_cancelled_in_its_end, setup, teardown),
        cmocka_unit_test_setup_teardown(data_that_is_not_wanted, setup, teardown),
        cmocka_unit_test_setup_teardown(a_call_begun_inside_a_callback, setup, teardown),
        cmocka_unit_test_setup_teardown(closing_the_client_ends_what_is_open, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
