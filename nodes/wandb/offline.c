/* SPDX-License-Identifier: Apache-2.0 */
/* A run's `.wandb` file: its name and folder, its records as protobuf, and going on where a crash tore it. */
#include "nodes/wandb/offline.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/buf.h"
#include "lib/error.h"
#include "lib/node.h"
#include "lib/xmem.h"
#include "nodes/wandb/leveldb_log.h"
#include "nodes/wandb/proto.h"

#define OLDEST_READER "0.1.0" /* of wandb: nothing here is newer than its first sync */

/* Fields of wandb_internal.proto. */
enum { RECORD_NUM = 1, HISTORY = 2, SUMMARY = 3, CONFIG = 5, RUN = 17, EXIT = 18, HEADER = 21 };
enum { HISTORY_ITEM = 1, HISTORY_STEP = 2, UPDATE = 1 /* of config and summary */ };
enum { ITEM_KEY = 1, ITEM_VALUE = 16 };

struct offline {
    int fd;
    char *folder, *path;
    uint64_t at;    /* bytes of it */
    uint64_t count; /* records; the last one's number */
    uint64_t rows;
    uint64_t exit_at; /* if it has ended: where its exit record begins, the last one */
    struct buf exit;  /* and what is in that */
    bool ended, foreign, folder_synced;
    struct buf item, body, record, frame; /* empty between calls; their memory is kept */
};

/* ---- records ---- */

static int write_frame(struct offline *file, struct ls_error *err)
{
    for (size_t done = 0; done < file->frame.len;) {
        ssize_t n = pwrite(file->fd, file->frame.data + done, file->frame.len - done, (off_t) (file->at + done));
        if (n < 0 && errno != EINTR)
            return error_set(err, "SYSTEM", "cannot write %.300s: %s", file->path, strerror(errno));
        done += n > 0 ? (size_t) n : 0;
    }
    file->at += file->frame.len;
    buf_clear(&file->frame);
    return 0;
}

/* Adds the next record, of which `body` is the field `kind`, to the frame. */
static void put_record(struct offline *file, uint32_t kind, struct ls_slice body)
{
    uint64_t at = file->at + file->frame.len;
    proto_put_int(&file->record, RECORD_NUM, (int64_t) ++file->count);
    proto_put_bytes(&file->record, kind, body);
    leveldb_log_frame(&file->frame, at, ls_bytes(file->record.data, file->record.len));
    buf_clear(&file->record);
    file->rows += kind == HISTORY;
    if (kind != EXIT)
        return;
    file->exit_at = at;
    file->ended = true;
}

/* Writes the next record, file->body. `wandb sync` reads no further than the exit record, so what follows it takes its place, and it comes
 * again behind that. */
static int write_record(struct offline *file, uint32_t kind, struct ls_error *err)
{
    bool replaces = file->ended;
    if (replaces) {
        file->at = file->exit_at;
        file->count--;
    }
    put_record(file, kind, ls_bytes(file->body.data, file->body.len));
    if (kind == EXIT) {
        buf_clear(&file->exit);
        buf_add(&file->exit, file->body.data, file->body.len);
    } else if (replaces) {
        put_record(file, EXIT, ls_bytes(file->exit.data, file->exit.len));
    }
    buf_clear(&file->body);
    if (write_frame(file, err))
        return -1;
    if (replaces && ftruncate(file->fd, (off_t) file->at))
        return error_set(err, "SYSTEM", "cannot cut %.300s: %s", file->path, strerror(errno));
    return 0;
}

/* Adds an item to the body: a key and its value as JSON text. */
static void put_item(struct offline *file, uint32_t field, struct ls_slice key, struct ls_slice value)
{
    proto_put_bytes(&file->item, ITEM_KEY, key);
    proto_put_bytes(&file->item, ITEM_VALUE, value);
    proto_put_message(&file->body, field, &file->item);
}

static void put_config(struct offline *file, const json_t *config)
{
    struct buf text = {0};
    const char *key;
    json_t *value;
    json_object_foreach((json_t *) (uintptr_t) config, key, value)
    {
        buf_clear(&text);
        node_write(&text, value);
        put_item(file, UPDATE, ls_str(key), ls_bytes(text.data, text.len));
    }
    buf_fini(&text);
}

/* ---- rows, which are taken apart as text: what W&B gets is what the caller wrote, bare NaN and all ---- */

static const char *skip_blanks(const char *at)
{
    return at + strspn(at, " \t\r\n");
}

/* Behind the string that begins at `at`; NULL if it does not end. */
static const char *skip_string(const char *at)
{
    for (at++; *at && *at != '"'; at++)
        if (*at == '\\' && at[1])
            at++;
    return *at ? at + 1 : NULL;
}

/* Behind the value that begins at `at`, up to the comma or bracket that ends it; NULL if none does. */
static const char *skip_value(const char *at)
{
    for (int depth = 0; at && *at;) {
        if (*at == '"') {
            at = skip_string(at);
            continue;
        }
        if (depth == 0 && (*at == ',' || *at == '}' || *at == ']'))
            return at;
        depth += *at == '{' || *at == '[' ? 1 : *at == '}' || *at == ']' ? -1 : 0;
        at++;
    }
    return NULL;
}

/* The pair at *at of an object, which moves on to the next pair or to the closing bracket; *key is the caller's, a JSON string. */
static bool take_pair(const char **at, json_t **key, struct ls_slice *value)
{
    const char *begin = skip_blanks(*at), *end = *begin == '"' ? skip_string(begin) : NULL;
    if (!end)
        return false;
    const char *colon = skip_blanks(end), *from = *colon == ':' ? skip_blanks(colon + 1) : NULL;
    const char *to = from ? skip_value(from) : NULL;
    if (!to || to == from || *to == ']')
        return false;
    *key = json_loadb(begin, (size_t) (end - begin), JSON_DECODE_ANY, NULL);
    *at = *to == ',' ? to + 1 : to;
    while (to > from && strchr(" \t\r\n", to[-1]))
        to--;
    *value = ls_bytes(from, (size_t) (to - from));
    return *key != NULL;
}

/* Adds the pairs of an object to the body; *step (NULL allowed) becomes the value of _step, if it is there. */
static int put_object(struct offline *file, uint32_t field, const char *json, int64_t *step, struct ls_error *err)
{
    const char *at = skip_blanks(json);
    bool good = *at == '{';
    for (at = skip_blanks(at + good); good && *at != '}'; at = skip_blanks(at)) {
        json_auto_t *key = NULL;
        struct ls_slice value;
        good = take_pair(&at, &key, &value);
        if (!good)
            break;
        put_item(file, field, ls_bytes(json_string_value(key), json_string_length(key)), value);
        if (step && strcmp(json_string_value(key), "_step") == 0)
            *step = strtoll(value.data, NULL, 10);
    }
    if (good)
        return 0;
    buf_clear(&file->body);
    return error_set(err, "BAD_VALUE", "not an object in JSON: %.200s", json);
}

int offline_history(struct offline *file, const char *row_json, struct ls_error *err)
{
    int64_t step = 0;
    if (put_object(file, HISTORY_ITEM, row_json, &step, err))
        return -1;
    proto_put_int(&file->item, 1, step);
    proto_put_message(&file->body, HISTORY_STEP, &file->item);
    return write_record(file, HISTORY, err);
}

int offline_summary(struct offline *file, const char *summary_json, struct ls_error *err)
{
    return put_object(file, UPDATE, summary_json, NULL, err) ? -1 : write_record(file, SUMMARY, err);
}

int offline_config(struct offline *file, const json_t *changed, struct ls_error *err)
{
    put_config(file, changed);
    return write_record(file, CONFIG, err);
}

int offline_exit(struct offline *file, int exit_code, double runtime_s, struct ls_error *err)
{
    proto_put_int(&file->body, 1, exit_code);
    proto_put_int(&file->body, 2, (int64_t) runtime_s);
    return write_record(file, EXIT, err);
}

/* ---- the first two records ---- */

static int write_header(struct offline *file, struct ls_error *err)
{
    proto_put_text(&file->item, 1, "lineshaft " LINESHAFT_VERSION);
    proto_put_text(&file->item, 2, OLDEST_READER);
    proto_put_message(&file->body, 1, &file->item);
    return write_record(file, HEADER, err);
}

static int write_run(struct offline *file, const struct wandb_run *run, struct ls_error *err)
{
    struct buf message = {0};
    proto_put_text(&message, 1, run->id);
    proto_put_text(&message, 2, run->entity);
    proto_put_text(&message, 3, run->project);
    if (run->config) {
        put_config(file, run->config);
        proto_put_message(&message, 4, &file->body);
    }
    proto_put_text(&message, 6, run->group);
    proto_put_text(&message, 7, run->job_type);
    proto_put_text(&message, 8, run->display_name);
    proto_put_text(&message, 9, run->notes);
    for (const char *const *tag = run->tags; tag && *tag; tag++)
        proto_put_text(&message, 10, *tag);
    proto_put_int(&file->item, 1, run->started_ms / 1000);
    proto_put_int(&file->item, 2, run->started_ms % 1000 * 1000000);
    proto_put_message(&message, 17, &file->item);
    buf_add(&file->body, message.data, message.len);
    buf_fini(&message);
    return write_record(file, RUN, err);
}

/* ---- opening and closing ---- */

static int sync_folder(const char *path, struct ls_error *err)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc =
        fd < 0 || fsync(fd) ? error_set(err, "SYSTEM", "cannot sync the folder %.300s: %s", path, strerror(errno)) : 0;
    if (fd >= 0)
        close(fd);
    return rc;
}

/* Makes a folder and those above it, durably. */
static int make_folder(const char *path, struct ls_error *err)
{
    if (mkdir(path, 0777) == 0 || errno == EEXIST) {
        char *above = xasprintf("%s/..", path);
        int rc = sync_folder(above, err);
        free(above);
        return rc;
    }
    const char *slash = strrchr(path, '/');
    if (errno != ENOENT || !slash || slash == path)
        return error_set(err, "SYSTEM", "cannot make the folder %.300s: %s", path, strerror(errno));
    char *above = xstrndup(path, (size_t) (slash - path));
    int rc = make_folder(above, err);
    free(above);
    if (rc == 0 && mkdir(path, 0777) && errno != EEXIST)
        return error_set(err, "SYSTEM", "cannot make the folder %.300s: %s", path, strerror(errno));
    return rc;
}

/* Notes what a record is. False for a whole record that is not as this code writes it at its place. */
static bool count_record(void *arg, struct ls_slice record)
{
    struct offline *file = arg;
    uint32_t field, kind = 0;
    uint64_t number, num = 0;
    struct ls_slice bytes = {0};
    while (record.len > 0 && !file->foreign) {
        file->foreign = !proto_next(&record, &field, &number, &bytes);
        if (field == RECORD_NUM)
            num = number;
        else
            kind = field;
    }
    file->foreign |= num != file->count + 1 || (num == 1) != (kind == HEADER) || (num == 2) != (kind == RUN);
    if (file->foreign)
        return false;
    file->count++;
    file->rows += kind == HISTORY;
    file->ended = kind == EXIT;
    if (file->ended) {
        file->exit_at = file->at; /* behind the record before */
        buf_clear(&file->exit);
        buf_add(&file->exit, bytes.data, bytes.len);
    }
    return true;
}

/* Reads what is there, cuts off what a crash left half written, and writes what a new file needs. */
static int go_on(struct offline *file, const struct wandb_run *run, struct ls_error *err)
{
    if (leveldb_log_read(file->fd, count_record, file, &file->at, err))
        return error_wrap(err, "%.300s", file->path);
    if (file->foreign)
        return error_set(err, "CORRUPT", "%.300s holds records of another program: move it away", file->path);
    if (ftruncate(file->fd, (off_t) file->at))
        return error_set(err, "SYSTEM", "cannot cut %.300s: %s", file->path, strerror(errno));
    if (file->at == 0) {
        buf_add(&file->frame, LEVELDB_LOG_HEAD, LEVELDB_LOG_HEAD_SIZE);
        if (write_frame(file, err))
            return -1;
    }
    if (file->count == 0 && write_header(file, err))
        return -1;
    return file->count == 1 ? write_run(file, run, err) : 0;
}

static char *folder_of(const char *dir, const char *id, int64_t started_ms)
{
    time_t started = (time_t) (started_ms / 1000);
    struct tm tm;
    char when[32];
    strftime(when, sizeof when, "%Y%m%d_%H%M%S", gmtime_r(&started, &tm));
    return xasprintf("%s/offline-run-%s-%s", dir, when, id);
}

bool offline_is_there(const char *dir, const char *id, int64_t started_ms)
{
    char *folder = folder_of(dir, id, started_ms);
    bool there = access(folder, F_OK) == 0;
    free(folder);
    return there;
}

struct offline *offline_open(const char *dir, const struct wandb_run *run, uint64_t *rows, struct ls_error *err)
{
    if (!run->id[0] || strchr(run->id, '/')) {
        error_set(err, "BAD_VALUE", "\"%.100s\" cannot be a run's id: it becomes the name of a file", run->id);
        return NULL;
    }
    struct offline *file = xcalloc(1, sizeof *file);
    file->folder = folder_of(dir, run->id, run->started_ms);
    file->path = xasprintf("%s/run-%s.wandb", file->folder, run->id);
    file->fd = -1;
    if (make_folder(file->folder, err) == 0) {
        file->fd = open(file->path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        if (file->fd < 0)
            error_set(err, "SYSTEM", "cannot open %.300s: %s", file->path, strerror(errno));
        else if (go_on(file, run, err) == 0) {
            *rows = file->rows;
            return file;
        }
    }
    offline_close(&file);
    return NULL;
}

const char *offline_path(const struct offline *file)
{
    return file->path;
}

bool offline_ended(const struct offline *file)
{
    return file->ended;
}

int offline_sync(struct offline *file, struct ls_error *err)
{
    if (fdatasync(file->fd))
        return error_set(err, "SYSTEM", "cannot sync %.300s: %s", file->path, strerror(errno));
    if (!file->folder_synced && sync_folder(file->folder, err))
        return -1;
    file->folder_synced = true;
    return 0;
}

void offline_close(struct offline **pointer)
{
    struct offline *file = *pointer;
    if (!file)
        return;
    *pointer = NULL;
    if (file->fd >= 0)
        close(file->fd);
    free(file->folder);
    free(file->path);
    buf_fini(&file->exit);
    buf_fini(&file->item);
    buf_fini(&file->body);
    buf_fini(&file->record);
    buf_fini(&file->frame);
    free(file);
}
