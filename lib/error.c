/* SPDX-License-Identifier: Apache-2.0 */
/* The error table and the two functions that fill an error. */
#include "lib/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lib/utf8.h"

const struct error_kind ERROR_KINDS[] = {
    {"BAD_FRAME", 400, false, "The message does not have the form that the protocol asks for."},
    {"BAD_TOPIC", 400, false, "The topic is not lower-case words joined by dots, or is too long."},
    {"BAD_VALUE", 400, false, "A header key has a value of the wrong type or out of range."},
    {"NO_SESSION", 401, false, "The broker does not know this connection: send HELLO, then SUB again."},
    {"DENIED", 403, false, "This client may not do that."},
    {"NO_STREAM", 404, false, "There is no stream of that name."},
    {"NO_CONSUMER", 404, false, "There is no consumer of that name."},
    {"NO_REQUEST", 404, false, "There is no open request with that rid."},
    {"NOT_FOUND", 404, false, "There is nothing under that name or number."},
    {"BAD_VERB", 405, false, "The broker does not know this verb."},
    {"CONFLICT", 409, false, "The name is in use with other settings."},
    {"TRIMMED", 410, false, "The event was removed by retention; `first` is the oldest that is left."},
    {"TOO_BIG", 413, false, "A frame, header, body, batch or part is over the limit."},
    {"SCHEMA", 422, false, "The body does not fit the topic's schema; `path` says where."},
    {"BUSY", 429, true, "A memory account is full; try again after `retry_ms`."},
    {"QUOTA", 429, false, "A limit on subscriptions, consumers or open requests is reached."},
    {"STALE", 498, false, "The lease on this delivery has ended."},
    {"CANCELLED", 499, false, "The request was cancelled."},
    {"BUG", 500, false, "The broker failed in a way that it should not; its log says how."},
    {"STORAGE", 503, true, "The disk refused a write; nothing was acknowledged."},
    {"NO_RESPONDER", 503, true, "Nobody serves this topic now."},
    {"WORKER_LOST", 503, false, "The worker went away after its first part."},
    {"DRAINING", 503, true, "The broker is stopping."},
    {"TIMEOUT", 504, true, "The deadline passed before the answer was complete."},
    {"DISK_FULL", 507, true, "There is no room on the disk for more events."},
    /* Raised by the client library and the tools, never by the broker. */
    {"FAILED", 500, false, "The worker says that it failed."},
    {"UNREACHABLE", 0, true, "The broker does not answer."},
    {"USAGE", 0, false, "The call itself is wrong."},
    {"SYSTEM", 0, false, "The operating system refused."},
    {"CORRUPT", 0, false, "A file does not hold what it should."},
    {"CONFIG", 0, false, "The configuration is wrong."},
    {NULL, 0, false, NULL},
};

const struct error_kind *error_kind_find(const char *name)
{
    for (const struct error_kind *kind = ERROR_KINDS; kind->name; kind++)
        if (!strcmp(kind->name, name))
            return kind;
    return NULL;
}

/* A name that was cut ("%.200s") may end in half a letter; JSON takes no such text. */
static void drop_malformed(char *text)
{
    uint32_t code;
    size_t len = strlen(text), size;
    char *out = text;
    for (size_t at = 0; at < len; at += size ? size : 1) {
        size = utf8_next((const uint8_t *) text + at, len - at, &code);
        memmove(out, text + at, size);
        out += size;
    }
    *out = '\0';
}

int error_set(struct ls_error *err, const char *name, const char *format, ...)
{
    if (!err)
        return -1;
    const struct error_kind *kind = error_kind_find(name);
    *err = (struct ls_error){.number = kind ? kind->number : 500, .again = kind && kind->again};
    snprintf(err->name, sizeof err->name, "%s", name);
    va_list args;
    va_start(args, format);
    vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    drop_malformed(err->text);
    return -1;
}

int error_wrap(struct ls_error *err, const char *format, ...)
{
    if (!err)
        return -1;
    char old[sizeof err->text];
    memcpy(old, err->text, sizeof old);
    va_list args;
    va_start(args, format);
    int len = vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    if (len >= 0 && (size_t) len + sizeof ": " <= sizeof err->text) {
        char *at = stpcpy(err->text + len, ": ");
        size_t room = sizeof err->text - 1 - (size_t) (at - err->text), rest = strnlen(old, room);
        memcpy(at, old, rest);
        at[rest] = '\0';
    }
    drop_malformed(err->text);
    return -1;
}
