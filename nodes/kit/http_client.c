/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP calls on libcurl's multi interface. curl tells which sockets to watch; they sit in an epoll descriptor of our own, which
 * the owner's loop polls. Connecting is timed by curl, the other phases by timers here, so that an error can name its phase.
 * HTTP/1.1 only: one call, one connection, so that giving a call up is seen by the peer at once. Proxies, netrc and cookies
 * are not taken from the environment: where a call goes is what its caller said. Link-local addresses are not connected to
 * (cloud machines hand out credentials there). */
#include "nodes/kit/http_client.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/error.h"
#include "lib/heap.h"
#include "lib/xmem.h"
#include "nodes/kit/http_client_private.h"

#define CONNECT_MS 5000
#define FIRST_BYTE_MS 120000
#define STALL_MS 60000
#define EVENTS_MAX 128
#define IDLE_CONNECTIONS_MAX 256
#define HEADER_BYTES_MAX (256u << 10) /* of one answer, trailers too: curl keeps them all, and bounds only the head */

enum phase { PHASE_CONNECT, PHASE_UPLOAD, PHASE_FIRST_BYTE, PHASE_BODY };

struct http_call {
    LIST_ENTRY(http_call) link, woken_link;
    struct http_client *client;
    struct http_call_options on; /* its pointers to text are not used after the start */
    CURL *easy;
    struct curl_slist *headers;
    enum phase phase;
    struct timer phase_timer, total_timer;
    int64_t moved_ms; /* the last piece of a body */
    int64_t left;     /* of the request's body, unread; -1: not known */
    unsigned status;  /* 0: the header is not complete */
    size_t header_bytes;
    bool added;       /* curl has it */
    bool dead;        /* cancelled while curl was running: freed as soon as curl has returned */
    bool stopped;     /* by `data` or `read` */
    bool ending;      /* `end` is running */
    bool paused;      /* by its caller: curl is told when it brings the next piece */
    bool waiting;     /* for `read` to have something */
    bool early;       /* the answer began before the body was read: no more of it is */
    bool quiet;       /* the peer says no more, and what it waits for is not coming */
    bool finishing;   /* curl is told that the body ends here, as it alone knows whether all of the answer is here */
    bool woken;       /* among the client's woken ones */
    int64_t received; /* of the answer's body */
    char text[CURL_ERROR_SIZE];
};

struct http_client {
    CURLM *multi;
    int epoll_fd;
    int64_t curl_due_ms;
    struct heap timers;
    LIST_HEAD(, http_call) calls; /* curl has them */
    LIST_HEAD(, http_call) later; /* begun or cancelled while curl was running */
    LIST_HEAD(, http_call) woken; /* resumed: curl goes on with them in http_client_run, as that calls back */
    bool in_curl;                 /* curl must not be called for adding and removing now */
};

/* ---- how it went ---- */

static const char *name_of(CURLcode code)
{
    switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE: return "UNREACHABLE";
    case CURLE_OPERATION_TIMEDOUT: return "TIMEOUT";
    case CURLE_PARTIAL_FILE:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_SEND_FAIL_REWIND:
    case CURLE_RECV_ERROR: return "CUT";
    case CURLE_OUT_OF_MEMORY:
    case CURLE_FAILED_INIT: return "SYSTEM";
    default: return "PROTOCOL";
    }
}

static void describe(const struct http_call *call, CURLcode code, struct ls_error *err)
{
    const char *why = call->text[0] ? call->text : curl_easy_strerror(code);
    if (call->stopped)
        error_set(err, "CANCELLED", call->status ? "the answer was not wanted any more" : "the body was given up before its end");
    else if (call->header_bytes > HEADER_BYTES_MAX)
        error_set(err, "PROTOCOL", "more than %u bytes of header", HEADER_BYTES_MAX);
    else if (code == CURLE_OPERATION_TIMEDOUT)
        error_set(err, "TIMEOUT", "no connection within %lld ms", (long long) call->on.connect_ms);
    else if (strcmp(name_of(code), "CUT") == 0)
        error_set(err, "CUT", "%s: %s",
                  call->status ? "the answer broke off" : "the connection broke before the answer", why);
    else
        error_set(err, name_of(code), "%s", why);
}

/* Nothing is to happen of itself any more. */
static void call_quiet(struct http_call *call)
{
    heap_unset(&call->client->timers, &call->phase_timer);
    heap_unset(&call->client->timers, &call->total_timer);
    if (call->woken)
        LIST_REMOVE(call, woken_link);
    call->woken = false;
}

/* curl lets go of it; what curl says meanwhile is not about a living call. */
static void call_remove(struct http_call *call)
{
    bool added = call->added;
    call->added = false;
    if (added)
        curl_multi_remove_handle(call->client->multi, call->easy);
}

static void call_free(struct http_call *call)
{
    call_quiet(call);
    LIST_REMOVE(call, link);
    call_remove(call);
    curl_easy_cleanup(call->easy);
    curl_slist_free_all(call->headers);
    free(call);
}

/* Only outside curl. curl lets go of the call first: a whole answer's connection serves the next call, any other is closed. */
static void call_end(struct http_call *call, const struct ls_error *err)
{
    call_quiet(call);
    call_remove(call);
    call->ending = true;
    if (call->on.end)
        call->on.end(call->on.arg, call, call->status, err);
    call_free(call);
}

/* ---- phases ---- */

static void phase_begin(struct http_call *call, enum phase phase)
{
    int64_t now = clock_mono_ms();
    call->phase = phase;
    call->moved_ms = now;
    heap_set(&call->client->timers, &call->phase_timer,
             now + (phase == PHASE_FIRST_BYTE ? call->on.first_byte_ms : call->on.stall_ms));
}

/* The timer of a body is not moved with each piece: when it fires it is set to where it should have been. */
static void on_phase_timer(void *arg, struct timer *timer)
{
    struct http_call *call = (struct http_call *) (void *) ((char *) timer - offsetof(struct http_call, phase_timer));
    struct ls_error err;
    (void) arg;
    int64_t now = clock_mono_ms();
    if (call->paused || call->waiting) /* our side holds it up */
        call->moved_ms = now;
    int64_t due = call->moved_ms + (call->phase == PHASE_FIRST_BYTE ? call->on.first_byte_ms : call->on.stall_ms);
    if (due > now) {
        heap_set(&call->client->timers, timer, due);
        return;
    }
    if (call->phase == PHASE_FIRST_BYTE)
        error_set(&err, "TIMEOUT", "connected, but no answer came within %lld ms", (long long) call->on.first_byte_ms);
    else
        error_set(&err, "TIMEOUT", "the %s stood still for %lld ms", call->phase == PHASE_BODY ? "answer" : "upload",
                  (long long) call->on.stall_ms);
    call_end(call, &err);
}

static void on_total_timer(void *arg, struct timer *timer)
{
    struct http_call *call = (struct http_call *) (void *) ((char *) timer - offsetof(struct http_call, total_timer));
    struct ls_error err;
    (void) arg;
    error_set(&err, "TIMEOUT", "not complete within %lld ms in all", (long long) call->on.total_ms);
    call_end(call, &err);
}

/* ---- what curl calls ---- */

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
    const struct http_client *client = arg;
    struct epoll_event event = {.data.fd = fd};
    struct http_call *call = NULL;
    (void) socket_arg;
    if (what == CURL_POLL_REMOVE) {
        epoll_ctl(client->epoll_fd, EPOLL_CTL_DEL, fd, NULL); /* may be closed already */
        /* While a body waits to be sent, that it reads no more means that the peer closed or has said all: curl would wait for ever. */
        curl_easy_getinfo(easy, CURLINFO_PRIVATE, &call);
        if (call && call->added && !call->dead && !call->paused && !call->finishing && (call->waiting || call->early)) {
            call->quiet = true;
            http_call_resume(call);
        }
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

static bool is_link_local(const struct curl_sockaddr *address)
{
    const void *any = &address->addr;
    const struct sockaddr_in *v4 = any;
    const struct sockaddr_in6 *v6 = any;
    if (address->family == AF_INET)
        return ntohl(v4->sin_addr.s_addr) >> 16 == (169u << 8 | 254);
    if (address->family != AF_INET6)
        return false;
    const uint8_t *b = v6->sin6_addr.s6_addr;
    return IN6_IS_ADDR_LINKLOCAL(&v6->sin6_addr) ||
           (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr) && b[12] == 169 && b[13] == 254);
}

static curl_socket_t on_open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
    (void) arg;
    (void) purpose;
    if (is_link_local(address))
        return CURL_SOCKET_BAD;
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

static int on_request(void *arg, char *to, char *from, int to_port, int from_port)
{
    struct http_call *call = arg;
    (void) to;
    (void) from;
    (void) to_port;
    (void) from_port;
    if (call->dead)
        return CURL_PREREQFUNC_ABORT;
    phase_begin(call, call->on.read && call->left ? PHASE_UPLOAD : PHASE_FIRST_BYTE);
    return CURL_PREREQFUNC_OK;
}

static size_t on_header(char *data, size_t size, size_t count, void *arg)
{
    struct http_call *call = arg;
    long status = 0;
    bool is_end = size * count <= 2 && (*data == '\r' || *data == '\n');
    call->header_bytes += size * count;
    if (call->dead || call->header_bytes > HEADER_BYTES_MAX)
        return 0;
    if (!is_end || call->status) /* a line, or trailers behind the body */
        return size * count;
    curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
    if (status < 200) /* 100 Continue, 103 Early Hints: the answer is still to come */
        return size * count;
    call->status = (unsigned) status;
    call->early = call->phase == PHASE_UPLOAD;
    if (call->on.headers_done)
        call->on.headers_done(call->on.arg, call, call->status);
    if (call->waiting && status >= 400 && !call->dead)
        http_call_resume(call); /* curl sends no more of the body, but would wait for `read` all the same */
    call->waiting = false;
    return call->dead ? 0 : size * count;
}

static size_t on_body(char *data, size_t size, size_t count, void *arg)
{
    struct http_call *call = arg;
    if (call->dead)
        return 0;
    if (call->phase == PHASE_BODY)
        call->moved_ms = clock_mono_ms();
    else
        phase_begin(call, PHASE_BODY);
    if (call->paused)
        return CURL_WRITEFUNC_PAUSE; /* curl keeps the piece, and reads no further */
    call->received += (int64_t) (size * count);
    if (call->on.data && !call->on.data(call->on.arg, call, ls_bytes(data, size * count)))
        call->stopped = true;
    return call->dead || call->stopped ? 0 : size * count;
}

static size_t on_read(char *out, size_t size, size_t count, void *arg)
{
    struct http_call *call = arg;
    size_t room = size * count;
    if (call->dead)
        return CURL_READFUNC_ABORT;
    if (call->early)
        return call->finishing ? 0 : CURL_READFUNC_PAUSE;
    if (call->left >= 0 && room > (uint64_t) call->left)
        room = (size_t) call->left;
    size_t got = room ? call->on.read(call->on.arg, call, out, room) : 0;
    call->waiting = got == HTTP_CALL_WAIT && !call->dead;
    call->moved_ms = clock_mono_ms();
    if (call->waiting)
        return CURL_READFUNC_PAUSE;
    call->stopped = got == HTTP_CALL_ABORT || (!got && call->left > 0);
    if (call->dead || call->stopped)
        return CURL_READFUNC_ABORT;
    if (call->left > 0)
        call->left -= (int64_t) got;
    if ((!got || !call->left) && call->phase == PHASE_UPLOAD)
        phase_begin(call, PHASE_FIRST_BYTE);
    return got;
}

/* The connection was dead: the body is wanted from its start. curl asks for no other place. */
static int on_rewind(void *arg, curl_off_t offset, int origin)
{
    struct http_call *call = arg;
    bool start = offset == 0 && origin == SEEK_SET;
    if (call->dead || !start || !call->on.rewind || !call->on.rewind(call->on.arg, call))
        return CURL_SEEKFUNC_FAIL;
    call->left = call->on.body_bytes;
    return CURL_SEEKFUNC_OK;
}

/* ---- a call ---- */

static bool set_upload(struct http_call *call)
{
    CURL *e = call->easy;
    CURLcode bad = CURLE_OK;
    bad |= curl_easy_setopt(e, CURLOPT_UPLOAD, 1L);
    bad |= curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, call->on.method);
    bad |= curl_easy_setopt(e, CURLOPT_INFILESIZE_LARGE, (curl_off_t) call->on.body_bytes);
    bad |= curl_easy_setopt(e, CURLOPT_READFUNCTION, on_read);
    bad |= curl_easy_setopt(e, CURLOPT_READDATA, call);
    bad |= curl_easy_setopt(e, CURLOPT_SEEKFUNCTION, on_rewind);
    bad |= curl_easy_setopt(e, CURLOPT_SEEKDATA, call);
    if (!call->on.rewind) /* what can be sent once only is not sent where nobody may be listening any more */
        bad |= curl_easy_setopt(e, CURLOPT_FRESH_CONNECT, 1L);
    return bad == CURLE_OK;
}

static bool set_rules(struct http_call *call, const struct http_call_options *o)
{
    CURL *e = call->easy;
    CURLcode bad = CURLE_OK;
    bad |= curl_easy_setopt(e, CURLOPT_URL, o->url);
    bad |= curl_easy_setopt(e, CURLOPT_HTTPHEADER, call->headers);
    bad |= curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_1_1);
    bad |= curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    bad |= curl_easy_setopt(e, CURLOPT_PROXY, "");
    bad |= curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
    bad |= curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    bad |= curl_easy_setopt(e, CURLOPT_QUICK_EXIT, 1L); /* giving up must not wait for a name server */
    bad |= curl_easy_setopt(e, CURLOPT_TCP_NODELAY, 1L);
    bad |= curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L);
    bad |= curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long) call->on.connect_ms);
    bad |= curl_easy_setopt(e, CURLOPT_ERRORBUFFER, call->text);
    bad |= curl_easy_setopt(e, CURLOPT_PRIVATE, call);
    bad |= curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
    bad |= curl_easy_setopt(e, CURLOPT_PREREQFUNCTION, on_request);
    bad |= curl_easy_setopt(e, CURLOPT_PREREQDATA, call);
    bad |= curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
    bad |= curl_easy_setopt(e, CURLOPT_HEADERDATA, call);
    bad |= curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
    bad |= curl_easy_setopt(e, CURLOPT_WRITEDATA, call);
    if (o->unix_socket)
        bad |= curl_easy_setopt(e, CURLOPT_UNIX_SOCKET_PATH, o->unix_socket);
    if (o->ca_file)
        bad |= curl_easy_setopt(e, CURLOPT_CAINFO, o->ca_file);
    return bad == CURLE_OK && http_options_target(o, e) && (!o->read || set_upload(call));
}

static int64_t or_default(int64_t ms, int64_t fallback)
{
    return ms > 0 ? ms : fallback;
}

static int hand_to_curl(struct http_call *call, struct ls_error *err)
{
    struct http_client *client = call->client;
    LIST_REMOVE(call, link);
    LIST_INSERT_HEAD(&client->calls, call, link);
    CURLMcode code = curl_multi_add_handle(client->multi, call->easy);
    call->added = code == CURLM_OK;
    return call->added ? 0
                       : error_set(err, "SYSTEM", "curl does not take a further call: %s", curl_multi_strerror(code));
}

struct http_call *http_call_start(struct http_client *client, const struct http_call_options *options,
                                  struct ls_error *err)
{
    if (!http_options_url(options->url, err))
        return NULL;
    struct http_call *call = xcalloc(1, sizeof *call);
    call->client = client;
    call->on = *options;
    call->on.connect_ms = or_default(options->connect_ms, CONNECT_MS);
    call->on.first_byte_ms = or_default(options->first_byte_ms, FIRST_BYTE_MS);
    call->on.stall_ms = or_default(options->stall_ms, STALL_MS);
    call->left = options->body_bytes;
    call->phase_timer.fire = on_phase_timer;
    call->total_timer.fire = on_total_timer;
    LIST_INSERT_HEAD(&client->later, call, link);
    call->easy = curl_easy_init();
    if (http_options_headers(options, &call->headers, err) < 0) {
        call_free(call);
        return NULL;
    }
    if (!call->easy || !set_rules(call, options)) {
        error_set(err, "SYSTEM", "curl refused to prepare a call");
        call_free(call);
        return NULL;
    }
    if (options->total_ms > 0)
        heap_set(&client->timers, &call->total_timer, clock_mono_ms() + options->total_ms);
    if (!client->in_curl && hand_to_curl(call, err) < 0) {
        call_free(call);
        return NULL;
    }
    return call;
}

void http_call_cancel(struct http_call **call)
{
    struct http_call *c = *call;
    *call = NULL;
    if (!c || c->ending || c->dead)
        return;
    if (!c->client->in_curl) {
        call_free(c);
        return;
    }
    c->dead = true;
    call_quiet(c);
    LIST_REMOVE(c, link);
    LIST_INSERT_HEAD(&c->client->later, c, link);
}

void http_call_pause(struct http_call *call)
{
    call->paused = true;
}

void http_call_resume(struct http_call *call)
{
    call->paused = false;
    if (call->woken || call->dead || call->ending)
        return;
    call->woken = true;
    LIST_INSERT_HEAD(&call->client->woken, call, woken_link);
}

const char *http_call_header(const struct http_call *call, const char *name)
{
    struct curl_header *found;
    return curl_easy_header(call->easy, name, 0, CURLH_HEADER, -1, &found) == CURLHE_OK ? found->value : NULL;
}

bool http_call_header_at(const struct http_call *call, size_t index, const char **name, const char **value)
{
    struct curl_header *at = NULL;
    for (size_t i = 0; i <= index; i++)
        if (!(at = curl_easy_nextheader(call->easy, CURLH_HEADER, -1, at)))
            return false;
    *name = at->name;
    *value = at->value;
    return true;
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
        describe(call, CURLE_RECV_ERROR, &err);
    call_end(call, whole ? NULL : &err);
}

/* An early answer in chunks, or one that ends with its connection. */
static bool has_no_length(const struct http_call *call)
{
    return call->early && call->status != 204 && !http_call_header(call, "content-length");
}

/* curl goes on: it hands out at once what it kept, and asks `read` again soon. */
static void run_woken(struct http_client *client)
{
    struct http_call *call;
    struct ls_error err;
    while ((call = LIST_FIRST(&client->woken))) {
        LIST_REMOVE(call, woken_link);
        call->woken = false;
        if (call->quiet && has_no_length(call)) {
            call->quiet = false;
            call->finishing = true;
            curl_easy_setopt(call->easy, CURLOPT_FORBID_REUSE, 1L); /* the request is not whole */
        } else if (call->quiet) {
            end_early(call);
            continue;
        }
        if (!call->added)
            continue;
        call->moved_ms = clock_mono_ms();
        client->in_curl = true;
        CURLcode code = curl_easy_pause(call->easy, CURLPAUSE_CONT);
        client->in_curl = false;
        if (call->stopped && !call->dead) { /* curl leaves it to us to end the call */
            describe(call, code, &err);
            call_end(call, &err);
        } else if (call->early && !call->dead && is_whole(call)) {
            end_early(call); /* the last piece was held back */
        }
    }
}

static void settle_later(struct http_client *client)
{
    struct http_call *call;
    struct ls_error err;
    while ((call = LIST_FIRST(&client->later))) {
        if (call->dead)
            call_free(call);
        else if (hand_to_curl(call, &err) < 0)
            call_end(call, &err);
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
            describe(call, code, &err);
        call_end(call, code == CURLE_OK ? NULL : &err);
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
        call_free(LIST_FIRST(&c->later));
    while (!LIST_EMPTY(&c->calls))
        call_free(LIST_FIRST(&c->calls));
    if (c->multi)
        curl_multi_cleanup(c->multi);
    if (c->epoll_fd >= 0)
        close(c->epoll_fd);
    heap_fini(&c->timers);
    free(c);
}
