/* SPDX-License-Identifier: Apache-2.0 */
/* Which files a run has, where its artifacts lie in a folder of this machine. Bytes are no business of the tracker. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/xmem.h"
#include "nodes/tracker/api.h"

#define FILES_MAX 100000

static int by_path(const void *a, const void *b)
{
    return strcmp(*(char *const *) a, *(char *const *) b);
}

/* The folder of a file: URI or an absolute path; NULL: it is elsewhere. */
static const char *folder_of(const char *uri)
{
    if (uri[0] == '/')
        return uri;
    if (strncmp(uri, "file:", 5) != 0)
        return NULL;
    uri += 5;
    return strncmp(uri, "//", 2) == 0 ? uri + 2 + strcspn(uri + 2, "/") : uri;
}

static json_t *describe(const char *folder, const char *below, const char *name)
{
    char *file = xasprintf("%s/%s", folder, name);
    struct stat st;
    json_t *entry = NULL;
    if (stat(file, &st) == 0 && (S_ISDIR(st.st_mode) || S_ISREG(st.st_mode))) {
        entry = json_pack("{s:o,s:b}", "path", json_sprintf("%s%s%s", below, *below ? "/" : "", name), "is_dir",
                          S_ISDIR(st.st_mode));
        put(entry, "file_size", S_ISREG(st.st_mode) ? json_integer(st.st_size) : NULL);
    }
    free(file);
    return entry;
}

/* A folder that is not there has no files. */
static json_t *list_folder(const char *folder, const char *below)
{
    json_t *files = json_array();
    char **names = NULL;
    size_t count = 0, room = 0;
    DIR *dir = opendir(folder);
    for (const struct dirent *entry; dir && count < FILES_MAX && (entry = readdir(dir));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        names = xgrow(names, &room, count + 1, sizeof *names);
        names[count++] = xstrdup(entry->d_name);
    }
    if (dir)
        closedir(dir);
    if (count)
        qsort(names, count, sizeof *names, by_path);
    for (size_t i = 0; i < count; i++) {
        json_t *entry = describe(folder, below, names[i]);
        if (entry)
            json_array_append_new(files, entry);
        free(names[i]);
    }
    free(names);
    return files;
}

json_t *op_artifacts_list(struct op_call *call, struct ls_error *err)
{
    const char *run = run_id(call, err), *path = ask_text(call, call->request, "path", err);
    char *root = NULL;
    path = path ? path : "";
    if (!check_path(path))
        op_fail(call, err, INVALID, "Invalid path: it must be relative to the run's artifacts, without '..'");
    if (run &&
        !texts_ask(call, QUESTION("SELECT artifact_uri FROM runs WHERE run_uuid = $1", db_text(run)), &root, 1, err))
        op_fail(call, err, ABSENT, "Run with id=%.100s not found", run);
    const char *folder = root ? folder_of(root) : NULL;
    if (!folder)
        op_fail(call, err, "NOT_IMPLEMENTED",
                "The run's artifacts are at %.200s; the tracker can list those of folders alone",
                root ? root : "no known place");
    json_t *answer = NULL;
    if (!refused(call)) {
        char *place = xasprintf("%s/%s", folder, path);
        json_auto_t *files = list_folder(place, path);
        answer = json_pack("{s:s}", "root_uri", root);
        put(answer, "files", json_array_size(files) ? json_incref(files) : NULL);
        free(place);
    }
    free(root);
    return answer;
}
