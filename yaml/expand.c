/* SPDX-License-Identifier: Apache-2.0 */
/* References in scalars, ${env:NAME}, ${env:NAME:-default} and ${file:PATH}, and what scalars mean in plain YAML. */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "lib/file.h"
#include "lib/xmem.h"
#include "yaml/value.h"

static bool is_utf8_text(const void *data, size_t len)
{
    if (memchr(data, 0, len))
        return false;
    json_t *probe = json_stringn(data, len); /* NULL when it is not UTF-8 */
    json_decref(probe);
    return probe != NULL;
}

struct expansion {
    const struct value *v;
    struct diag_list *diags;
    struct buf out;
    bool outside, failed;
};

/* Marks the expansion as failed; the caller says why. */
static struct diag_list *failed(struct expansion *x)
{
    x->failed = true;
    return x->diags;
}

static void expand_env(struct expansion *x, const char *name, const char *fallback)
{
    const char *text = getenv(name);
    if (text && *text) {
        if (strlen(text) > VALUE_REFERENCE_MAX || !is_utf8_text(text, strlen(text))) {
            diag_add(failed(x), DIAG_REFERENCE_BAD, x->v->at,
                     "the environment variable %.80s does not hold a short UTF-8 text", name);
            return;
        }
        x->outside = true;
        buf_add(&x->out, text, strlen(text));
    } else if (fallback) {
        buf_add(&x->out, fallback, strlen(fallback));
    } else {
        struct diag *d = diag_add(failed(x), DIAG_ENV_UNSET, x->v->at,
                                  "the environment variable %.80s is not set, or is empty", name);
        diag_hint(d, "set it, or give a default: ${env:%.80s:-default}", name);
    }
}

static void expand_file(struct expansion *x, const char *path)
{
    struct buf text = {0};
    if (file_load_regular(path, VALUE_REFERENCE_MAX, &text)) {
        const char *why = errno == EFBIG ? "it is larger than 64 KiB" : file_problem(errno);
        struct diag *d = diag_add(failed(x), DIAG_FILE_UNREADABLE, x->v->at, "the file %.200s cannot be read", path);
        diag_hint_path(x->diags, d, path, why);
    } else if (!is_utf8_text(text.data, text.len)) {
        diag_add(failed(x), DIAG_REFERENCE_BAD, x->v->at, "the file %.200s does not hold UTF-8 text", path);
    } else {
        if (text.len && text.data[text.len - 1] == '\n')
            text.len -= 1 + (text.len > 1 && text.data[text.len - 2] == '\r');
        x->outside = true;
        buf_add(&x->out, text.data, text.len);
    }
    buf_fini(&text);
}

static bool is_variable_name(const char *name)
{
    size_t len = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_");
    return len && !name[len] && !(*name >= '0' && *name <= '9');
}

/* One reference without ${ and }: "env:NAME:-default" or "file:PATH". */
static void expand_one(struct expansion *x, char *reference)
{
    char *name = strchr(reference, ':') + 1;
    if (*reference == 'f') {
        if (*name)
            expand_file(x, name);
        else
            diag_add(failed(x), DIAG_REFERENCE_BAD, x->v->at, "${file:} names no file");
        return;
    }
    char *fallback = strstr(name, ":-");
    if (fallback) {
        *fallback = 0;
        fallback += 2;
    }
    if (is_variable_name(name))
        expand_env(x, name, fallback);
    else
        diag_add(failed(x), DIAG_REFERENCE_BAD, x->v->at, "\"%.60s\" is not the name of an environment variable", name);
}

void value_expand(struct pool *pool, struct value *v, struct diag_list *diags)
{
    if (!strstr(v->text, "${env:") && !strstr(v->text, "${file:"))
        return;
    struct expansion x = {.v = v, .diags = diags};
    for (const char *at = v->text; *at && !x.failed;) {
        bool reference = !strncmp(at, "${env:", 6) || !strncmp(at, "${file:", 7);
        if (at[0] == '$' && (!strncmp(at, "$${env:", 7) || !strncmp(at, "$${file:", 8))) {
            buf_add(&x.out, at + 1, 2); /* $${env: stands for a literal ${env: */
            at += 3;
        } else if (!reference) {
            buf_add_byte(&x.out, (uint8_t) *at++);
        } else {
            const char *end = strchr(at, '}');
            if (!end) {
                diag_add(failed(&x), DIAG_REFERENCE_BAD, v->at, "the reference %.60s has no closing }", at);
                break;
            }
            char *inner = xstrndup(at + 2, (size_t) (end - at - 2));
            expand_one(&x, inner);
            free(inner);
            at = end + 1;
        }
        if (x.out.len > 4 * VALUE_REFERENCE_MAX)
            diag_add(failed(&x), DIAG_YAML_TOO_BIG, v->at, "the references in this text make it longer than 256 KiB");
    }
    v->outside = x.outside;
    v->broken = x.failed;
    if (!x.failed)
        v->text = pool_text(pool, buf_text(&x.out), x.out.len);
    buf_fini(&x.out);
}

bool value_is_null(const struct value *v)
{
    return v->type == VALUE_TEXT && v->plain &&
           (!*v->text || !strcmp(v->text, "~") || !strcmp(v->text, "null") || !strcmp(v->text, "Null") ||
            !strcmp(v->text, "NULL"));
}

bool value_bool(const struct value *v, bool *out)
{
    static const char *const WORDS[] = {"true", "True", "TRUE", "false", "False", "FALSE"}; /* YAML 1.2, 10.3.2 */
    size_t i = 0, words = sizeof WORDS / sizeof *WORDS;
    if (v->type != VALUE_TEXT || !v->plain)
        return false;
    while (i < words && strcmp(v->text, WORDS[i]))
        i++;
    *out = i < words / 2;
    return i < words;
}

bool value_int(const struct value *v, long long *out)
{
    if (v->type != VALUE_TEXT)
        return false;
    const char *digits = v->text + (*v->text == '-');
    if (!*digits || digits[strspn(digits, "0123456789")])
        return false;
    errno = 0;
    *out = strtoll(v->text, NULL, 10);
    return !errno;
}

static json_t *scalar_json(const struct value *v, bool mask)
{
    bool truth;
    long long number;
    if (mask && v->outside)
        return json_string("***");
    if (!v->plain)
        return json_string(v->text);
    if (value_is_null(v))
        return json_null();
    if (value_bool(v, &truth))
        return json_boolean(truth);
    if (value_int(v, &number))
        return json_integer(number);
    char *end = NULL;
    double real = strtod(v->text, &end);
    bool numeric = !*end && !v->text[strspn(v->text, "0123456789+-.eE")] && strpbrk(v->text, "0123456789");
    json_t *out = numeric ? json_real(real) : NULL; /* NULL for an infinity */
    return out ? out : json_string(v->text);
}

static json_t *to_json(const struct value *v, bool mask)
{
    if (v->type == VALUE_TEXT)
        return scalar_json(v, mask);
    json_t *out = v->type == VALUE_MAP ? json_object() : json_array();
    for (size_t i = 0; i < v->count; i++) {
        if (v->type == VALUE_MAP)
            json_object_set_new(out, v->keys[i]->text, to_json(v->items[i], mask));
        else
            json_array_append_new(out, to_json(v->items[i], mask));
    }
    return out;
}

void value_json(const struct value *v, bool mask, struct buf *out)
{
    json_t *json = to_json(v, mask);
    char *text = json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY);
    if (text)
        buf_addf(out, "%s", text);
    free(text);
    json_decref(json);
}

const char *value_shown(const struct value *v, bool secret, char out[VALUE_SHOWN_SIZE])
{
    if (v->type != VALUE_TEXT)
        snprintf(out, VALUE_SHOWN_SIZE, "%s", v->type == VALUE_LIST ? "a list" : "a map");
    else if (secret && v->outside)
        snprintf(out, VALUE_SHOWN_SIZE, "***");
    else if (strlen(v->text) > 70)
        snprintf(out, VALUE_SHOWN_SIZE, "\"%.60s...\"", v->text);
    else
        snprintf(out, VALUE_SHOWN_SIZE, "\"%s\"", v->text);
    return out;
}
