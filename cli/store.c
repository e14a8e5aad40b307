/* SPDX-License-Identifier: Apache-2.0 */
/* Running lineshaft-artifact for commands that keep a model in the store. */
#include "cli/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/up/launch.h"
#include "lib/buf.h"
#include "lib/xmem.h"

#define ANSWER_MAX 65536 /* one line about one object */

bool store_has(const char *uri)
{
    return strncmp(uri, "mlflow-artifacts:", 17) == 0;
}

static int failed(const struct store_call *call, const char *what, int code)
{
    fprintf(stderr, "lineshaft %s: cannot %s: %s\n", call->command->name, what, strerror(code));
    return CLI_FAILED;
}

static void read_all(int fd, struct buf *text)
{
    char piece[4096];
    ssize_t got;
    while ((got = read(fd, piece, sizeof piece)) > 0 || (got < 0 && errno == EINTR))
        if (got > 0 && text->len < ANSWER_MAX)
            buf_add(text, piece, (size_t) got);
}

/* Starts it with its standard output in *out. 0, or the exit status. */
static int start(const struct store_call *call, char **arguments, pid_t *pid, int *out)
{
    int ends[2];
    posix_spawn_file_actions_t actions;
    char *program = launch_beside(STORE_PROGRAM);
    int code = pipe2(ends, O_CLOEXEC) < 0 ? errno : 0;
    if (code) {
        free(program);
        return failed(call, "make a pipe", code);
    }
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    code = posix_spawn(pid, program, &actions, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    *out = ends[0];
    if (code) {
        fprintf(stderr, STORE_MISSING, call->command->name, program, strerror(code));
        close(ends[0]);
    }
    free(program);
    return code ? CLI_FAILED : CLI_OK;
}

/* Runs it to its end; its messages have gone to standard error. */
static int run_program(const struct store_call *call, char **arguments, json_t **object)
{
    pid_t pid;
    int out, ended = 0;
    struct buf text = {0};
    int status = start(call, arguments, &pid, &out);
    if (status != CLI_OK)
        return status;
    read_all(out, &text);
    close(out);
    while (waitpid(pid, &ended, 0) < 0 && errno == EINTR)
        continue;
    status = WIFEXITED(ended) ? WEXITSTATUS(ended) : CLI_FAILED;
    *object = status == CLI_OK ? json_loadb((const char *) text.data, text.len, 0, NULL) : NULL;
    buf_fini(&text);
    if (status == CLI_OK && !*object) {
        fprintf(stderr, "lineshaft %s: " STORE_PROGRAM " said nothing about what it did\n", call->command->name);
        return CLI_FAILED;
    }
    return status;
}

static int run_verb(const struct store_call *call, const char *const *words, json_t **object)
{
    char timeout[40];
    const char *arguments[20] = {STORE_PROGRAM, "--json", "--url", call->broker->url};
    size_t count = 4;
    if (call->broker->timeout_ms == call->broker->refused_ms) { /* it was asked for; else bytes have more time than words */
        snprintf(timeout, sizeof timeout, "--timeout=%lldms", (long long) call->broker->timeout_ms);
        arguments[count++] = timeout;
    }
    if (!call->progress)
        arguments[count++] = "--quiet";
    for (; *words; words++)
        arguments[count++] = *words;
    char **copy = launch_texts((char *const *) (uintptr_t) arguments);
    int status = run_program(call, copy, object);
    launch_texts_free(copy);
    return status;
}

int store_put(const struct store_call *call, const char *file, const char *uri, const char *run_id, json_t **object)
{
    const char *const of_run[] = {"put", "--run", run_id, "--", file, uri, NULL};
    const char *const plain[] = {"put", "--", file, uri, NULL};
    int status = run_verb(call, run_id ? of_run : plain, object);
    const char *state = json_string_value(json_object_get(*object, "state"));
    if (status == CLI_OK && state && strcmp(state, "spooled") == 0)
        fprintf(stderr, "lineshaft %s: " STORE_SPOOLED "\n", call->command->name, uri);
    return status;
}

int store_get(const struct store_call *call, const char *uri, const char *file)
{
    const char *const words[] = {"get", "--", uri, file, NULL};
    json_t *object = NULL;
    int status = run_verb(call, words, &object);
    json_decref(object);
    return status;
}

char *store_scratch(const struct cli_command *command)
{
    const char *place = getenv("TMPDIR");
    char *folder = xasprintf("%s/lineshaft-XXXXXX", place && *place ? place : "/tmp");
    if (mkdtemp(folder))
        return folder;
    fprintf(stderr, "lineshaft %s: cannot make a folder %s: %s\n", command->name, folder, strerror(errno));
    free(folder);
    return NULL;
}

void store_scratch_end(char **folder)
{
    DIR *dir = *folder ? opendir(*folder) : NULL;
    for (const struct dirent *entry; dir && (entry = readdir(dir)) != NULL;)
        unlinkat(dirfd(dir), entry->d_name, 0); /* "." and "..", as folders, stay */
    if (dir)
        closedir(dir);
    if (*folder)
        rmdir(*folder);
    free(*folder);
    *folder = NULL;
}
