/* SPDX-License-Identifier: Apache-2.0 */
/* What a command is started with: from the body of task.queued to the arrays that posix_spawn takes. */
#include "nodes/runner/plan.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/error.h"
#include "lib/xmem.h"

#define PATH_DEFAULT "/usr/local/bin:/usr/bin:/bin"

struct words {
    char **items;
    size_t count, room;
};

static void add(struct words *words, char *word)
{
    words->items = xgrow(words->items, &words->room, words->count + 1, sizeof *words->items);
    words->items[words->count++] = word;
}

static void words_fini(struct words *words)
{
    for (size_t i = 0; i < words->count; i++)
        free(words->items[i]);
    free(words->items);
}

/* ---- the environment ---- */

static size_t name_len(const char *entry)
{
    return strcspn(entry, "=");
}

static bool same_name(const char *a, const char *b)
{
    size_t len = name_len(a);
    return len == name_len(b) && memcmp(a, b, len) == 0;
}

static void set(struct words *env, char *entry)
{
    for (size_t i = 0; i < env->count; i++)
        if (same_name(env->items[i], entry)) {
            free(env->items[i]);
            env->items[i] = entry;
            return;
        }
    add(env, entry);
}

static const char *get(const struct words *env, const char *name)
{
    for (size_t i = 0; i < env->count; i++)
        if (same_name(env->items[i], name))
            return env->items[i] + name_len(env->items[i]) + 1;
    return NULL;
}

static bool is_unset(const struct plan_place *place, const char *entry)
{
    for (const char *const *name = place->unset; name && *name; name++)
        if (same_name(entry, *name))
            return true;
    return false;
}

static int set_of_task(struct words *env, const json_t *map, struct ls_error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *) (uintptr_t) map, key, value)
    {
        if (!*key || strchr(key, '='))
            return error_set(err, "START", "\"%.80s\" in env is no name of a variable", key);
        if (json_is_string(value)) {
            set(env, xasprintf("%s=%s", key, json_string_value(value)));
        } else {
            char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
            set(env, xasprintf("%s=%s", key, text ? text : ""));
            free(text);
        }
    }
    return 0;
}

static int make_environment(struct words *env, const json_t *task, const struct plan_place *place, struct ls_error *err)
{
    for (char **entry = environ; *entry; entry++)
        if (!is_unset(place, *entry))
            add(env, xstrdup(*entry));
    for (size_t i = 0; place->env && i < place->env->count; i++)
        set(env, xasprintf("%s=%s", place->env->keys[i], place->env->values[i]));
    if (set_of_task(env, json_object_get(task, "env"), err))
        return -1;
    for (const char *const *entry = place->variables; entry && *entry; entry++)
        set(env, xstrdup(*entry));
    const char *path = get(env, "PATH");
    set(env, xasprintf("PATH=%s%s%s", place->path_first ? place->path_first : "", place->path_first ? ":" : "",
                       path ? path : PATH_DEFAULT));
    return 0;
}

/* ---- the program ---- */

static int make_arguments(struct words *arguments, const json_t *task, struct ls_error *err)
{
    const json_t *command = json_object_get(task, "command"), *word;
    size_t i;
    if (json_is_string(command)) {
        add(arguments, xstrdup("/bin/sh"));
        add(arguments, xstrdup("-c"));
        add(arguments, xstrdup(json_string_value(command)));
        return 0;
    }
    json_array_foreach(command, i, word)
    {
        if (!json_is_string(word))
            return error_set(err, "START", "item %zu of the command is no text", i + 1);
        add(arguments, xstrdup(json_string_value(word)));
    }
    if (!arguments->count || !arguments->items[0][0])
        return error_set(err, "START", "the task has no command");
    return 0;
}

static bool is_program(const char *directory, const char *path)
{
    struct stat about;
    char *whole = *path == '/' || !*directory ? xstrdup(path) : xasprintf("%s/%s", directory, path);
    bool is = stat(whole, &about) == 0 && S_ISREG(about.st_mode) && access(whole, X_OK) == 0;
    free(whole);
    return is;
}

/* The program's path, the caller's: a name without a slash is looked for in the PATH of the command, as a shell does. */
static char *find_program(const char *name, const char *directory, const char *path, struct ls_error *err)
{
    if (strchr(name, '/'))
        return xstrdup(name);
    for (const char *at = path, *end; at; at = *end ? end + 1 : NULL) {
        end = at + strcspn(at, ":");
        char *found = end == at ? xasprintf("./%s", name) : xasprintf("%.*s/%s", (int) (end - at), at, name);
        if (is_program(directory, found))
            return found;
        free(found);
    }
    error_set(err, "START", "there is no command \"%.120s\" in PATH=%.300s", name, path);
    return NULL;
}

static void put_words(struct buf *plan, const struct words *words)
{
    for (size_t i = 0; i < words->count; i++)
        buf_add(plan, words->items[i], strlen(words->items[i]) + 1);
}

int plan_make(struct buf *plan, const json_t *task, const struct plan_place *place, struct ls_error *err)
{
    struct words arguments = {0}, env = {0};
    const char *directory = json_string_value(json_object_get(task, "directory"));
    char *program = NULL;
    directory = directory ? directory : "";
    if (make_arguments(&arguments, task, err) == 0 && make_environment(&env, task, place, err) == 0)
        program = find_program(arguments.items[0], directory, get(&env, "PATH"), err);
    if (program) {
        const uint32_t counts[] = {(uint32_t) arguments.count, (uint32_t) env.count};
        buf_add(plan, counts, sizeof counts);
        buf_add(plan, program, strlen(program) + 1);
        buf_add(plan, directory, strlen(directory) + 1);
        put_words(plan, &arguments);
        put_words(plan, &env);
    }
    words_fini(&arguments);
    words_fini(&env);
    bool made = program != NULL;
    free(program);
    return made ? 0 : -1;
}

/* ---- in the keeper ---- */

static char *next_word(char **at, const char *end)
{
    char *word = *at, *nul = memchr(word, '\0', (size_t) (end - word));
    *at = nul ? nul + 1 : word;
    return nul ? word : NULL;
}

static bool read_words(char **at, const char *end, uint32_t count, char **words)
{
    for (uint32_t i = 0; i < count; i++) {
        words[i] = next_word(at, end);
        if (!words[i])
            return false;
    }
    return true;
}

int plan_load(struct plan *plan, int fd)
{
    struct stat about;
    uint32_t counts[2];
    *plan = (struct plan){0};
    if (fstat(fd, &about) || (size_t) about.st_size <= sizeof counts)
        return errno = EINVAL, -1;
    plan->memory = mmap(NULL, (size_t) about.st_size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    if (plan->memory == MAP_FAILED)
        return plan->memory = NULL, -1;
    plan->size = (size_t) about.st_size;
    memcpy(counts, plan->memory, sizeof counts);
    char *at = (char *) plan->memory + sizeof counts;
    const char *end = (char *) plan->memory + plan->size;
    if ((uint64_t) counts[0] + counts[1] > plan->size)
        return plan_unload(plan), errno = EINVAL, -1;
    plan->arguments = xcalloc((size_t) counts[0] + counts[1] + 2, sizeof *plan->arguments);
    plan->environment = plan->arguments + counts[0] + 1;
    plan->program = next_word(&at, end);
    plan->directory = next_word(&at, end);
    if (plan->program && plan->directory && read_words(&at, end, counts[0], plan->arguments) &&
        read_words(&at, end, counts[1], plan->environment))
        return 0;
    plan_unload(plan);
    return errno = EINVAL, -1;
}

void plan_unload(struct plan *plan)
{
    if (plan->memory)
        munmap(plan->memory, plan->size);
    free(plan->arguments);
    *plan = (struct plan){0};
}
