/* SPDX-License-Identifier: Apache-2.0 */
/* Which files a run has: those in a folder of this machine are looked up, those in the store are asked of the `artifacts` node. Bytes
 * are no business of the tracker. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/error.h"
#include "lib/xmem.h"
#include "nodes/tracker/api.h"

#define FILES_MAX 100000
#define STORE_PAGE 1000 /* of the list that the artifacts node gives at a time */
#define STORE_MAX 10000 /* then comes a page token */

/* ---- a folder ---- */

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

static json_t *answer_folder(const char *root, const char *folder, const char *path)
{
    char *place = xasprintf("%s/%s", folder, path);
    json_t *files = list_folder(place, path), *answer = json_pack("{s:s}", "root_uri", root);
    put(answer, "files", json_array_size(files) ? json_incref(files) : NULL);
    json_decref(files);
    free(place);
    return answer;
}

/* ---- the store ---- */

/* The key that a URI mlflow-artifacts:/KEY names, or mlflow-artifacts://HOST/KEY, with a slash at its end: the caller's. NULL: it is
 * another URI. What is escaped in the URI is so on the way to the store as well (HTTP), and plain in the key. */
static char *key_of(const char *uri)
{
    if (strncmp(uri, "mlflow-artifacts:", 17) != 0)
        return NULL;
    uri += 17;
    if (strncmp(uri, "//", 2) == 0)
        uri += 2 + strcspn(uri + 2, "/");
    uri += strspn(uri, "/");
    json_auto_t *plain = ask_unescaped(uri, strlen(uri), false);
    const char *key = plain ? json_string_value(plain) : uri;
    size_t len = strlen(key);
    return xasprintf("%s%s", key, len && key[len - 1] != '/' ? "/" : "");
}

static json_t *on_listed(struct op_call *call, json_t *had, const json_t *reply, const struct ls_error *failed,
                         struct ls_error *err);

static void ask_store(struct op_call *call, const json_t *had, const char *after)
{
    json_t *body = json_pack("{s:O,s:b,s:i}", "prefix", json_object_get(had, "prefix"), "recursive", false, "max",
                             STORE_PAGE);
    put(body, "after", after ? json_string(after) : NULL);
    call->ask = (struct op_ask){.topic = "artifacts.list", .body = body, .answer = on_listed};
}

/* `key` as a path below the run's root; folders end with a slash there. */
static void add_file(json_t *had, const char *key, const json_t *size)
{
    const char *base = json_string_value(json_object_get(had, "base"));
    size_t len = strlen(base), end = key ? strlen(key) : 0;
    if (end <= len || strncmp(key, base, len) != 0)
        return;
    bool folder = key[end - 1] == '/';
    json_t *entry = json_pack("{s:s%,s:b}", "path", key + len, end - len - folder, "is_dir", folder);
    if (!folder)
        put(entry, "file_size", json_is_integer(size) ? json_copy((json_t *) (uintptr_t) size) : json_integer(0));
    json_array_append_new(json_object_get(had, "files"), entry);
}

static int by_entry(const void *a, const void *b)
{
    return strcmp(json_string_value(json_object_get(*(json_t *const *) a, "path")),
                  json_string_value(json_object_get(*(json_t *const *) b, "path")));
}

static json_t *sorted(const json_t *files)
{
    size_t count = json_array_size(files), i;
    json_t **items = xcalloc(count + 1, sizeof *items), *list = json_array(), *item;
    json_array_foreach(files, i, item) items[i] = item;
    qsort(items, count, sizeof *items, by_entry);
    for (i = 0; i < count; i++)
        json_array_append(list, items[i]);
    free(items);
    return list;
}

static json_t *refuse(struct op_call *call, const struct ls_error *why, struct ls_error *err)
{
    if (strcmp(why->name, "NO_RESPONDER") == 0)
        return op_fail(call, err, "TEMPORARILY_UNAVAILABLE",
                       "The run's files are in the artifact store, and no `artifacts` node serves here now");
    if (why->number >= 400 && why->number < 500 && !why->again && strcmp(why->name, "FAILED") == 0)
        return op_fail(call, err, INVALID, "The `artifacts` node refuses to list the run's files: %s", why->text);
    return op_fail(call, err, "TEMPORARILY_UNAVAILABLE", "The `artifacts` node does not list the run's files now: %s", why->text);
}

/* A page came: MLflow's clients and its UI do not ask for the next one, so up to STORE_MAX files are gathered. */
static json_t *on_listed(struct op_call *call, json_t *had, const json_t *reply, const struct ls_error *failed,
                         struct ls_error *err)
{
    const json_t *item;
    size_t i;
    if (failed)
        return refuse(call, failed, err);
    json_array_foreach(json_object_get(reply, "folders"), i, item) add_file(had, json_string_value(item), NULL);
    json_array_foreach(json_object_get(reply, "objects"), i, item)
        add_file(had, json_string_value(json_object_get(item, "path")), json_object_get(item, "size"));
    const char *next = json_string_value(json_object_get(reply, "next"));
    const json_t *files = json_object_get(had, "files");
    if (next && json_array_size(files) < STORE_MAX) {
        ask_store(call, had, next);
        return json_incref(had);
    }
    json_t *answer = json_pack("{s:O}", "root_uri", json_object_get(had, "root"));
    put(answer, "files", json_array_size(files) ? sorted(files) : NULL);
    put(answer, "next_page_token", next ? json_string(next) : NULL);
    return answer;
}

static json_t *answer_store(struct op_call *call, const char *root, const char *base, const char *path,
                            const char *token)
{
    size_t len = strlen(path);
    while (len && path[len - 1] == '/')
        len--;
    json_t *had = json_pack("{s:s,s:s,s:o,s:[]}", "root", root, "base", base, "prefix",
                            json_sprintf("%s%.*s%s", base, (int) len, path, len ? "/" : ""), "files");
    ask_store(call, had, token);
    return had;
}

/* ---- the op ---- */

json_t *op_artifacts_list(struct op_call *call, struct ls_error *err)
{
    const char *run = run_id(call, err), *path = ask_text(call, call->request, "path", err);
    const char *token = ask_text(call, call->request, "page_token", err);
    char *root = NULL;
    path = path ? path : "";
    if (!check_path(path))
        op_fail(call, err, INVALID, "Invalid path: it must be relative to the run's artifacts, without '..'");
    if (run &&
        !texts_ask(call, QUESTION("SELECT artifact_uri FROM runs WHERE run_uuid = $1", db_text(run)), &root, 1, err))
        op_fail(call, err, ABSENT, "Run with id=%.100s not found", run);
    const char *folder = root ? folder_of(root) : NULL;
    char *base = root ? key_of(root) : NULL;
    if (!folder && !base)
        op_fail(call, err, "NOT_IMPLEMENTED",
                "The run's artifacts are at %.200s; the tracker can list those of folders and of the artifact store alone",
                root ? root : "no known place");
    json_t *answer = NULL;
    if (!refused(call))
        answer = base ? answer_store(call, root, base, path, token) : answer_folder(root, folder, path);
    free(root);
    free(base);
    return answer;
}
