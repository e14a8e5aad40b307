/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP calls on libcurl's multi interface: all calls of a client, in its owner's loop. curl tells which sockets to watch; they sit in an
 * epoll descriptor of our own, which the loop polls. HTTP/1.1 only: one call, one connection, so that giving a call up is seen by the
 * peer at once. */
#include "nodes/kit/http_client.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/error.h"
#include "lib/xmem.h"
#include "nodes/kit/http_client_private.h"

#define EVENTS_MAX 128
#define IDLE_CONNECTIONS_MAX 256

/* ---- what curl calls ---- */

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
    const struct http_client *client = arg;
    struct epoll_event event = {.data.fd = fd};
    struct http_call *call = NULL;
    (void) socket_arg;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, &call);
    if (call && call->added) {
        call->watched = what != CURL_POLL_REMOVE;
        if (!call->watched)
            http_call_look(call);
    }
    if (what == CURL_POLL_REMOVE) {
        epoll_ctl(client->epoll_fd, EPOLL_CTL_DEL, fd, NULL); /* may be closed already */
        return 0;
    }
    event.events = (what & CURL_POLL_IN ? EPOLLIN : 0u) | (what & CURL_POLL_OUT ? EPOLLOUT : 0u);
    if (epoll_ctl(client->epoll_fd, EPOLL_CTL_MOD, fd, &event) < 0)
        epoll_ctl(client->epoll_fd, EPOLL_CTL_ADD, fd, &event);
    return 0;
}

static int on_timer(CURLM *multi, long timeout_ms, void *arg)
{
    struct http_client *client = arg;
    (void) multi;
    client->curl_due_ms = timeout_ms < 0 ? INT64_MAX : clock_mono_ms() + timeout_ms;
    return 0;
}

/* ---- the client ---- */

static void init_curl(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

struct http_client *http_client_open(struct ls_error *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, init_curl);
    struct http_client *client = xcalloc(1, sizeof *client);
    client->curl_due_ms = INT64_MAX;
    client->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    client->multi = curl_multi_init();
    if (client->epoll_fd < 0 || !client->multi) {
        error_set(err, "SYSTEM", "the HTTP client cannot be set up: %m");
        http_client_close(&client);
        return NULL;
    }
    curl_multi_setopt(client->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(client->multi, CURLMOPT_SOCKETDATA, client);
    curl_multi_setopt(client->multi, CURLMOPT_TIMERFUNCTION, on_timer);
    curl_multi_setopt(client->multi, CURLMOPT_TIMERDATA, client);
    curl_multi_setopt(client->multi, CURLMOPT_MAXCONNECTS, (long) IDLE_CONNECTIONS_MAX);
    return client;
}

int http_client_fd(const struct http_client *client)
{
    return client->epoll_fd;
}

int64_t http_client_due(const struct http_client *client)
{
    int64_t timers = heap_next(&client->timers);
    if (!LIST_EMPTY(&client->woken))
        return 0;
    return client->curl_due_ms < timers ? client->curl_due_ms : timers;
}

static void run_sockets(struct http_client *client)
{
    struct epoll_event events[EVENTS_MAX];
    int running, count = epoll_wait(client->epoll_fd, events, EVENTS_MAX, 0);
    client->in_curl = true;
    for (int i = 0; i < count; i++) {
        uint32_t e = events[i].events;
        int bits = (e & EPOLLIN ? CURL_CSELECT_IN : 0) | (e & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
                   (e & (EPOLLERR | EPOLLHUP) ? CURL_CSELECT_ERR : 0);
        curl_multi_socket_action(client->multi, events[i].data.fd, bits, &running);
    }
    if (client->curl_due_ms <= clock_mono_ms()) {
        client->curl_due_ms = INT64_MAX; /* curl sets it anew if it wants to */
        curl_multi_socket_action(client->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    }
    client->in_curl = false;
}

/* Of an answer that was given before the body was read: its length tells whether all of it is here. */
static bool is_whole(const struct http_call *call)
{
    const char *length = call->status ? http_call_header(call, "content-length") : NULL;
    return call->status == 204 || (length && strtoll(length, NULL, 10) == call->received);
}

static void end_early(struct http_call *call)
{
    struct ls_error err;
    bool whole = is_whole(call);
    if (!whole)
        http_call_describe(call, CURLE_RECV_ERROR, &err);
    http_call_end(call, whole ? NULL : &err);
}

/* An early answer in chunks, or one that ends with its connection. */
static bool has_no_length(const struct http_call *call)
{
    return call->early && call->status != 204 && !http_call_header(call, "content-length");
}

/* While a body waits to be sent, that curl reads no more means that the peer closed or has said all: curl would wait for ever. */
static bool is_stuck(const struct http_call *call)
{
    return !call->watched && !call->paused && !call->finishing && (call->waiting || call->early);
}

/* curl goes on: it hands out at once what it kept, and asks `read` again soon. */
static void go_on(struct http_call *call)
{
    struct ls_error err;
    call->moved_ms = clock_mono_ms();
    call->client->in_curl = true;
    CURLcode code = curl_easy_pause(call->easy, CURLPAUSE_CONT);
    call->client->in_curl = false;
    if (call->stopped && !call->dead) { /* curl leaves it to us to end the call */
        http_call_describe(call, code, &err);
        http_call_end(call, &err);
    }
}

static void run_woken(struct http_client *client)
{
    struct http_call *call;
    while ((call = LIST_FIRST(&client->woken))) {
        bool resumed = call->resumed;
        LIST_REMOVE(call, woken_link);
        call->woken = call->resumed = false;
        if (!call->added)
            continue;
        if (!resumed && is_stuck(call) && has_no_length(call)) {
            call->finishing = resumed = true;
            curl_easy_setopt(call->easy, CURLOPT_FORBID_REUSE, 1L); /* the request is not whole */
        }
        if (resumed)
            go_on(call);
        else if (is_stuck(call))
            end_early(call);
    }
}

static void settle_later(struct http_client *client)
{
    struct http_call *call;
    struct ls_error err;
    while ((call = LIST_FIRST(&client->later))) {
        if (call->dead)
            http_call_free(call);
        else if (http_call_hand_over(call, &err) < 0)
            http_call_end(call, &err);
    }
}

static void end_finished(struct http_client *client)
{
    struct CURLMsg *message;
    int left;
    while ((message = curl_multi_info_read(client->multi, &left))) {
        struct http_call *call = NULL;
        struct ls_error err;
        CURLcode code = message->data.result;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &call);
        if (code == CURLE_OK && !call->status)
            code = CURLE_PARTIAL_FILE; /* cut inside the header: curl lets that pass */
        if (code != CURLE_OK)
            http_call_describe(call, code, &err);
        http_call_end(call, code == CURLE_OK ? NULL : &err);
    }
}

void http_client_run(struct http_client *client)
{
    run_woken(client);
    run_sockets(client);
    settle_later(client);
    end_finished(client);
    heap_fire(&client->timers, clock_mono_ms(), NULL);
}

void http_client_close(struct http_client **client)
{
    struct http_client *c = *client;
    *client = NULL;
    if (!c)
        return;
    while (!LIST_EMPTY(&c->later))
        http_call_free(LIST_FIRST(&c->later));
    while (!LIST_EMPTY(&c->calls))
        http_call_free(LIST_FIRST(&c->calls));
    if (c->multi)
        curl_multi_cleanup(c->multi);
    if (c->epoll_fd >= 0)
        close(c->epoll_fd);
    heap_fini(&c->timers);
    free(c);
}
