/* SPDX-License-Identifier: Apache-2.0 */
/* Workflow files: read at the start, and again when inotify says that something near them changed. A file with
 * mistakes leaves its last good version at work, and its mistakes are told. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "lib/logger.h"
#include "lib/map.h"
#include "lib/xmem.h"
#include "nodes/scheduler/scheduler.h"

#define FOLDER "config/workflows" /* unless the topology names others */
#define QUIET_MS 50               /* editors write a file in several steps */
#define DEPTH_MAX 16
#define EVENTS (IN_CREATE | IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF)

struct entry {
    char *path;
    struct timespec changed;
    off_t size;
    ino_t inode;
    struct definition *good; /* the last version without mistakes; NULL: none yet */
    bool broken;
    json_t *problems; /* an array; NULL: none */
    bool present;     /* while reading: still there */
};

struct files {
    int fd;
    struct timer quiet;
    struct entry *entries; /* in the order of the folders, sorted in each */
    size_t count, room;
    struct map by_path; /* index_entry */
    json_t *problems; /* of folders, and of ids that two files have */
};

/* ---- mistakes ---- */

static json_t *problem(const char *file, const char *code, const char *text, const char *hint)
{
    json_t *one =
        json_pack("{s:s, s:i, s:i, s:s, s:s}", "file", file, "line", 0, "column", 0, "code", code, "text", text);
    json_object_set_new(one, "hint", hint ? json_string(hint) : json_null());
    return one;
}

/* The errors of a list, without warnings, as the contract has them. */
static json_t *problems_of(const struct diag_list *diags, const char *path)
{
    json_t *list = json_array();
    for (size_t i = 0; i < diags->count; i++) {
        const struct diag *d = &diags->items[i];
        if (DIAG_KINDS[d->code].level != DIAG_ERROR)
            continue;
        json_t *one = problem(path, DIAG_KINDS[d->code].name, d->sentence, d->hint);
        json_object_set_new(one, "line", json_integer(d->at.line));
        json_object_set_new(one, "column", json_integer(d->at.column));
        json_array_append_new(list, one);
    }
    return list;
}

json_t *files_problems(const struct scheduler *s)
{
    json_t *all = json_copy(s->files->problems);
    for (size_t i = 0; i < s->files->count; i++)
        if (s->files->entries[i].problems)
            json_array_extend(all, s->files->entries[i].problems);
    return all;
}

static void log_problems(const struct entry *entry)
{
    size_t i;
    const json_t *one;
    json_array_foreach(entry->problems, i, one) logger_put(
        LEVEL_WARN, "workflow-broken", json_string_value(json_object_get(one, "text")), "file=%s:%lld:%lld kept=%s",
        entry->path, (long long) json_integer_value(json_object_get(one, "line")),
        (long long) json_integer_value(json_object_get(one, "column")),
        entry->good ? "the last good version" : "nothing");
}

/* ---- reading ---- */

static void entry_free(struct entry *entry)
{
    definition_drop(entry->good);
    json_decref(entry->problems);
    free(entry->path);
}

static void load(struct scheduler *s, struct entry *entry)
{
    struct diag_list diags = {0};
    struct workflow_file *file = workflow_load(entry->path, &diags);
    json_decref(entry->problems);
    entry->problems = NULL;
    entry->broken = file->workflow == NULL;
    if (file->workflow) {
        struct definition *fresh = definition_add(&s->engine, &file);
        definition_use(fresh);
        definition_drop(entry->good);
        entry->good = fresh;
    } else {
        entry->problems = problems_of(&diags, entry->path);
        workflow_file_free(&file);
    }
    log_problems(entry);
    diag_list_fini(&diags);
}

static uint64_t hash_of(const char *text)
{
    return XXH3_64bits(text, strlen(text));
}

static struct entry *find(struct files *f, const char *path)
{
    size_t number = (uintptr_t) map_get(&f->by_path, hash_of(path));
    return number ? &f->entries[number - 1] : NULL;
}

/* by_path: the number of an entry, from 1 on, by the hash of its path. */
static void index_entry(struct files *f, size_t i)
{
    map_put(&f->by_path, hash_of(f->entries[i].path), (void *) (i + 1)); // NOLINT: a number, not an address
}

static bool same(const struct entry *entry, const struct stat *st)
{
    return entry->changed.tv_sec == st->st_mtim.tv_sec && entry->changed.tv_nsec == st->st_mtim.tv_nsec &&
           entry->size == st->st_size && entry->inode == st->st_ino;
}

static void look_at(struct scheduler *s, const char *path)
{
    struct files *f = s->files;
    struct stat st = {0};
    struct entry *entry = find(f, path);
    if (entry && entry->present)
        return; /* named twice */
    if (!entry) {
        f->entries = xgrow(f->entries, &f->room, f->count + 1, sizeof *f->entries);
        entry = &f->entries[f->count++];
        *entry = (struct entry){.path = xstrdup(path), .size = -1};
        index_entry(f, f->count - 1);
    }
    entry->present = true;
    if (stat(path, &st) == 0 && same(entry, &st))
        return;
    entry->changed = st.st_mtim;
    entry->size = st.st_size;
    entry->inode = st.st_ino;
    load(s, entry);
}

/* ---- watching ---- */

static void watch_tree(const struct files *f, const char *path, int depth)
{
    DIR *dir = depth > DEPTH_MAX ? NULL : opendir(path);
    struct dirent *item;
    if (!dir)
        return;
    if (inotify_add_watch(f->fd, path, EVENTS) < 0 && errno == ENOSPC)
        logger_put(LEVEL_WARN, "inotify",
                   "the system watches no more folders (sysctl fs.inotify.max_user_watches): changes here count after a restart",
                   "folder=%s", path);
    while ((item = readdir(dir)) != NULL) {
        if (item->d_name[0] == '.' || (item->d_type != DT_DIR && item->d_type != DT_LNK && item->d_type != DT_UNKNOWN))
            continue;
        char *below = xasprintf("%s/%s", path, item->d_name);
        watch_tree(f, below, depth + 1);
        free(below);
    }
    closedir(dir);
}

/* A folder with all below it; for a file, or what is not there yet, the nearest folder above. */
static void watch(const struct files *f, const char *path)
{
    struct stat st;
    char *above = xstrdup(path);
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
        watch_tree(f, path, 0);
        free(above);
        return;
    }
    for (;;) {
        char *slash = strrchr(above, '/');
        if (slash && slash != above)
            *slash = 0;
        const char *folder = slash == above ? "/" : slash ? above : ".";
        if (inotify_add_watch(f->fd, folder, EVENTS) >= 0 || !slash || slash == above)
            break;
    }
    free(above);
}

/* ---- all of them ---- */

static void keep_below(struct files *f, const char *root)
{
    size_t len = strlen(root);
    for (size_t i = 0; i < f->count; i++)
        if (strncmp(f->entries[i].path, root, len) == 0 && (f->entries[i].path[len] == '/' || root[len - 1] == '/'))
            f->entries[i].present = true;
}

static void read_root(struct scheduler *s, const char *root)
{
    struct files *f = s->files;
    struct ls_error err = {0};
    char **paths = NULL;
    watch(f, root);
    if (workflow_folder(root, &paths, &err)) {
        bool gone = access(root, F_OK) != 0;
        json_array_append_new(f->problems, problem(root, "file-unreadable", err.text,
                                                   gone ? "make the folder, or name another in the option `workflows`"
                                                        : "until it can be read, the workflows that were read from it go on"));
        logger_put(LEVEL_WARN, "workflows", err.text, "path=%s kept=%s", root, gone ? "nothing" : "what was read before");
        if (!gone)
            keep_below(f, root);
        return;
    }
    for (char **path = paths; *path; path++)
        look_at(s, *path);
    workflow_paths_free(&paths);
}

static void drop_absent(struct files *f)
{
    size_t kept = 0;
    for (size_t i = 0; i < f->count; i++) {
        if (f->entries[i].present)
            f->entries[kept++] = f->entries[i];
        else
            entry_free(&f->entries[i]);
    }
    f->count = kept;
    map_fini(&f->by_path);
    for (size_t i = 0; i < kept; i++)
        index_entry(f, i);
}

static void read_all(struct scheduler *s)
{
    struct files *f = s->files;
    json_array_clear(f->problems);
    for (size_t i = 0; i < f->count; i++)
        f->entries[i].present = false;
    if (!s->options->workflows.count)
        read_root(s, FOLDER);
    for (size_t i = 0; i < s->options->workflows.count; i++)
        read_root(s, s->options->workflows.items[i]);
    drop_absent(f);
}

/* A file that was broken when this process started: what the database has of it goes on. */
static void revive(struct scheduler *s, struct entry *entry)
{
    struct ls_error err = {0};
    char *hash = store_hash_at(&s->engine, entry->path);
    entry->good = hash ? definition_require(&s->engine, hash, &err) : NULL;
    if (entry->good)
        definition_use(entry->good);
    if (entry->good)
        logger_put(LEVEL_INFO, "workflow-kept", "its file has mistakes: the version of the database goes on", "file=%s",
                   entry->path);
    free(hash);
}

static bool is_taken(struct files *f, const struct definition *other, const struct entry *entry)
{
    if (!other)
        return false;
    char *text = xasprintf("the workflow \"%s\" is in %s already: that one counts", other->workflow->id, other->file->path);
    json_array_append_new(f->problems, problem(entry->path, "key-duplicate", text, "give it another `id`"));
    logger_put(LEVEL_WARN, "workflow-twice", text, "file=%s", entry->path);
    free(text);
    return true;
}

void files_tell(struct scheduler *s)
{
    struct files *f = s->files;
    struct definition **chosen = xcalloc(f->count + 1, sizeof *chosen);
    struct map by_id = {0}; /* hash of the id -> its definition */
    size_t count = 0;
    for (size_t i = 0; i < f->count; i++) {
        struct entry *entry = &f->entries[i];
        if (!entry->good && entry->broken)
            revive(s, entry);
        uint64_t id = entry->good ? hash_of(entry->good->workflow->id) : 0;
        if (entry->good && !is_taken(f, map_get(&by_id, id), entry))
            map_put(&by_id, id, chosen[count++] = entry->good);
    }
    map_fini(&by_id);
    engine_definitions(&s->engine, chosen, count);
    json_t *problems = files_problems(s);
    *node_metric(s->node, METRIC_PROBLEMS) = (int64_t) json_array_size(problems);
    json_decref(problems);
    free(chosen);
}

static void on_quiet(void *self, struct timer *timer)
{
    struct scheduler *s = self;
    (void) timer;
    read_all(s);
    scheduler_files_changed(s);
}

static void on_change(void *arg, int fd, uint32_t events)
{
    struct scheduler *s = arg;
    char bytes[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
    (void) events;
    while (read(fd, bytes, sizeof bytes) > 0) {
    }
    node_timer_set(s->node, &s->files->quiet, QUIET_MS);
}

void files_open(struct scheduler *s)
{
    struct files *f = s->files = xcalloc(1, sizeof *f);
    f->problems = json_array();
    f->quiet.fire = on_quiet;
    f->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (f->fd >= 0)
        node_watch(s->node, f->fd, EPOLLIN, on_change, s);
    else
        logger_put(LEVEL_WARN, "inotify", "workflow files are not watched: changes count after a restart", "why=%s",
                   strerror(errno));
    read_all(s);
}

void files_close(struct scheduler *s)
{
    struct files *f = s->files;
    if (!f)
        return;
    for (size_t i = 0; i < f->count; i++)
        entry_free(&f->entries[i]);
    free(f->entries);
    map_fini(&f->by_path);
    json_decref(f->problems);
    if (f->fd >= 0) {
        node_unwatch(s->node, f->fd);
        close(f->fd);
    }
    node_timer_unset(s->node, &f->quiet);
    free(f);
    s->files = NULL;
}
