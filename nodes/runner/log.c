/* SPDX-License-Identifier: Apache-2.0 */
/* The log of a try: every byte into a file, up to log_max; pieces onto the bus, up to log_events. A log that cannot be written
 * ends; the command goes on. */
#include "nodes/runner/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/logger.h"
#include "lib/xmem.h"
#include "nodes/runner/runner.h"

#define PIECE_BYTES ((size_t) 16 << 10)
#define FLUSH_EVERY_MS 200

/* ---- the file ---- */

static char *file_path(const struct try *try, bool unique)
{
    static const char *const FOLDERS[] = {"workflow", "workflow_run_id", "task"};
    struct buf path = {0};
    const json_t *map_index = json_object_get(try->task, "map_index");
    const json_t *attempt = json_object_get(try->task, "attempt");
    buf_addf(&path, "%s", try->runner->logs);
    for (size_t i = 0; i < 3; i++) {
        const char *name = json_string_value(json_object_get(try->task, FOLDERS[i]));
        buf_add_byte(&path, '/');
        log_name(&path, name ? name : "none");
    }
    if (json_integer_value(map_index) >= 0 && map_index)
        buf_addf(&path, "/map_index=%lld", (long long) json_integer_value(map_index));
    buf_addf(&path, "/attempt=%lld", (long long) (attempt ? json_integer_value(attempt) : 1));
    if (unique) {
        buf_add_byte(&path, '.');
        log_name(&path, try->id);
    }
    buf_addf(&path, ".log");
    char *text = xstrdup(buf_text(&path));
    buf_fini(&path);
    return text;
}

static void make_folders(char *path, size_t from)
{
    for (char *slash = strchr(path + from + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(path, 0777);
        *slash = '/';
    }
}

static int create(char *path, size_t from)
{
    int flags = O_RDWR | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, fd = open(path, flags, 0666);
    if (fd >= 0 || errno != ENOENT)
        return fd;
    make_folders(path, from);
    return open(path, flags, 0666);
}

/* The file of an attempt that was cleared and is run again keeps its name; the new one carries the id of the try. */
static void open_file(struct try *try)
{
    struct try_log *log = &try->log;
    size_t from = strlen(try->runner->logs);
    log->path = file_path(try, false);
    log->fd = create(log->path, from);
    if (log->fd < 0 && errno == EEXIST) {
        free(log->path);
        log->path = file_path(try, true);
        log->fd = create(log->path, from);
    }
    if (log->fd >= 0)
        return;
    log->closed = true;
    logger_put(LEVEL_WARN, "log-failed", strerror(errno), "try=%s path=%s", try->id, log->path);
}

static bool write_all(struct try_log *log, const void *data, size_t len)
{
    while (len) {
        ssize_t wrote = write(log->fd, data, len);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote <= 0)
            return false;
        log->written += wrote;
        data = (const char *) data + wrote;
        len -= (size_t) wrote;
    }
    return true;
}

/* The last line, over the last bytes of the file where the disk has no room for more. */
static void close_with(struct try *try, const char *why)
{
    struct try_log *log = &try->log;
    char *line = xasprintf("\n[lineshaft: the log ends here: %s; the command goes on]\n", why);
    size_t len = strlen(line);
    int64_t before = log->written;
    log->closed = true;
    if (!write_all(log, line, len)) {
        int64_t at = before > (int64_t) len ? before - (int64_t) len : 0;
        log->written = ftruncate(log->fd, at) == 0 ? at : before;
        write_all(log, line, len);
        log->sent = log->sent < at ? log->sent : at; /* what the line took the place of */
        if (log->live_at + (int64_t) log->live.len > at)
            log->live.len = log->live_at < at ? (size_t) (at - log->live_at) : 0;
    }
    logger_put(LEVEL_WARN, "log-ends", why, "try=%s path=%s bytes=%lld", try->id, log->path, (long long) log->written);
    free(line);
}

static void write_file(struct try *try, const uint8_t *data, size_t len)
{
    struct try_log *log = &try->log;
    char why[100];
    int64_t room = try->runner->options->log_max - 256 - log->written; /* 256: the last line */
    if (!log->path)
        open_file(try);
    if (log->closed)
        return;
    bool over = (int64_t) len > room;
    if (!write_all(log, data, over ? (room > 0 ? (size_t) room : 0) : len))
        close_with(try, strerror(errno));
    else if (over) {
        snprintf(why, sizeof why, "log_max, %lld bytes, is reached", (long long) try->runner->options->log_max);
        close_with(try, why);
    }
}

/* ---- the bus ---- */

static size_t piece_max(const struct runner *r)
{
    return r->log_events == LOG_EVENTS_RATE && r->log_rate < (int64_t) PIECE_BYTES ? (size_t) r->log_rate : PIECE_BYTES;
}

static bool take_tokens(struct try *try, size_t bytes)
{
    struct runner *r = try->runner;
    struct try_log *log = &try->log;
    int64_t now = clock_mono_ms();
    if (r->log_events != LOG_EVENTS_RATE)
        return true;
    log->tokens += (now - log->tokens_at) * r->log_rate / 1000;
    log->tokens_at = now;
    log->tokens = log->tokens > 2 * r->log_rate ? 2 * r->log_rate : log->tokens;
    if (log->tokens < (int64_t) bytes)
        return false;
    log->tokens -= (int64_t) bytes;
    return true;
}

static void unsent(struct try *try, int64_t bytes)
{
    runner_count(try->runner, METRIC_LOG_BYTES_UNSENT, bytes);
}

/* Sends what has gathered, as far as it ends with a whole character; what the rate forbids is left out. */
static void send_live(struct try *try)
{
    struct try_log *log = &try->log;
    size_t len = log_cut(log->live.data, log->live.len);
    bool may = len && take_tokens(try, len);
    if (may || log->progress.news) {
        bool sent = report_progress(try, ls_bytes(log->live.data, may ? len : 0), log->live_at);
        log->sent = sent && may ? log->live_at + (int64_t) len : log->sent;
        may = may && sent;
    }
    if (!may)
        unsent(try, (int64_t) len);
    if (log->live.len > len)
        memmove(log->live.data, log->live.data + len, log->live.len - len);
    log->live.len -= len;
    log->live_at += (int64_t) len;
}

static void flush_later(struct try *try)
{
    if (!try->log.flush.place)
        node_timer_set(try->runner->node, &try->log.flush, FLUSH_EVERY_MS);
}

static void on_flush(void *self, struct timer *timer)
{
    (void) self;
    struct try *try =
        (struct try *) (void *) ((char *) timer - offsetof(struct try, log) - offsetof(struct try_log, flush));
    send_live(try); /* the beginning of a character may stay: it waits for its rest */
}

static void gather(struct try *try, const uint8_t *data, size_t len)
{
    struct try_log *log = &try->log;
    size_t most = piece_max(try->runner);
    while (len) {
        size_t part = most > log->live.len ? most - log->live.len : 0;
        part = part < len ? part : len;
        buf_add(&log->live, data, part);
        data += part;
        len -= part;
        if (log->live.len >= most)
            send_live(try);
    }
    if (log->live.len)
        flush_later(try);
}

/* The end of the file, from behind what was sent; the last piece at least. */
static void send_tail(struct try *try)
{
    struct try_log *log = &try->log;
    uint8_t tail[PIECE_BYTES];
    int64_t from = log->written - (int64_t) sizeof tail > log->sent ? log->written - (int64_t) sizeof tail : log->sent;
    ssize_t got = log->fd >= 0 && log->written > from ? pread(log->fd, tail, (size_t) (log->written - from), from) : 0;
    size_t skip = 0;
    while (from > log->sent && got > 0 && skip < 3 && (ssize_t) skip < got && (tail[skip] & 0xc0) == 0x80)
        skip++; /* the rest of a character whose beginning is left out */
    if (got <= 0 && !log->progress.news)
        return;
    size_t len = got > 0 ? (size_t) got - skip : 0;
    if (report_progress(try, ls_bytes(tail + skip, len), from + (int64_t) skip))
        log->sent = log->written;
    else
        unsent(try, (int64_t) len);
}

/* ---- for the try ---- */

void log_find(struct try *try)
{
    struct try_log *log = &try->log;
    struct stat about;
    for (int unique = 1; unique >= 0 && !log->path; unique--) {
        log->path = file_path(try, unique);
        if (stat(log->path, &about) == 0) {
            log->written = log->sent = about.st_size;
        } else {
            free(log->path);
            log->path = NULL;
        }
    }
}

void log_init(struct try *try)
{
    struct runner *r = try->runner;
    try->log =
        (struct try_log){.fd = -1, .flush.fire = on_flush, .tokens = 2 * r->log_rate, .tokens_at = clock_mono_ms()};
}

void log_take(struct try *try, const uint8_t *data, size_t len)
{
    struct runner *r = try->runner;
    struct try_log *log = &try->log;
    int64_t before = log->written;
    runner_count(r, METRIC_LOG_BYTES, (int64_t) len);
    write_file(try, data, len);
    progress_feed(&log->progress, data, len);
    int64_t kept = log->written - before < (int64_t) len ? log->written - before : (int64_t) len;
    if (kept > 0 && !log->closed && (r->log_events == LOG_EVENTS_FULL || r->log_events == LOG_EVENTS_RATE)) {
        log->live_at = log->live.len ? log->live_at : before;
        gather(try, data, (size_t) kept);
    }
    if (log->progress.news)
        flush_later(try);
}

void log_end(struct try *try)
{
    struct try_log *log = &try->log;
    enum log_events events = try->runner->log_events;
    node_timer_unset(try->runner->node, &log->flush);
    progress_feed(&log->progress, (const uint8_t *) "\n", 1); /* a last line without an end */
    if (events != LOG_EVENTS_NONE)
        send_tail(try);
    else if (log->progress.news)
        report_progress(try, (struct ls_slice){0}, 0);
    if (log->fd >= 0)
        close(log->fd);
    log->fd = -1;
    log->closed = true;
}

void log_fini(struct try *try)
{
    struct try_log *log = &try->log;
    node_timer_unset(try->runner->node, &log->flush);
    if (log->fd >= 0)
        close(log->fd);
    free(log->path);
    buf_fini(&log->live);
    progress_fini(&log->progress);
    log->fd = -1;
}
