/* SPDX-License-Identifier: Apache-2.0 */
/* Old logs go: those older than log_keep, then the oldest until all together are within log_keep_size. */
#include <errno.h>
#include <fts.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/logger.h"
#include "lib/xmem.h"
#include "nodes/runner/runner.h"

struct file {
    char *path;
    int64_t bytes, age_ms;
};

struct files {
    struct file *items;
    size_t count, room;
    int64_t bytes;
};

static bool is_open(const struct runner *r, const char *path)
{
    const struct try *try;
    LIST_FOREACH(try, &r->tries, link)
    if (try->log.path && strcmp(try->log.path, path) == 0)
        return true;
    return false;
}

static void find_files(const struct runner *r, struct files *files)
{
    char *roots[] = {r->logs, NULL};
    int64_t now = clock_wall_us() / 1000;
    FTS *tree = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR | FTS_XDEV, NULL);
    for (FTSENT *e = tree ? fts_read(tree) : NULL; e; e = fts_read(tree)) {
        size_t len = strlen(e->fts_name);
        if (e->fts_info == FTS_DP && e->fts_level > 0)
            rmdir(e->fts_path); /* succeeds if it is empty: left by an earlier sweep */
        if (e->fts_info != FTS_F || len < 4 || strcmp(e->fts_name + len - 4, ".log") != 0 || is_open(r, e->fts_path))
            continue;
        files->items = xgrow(files->items, &files->room, files->count + 1, sizeof *files->items);
        files->items[files->count++] =
            (struct file){xstrdup(e->fts_path), e->fts_statp->st_size, now - (int64_t) e->fts_statp->st_mtime * 1000};
        files->bytes += e->fts_statp->st_size;
    }
    if (tree)
        fts_close(tree);
}

static int oldest_first(const void *a, const void *b)
{
    const struct file *x = a, *y = b;
    return x->age_ms < y->age_ms ? 1 : x->age_ms > y->age_ms ? -1 : strcmp(x->path, y->path);
}

void retain_sweep(struct runner *r)
{
    struct files files = {0};
    size_t removed = 0;
    find_files(r, &files);
    if (files.count)
        qsort(files.items, files.count, sizeof *files.items, oldest_first);
    for (size_t i = 0; i < files.count; i++) {
        struct file *file = &files.items[i];
        if ((file->age_ms > r->options->log_keep || files.bytes > r->options->log_keep_size) &&
            unlink(file->path) == 0) {
            files.bytes -= file->bytes;
            removed++;
        }
        free(file->path);
    }
    free(files.items);
    if (removed)
        logger_put(LEVEL_INFO, "logs-removed", "old logs were removed", "files=%zu bytes_left=%lld", removed,
                   (long long) files.bytes);
}
