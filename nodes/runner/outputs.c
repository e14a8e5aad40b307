/* SPDX-License-Identifier: Apache-2.0 */
/* What a command hands on to the tasks behind it. */
#include "nodes/runner/outputs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/error.h"
#include "lib/file.h"
#include "lib/utf8.h"

#define KEY_BYTES_MAX 200

static int newlines(const char *text, size_t len)
{
    int count = 0;
    for (size_t i = 0; i < len; i++)
        count += text[i] == '\n';
    return count;
}

static int set_line(json_t *outputs, const char *line, size_t len, int number, struct ls_error *err)
{
    const char *equals = memchr(line, '=', len);
    size_t key = equals ? (size_t) (equals - line) : 0;
    if (!key || key > KEY_BYTES_MAX)
        return error_set(err, "OUTPUTS",
                         "line %d of the outputs is neither KEY=VALUE, with a key of 1 to %d bytes, nor a JSON object",
                         number, KEY_BYTES_MAX);
    if (!utf8_valid(line, len) || memchr(line, '\0', len))
        return error_set(err, "OUTPUTS", "line %d of the outputs is no UTF-8 text", number);
    char name[KEY_BYTES_MAX + 1];
    memcpy(name, line, key);
    name[key] = '\0';
    json_t *value = json_loadb(equals + 1, len - key - 1, JSON_DECODE_ANY, NULL);
    if (!value)
        value = json_stringn(equals + 1, len - key - 1);
    json_object_set_new(outputs, name, value);
    return 0;
}

/* A JSON object at `at`: how many bytes it takes, 0 with *err. */
static size_t set_object(json_t *outputs, const char *at, size_t len, int number, struct ls_error *err)
{
    json_error_t why;
    json_t *object = json_loadb(at, len, JSON_DISABLE_EOF_CHECK, &why);
    if (!object) {
        error_set(err, "OUTPUTS", "the JSON object in line %d of the outputs is broken: %s",
                  number + (why.line > 0 ? why.line - 1 : 0), why.text);
        return 0;
    }
    json_object_update(outputs, object);
    json_decref(object);
    return (size_t) why.position;
}

json_t *outputs_parse(const char *text, size_t len, struct ls_error *err)
{
    json_t *outputs = json_object();
    const char *at = text, *end = text + len;
    bool good = true;
    int number = 1;
    while (good && at < end) {
        if (*at == '\n' || *at == '\r' || *at == ' ' || *at == '\t') {
            number += *at++ == '\n';
            continue;
        }
        if (*at == '{') {
            size_t took = set_object(outputs, at, (size_t) (end - at), number, err);
            good = took > 0;
            number += newlines(at, took);
            at += took;
            continue;
        }
        const char *newline = memchr(at, '\n', (size_t) (end - at)), *stop = newline ? newline : end;
        size_t line = (size_t) (stop - at);
        if (line && at[line - 1] == '\r')
            line--;
        good = set_line(outputs, at, line, number, err) == 0;
        at = stop;
    }
    if (good)
        return outputs;
    json_decref(outputs);
    return NULL;
}

json_t *outputs_read(const char *path, struct ls_error *err)
{
    struct buf text = {0};
    json_t *outputs = NULL;
    if (file_load_regular(path, OUTPUTS_BYTES_MAX, &text) == 0) /* whatever the command put there */
        outputs = outputs_parse((const char *) text.data, text.len, err);
    else if (errno == ENOENT)
        outputs = json_object();
    else if (errno == EFBIG)
        error_set(err, "OUTPUTS",
                  "the outputs are larger than %zu bytes: hand on the place of large results, not their bytes",
                  OUTPUTS_BYTES_MAX);
    else
        error_set(err, "OUTPUTS", "cannot read the outputs: %s", file_problem(errno));
    buf_fini(&text);
    return outputs;
}
