/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP server from inside: addresses, escapes, and that each exchange ends once, whoever ends it and when. What clients see
 * is in tests/nodes/http_attack_test.py. */
#include <arpa/inet.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/clock.h"
#include "nodes/kit/http_server.h"

#define PATIENCE_MS 20000

struct scene {
    struct http_server *server;
    struct http_exchange *last;  /* open */
    unsigned begun, requested, complete, cut, drained;
    void (*on_request)(struct scene *scene, struct http_exchange *x);
};

static void on_begin(void *arg, struct http_exchange *x)
{
    struct scene *scene = arg;
    scene->begun++;
    scene->last = x;
    assert_null(http_user(x));
    http_set_user(x, scene);
}

static void on_request(void *arg, struct http_exchange *x)
{
    struct scene *scene = arg;
    scene->requested++;
    if (scene->on_request)
        scene->on_request(scene, x);
}

static void on_end(void *arg, struct http_exchange *x, bool complete)
{
    struct scene *scene = arg;
    assert_ptr_equal(http_user(x), scene);
    scene->complete += complete;
    scene->cut += !complete;
    scene->last = NULL;
}

static void on_drained(void *arg, struct http_exchange *x)
{
    struct scene *scene = arg;
    scene->drained++;
    assert_int_equal(http_stream_queued(x), 0);
}

static void scene_open(struct scene *scene, void (*request)(struct scene *, struct http_exchange *))
{
    struct http_server_options options = {.address = "127.0.0.1:0", .arg = scene, .begin = on_begin, .request = on_request,
                                          .end = on_end, .drained = on_drained};
    struct ls_error err;
    *scene = (struct scene){.on_request = request};
    scene->server = http_server_open(&options, &err);
    assert_non_null(scene->server);
}

/* Runs the server until the number is what it must become. */
static void until(struct scene *scene, const unsigned *number, unsigned value)
{
    int64_t end = clock_mono_ms() + PATIENCE_MS;
    while (*number != value) {
        struct pollfd polled = {http_server_fd(scene->server), POLLIN, 0};
        int64_t now = clock_mono_ms(), due = http_server_due(scene->server);
        assert_true(now < end);
        poll(&polled, 1, due <= now ? 0 : (int) (due < end ? due - now : end - now));
        http_server_run(scene->server);
    }
}

static int call(struct scene *scene, const char *request)
{
    const char *port = strrchr(http_server_address(scene->server), ':') + 1;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t) strtoul(port, NULL, 10))};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *) &to, sizeof to), 0);
    assert_int_equal(send(fd, request, strlen(request), 0), (ssize_t) strlen(request));
    return fd;
}

#define GET "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
#define POST "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n"

static void answers_later_or_never(void **state)
{
    (void) state;
    struct scene scene;
    scene_open(&scene, NULL);
    int fd = call(&scene, GET);
    until(&scene, &scene.requested, 1);
    assert_int_equal(http_server_active(scene.server), 1);
    http_answer(scene.last, 200, ls_str("hello"));
    assert_int_equal(http_server_due(scene.server), 0); /* answered outside: it must run */
    until(&scene, &scene.complete, 1);
    assert_int_equal(http_server_active(scene.server), 0);
    assert_int_equal(send(fd, GET, strlen(GET), 0), (ssize_t) strlen(GET));
    until(&scene, &scene.requested, 2);
    close(fd);
    until(&scene, &scene.cut, 1);
    http_server_close(&scene.server);
    assert_null(scene.server);
    assert_int_equal(scene.begun, scene.complete + scene.cut);
}

/* The client is gone, the caller does not know yet and answers. */
static void an_answer_to_nobody_is_ignored(void **state)
{
    (void) state;
    struct scene scene;
    scene_open(&scene, NULL);
    int fd = call(&scene, GET);
    until(&scene, &scene.requested, 1);
    close(fd);
    http_stream_begin(scene.last, 200);
    http_stream_write(scene.last, ls_str("hello"));
    until(&scene, &scene.cut, 1);
    http_server_close(&scene.server);
}

static void stream_and_leave_open(struct scene *scene, struct http_exchange *x)
{
    (void) scene;
    http_stream_begin(x, 200);
    assert_true(http_stream_write(x, ls_str("hello")));
}

static void closing_ends_what_is_open(void **state)
{
    (void) state;
    struct scene scene;
    scene_open(&scene, stream_and_leave_open);
    int streaming = call(&scene, GET);
    until(&scene, &scene.drained, 1); /* the header is out, and with it what was written */
    int sending = call(&scene, POST "he");
    until(&scene, &scene.begun, 2);
    scene.on_request = NULL;
    int waiting = call(&scene, GET);
    until(&scene, &scene.requested, 2);
    int half = call(&scene, "GET / HT");
    http_server_close(&scene.server);
    assert_int_equal(scene.cut, 3);
    assert_int_equal(scene.complete, 0);
    close(streaming);
    close(sending);
    close(waiting);
    close(half);
}

static void fill(struct scene *scene, struct http_exchange *x)
{
    (void) scene;
    static const char BLOCK[65536];
    http_stream_begin(x, 200);
    size_t fits = 0;
    while (http_stream_write(x, ls_bytes(BLOCK, sizeof BLOCK)))
        fits++;
    assert_int_equal(fits, (1 << 20) / sizeof BLOCK - 1); /* with its framing the last one does not */
    assert_true(http_stream_queued(x) <= 1 << 20);
    http_stream_end(x);
    assert_false(http_stream_write(x, ls_str("too late")));
}

static void a_full_queue_takes_no_more(void **state)
{
    (void) state;
    struct scene scene;
    scene_open(&scene, fill);
    int fd = call(&scene, GET);
    int64_t end = clock_mono_ms() + PATIENCE_MS;
    while (!scene.complete && clock_mono_ms() < end) {
        char scrap[65536];
        http_server_run(scene.server);
        while (recv(fd, scrap, sizeof scrap, MSG_DONTWAIT) > 0)
            ;
    }
    assert_int_equal(scene.complete, 1);
    close(fd);
    http_server_close(&scene.server);
}

static void cut_at_once(struct scene *scene, struct http_exchange *x)
{
    (void) scene;
    http_stream_abort(x);
}

static void begin_and_cut(struct scene *scene, struct http_exchange *x)
{
    stream_and_leave_open(scene, x);
    http_stream_abort(x);
}

static void aborting_cuts_in_every_state(void **state)
{
    (void) state;
    struct scene scene;
    struct http_server_counters counters;
    scene_open(&scene, cut_at_once);
    int fds[3] = {call(&scene, GET)};
    until(&scene, &scene.cut, 1);
    scene.on_request = begin_and_cut;
    fds[1] = call(&scene, GET);
    until(&scene, &scene.cut, 2);
    scene.on_request = NULL;
    fds[2] = call(&scene, GET);
    until(&scene, &scene.requested, 3);
    http_stream_abort(scene.last);
    until(&scene, &scene.cut, 3);
    http_server_counters(scene.server, &counters);
    assert_int_equal(counters.cut, 0); /* nobody left */
    http_server_close(&scene.server);
    for (size_t i = 0; i < 3; i++)
        close(fds[i]);
}

static void addresses(void **state)
{
    (void) state;
    static const char *const BAD[] = {"", "x", ":80", "127.0.0.1:", "127.0.0.1:x", "[::1:80", "[]:80", "127.0.0.1:99999x"};
    struct http_server_options options = {.request = on_request, .end = on_end};
    struct ls_error err;
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        options.address = BAD[i];
        assert_null(http_server_open(&options, &err));
        assert_string_equal(err.name, "SYSTEM");
        assert_non_null(strstr(err.text, BAD[i]));
    }
    struct scene scene;
    scene_open(&scene, NULL);
    assert_int_equal(strncmp(http_server_address(scene.server), "127.0.0.1:", 10), 0);
    assert_string_not_equal(http_server_address(scene.server), "127.0.0.1:0");
    options.address = http_server_address(scene.server);
    assert_null(http_server_open(&options, &err));
    assert_non_null(strstr(err.text, "another program listens there"));
    http_server_close(&scene.server);
    http_server_close(&scene.server); /* nothing happens */
}

static void unescape(const char *text, bool plus, const char *expected)
{
    char out[8];
    bool good = http_unescape(text, strlen(text), plus, out, sizeof out);
    assert_int_equal(good, expected != NULL);
    if (expected)
        assert_string_equal(out, expected);
}

static void escapes(void **state)
{
    (void) state;
    unescape("", false, "");
    unescape("a%2Fb%2fc", false, "a/b/c");
    unescape("a+b%2B", true, "a b+");
    unescape("a+b", false, "a+b");
    unescape("%c3%A4", false, "\xc3\xa4");
    unescape("1234567", false, "1234567");
    unescape("12345678", false, NULL);
    unescape("%31%32%33%34%35%36%37%38", false, NULL);
    unescape("%", false, NULL);
    unescape("%1", false, NULL);
    unescape("%1g", false, NULL);
    unescape("%g1", false, NULL);
    unescape("a%00", false, NULL);
    char none[1];
    assert_true(http_unescape("", 0, false, none, 1));
    assert_false(http_unescape("", 0, false, none, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_later_or_never),     cmocka_unit_test(an_answer_to_nobody_is_ignored),
        cmocka_unit_test(closing_ends_what_is_open),  cmocka_unit_test(a_full_queue_takes_no_more),
        cmocka_unit_test(aborting_cuts_in_every_state), cmocka_unit_test(addresses),
        cmocka_unit_test(escapes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
