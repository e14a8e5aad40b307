/* SPDX-License-Identifier: Apache-2.0 */
/* lineshaft artifact ls and rm: what is in the store, page by page; removing it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/artifact/artifact.h"
#include "cli/render.h"
#include "cli/table.h"
#include "lib/error.h"
#include "lib/uri.h"
#include "lib/xmem.h"

#define PAGE 1000
#define SUM_SHOWN 12 /* digits of a hash in a table */

/* ---- pages ---- */

static char *list_path(const char *prefix, bool recursive, const char *after, unsigned max)
{
    struct buf query = {0};
    buf_addf(&query, "max=%u&recursive=%s&prefix=", max, recursive ? "true" : "false");
    uri_encode(&query, prefix, "/");
    if (after) {
        buf_addf(&query, "&after=");
        uri_encode(&query, after, "");
    }
    char *path = artifact_path(NULL, buf_text(&query));
    buf_fini(&query);
    return path;
}

static int ask_page(struct artifact *a, const char *path, json_t **page, struct ls_error *err)
{
    struct talk talk = {.method = "GET", .path = path, .body_bytes = -1};
    talk_begin(a);
    int result = talk_well(a, &talk, err);
    *page = result == 0 ? json_loadb((const char *) talk.body.data, talk.body.len, 0, NULL) : NULL;
    if (result == 0 && !json_is_array(json_object_get(*page, "objects")))
        result = error_set(err, "FAILED", "the answer of %s is no list of objects", a->door.name);
    buf_fini(&talk.body);
    return result;
}

/* Objects and folders, each in byte order, as one list in that order. */
static bool take_page(const json_t *page, list_fn *fn, void *arg, struct ls_error *err)
{
    const json_t *objects = json_object_get(page, "objects"), *folders = json_object_get(page, "folders");
    for (size_t o = 0, f = 0; o < json_array_size(objects) || f < json_array_size(folders);) {
        json_t *object = json_array_get(objects, o), *folder = json_array_get(folders, f);
        const char *key = json_string_value(json_object_get(object, "path")), *name = json_string_value(folder);
        bool is_folder = folder && (!object || (name && key && strcmp(name, key) < 0));
        json_auto_t *entry = is_folder ? json_pack("{s:O}", "folder", folder) : json_incref(object);
        if (!fn(arg, entry, err))
            return false;
        o += !is_folder;
        f += is_folder;
    }
    return true;
}

int list_each(struct artifact *a, const char *prefix, bool recursive, list_fn *fn, void *arg, struct ls_error *err)
{
    char *after = NULL;
    int result = 0;
    do {
        char *path = list_path(prefix, recursive, after, PAGE);
        json_t *page = NULL;
        result = ask_page(a, path, &page, err);
        if (result == 0 && !take_page(page, fn, arg, err))
            result = -1;
        const char *next = result == 0 ? json_string_value(json_object_get(page, "next")) : NULL;
        if (next && after && strcmp(next, after) == 0)
            result = error_set(err, "FAILED", "the list of %s does not go on behind \"%.200s\"", a->door.name, next);
        free(after);
        after = next && result == 0 ? xstrdup(next) : NULL;
        free(path);
        json_decref(page);
    } while (after);
    return result;
}

bool list_is_folder(struct artifact *a, const char *key)
{
    struct ls_error err = {0};
    json_t *page = NULL;
    char *prefix = xasprintf("%s/", key), *path = list_path(prefix, true, NULL, 1);
    bool found = ask_page(a, path, &page, &err) == 0 && json_array_size(json_object_get(page, "objects"));
    json_decref(page);
    free(path);
    free(prefix);
    return found;
}

/* ---- ls ---- */

struct listing {
    const struct artifact *a;
    struct table table;
    size_t count; /* resolve: so many came */
    char *folder; /* resolve: the first one, if it is a folder */
};

static const char *text_at(const json_t *entry, const char *key)
{
    const char *text = json_string_value(json_object_get(entry, key));
    return text ? text : "";
}

static void add_row(struct table *table, const json_t *entry, const char *name)
{
    char size[RENDER_SHORT_SIZE];
    const json_t *bytes = json_object_get(entry, "size");
    const char *modified = text_at(entry, "modified");
    table_addf(table, "%s", bytes ? render_size((uint64_t) json_integer_value(bytes), size) : "-");
    table_addf(table, "%s", *modified ? modified : "-");
    table_addf(table, "%.*s", SUM_SHOWN, *text_at(entry, "sha256") ? text_at(entry, "sha256") : "-");
    table_add(table, name, strlen(name));
}

static bool show_entry(void *arg, const json_t *entry, struct ls_error *err)
{
    struct listing *l = arg;
    const char *folder = json_string_value(json_object_get(entry, "folder")), *name = folder ? folder : text_at(entry, "path");
    if (l->a->json) {
        artifact_json(json_deep_copy(entry));
    } else if (l->a->details) {
        add_row(&l->table, entry, name);
    } else {
        struct buf line = {0};
        render_harmless(&line, name, strlen(name));
        puts(buf_text(&line));
        buf_fini(&line);
    }
    return !ferror(stdout) || error_set(err, "SYSTEM", "cannot write to standard output") == 0;
}

/* `ls a/b` shows what is in a/b/, when that is the one thing which begins so. */
static bool only_folder(void *arg, const json_t *entry, struct ls_error *err)
{
    struct listing *l = arg;
    const char *folder = json_string_value(json_object_get(entry, "folder"));
    (void) err;
    if (!l->count++ && folder)
        l->folder = xstrdup(folder);
    return l->count == 1;
}

static char *resolve(struct artifact *a, const char *prefix, struct ls_error *err)
{
    size_t len = strlen(prefix);
    struct listing l = {.a = a};
    if (!len || prefix[len - 1] == '/' || a->recursive)
        return xstrdup(prefix);
    if (list_each(a, prefix, false, only_folder, &l, err) < 0 && err->name[0]) {
        free(l.folder);
        return NULL;
    }
    bool only = l.count == 1 && l.folder && strlen(l.folder) == len + 1 && strncmp(l.folder, prefix, len) == 0;
    char *resolved = only ? l.folder : xstrdup(prefix);
    if (!only)
        free(l.folder);
    return resolved;
}

int artifact_ls(struct artifact *a)
{
    static const char *const HEADINGS[] = {">SIZE", "MODIFIED", "SHA-256", "KEY", NULL};
    struct ls_error err = {0};
    struct listing l = {.a = a};
    if (a->count > 1)
        return options_usage(&ARTIFACT, "ls: one PREFIX at a time");
    int status = door_find(&a->door, a->http, &a->broker);
    if (status != CLI_OK)
        return status;
    char *wanted = artifact_key(a->count ? a->names[0] : ""), *prefix = resolve(a, wanted, &err);
    table_init(&l.table, HEADINGS);
    int result = prefix ? list_each(a, prefix, a->recursive, show_entry, &l, &err) : -1;
    if (a->details && !a->json)
        table_print(&l.table, "");
    free(wanted);
    free(prefix);
    return result < 0 ? artifact_failed(&err) : CLI_OK;
}

/* ---- rm ---- */

static int remove_key(struct artifact *a, const char *key, bool *was_there, struct ls_error *err)
{
    char *path = artifact_path(key, a->recursive ? "recursive=true" : NULL);
    struct talk talk = {.method = "DELETE", .path = path, .body_bytes = -1};
    talk_begin(a);
    int result = talk_well(a, &talk, err);
    *was_there = strcmp(talk.deleted, "0") != 0;
    buf_fini(&talk.body);
    free(path);
    return result;
}

static int remove_one(struct artifact *a, const char *name)
{
    struct ls_error err = {0};
    char *key = artifact_key(name);
    bool folder = false, was_there = false;
    for (size_t len = strlen(key); len && key[len - 1] == '/'; len--) {
        key[len - 1] = '\0';
        folder = !a->recursive;
    }
    int result = *key ? 0 : error_set(&err, "BAD_VALUE", "\"%.200s\" is no key: everything is removed at the store itself only", name);
    if (result == 0)
        result = artifact_key_check(key, &err);
    if (result == 0 && !folder)
        result = remove_key(a, key, &was_there, &err);
    if (result == 0 && (folder || (!was_there && !a->recursive && list_is_folder(a, key))))
        result = error_set(&err, "BAD_VALUE", "%.200s: is a folder: -r removes all in it", key);
    if (result == 0 && a->json)
        artifact_json(json_pack("{s:s,s:b,s:b}", "path", key, "deleted", was_there, "recursive", a->recursive));
    else if (result == 0)
        artifact_say(a, "%s%s: %s", key, a->recursive ? "/" : "", was_there ? "removed" : "was not there");
    free(key);
    return result < 0 ? artifact_failed(&err) : CLI_OK;
}

int artifact_rm(struct artifact *a)
{
    if (!a->count)
        return options_usage(&ARTIFACT, "rm: which key?");
    int status = door_find(&a->door, a->http, &a->broker);
    for (size_t i = 0; i < a->count && artifact_goes_on(a, status) && a->door.base; i++) {
        int one = remove_one(a, a->names[i]);
        status = one != CLI_OK ? one : status;
    }
    return status;
}
