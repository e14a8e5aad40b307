/* SPDX-License-Identifier: Apache-2.0 */
/* The request task.log.MEMBER: a piece of a try's log, for those who are not on this machine (docs/nodes/runner.md, "Logs"). */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/error.h"
#include "lib/json.h"
#include "lib/xmem.h"
#include "nodes/runner/runner.h"

#define PIECE_MAX 65536
#define SLOTS 16 /* each is answered within its callback */

struct piece {
    struct runner *runner;
    const char *id, *place; /* of the try; "HOST:PATH" as task.ended told it, or NULL; in the request */
    int64_t from;           /* -1: the end of the log */
    int64_t bytes;
    char *path;
    bool ended;
};

static int refuse(struct ls_error *err, int number, const char *text)
{
    error_set(err, "FAILED", "%s", text);
    err->number = number;
    return -1;
}

/* ---- which file ---- */

/* Only what this runner's folder of logs holds, whatever links lead to: the path comes from outside. */
static char *path_below(const struct runner *r, const char *place)
{
    size_t host = strlen(r->host);
    char *path = strncmp(place, r->host, host) == 0 && place[host] == ':' ? realpath(place + host + 1, NULL) : NULL;
    char *folder = realpath(r->logs, NULL);
    size_t len = folder ? strlen(folder) : 0;
    bool below = path && folder && strncmp(path, folder, len) == 0 && path[len] == '/';
    free(folder);
    if (below)
        return path;
    free(path);
    return NULL;
}

static int find(struct piece *p, struct ls_error *err)
{
    const struct try *try = try_find(p->runner, p->id);
    p->ended = !try || try->state == TRY_OVER;
    if (try && !try->log.path)
        return p->ended ? refuse(err, 404, "this try wrote nothing") : 0;
    if (!try && !p->place)
        return refuse(err, 404, "this runner has no such try now; of one that is over, give its \"log\" too");
    p->path = try ? xstrdup(try->log.path) : path_below(p->runner, p->place);
    return p->path ? 0 : refuse(err, 404, "there is no such log here: it was removed (log_keep, log_keep_size), or is another runner's");
}

/* ---- what is in it ---- */

/* The end of a log begins with a whole line, where one begins. */
static size_t skip_partial_line(const uint8_t *data, size_t len)
{
    const uint8_t *newline = memchr(data, '\n', len);
    return newline && newline + 1 < data + len ? (size_t) (newline + 1 - data) : 0;
}

static json_t *answer(const struct piece *p, int64_t from, int64_t size, const uint8_t *data, size_t len)
{
    struct buf text = {0};
    log_text(&text, data, len);
    char *place = xasprintf("%s:%s", p->runner->host, p->path ? p->path : "");
    json_t *body = json_pack("{s:s, s:s*, s:I, s:I, s:I, s:b, s:o}", "try", p->id, "log", p->path ? place : NULL, "from",
                             (json_int_t) from, "next", (json_int_t) (from + (int64_t) len), "size", (json_int_t) size, "ended",
                             p->ended && from + (int64_t) len >= size, "text",
                             json_loadb((const char *) text.data, text.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL));
    free(place);
    buf_fini(&text);
    return body;
}

static json_t *read_piece(const struct piece *p, struct ls_error *err)
{
    struct stat about;
    int fd = open(p->path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &about) || !S_ISREG(about.st_mode)) {
        refuse(err, 404, fd < 0 ? strerror(errno) : "this is no log");
        if (fd >= 0)
            close(fd);
        return NULL;
    }
    bool end = p->from < 0;
    int64_t size = about.st_size, from = !end ? p->from : size > p->bytes ? size - p->bytes : 0;
    int64_t wanted = from >= size ? 0 : size - from < p->bytes ? size - from : p->bytes;
    ssize_t got = pread(fd, p->runner->chunk, (size_t) wanted, from);
    int why = errno;
    close(fd);
    if (got < 0) {
        refuse(err, 500, strerror(why));
        return NULL;
    }
    const uint8_t *data = p->runner->chunk;
    size_t len = (size_t) got, skip = end && from > 0 ? skip_partial_line(data, len) : 0;
    data += skip;
    len -= skip;
    /* The rest of a last character comes later, unless the try is over, or `bytes` has no room for it. */
    size_t whole = log_cut(data, len);
    bool last = from + got >= size;
    return answer(p, from + (int64_t) skip, size, data, last ? (p->ended ? len : whole) : whole ? whole : len);
}

/* ---- the request ---- */

static int take_number(const json_t *body, const char *key, int64_t max, int64_t *number, struct ls_error *err)
{
    const json_t *given = json_object_get(body, key);
    if (!given)
        return 0;
    if (!json_is_integer(given) || json_integer_value(given) < 0 || json_integer_value(given) > max) {
        error_set(err, "FAILED", "\"%s\" is a number of bytes, from 0 to %lld", key, (long long) max);
        err->number = 400;
        return -1;
    }
    *number = json_integer_value(given);
    return 0;
}

static json_t *look(struct runner *r, const json_t *body, struct ls_error *err)
{
    struct piece p = {.runner = r, .from = -1, .bytes = PIECE_MAX, .place = json_string_value(json_object_get(body, "log"))};
    p.id = json_string_value(json_object_get(body, "try"));
    if (!p.id) {
        refuse(err, 400, "\"try\" is missing: the id of the try, as `lineshaft workflow explain --json` tells it");
        return NULL;
    }
    if (take_number(body, "from", INT64_MAX, &p.from, err) || take_number(body, "bytes", PIECE_MAX, &p.bytes, err) || find(&p, err))
        return NULL;
    json_t *piece = p.path ? read_piece(&p, err) : answer(&p, 0, 0, NULL, 0);
    free(p.path);
    return piece;
}

static void on_request(void *arg, struct ls_call *call, const struct ls_event *request)
{
    struct ls_error err = {0};
    json_auto_t *body = node_json(request->body, &err);
    json_t *piece = body ? look(arg, body, &err) : NULL;
    if (!piece || node_reply(call, piece, &err) != LS_DONE)
        ls_reply_error(call, &err);
}

int log_serve(struct runner *r, struct ls_error *err)
{
    char *topic = xasprintf("task.log.%s", node_member(r->node));
    const char *const topics[] = {topic, NULL};
    const struct ls_service offer = {.topics = topics, .slots = SLOTS, .request = on_request, .arg = r};
    uint32_t service = ls_serve(node_client(r->node), &offer, err);
    free(topic);
    return service ? 0 : -1;
}
