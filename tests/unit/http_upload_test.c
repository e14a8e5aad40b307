/* SPDX-License-Identifier: Apache-2.0 */
/* Bodies by pieces of the HTTP client: waiting, the other side's pace, starting anew on a dead connection, early answers; and
 * answers that are held back. The server is in this process and says what a test wants, when it wants. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/buf.h"
#include "lib/clock.h"
#include "lib/xmem.h"
#include "nodes/kit/http_client.h"

#define PATIENCE_MS 20000

struct rig {
    struct http_client *client;
    struct http_call *call;
    int listener, peer;
    char url[100];
    struct buf heard;      /* from the peer, since the last request began */
    struct ls_slice body;  /* to be sent */
    size_t given, allowed; /* of it */
    bool aborts, paused, cancels;
    unsigned reads, rewinds, pieces, ended, status;
    bool ok;
    struct buf answer;
    struct ls_error err;
};

/* ---- callbacks ---- */

static size_t on_read(void *arg, struct http_call *call, char *out, size_t size)
{
    struct rig *r = arg;
    size_t left = r->allowed - r->given, take = left < size ? left : size;
    (void) call;
    r->reads++;
    if (r->cancels)
        http_call_cancel(&r->call);
    if (r->aborts)
        return HTTP_CALL_ABORT;
    if (!take)
        return r->given == r->body.len ? 0 : HTTP_CALL_WAIT;
    memcpy(out, r->body.data + r->given, take);
    r->given += take;
    return take;
}

static bool on_rewind(void *arg, struct http_call *call)
{
    struct rig *r = arg;
    (void) call;
    r->rewinds++;
    r->given = 0;
    return true;
}

static bool on_data(void *arg, struct http_call *call, struct ls_slice bytes)
{
    struct rig *r = arg;
    r->pieces++;
    buf_add(&r->answer, bytes.data, bytes.len);
    if (r->paused)
        http_call_pause(call);
    return true;
}

static void on_end(void *arg, struct http_call *call, unsigned status, const struct ls_error *err)
{
    struct rig *r = arg;
    (void) call;
    r->ended++;
    r->status = status;
    r->ok = !err;
    if (err)
        r->err = *err;
    r->call = NULL;
}

/* ---- taking turns ---- */

static void turn(struct rig *r, int fd)
{
    struct pollfd fds[2] = {{http_client_fd(r->client), POLLIN, 0}, {fd, POLLIN, 0}};
    int64_t wait = http_client_due(r->client) - clock_mono_ms();
    poll(fds, fd < 0 ? 1 : 2, wait < 0 ? 0 : wait < 100 ? (int) wait : 100);
    http_client_run(r->client);
}

#define UNTIL(r, condition)                                            \
    do {                                                               \
        int64_t deadline_ = clock_mono_ms() + PATIENCE_MS;             \
        while (!(condition)) {                                         \
            assert_true(clock_mono_ms() < deadline_);                  \
            turn(r, -1);                                               \
        }                                                              \
    } while (0)

static bool can_read(int fd)
{
    struct pollfd one = {fd, POLLIN, 0};
    return poll(&one, 1, 0) > 0;
}

static void take_connection(struct rig *r)
{
    UNTIL(r, can_read(r->listener));
    r->peer = accept(r->listener, NULL, NULL);
    assert_true(r->peer >= 0);
    buf_clear(&r->heard);
}

/* Reads until `text` has come. */
static void hear(struct rig *r, const char *text)
{
    while (!r->heard.len || !memmem(r->heard.data, r->heard.len, text, strlen(text))) {
        UNTIL(r, can_read(r->peer));
        buf_reserve(&r->heard, 65536);
        ssize_t got = recv(r->peer, r->heard.data + r->heard.len, 65536, 0);
        assert_true(got > 0);
        r->heard.len += (size_t) got;
    }
}

static bool heard(struct rig *r, const char *text)
{
    return strstr(buf_text(&r->heard), text) != NULL;
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

static void start(struct rig *r, struct http_call_options o)
{
    struct ls_error err;
    o.method = o.method ? o.method : "PUT";
    o.url = o.url ? o.url : r->url;
    o.arg = r;
    o.data = on_data;
    o.end = on_end;
    r->given = r->ended = 0;
    r->call = http_call_start(r->client, &o, &err);
    if (!r->call)
        fail_msg("%s", err.text);
}

static void send_text(struct rig *r, const char *body, size_t allowed)
{
    r->body = ls_str(body);
    r->allowed = allowed;
}

static void allow(struct rig *r, size_t bytes)
{
    r->allowed = bytes;
    http_call_resume(r->call);
    assert_true(http_client_due(r->client) <= clock_mono_ms()); /* it wants to run */
}

#define DONE "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

static int setup(void **state)
{
    struct rig *r = xcalloc(1, sizeof *r);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    r->peer = -1;
    r->client = http_client_open(NULL);
    r->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(r->listener, (struct sockaddr *) &address, len), 0);
    assert_int_equal(listen(r->listener, 10), 0);
    assert_int_equal(getsockname(r->listener, (struct sockaddr *) &address, &len), 0);
    snprintf(r->url, sizeof r->url, "http://127.0.0.1:%d/a", ntohs(address.sin_port));
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
    buf_fini(&r->heard);
    buf_fini(&r->answer);
    free(r);
    return 0;
}

/* ---- up ---- */

static void pieces_of_a_known_length(void **state)
{
    struct rig *r = *state;
    send_text(r, "one two", 0);
    start(r, (struct http_call_options){.read = on_read, .body_bytes = 7});
    take_connection(r);
    hear(r, "\r\n\r\n");
    assert_true(heard(r, "PUT /a HTTP/1.1\r\n") && heard(r, "Content-Length: 7\r\n"));
    assert_false(heard(r, "Expect") || heard(r, "Content-Type") || heard(r, "chunked"));
    allow(r, 3);
    hear(r, "\r\n\r\none");
    allow(r, 7);
    hear(r, "one two");
    say(r, DONE);
    UNTIL(r, r->ended);
    assert_true(r->ok && r->status == 200 && r->rewinds == 0);
}

static void pieces_of_no_known_length(void **state)
{
    struct rig *r = *state;
    send_text(r, "one two", 3);
    start(r, (struct http_call_options){.method = "POST", .read = on_read, .body_bytes = -1});
    take_connection(r);
    hear(r, "\r\n3\r\none\r\n");
    assert_true(heard(r, "POST /a HTTP/1.1\r\n") && heard(r, "Transfer-Encoding: chunked\r\n"));
    allow(r, 7);
    hear(r, "4\r\n two\r\n0\r\n\r\n");
    say(r, DONE);
    UNTIL(r, r->ended);
    assert_true(r->ok);
}

static void no_bytes_at_all(void **state)
{
    struct rig *r = *state;
    send_text(r, "", 0);
    start(r, (struct http_call_options){.read = on_read, .body_bytes = 0});
    take_connection(r);
    hear(r, "\r\n\r\n");
    assert_true(heard(r, "Content-Length: 0\r\n"));
    say(r, DONE);
    UNTIL(r, r->ended);
    assert_true(r->ok && r->reads == 0);
}

static void only_if_the_peer_wants_it(void **state)
{
    struct rig *r = *state;
    send_text(r, "data", 4);
    start(r, (struct http_call_options){.read = on_read, .body_bytes = 4, .expect = true});
    take_connection(r);
    hear(r, "\r\n\r\n");
    assert_true(heard(r, "Expect: 100-continue\r\n") && r->reads == 0);
    say(r, "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
    UNTIL(r, r->ended);
    assert_true(r->ok && r->status == 403 && r->reads == 0);
    assert_string_equal(buf_text(&r->answer), "no");
    hang_up(r);
    start(r, (struct http_call_options){.read = on_read, .body_bytes = 4, .expect = true});
    take_connection(r);
    hear(r, "\r\n\r\n");
    say(r, "HTTP/1.1 100 Continue\r\n\r\n");
    hear(r, "\r\n\r\ndata");
    say(r, DONE);
    UNTIL(r, r->ended);
    assert_true(r->ok && r->status == 200);
}

static void the_path_as_it_stands(void **state)
{
    struct rig *r = *state;
    char url[160];
    static const char *const PATHS[] = {"/a/../b/./c", "/a%2Fb#c?x=%20", "/%E4//"};
    for (size_t i = 0; i < 3; i++) {
        char line[80];
        snprintf(url, sizeof url, "%.*s%s", (int) (strlen(r->url) - 2), r->url, PATHS[i]);
        start(r, (struct http_call_options){.method = "GET", .url = url, .exact_path = true});
        if (i == 0)
            take_connection(r);
        buf_clear(&r->heard);
        hear(r, "\r\n\r\n");
        snprintf(line, sizeof line, "GET %s HTTP/1.1\r\n", PATHS[i]);
        assert_true(heard(r, line));
        say(r, DONE);
        UNTIL(r, r->ended);
    }
}

/* The kept connection is found dead only when the body is under way. */
static void a_dead_connection(void **state)
{
    struct rig *r = *state;
    send_text(r, "data", 4);
    for (int i = 0; i < 2; i++) {
        start(r, (struct http_call_options){.read = on_read, .rewind = on_rewind, .body_bytes = 4});
        if (i == 0)
            take_connection(r);
        buf_clear(&r->heard);
        hear(r, "\r\n\r\ndata");
        if (i == 0)
            say(r, DONE);
        else
            hang_up(r); /* as a server whose patience with an idle connection ended just now */
        if (i == 0)
            UNTIL(r, r->ended);
    }
    take_connection(r);
    hear(r, "\r\n\r\ndata");
    assert_int_equal(r->rewinds, 1);
    say(r, DONE);
    UNTIL(r, r->ended);
    assert_true(r->ok);
    start(r, (struct http_call_options){.read = on_read, .body_bytes = 4}); /* cannot begin again: not on a kept one */
    int kept = r->peer;
    take_connection(r);
    hear(r, "\r\n\r\ndata");
    hang_up(r);
    UNTIL(r, r->ended);
    assert_string_equal(r->err.name, "CUT");
    close(kept);
}

static void what_ends_an_upload(void **state)
{
    struct rig *r = *state;
    send_text(r, "data", 2);
    start(r, (struct http_call_options){.read = on_read, .body_bytes = 4});
    take_connection(r);
    hear(r, "\r\n\r\nda");
    r->aborts = true;
    allow(r, 4);
    UNTIL(r, r->ended);
    assert_string_equal(r->err.name, "CANCELLED");
    hang_up(r);
    r->aborts = false;
    start(r, (struct http_call_options){.read = on_read, .body_bytes = 5}); /* one more than there is */
    take_connection(r);
    UNTIL(r, r->ended);
    assert_string_equal(r->err.name, "CANCELLED");
    hang_up(r);
    r->cancels = true;
    start(r, (struct http_call_options){.read = on_read, .body_bytes = 4});
    take_connection(r);
    UNTIL(r, !r->call);
    assert_int_equal(r->ended, 0);
}

static void a_peer_that_goes_away_while_there_is_nothing_to_send(void **state)
{
    struct rig *r = *state;
    send_text(r, "data", 2);
    start(r, (struct http_call_options){.read = on_read, .body_bytes = 4});
    take_connection(r);
    hear(r, "\r\n\r\nda");
    hang_up(r);
    UNTIL(r, r->ended);
    assert_string_equal(r->err.name, "CUT");
}

static void an_answer_before_the_body_is_there(void **state)
{
    struct rig *r = *state;
    static const char *const ANSWERS[] = {"HTTP/1.1 413 No\r\nContent-Length: 3\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n",
                                          "HTTP/1.1 409 No\r\nConnection: close\r\n\r\n",
                                          "HTTP/1.1 201 OK\r\nConnection: close\r\n\r\n"};
    static const unsigned STATUSES[] = {413, 200, 409, 201};
    send_text(r, "data", 2);
    for (size_t i = 0; i < 4; i++) {
        start(r, (struct http_call_options){.read = on_read, .body_bytes = 4});
        take_connection(r);
        hear(r, "\r\n\r\nda");
        buf_clear(&r->answer);
        say(r, ANSWERS[i]);
        say(r, "abc");
        if (i >= 2)
            hang_up(r);
        UNTIL(r, r->ended);
        assert_true(r->ok && r->status == STATUSES[i]);
        assert_string_equal(buf_text(&r->answer), "abc");
        if (i < 2)
            hang_up(r);
    }
    start(r, (struct http_call_options){.read = on_read, .body_bytes = 4});
    take_connection(r);
    hear(r, "\r\n\r\nda");
    say(r, ANSWERS[1]);
    say(r, "ab");
    hang_up(r);
    UNTIL(r, r->ended);
    assert_true(!r->ok && strcmp(r->err.name, "CUT") == 0);
}

/* Whole or not is told by its last chunk; the connection, on which half a request stands, is not used again. */
static void an_answer_in_chunks_before_the_body_is_there(void **state)
{
    struct rig *r = *state;
    static const char *const HEADS[] = {"HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n",
                                        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"};
    send_text(r, "data", 2);
    for (unsigned i = 0; i < 8; i++) {
        bool whole = i & 1, stays = i & 2;
        start(r, (struct http_call_options){.read = on_read, .body_bytes = 4});
        take_connection(r);
        hear(r, "\r\n\r\nda");
        buf_clear(&r->answer);
        say(r, HEADS[i / 4]);
        say(r, whole ? "3\r\nabc\r\n0\r\n\r\n" : "3\r\nabc\r\n");
        if (!whole || !stays)
            hang_up(r);
        UNTIL(r, r->ended);
        assert_int_equal(r->status, i / 4 ? 200 : 403);
        assert_string_equal(buf_text(&r->answer), "abc");
        assert_int_equal(r->ok, whole);
        assert_true(whole || strcmp(r->err.name, "CUT") == 0);
        if (r->peer >= 0)
            hang_up(r);
    }
}

/* The clock of the upload runs while the peer takes nothing, not while we have nothing. */
static void an_upload_that_stands_still(void **state)
{
    struct rig *r = *state;
    size_t len = 32 << 20;
    char *body = xcalloc(1, len);
    r->body = ls_bytes(body, len);
    r->allowed = 0;
    start(r, (struct http_call_options){.read = on_read, .body_bytes = (int64_t) len, .stall_ms = 60, .first_byte_ms = 60});
    take_connection(r);
    int64_t later = clock_mono_ms() + 200;
    UNTIL(r, clock_mono_ms() > later);
    assert_int_equal(r->ended, 0);
    allow(r, len);
    UNTIL(r, r->ended);
    assert_string_equal(r->err.name, "TIMEOUT");
    assert_non_null(strstr(r->err.text, "upload stood still"));
    free(body);
}

/* ---- down ---- */

static void an_answer_that_is_held_back(void **state)
{
    struct rig *r = *state;
    char *block = xcalloc(1, 1 << 20);
    r->paused = true;
    start(r, (struct http_call_options){.method = "GET", .stall_ms = 60});
    take_connection(r);
    hear(r, "\r\n\r\n");
    say(r, "HTTP/1.1 200 OK\r\nContent-Length: 67108864\r\n\r\n");
    fcntl(r->peer, F_SETFL, O_NONBLOCK);
    size_t sent = 0, most = 0;
    int64_t later = clock_mono_ms() + 200; /* longer than stall_ms: the clock stands */
    for (ssize_t got; clock_mono_ms() < later; turn(r, -1))
        while (sent < 64 << 20 && (got = send(r->peer, block, 1 << 20, MSG_NOSIGNAL)) > 0)
            sent += (size_t) got;
    assert_true(r->pieces == 1 && r->ended == 0 && sent < 48 << 20); /* the kernel's buffers have the rest */
    most = r->answer.len;
    r->paused = false;
    http_call_resume(r->call);
    for (ssize_t got; !r->ended; turn(r, -1))
        while (sent < 64 << 20 && (got = send(r->peer, block, (64 << 20) - sent < 1 << 20 ? (64 << 20) - sent : 1 << 20, MSG_NOSIGNAL)) > 0)
            sent += (size_t) got;
    assert_true(r->ok && r->answer.len == 64 << 20 && most < 1 << 20);
    free(block);
}

static void headers_one_by_one(void **state)
{
    struct rig *r = *state;
    const char *name, *value;
    start(r, (struct http_call_options){.method = "GET"});
    r->paused = true;
    take_connection(r);
    hear(r, "\r\n\r\n");
    say(r, "HTTP/1.1 200 OK\r\nX-A: 1\r\nX-B: 2\r\nX-A: 3\r\nContent-Length: 2\r\n\r\na");
    UNTIL(r, r->pieces);
    static const char *const EXPECTED[] = {"X-A", "1", "X-B", "2", "X-A", "3", "Content-Length", "2"};
    for (size_t i = 0; i < 4; i++) {
        assert_true(http_call_header_at(r->call, i, &name, &value));
        assert_string_equal(name, EXPECTED[2 * i]);
        assert_string_equal(value, EXPECTED[2 * i + 1]);
    }
    assert_false(http_call_header_at(r->call, 4, &name, &value));
    http_call_cancel(&r->call);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(pieces_of_a_known_length, setup, teardown),
        cmocka_unit_test_setup_teardown(pieces_of_no_known_length, setup, teardown),
        cmocka_unit_test_setup_teardown(no_bytes_at_all, setup, teardown),
        cmocka_unit_test_setup_teardown(only_if_the_peer_wants_it, setup, teardown),
        cmocka_unit_test_setup_teardown(the_path_as_it_stands, setup, teardown),
        cmocka_unit_test_setup_teardown(a_dead_connection, setup, teardown),
        cmocka_unit_test_setup_teardown(what_ends_an_upload, setup, teardown),
        cmocka_unit_test_setup_teardown(a_peer_that_goes_away_while_there_is_nothing_to_send, setup, teardown),
        cmocka_unit_test_setup_teardown(an_answer_before_the_body_is_there, setup, teardown),
        cmocka_unit_test_setup_teardown(an_answer_in_chunks_before_the_body_is_there, setup, teardown),
        cmocka_unit_test_setup_teardown(an_upload_that_stands_still, setup, teardown),
        cmocka_unit_test_setup_teardown(an_answer_that_is_held_back, setup, teardown),
        cmocka_unit_test_setup_teardown(headers_one_by_one, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
