/* SPDX-License-Identifier: Apache-2.0 */
/* A file for each try under way: who it is, and behind that, from its keeper, how it ended. Its lock belongs to an open descriptor
 * that runner and keeper share, and that travels with the order to start: it is held as long as anybody may have the try. Files
 * are used again, for making and removing one a try costs as much as the rest of a short one. A file that begins with NUL is
 * free, and the text ends at the first NUL: what an earlier try wrote stands behind it. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/error.h"
#include "lib/file.h"
#include "lib/json.h"
#include "lib/logger.h"
#include "lib/xmem.h"
#include "nodes/runner/runner.h"

#define RECORD_BYTES_MAX ((size_t) 64 << 10)

static const char *const KEPT[] = {"workflow", "workflow_run_id", "task", "map_index", "try", "attempt"};

static char *path_of(const struct runner *r, const char *try_id, const char *ending)
{
    struct buf path = {0};
    buf_addf(&path, "%s/", r->records);
    log_name(&path, try_id);
    buf_addf(&path, "%s", ending);
    char *text = xstrdup(buf_text(&path));
    buf_fini(&path);
    return text;
}

static void put_pair(struct buf *text, const char *key, const char *value)
{
    if (value)
        json_put_pair(text, key, ls_str(value));
}

static void write_record(const struct try *try, struct buf *text)
{
    json_t *task = json_object();
    for (size_t i = 0; i < sizeof KEPT / sizeof *KEPT; i++)
        if (json_object_get(try->task, KEPT[i]))
            json_object_set(task, KEPT[i], json_object_get(try->task, KEPT[i]));
    buf_addf(text, "{\"cause\":{");
    put_pair(text, "id", try->cause.id);
    put_pair(text, "subject", try->cause.subject);
    put_pair(text, "traceparent", try->cause.traceparent);
    put_pair(text, "tracestate", try->cause.tracestate);
    put_pair(text, "correlationid", try->cause.correlationid);
    buf_addf(text, "},\"task\":");
    node_write(text, task);
    buf_addf(text, "}\n");
    json_decref(task);
}

static struct record *make_file(struct runner *r, struct ls_error *err)
{
    struct record *record = xcalloc(1, sizeof *record);
    do {
        free(record->path);
        record->path = xasprintf("%s/%lld.try", r->records, (long long) ++r->record_number);
        record->fd = open(record->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    } while (record->fd < 0 && errno == EEXIST); /* a former process's, not stored yet */
    if (record->fd >= 0 && flock(record->fd, LOCK_EX | LOCK_NB) == 0) {
        LIST_INSERT_HEAD(&r->free_records, record, link);
        return record;
    }
    error_set(err, "START", "cannot write %.200s: %s", record->path, strerror(errno));
    if (record->fd >= 0)
        close(record->fd);
    free(record->path);
    free(record);
    return NULL;
}

int record_open(struct try *try, struct ls_error *err)
{
    struct runner *r = try->runner;
    struct record *record = LIST_EMPTY(&r->free_records) ? make_file(r, err) : LIST_FIRST(&r->free_records);
    static const char END[KEEPER_LINE_SIZE];
    struct buf text = {0};
    if (!record)
        return -1;
    write_record(try, &text);
    size_t len = text.len;
    buf_add(&text, END, sizeof END);
    bool good = pwrite(record->fd, text.data, text.len, 0) == (ssize_t) text.len &&
                lseek(record->fd, (off_t) len, SEEK_SET) >= 0;
    buf_fini(&text);
    if (!good) {
        error_set(err, "START", "cannot write %.200s: %s", record->path, strerror(errno ? errno : ENOSPC));
        if (pwrite(record->fd, END, 1, 0) < 0) /* nothing of it shall look like a try */
            unlink(record->path);
        return -1;
    }
    LIST_REMOVE(record, link);
    try->record = record;
    try->outputs = path_of(r, try->id, ".outputs");
    return record->fd;
}

/* ---- coming back ---- */

static char *read_text(const char *path)
{
    struct buf text = {0};
    file_load(path, RECORD_BYTES_MAX, &text); /* what cannot be read is as an empty one */
    char *copy = xstrdup(buf_text(&text));
    buf_fini(&text);
    return copy;
}

static char *text_in(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? xstrdup(text) : NULL;
}

struct try *record_read(struct runner *r, const char *path, bool *is_free)
{
    char *text = read_text(path), *newline = strchr(text, '\n');
    json_auto_t *record = newline ? json_loadb(text, (size_t) (newline - text), 0, NULL) : NULL;
    json_t *task = json_object_get(record, "task"), *cause = json_object_get(record, "cause");
    struct word ended;
    struct try *try = NULL;
    *is_free = !*text;
    if (json_string_value(json_object_get(task, "try"))) {
        try = try_new(r, json_incref(task));
        try->former = true;
        try->state = TRY_OVER;
        try->cause = (struct cause){text_in(cause, "id"), text_in(cause, "subject"), text_in(cause, "traceparent"),
                                    text_in(cause, "tracestate"), text_in(cause, "correlationid")};
        try->record = xcalloc(1, sizeof *try->record);
        *try->record = (struct record){.fd = -1, .path = xstrdup(path)};
        try->outputs = path_of(r, try->id, ".outputs");
        log_find(try);
        if (keeper_line_parse(newline + 1, &ended))
            try_judge(try, &ended);
        else
            try->ending =
                (struct ending){.reason = "lost", .error = xstrdup("the runner was killed, and so was what it ran")};
    }
    free(text);
    return try;
}

static void free_record(struct record *record)
{
    if (record->fd >= 0)
        close(record->fd);
    free(record->path);
    free(record);
}

void record_clear(struct try *try)
{
    struct record *record = try->record;
    if (try->outputs)
        unlink(try->outputs);
    if (!record)
        return;
    try->record = NULL;
    if (record->fd >= 0 && pwrite(record->fd, "", 1, 0) == 1) {
        LIST_INSERT_HEAD(&try->runner->free_records, record, link);
        return;
    }
    if (unlink(record->path) && errno != ENOENT)
        logger_put(LEVEL_WARN, "record", strerror(errno), "path=%s", record->path);
    free_record(record);
}

void record_forget(struct try *try)
{
    if (try->record)
        free_record(try->record);
    try->record = NULL;
}

void records_close(struct runner *r)
{
    while (!LIST_EMPTY(&r->free_records)) {
        struct record *record = LIST_FIRST(&r->free_records);
        LIST_REMOVE(record, link);
        unlink(record->path);
        free_record(record);
    }
}
