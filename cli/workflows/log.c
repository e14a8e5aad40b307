/* SPDX-License-Identifier: Apache-2.0 */
/* Logs of tasks: where one is, HOST:PATH, and how it ends when it is a file of this machine; and the verb `log`, which asks the
 * runner that has it (docs/nodes/runner.md, "Logs"). */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/info.h"
#include "cli/workflows/workflow.h"
#include "lib/xmem.h"

#define FOLLOW_EVERY_MS 300
#define TAIL_LINES 5
#define TAIL_BYTES (8 << 10) /* what is looked at */

/* The path when the host is this machine, else NULL. */
static const char *path_here(const char *log)
{
    char host[256] = "";
    if (gethostname(host, sizeof host - 1))
        return NULL;
    size_t len = strlen(host);
    return len && strncmp(log, host, len) == 0 && log[len] == ':' && log[len + 1] == '/' ? log + len + 1 : NULL;
}

/* The file's last bytes; 0: it cannot be read, or is no plain file. */
static size_t read_end(const char *path, char bytes[TAIL_BYTES])
{
    struct stat about;
    ssize_t got = -1;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    if (fstat(fd, &about) == 0 && S_ISREG(about.st_mode))
        got = pread(fd, bytes, TAIL_BYTES, about.st_size > TAIL_BYTES ? about.st_size - TAIL_BYTES : 0);
    close(fd);
    return got > 0 ? (size_t) got : 0;
}

static void print_end_of(const char *path)
{
    char bytes[TAIL_BYTES];
    size_t len = read_end(path, bytes), lines = 0, at;
    while (len && (bytes[len - 1] == '\n' || bytes[len - 1] == '\r'))
        len--;
    for (at = len; at > 0; at--)
        if (bytes[at - 1] == '\n' && ++lines == TAIL_LINES)
            break;
    while (at < len) {
        struct buf line = {0};
        const char *stop = memchr(bytes + at, '\n', len - at);
        size_t end = stop ? (size_t) (stop - bytes) : len, text = end;
        while (text > at && bytes[text - 1] == '\r')
            text--;
        buf_addf(&line, "| ");
        buf_add(&line, bytes + at, text - at);
        info_put("", line.data, line.len);
        buf_fini(&line);
        at = end + 1;
    }
}

void workflow_print_log(const json_t *task)
{
    const char *log = view_text(task, "log"), *path = path_here(log), *state = view_text(task, "state");
    info_put("log", path ? path : log, strlen(path ? path : log));
    if (path && (strcmp(state, "failed") == 0 || strcmp(state, "up_for_retry") == 0))
        print_end_of(path);
}

/* ---- lineshaft workflow log ---- */

/* Lines as they stand for a program; for a terminal without what would control it. */
static void print_text(const char *text, size_t len)
{
    bool bare = !isatty(STDOUT_FILENO);
    for (const char *end = text + len; text < end;) {
        struct buf line = {0};
        const char *newline = memchr(text, '\n', (size_t) (end - text)), *stop = newline ? newline : end;
        if (bare)
            buf_add(&line, text, (size_t) (stop - text));
        else
            render_harmless(&line, text, (size_t) (stop - text));
        if (newline)
            buf_add_byte(&line, '\n');
        render_put(&line, stdout);
        buf_fini(&line);
        text = newline ? newline + 1 : end;
    }
    fflush(stdout);
}

/* The try that is meant: the last, or that of attempt c->count. Borrowed; NULL after a message. */
static const json_t *choose_try(struct workflow_command *c, const json_t *task)
{
    const json_t *tries = json_object_get(task, "tries"), *try, *found = NULL;
    size_t i;
    c->status = CLI_FAILED;
    if (strcmp(view_text(task, "type"), "command") != 0) {
        fprintf(stderr, "lineshaft workflow: \"%s\" runs no command (its type is %s), so that it has no log: "
                        "`lineshaft workflow explain %s %s` tells what it did\n",
                c->second, view_text(task, "type"), c->workflow, c->second);
        return NULL;
    }
    json_array_foreach(tries, i, try) if (!c->attempt || view_number(try, "attempt") == (int64_t) c->attempt) found = try;
    if (found && *view_text(found, "runner"))
        return found;
    if (found)
        fprintf(stderr, "lineshaft workflow: no runner has taken this try of \"%s\" yet\n", c->second);
    else if (c->attempt)
        fprintf(stderr, "lineshaft workflow: \"%s\" had no attempt %llu in this run; it has had %zu\n", c->second,
                (unsigned long long) c->attempt, json_array_size(tries));
    else
        fprintf(stderr, "lineshaft workflow: \"%s\" has had no try in this run: `lineshaft workflow explain %s %s` says why\n",
                c->second, c->workflow, c->second);
    return NULL;
}

static json_t *ask_piece(struct workflow_command *c, const json_t *try, int64_t from, struct ls_error *err)
{
    char *topic = xasprintf("task.log.%s", view_text(try, "runner"));
    json_t *body = json_pack("{s:s, s:I}", "try", view_text(try, "try"), "from", (json_int_t) from);
    if (*view_text(try, "log"))
        json_object_set(body, "log", json_object_get(try, "log"));
    json_t *piece = workflow_try(c, topic, body, err);
    free(topic);
    return piece;
}

/* Its runner is not there now; the file may be. */
static int read_here(struct workflow_command *c, const json_t *try, const struct ls_error *err)
{
    const char *log = view_text(try, "log"), *path = path_here(log);
    char bytes[TAIL_BYTES];
    int fd = path ? open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC) : -1;
    if (fd < 0) {
        fprintf(stderr, "lineshaft workflow: the log is at the runner %s, which does not answer: %s%s%s\n", view_text(try, "runner"),
                err->text, *log ? "; its place: " : "", log);
        return c->status = CLI_FAILED;
    }
    for (ssize_t got; (got = read(fd, bytes, sizeof bytes)) > 0;)
        print_text(bytes, (size_t) got);
    close(fd);
    return CLI_OK;
}

int workflow_log(struct workflow_command *c)
{
    json_t *body = workflow_which(c, NULL);
    json_object_set_new(body, "task", json_string(c->second));
    json_auto_t *task = workflow_ask(c, "scheduler.explain", body);
    const json_t *try = task ? choose_try(c, task) : NULL;
    for (int64_t from = 0; try;) {
        struct ls_error err = {0};
        json_auto_t *piece = ask_piece(c, try, from, &err);
        if (!piece && strcmp(err.name, "NO_RESPONDER") == 0 && from == 0)
            return read_here(c, try, &err);
        if (!piece) {
            c->status = bus_failed(c->bus.command, &err);
            return c->status;
        }
        const json_t *text = json_object_get(piece, "text");
        print_text(json_string_value(text), json_string_length(text));
        int64_t next = view_number(piece, "next");
        bool all = next >= view_number(piece, "size"), ended = json_is_true(json_object_get(piece, "ended"));
        if (ended || (all && !c->follow))
            return CLI_OK;
        if (all && next == from)
            ls_client_step(c->bus.client, FOLLOW_EVERY_MS, NULL);
        from = next;
    }
    return c->status;
}
