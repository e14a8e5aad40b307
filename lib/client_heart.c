/* SPDX-License-Identifier: Apache-2.0 */
/* The heart: a thread that gives signs of life while the client's own thread is busy elsewhere, and the lock that lets two
 * threads use one socket in turn. A ZeroMQ socket may move between threads where a full fence lies between their uses
 * (zmq_socket(3)); the lock is that fence. It is held for one operation on the socket, never while polling and never while
 * a callback runs. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "lib/client.h"
#include "lib/clock.h"
#include "lib/error.h"
#include "lib/logger.h"
#include "lib/xmem.h"

struct heart {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool stopping;
    bool standing;                 /* a session stands: PING may be sent */
    bool stalled;                  /* told */
    _Atomic int64_t stepped_at;
    int wake_fd;                   /* in the client's epoll */
};

void heart_lock(struct ls_client *client)
{
    if (client->heart)
        pthread_mutex_lock(&client->heart->lock);
}

void heart_unlock(struct ls_client *client)
{
    if (client->heart)
        pthread_mutex_unlock(&client->heart->lock);
}

void heart_stands(struct ls_client *client, bool standing)
{
    if (client->heart)
        client->heart->standing = standing;
}

void heart_stepped(struct ls_client *client)
{
    uint64_t count;
    if (!client->heart)
        return;
    client->heart->stepped_at = clock_mono_ms();
    if (read(client->heart->wake_fd, &count, sizeof count) < 0)
        return; /* nobody called: the usual case */
}

/* ---- the thread ---- */

/* A PING when half of hb went by in silence, or when the stats are old. Sending reads the socket's mailbox, and with it what
 * would have made the descriptor readable for the other thread, so that thread is called. */
static void beat(struct ls_client *client, int64_t now)
{
    struct heart *heart = client->heart;
    int hb = client->options.hb_ms;
    uint64_t one = 1;
    if (now - client->spoke_at < hb / 2 && (!client->has_stats || now - client->pinged_at < hb))
        return;
    if (session_beat(client, now) && write(heart->wake_fd, &one, sizeof one) < 0)
        return; /* it was called before and has not come yet */
}

static void say_stalled(struct ls_client *client, int64_t for_ms)
{
    pthread_mutex_unlock(&client->heart->lock);
    logger_put(LEVEL_ERROR, "stalled", "no step of the client for too long: it falls silent, and the broker will end the session",
               "client=%s silent_ms=%lld", client->name, (long long) for_ms);
    pthread_mutex_lock(&client->heart->lock);
}

static void nap(struct heart *heart, int ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += ms % 1000 * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_nsec -= 1000000000L;
        until.tv_sec++;
    }
    pthread_cond_timedwait(&heart->changed, &heart->lock, &until);
}

static void *live(void *arg)
{
    struct ls_client *client = arg;
    struct heart *heart = client->heart;
    pthread_mutex_lock(&heart->lock);
    while (!heart->stopping) {
        int64_t now = clock_mono_ms(), away = now - heart->stepped_at;
        if (away < client->options.stall_ms) {
            heart->stalled = false;
            if (heart->standing)
                beat(client, now);
        } else if (!heart->stalled && heart->standing) {
            heart->stalled = true;
            say_stalled(client, away);
        }
        if (!heart->stopping)
            nap(heart, client->options.hb_ms / 2);
    }
    pthread_mutex_unlock(&heart->lock);
    return NULL;
}

/* ---- start and end ---- */

static int start(struct ls_client *client)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* the new thread inherits it */
    int rc = pthread_create(&client->heart->thread, NULL, live, client);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

static void heart_free(struct ls_client *client)
{
    struct heart *heart = client->heart;
    client->heart = NULL;
    pthread_cond_destroy(&heart->changed);
    pthread_mutex_destroy(&heart->lock);
    if (heart->wake_fd >= 0)
        close(heart->wake_fd);
    free(heart);
}

int heart_open(struct ls_client *client, struct ls_error *err)
{
    struct heart *heart = client->heart = xcalloc(1, sizeof *heart);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = heart};
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&heart->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&heart->lock, NULL);
    heart->stepped_at = clock_mono_ms();
    heart->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int rc = heart->wake_fd < 0 || epoll_ctl(client->epoll_fd, EPOLL_CTL_ADD, heart->wake_fd, &event) ? errno : start(client);
    if (!rc)
        return 0;
    heart_free(client);
    return error_set(err, "SYSTEM", "cannot start the thread that gives signs of life: %s", strerror(rc));
}

void heart_close(struct ls_client *client)
{
    struct heart *heart = client->heart;
    if (!heart)
        return;
    pthread_mutex_lock(&heart->lock);
    heart->stopping = true;
    pthread_cond_signal(&heart->changed);
    pthread_mutex_unlock(&heart->lock);
    pthread_join(heart->thread, NULL);
    heart_free(client);
}
