/* SPDX-License-Identifier: Apache-2.0 */
/* One HTTP call: its rules for curl, its phases with their times, its bodies, its end. Connecting is timed by curl, the other phases by
 * timers here, so that an error can name its phase. Proxies, netrc and cookies are not taken from the environment: where a call goes is
 * what its caller said. Link-local addresses are not connected to (cloud machines hand out credentials there). */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/clock.h"
#include "lib/error.h"
#include "lib/xmem.h"
#include "nodes/kit/http_client_private.h"

#define CONNECT_MS 5000
#define FIRST_BYTE_MS 120000
#define STALL_MS 60000
#define HEADER_BYTES_MAX (256u << 10) /* of one answer, trailers too: curl keeps them all, and bounds only the head */

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

void http_call_describe(const struct http_call *call, CURLcode code, struct ls_error *err)
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

void http_call_free(struct http_call *call)
{
    call_quiet(call);
    LIST_REMOVE(call, link);
    call_remove(call);
    curl_easy_cleanup(call->easy);
    curl_slist_free_all(call->headers);
    free(call);
}

/* curl lets go of the call first: a whole answer's connection serves the next call, any other is closed. */
void http_call_end(struct http_call *call, const struct ls_error *err)
{
    call_quiet(call);
    call_remove(call);
    call->ending = true;
    if (call->on.end)
        call->on.end(call->on.arg, call, call->status, err);
    http_call_free(call);
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
    http_call_end(call, &err);
}

static void on_total_timer(void *arg, struct timer *timer)
{
    struct http_call *call = (struct http_call *) (void *) ((char *) timer - offsetof(struct http_call, total_timer));
    struct ls_error err;
    (void) arg;
    error_set(&err, "TIMEOUT", "not complete within %lld ms in all", (long long) call->on.total_ms);
    http_call_end(call, &err);
}

/* ---- what curl calls ---- */

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

/* curl may have read all there is by now, without ever watching the socket. */
static size_t pause_read(struct http_call *call)
{
    http_call_look(call);
    return CURL_READFUNC_PAUSE;
}

static size_t on_read(char *out, size_t size, size_t count, void *arg)
{
    struct http_call *call = arg;
    size_t room = size * count;
    if (call->dead)
        return CURL_READFUNC_ABORT;
    if (call->early)
        return call->finishing ? 0 : pause_read(call);
    if (call->left >= 0 && room > (uint64_t) call->left)
        room = (size_t) call->left;
    size_t got = room ? call->on.read(call->on.arg, call, out, room) : 0;
    call->waiting = got == HTTP_CALL_WAIT && !call->dead;
    call->moved_ms = clock_mono_ms();
    if (call->waiting)
        return pause_read(call);
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

int http_call_hand_over(struct http_call *call, struct ls_error *err)
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
        http_call_free(call);
        return NULL;
    }
    if (!call->easy || !set_rules(call, options)) {
        error_set(err, "SYSTEM", "curl refused to prepare a call");
        http_call_free(call);
        return NULL;
    }
    if (options->total_ms > 0)
        heap_set(&client->timers, &call->total_timer, clock_mono_ms() + options->total_ms);
    if (!client->in_curl && http_call_hand_over(call, err) < 0) {
        http_call_free(call);
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
        http_call_free(c);
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

void http_call_look(struct http_call *call)
{
    if (call->woken || call->dead || call->ending)
        return;
    call->woken = true;
    LIST_INSERT_HEAD(&call->client->woken, call, woken_link);
}

void http_call_resume(struct http_call *call)
{
    call->paused = false;
    call->resumed = true;
    http_call_look(call);
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
