/* SPDX-License-Identifier: Apache-2.0 */
/* The client in a program that takes signals: every call that reads a socket is interrupted once before it succeeds. */
#include <dlfcn.h>

#include "tests/unit/script.h"

static bool interrupted;

static bool interrupt(void)
{
    interrupted = !interrupted;
    if (interrupted)
        errno = EINTR;
    return interrupted;
}

static void *real(const char *name)
{
    void *function = dlsym(RTLD_NEXT, name);
    assert_non_null(function);
    return function;
}

/* In place of libzmq's own, for all that is linked into this program; the script calls others. */
int zmq_msg_recv(zmq_msg_t *frame, void *socket, int flags)
{
    int (*receive)(zmq_msg_t *, void *, int);
    void *function = real("zmq_msg_recv");
    memcpy(&receive, &function, sizeof receive);
    return interrupt() ? -1 : receive(frame, socket, flags);
}

struct seen {
    int count, wrong;
};

static enum ls_verdict see(void *arg, const struct ls_event *event, struct ls_error *err)
{
    struct seen *seen = arg;
    (void) err;
    seen->count++;
    seen->wrong += event->seq != (uint64_t) seen->count || !ls_slice_is(event->topic, "a.b") || !ls_slice_is(event->body, "{}");
    return LS_DONE;
}

static void interrupted_messages_stay_whole(void **state)
{
    struct script *s = *state;
    struct seen seen = {0};
    const struct ls_subscription sub = {.consumer = "c"};
    start(s, (struct ls_client_options){0});
    assert_int_equal(ls_subscribe(s->client, &sub, see, &seen, NULL), 1);
    expect(s, "SUB");
    say(s, "OK", "u:cid", 1, "s:stream", "events", "u:next", 1, "u:pending", 0);
    for (int i = 1; i <= 100; i++)
        deliver(s, 1, i);
    until_equal(s, &seen.count, 100);
    assert_int_equal(seen.wrong, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(interrupted_messages_stay_whole)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
