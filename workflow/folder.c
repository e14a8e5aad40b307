/* SPDX-License-Identifier: Apache-2.0 */
/* The workflow files below a folder. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/error.h"
#include "lib/xmem.h"
#include "workflow/workflow.h"

#define FILES_MAX 10000
#define DEPTH_MAX 16

struct list {
    char **paths;
    size_t count, room;
};

static int walk(struct list *list, const char *folder, int depth, struct ls_error *err);

static void add(struct list *list, char *path)
{
    list->paths = xgrow(list->paths, &list->room, list->count + 2, sizeof(*list->paths));
    list->paths[list->count++] = path;
    list->paths[list->count] = NULL;
}

static bool is_yaml(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot && (!strcmp(dot, ".yaml") || !strcmp(dot, ".yml"));
}

/* A link to a file counts as the file (so a mounted set of files is made up of links); a link to a folder is not
 * followed: it may lead in a circle. */
static int visit(struct list *list, char *path, const char *name, int depth, struct ls_error *err)
{
    struct stat info;
    int result = 0;
    if (!lstat(path, &info) && S_ISDIR(info.st_mode))
        result = walk(list, path, depth + 1, err);
    else if (is_yaml(name) &&
             (stat(path, &info) || S_ISREG(info.st_mode))) { /* one that cannot be read is reported when it is loaded */
        if (list->count == FILES_MAX)
            result = error_set(err, "SYSTEM", "there are more than %d workflow files", FILES_MAX);
        else {
            add(list, path);
            return 0;
        }
    }
    free(path);
    return result;
}

static int walk(struct list *list, const char *folder, int depth, struct ls_error *err)
{
    if (depth > DEPTH_MAX)
        return error_set(err, "SYSTEM", "the folder %.300s lies deeper than %d levels", folder, DEPTH_MAX);
    DIR *dir = opendir(folder);
    if (!dir)
        return error_set(err, "SYSTEM", "the folder %.300s cannot be read: %s", folder, strerror(errno));
    int result = 0;
    const struct dirent *entry;
    while (!result && (entry = readdir(dir)))
        if (*entry->d_name != '.')
            result =
                visit(list, xasprintf("%s%s%s", folder, folder[strlen(folder) - 1] == '/' ? "" : "/", entry->d_name),
                      entry->d_name, depth, err);
    closedir(dir);
    return result;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *) a, *(char *const *) b);
}

int workflow_folder(const char *path, char ***paths, struct ls_error *err)
{
    struct list list = {xcalloc(1, sizeof *list.paths), 0, 1};
    struct stat info;
    int result = 0;
    *paths = NULL;
    if (!*path || stat(path, &info))
        result = error_set(err, "SYSTEM", "%.300s cannot be read: %s", *path ? path : "\"\"",
                           *path ? strerror(errno) : "the name is empty");
    else if (S_ISDIR(info.st_mode))
        result = walk(&list, path, 1, err);
    else
        add(&list, xstrdup(path));
    if (result) {
        workflow_paths_free(&list.paths);
        return -1;
    }
    if (list.count)
        qsort(list.paths, list.count, sizeof(*list.paths), by_text);
    *paths = list.paths;
    return 0;
}

void workflow_paths_free(char ***paths)
{
    for (size_t i = 0; *paths && (*paths)[i]; i++)
        free((*paths)[i]);
    free(*paths);
    *paths = NULL;
}
