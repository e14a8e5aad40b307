/* SPDX-License-Identifier: Apache-2.0 */
/* What may be a name, a key, a value, a place: the limits of MLflow's columns and validators. */
#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "lib/uri.h"
#include "lib/utf8.h"
#include "nodes/tracker/api.h"

/* Bytes of the first `most` characters, and whether that is all. */
static size_t measure(const char *text, size_t most, bool *all)
{
    size_t i = 0, count = 0;
    for (; text[i]; i++) {
        bool begins = ((unsigned char) text[i] & 0xc0) != 0x80;
        if (begins && count++ == most)
            break;
    }
    *all = !text[i];
    return i;
}

void check_length(struct op_call *call, const char *what, const char *text, size_t most, struct ls_error *err)
{
    bool all = true;
    if (text)
        measure(text, most, &all);
    if (!all)
        op_fail(call, err, INVALID, "'%s' is too long: it exceeds the maximum length of %zu characters", what, most);
}

json_t *check_cut(const char *text, size_t most)
{
    bool all;
    return json_stringn(text, measure(text, most, &all));
}

/* ---- keys ---- */

static bool key_characters(const char *key)
{
    for (size_t i = 0, len = strlen(key), size; i < len; i += size) {
        uint32_t code;
        size = utf8_next((const uint8_t *) key + i, len - i, &code);
        if (!size || utf8_is_harmful(code) || (code < 0x80 && !isalnum((int) code) && !strchr("/_.- :", (int) code)))
            return false;
    }
    return true;
}

/* Equal to its own normal form as a path: no empty segment, no ".", no "..". */
static bool is_normal(const char *path)
{
    for (const char *at = path;; at++) {
        size_t len = strcspn(at, "/");
        if (!len || (len == 1 && at[0] == '.') || (len == 2 && at[0] == '.' && at[1] == '.'))
            return len == 1 && !at[1] && at == path; /* "." alone is what it is */
        at += len;
        if (!*at)
            return true;
    }
}

void check_key(struct op_call *call, const char *what, const char *key, struct ls_error *err)
{
    if (!key)
        return;
    if (!key_characters(key))
        op_fail(call, err, INVALID,
                "Invalid %s name: '%.200s'. Names may only contain alphanumerics, underscores (_), dashes (-), periods "
                "(.), "
                "spaces ( ), colon(:) and slashes (/).",
                what, key);
    if (!is_normal(key))
        op_fail(call, err, INVALID,
                "Invalid %s name: '%.200s'. Names may be treated as files in certain cases, and must not resolve to "
                "other names "
                "when treated as such: no leading, trailing or double slash, no '..'",
                what, key);
    check_length(call, "key", key, METRIC_KEY_MAX, err);
}

void check_run_tag(struct op_call *call, const char *key, const char *value, struct ls_error *err)
{
    (void) value;
    check_key(call, "tag", key, err);
}

void check_experiment_tag(struct op_call *call, const char *key, const char *value, struct ls_error *err)
{
    check_key(call, "tag", key, err);
    check_length(call, "value", value, EXPERIMENT_TAG_MAX, err);
}

void check_model_tag(struct op_call *call, const char *key, const char *value, struct ls_error *err)
{
    check_key(call, "tag", key, err);
    check_length(call, "value", value, MODEL_TAG_MAX, err);
}

void check_version_tag(struct op_call *call, const char *key, const char *value, struct ls_error *err)
{
    check_key(call, "tag", key, err);
    check_length(call, "value", value, VERSION_TAG_MAX, err);
}

void check_logged_model_pair(struct op_call *call, const char *key, const char *value, struct ls_error *err)
{
    check_key(call, "parameter or tag", key, err);
    check_length(call, "value", value, TAG_VALUE_MAX, err);
}

/* ---- names ---- */

void check_experiment_name(struct op_call *call, const char *name, struct ls_error *err)
{
    check_length(call, "name", name, 256, err);
}

void check_model_name(struct op_call *call, const char *name, struct ls_error *err)
{
    if (name && strpbrk(name, "/:"))
        op_fail(call, err, INVALID, "Invalid name '%.200s' for a registered model: it must not contain / or :", name);
    check_length(call, "name", name, 256, err);
}

void check_logged_model_name(struct op_call *call, const char *name, struct ls_error *err)
{
    if (name && strpbrk(name, "/:.%\"'"))
        op_fail(call, err, INVALID,
                "Invalid model name (%.200s) provided. Model name must not contain any of / : . %% \" '", name);
    check_length(call, "name", name, 500, err);
}

void check_alias(struct op_call *call, const char *alias, struct ls_error *err)
{
    if (!alias)
        return;
    bool version =
        tolower((unsigned char) alias[0]) == 'v' && alias[1] && alias[1 + strspn(alias + 1, "0123456789")] == '\0';
    bool plain = true;
    for (const char *c = alias; *c; c++)
        plain = plain && (isalnum((unsigned char) *c) || *c == '_' || *c == '-');
    if (!plain)
        op_fail(call, err, INVALID,
                "Invalid alias name: '%.200s'. Names may only contain alphanumerics, underscores (_) and dashes (-).",
                alias);
    if (strcasecmp(alias, "latest") == 0)
        op_fail(call, err, INVALID, "'latest' alias name (case insensitive) is reserved.");
    if (version)
        op_fail(call, err, INVALID, "Version alias name '%.200s' is reserved: a v with digits means a version.", alias);
    check_length(call, "alias", alias, 255, err);
}

/* ---- places ---- */

bool check_path(const char *path)
{
    char text[4096];
    size_t len = strlen(path);
    if (len >= sizeof text)
        return false;
    memcpy(text, path, len + 1);
    for (size_t i = 0, before = 0; i < 10 && before != len; i++) {
        unsigned flaws;
        before = len;
        len = uri_decode(text, len, false, &flaws);
        if (flaws & URI_NUL)
            return false;
    }
    if (text[0] == '/' || strpbrk(text, "\\#"))
        return false;
    for (const char *at = text; *at; at += strspn(at, "/")) {
        size_t segment = strcspn(at, "/");
        if (segment == 2 && at[0] == '.' && at[1] == '.')
            return false;
        at += segment;
    }
    return true;
}

/* The path of a local place: "/a/b", "file:/a/b" and "file:///a/b" are. NULL: it is none. */
static const char *local_path(const char *uri, bool *scheme)
{
    size_t word = strspn(uri, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+.-");
    *scheme = word > 1 && uri[word] == ':';
    if (!*scheme)
        return uri;
    if (strncasecmp(uri, "file:", 5) != 0)
        return NULL;
    uri += 5;
    return strncmp(uri, "//", 2) == 0 ? uri + 2 + strcspn(uri + 2, "/") : uri;
}

static bool inside(const char *path, const char *root)
{
    bool scheme;
    const char *folder = root ? local_path(root, &scheme) : NULL;
    size_t len = folder ? strlen(folder) : 0;
    return len && strncmp(path, folder, len) == 0 && (path[len] == '/' || !path[len]) &&
           check_path(path + len + strspn(path + len, "/"));
}

void check_source(struct op_call *call, const char *source, const char *root, struct ls_error *err)
{
    bool scheme;
    check_length(call, "source", source, 500, err);
    if (refused(call))
        return;
    const char *path = local_path(source, &scheme);
    if (path && !inside(path, root))
        op_fail(
            call, err, INVALID,
            "Invalid model version source: '%.200s'. To use a local path as a model version source, the run_id request "
            "parameter has to be specified and the local path has to be contained within the artifact directory of the "
            "run specified by "
            "the run_id.",
            source);
    if (path)
        return;
    const char *rest = strchr(source, ':') + 1;
    bool authority = strncmp(rest, "//", 2) == 0;
    const char *below = authority ? rest + 2 + strcspn(rest + 2, "/") : rest;
    below += strspn(below, "/");
    if (!*below || !check_path(below))
        op_fail(call, err, INVALID,
                "Invalid model version source: '%.200s'. It must be a URI with a path, and without '..'.", source);
}
