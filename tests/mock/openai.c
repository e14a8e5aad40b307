/* SPDX-License-Identifier: Apache-2.0 */
/* The program: options, the listening socket, the loop, the timers. */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tests/mock/mock.h"

#define EVENTS 256

int64_t mock_now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* ---- timers: a binary heap, each connection knows its place ---- */

static void heap_put(struct server *s, size_t i, struct conn *c)
{
    s->heap[i] = c;
    c->place = i + 1;
}

static void heap_up(struct server *s, size_t i, struct conn *c)
{
    for (; i > 0 && s->heap[(i - 1) / 2]->due_us > c->due_us; i = (i - 1) / 2)
        heap_put(s, i, s->heap[(i - 1) / 2]);
    heap_put(s, i, c);
}

static void heap_down(struct server *s, size_t i, struct conn *c)
{
    for (size_t child; (child = 2 * i + 1) < s->heap_count; i = child) {
        if (child + 1 < s->heap_count && s->heap[child + 1]->due_us < s->heap[child]->due_us)
            child++;
        if (s->heap[child]->due_us >= c->due_us)
            break;
        heap_put(s, i, s->heap[child]);
    }
    heap_put(s, i, c);
}

void timer_unset(struct conn *c)
{
    struct server *s = c->server;
    if (!c->place)
        return;
    size_t i = c->place - 1;
    struct conn *last = s->heap[--s->heap_count];
    c->place = 0;
    if (last == c)
        return;
    if (i > 0 && s->heap[(i - 1) / 2]->due_us > last->due_us)
        heap_up(s, i, last);
    else
        heap_down(s, i, last);
}

void timer_set(struct conn *c, int64_t due_us)
{
    struct server *s = c->server;
    timer_unset(c);
    c->due_us = due_us;
    if (s->heap_count == s->heap_room) {
        s->heap_room = s->heap_room ? 2 * s->heap_room : 64;
        s->heap = mock_grow(s->heap, s->heap_room, sizeof(struct conn *));
    }
    heap_up(s, s->heap_count++, c);
}

/* ---- the loop ---- */

static void accept_all(struct server *s)
{
    for (;;) {
        int one = 1, fd = accept4(s->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        s->count.connections++;
        conn_open(s, fd);
    }
}

static int wait_ms(const struct server *s)
{
    if (s->heap_count == 0)
        return -1;
    int64_t left = s->heap[0]->due_us - mock_now_us();
    return left <= 0 ? 0 : (int) ((left + 999) / 1000);
}

static void loop(struct server *s)
{
    struct epoll_event events[EVENTS];
    for (;;) {
        int count = epoll_wait(s->epoll_fd, events, EVENTS, wait_ms(s));
        if (count < 0 && errno != EINTR) {
            perror("mock: epoll_wait");
            exit(1);
        }
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr)
                conn_ready(events[i].data.ptr, events[i].events);
            else
                accept_all(s);
        }
        int64_t now = mock_now_us();
        while (s->heap_count && s->heap[0]->due_us <= now) {
            struct conn *c = s->heap[0];
            timer_unset(c);
            conn_timer(c, now);
        }
    }
}

static unsigned short listen_on(struct server *s, unsigned short port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    struct epoll_event event = {.events = EPOLLIN};
    int one = 1;
    s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    s->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(s->listen_fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(s->listen_fd, (struct sockaddr *) &address, sizeof address) < 0 || listen(s->listen_fd, 4096) < 0 ||
        getsockname(s->listen_fd, (struct sockaddr *) &address, &len) < 0 ||
        epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, s->listen_fd, &event) < 0) {
        fprintf(stderr, "mock: cannot listen on port %u: %s\n", port, strerror(errno));
        exit(1);
    }
    return ntohs(address.sin_port);
}

int main(int argc, char **argv)
{
    static const struct option LONGS[] = {{"port", required_argument, NULL, 'p'}, {"tokens", required_argument, NULL, 't'},
        {"pace-ms", required_argument, NULL, 'm'}, {"model", required_argument, NULL, 'n'},
        {"api-key", required_argument, NULL, 'k'}, {0}};
    struct server s = {.tokens = 16};
    unsigned short port = 0;
    int option;
    while ((option = getopt_long(argc, argv, "", LONGS, NULL)) != -1) {
        switch (option) {
        case 'p':
            port = (unsigned short) strtoul(optarg, NULL, 10);
            break;
        case 't':
            s.tokens = (unsigned) strtoul(optarg, NULL, 10);
            break;
        case 'm':
            s.pace_us = (int64_t) (strtod(optarg, NULL) * 1000);
            break;
        case 'n':
            s.models = mock_grow(s.models, s.model_count + 1, sizeof *s.models);
            s.models[s.model_count++] = optarg;
            break;
        case 'k':
            s.api_key = optarg;
            break;
        default:
            fprintf(stderr, "usage: openai [--port 0] [--tokens 16] [--pace-ms 0] [--model NAME ...] [--api-key KEY]\n");
            return 2;
        }
    }
    signal(SIGPIPE, SIG_IGN);
    printf("http://127.0.0.1:%u/v1\n", listen_on(&s, port));
    fflush(stdout);
    loop(&s);
    return 0;
}
