/* SPDX-License-Identifier: Apache-2.0 */
/* Where W&B is and who we are there: options of the node, else the environment variables that W&B's users know, else ~/.netrc. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/error.h"
#include "lib/xmem.h"
#include "nodes/wandb/wandb.h"

#define NETRC_BYTES_MAX (1u << 20)
#define BLANKS " \t\r\n"

static const char *first_of(const char *option, const char *variable)
{
    const char *text = option && *option ? option : getenv(variable);
    return text && *text ? text : NULL;
}

static char *copy(const char *text)
{
    return text ? xstrdup(text) : NULL;
}

/* ---- netrc ---- */

static char *host_of(const char *url)
{
    const char *host = strstr(url, "://");
    host = host ? host + 3 : url;
    return xstrndup(host, strcspn(host, ":/"));
}

static bool has_value(const char *word)
{
    return strcmp(word, "machine") == 0 || strcmp(word, "login") == 0 || strcmp(word, "account") == 0 ||
           strcmp(word, "password") == 0;
}

/* machine HOST login NAME password KEY, in any order behind `machine`, over several lines. The caller's to free. */
static char *netrc_password(char *text, const char *host)
{
    char *rest = NULL, *word = strtok_r(text, BLANKS, &rest);
    bool here = false;
    while (word) {
        char *value = has_value(word) ? strtok_r(NULL, BLANKS, &rest) : NULL;
        if (strcmp(word, "machine") == 0 || strcmp(word, "default") == 0)
            here = value && strcmp(value, host) == 0;
        else if (here && value && strcmp(word, "password") == 0)
            return xstrdup(value);
        word = strtok_r(NULL, BLANKS, &rest);
    }
    return NULL;
}

static char *key_from_netrc(const char *base_url)
{
    const char *home = getenv("HOME"), *named = getenv("NETRC");
    char *path = named ? xstrdup(named) : home ? xasprintf("%s/.netrc", home) : NULL;
    FILE *file = path ? fopen(path, "re") : NULL;
    char *key = NULL;
    free(path);
    if (!file)
        return NULL;
    char *text = xcalloc(1, NETRC_BYTES_MAX + 1), *host = host_of(base_url);
    if (fread(text, 1, NETRC_BYTES_MAX, file) > 0)
        key = netrc_password(text, host);
    fclose(file);
    free(text);
    free(host);
    return key;
}

/* ---- all ---- */

static bool has_password(const char *url)
{
    const char *host = strstr(url, "://");
    host = host ? host + 3 : url;
    return memchr(host, '@', strcspn(host, "/")) != NULL;
}

static int mode_by_environment(const struct settings *settings, enum wandb_mode *mode, struct ls_error *err)
{
    const char *said = getenv("WANDB_MODE");
    if (!said || !*said)
        *mode = settings->key ? WANDB_ONLINE : WANDB_OFFLINE;
    else if (strcmp(said, "online") == 0 || strcmp(said, "run") == 0)
        *mode = WANDB_ONLINE;
    else if (strcmp(said, "offline") == 0 || strcmp(said, "dryrun") == 0)
        *mode = WANDB_OFFLINE;
    else if (strcmp(said, "disabled") == 0)
        *mode = WANDB_DISABLED;
    else
        return error_set(err, "CONFIG", "WANDB_MODE is \"%.40s\": it may be online, offline or disabled", said);
    return 0;
}

int settings_read(struct settings *settings, const struct wandb_options *options, struct ls_error *err)
{
    const char *base = first_of(options->base_url, "WANDB_BASE_URL"),
               *key = first_of(options->api_key, "WANDB_API_KEY");
    const char *project = first_of(options->project, "WANDB_PROJECT");
    settings->base_url = xstrdup(base ? base : "https://api.wandb.ai");
    for (size_t len = strlen(settings->base_url); len && settings->base_url[len - 1] == '/'; len--)
        settings->base_url[len - 1] = '\0';
    if (has_password(settings->base_url)) /* which logs and events would show */
        return error_set(
            err, "CONFIG",
            "the address of W&B's server has a user or password in it: leave out what stands before the @");
    settings->key = key ? xstrdup(key) : key_from_netrc(settings->base_url);
    settings->entity = copy(first_of(options->entity, "WANDB_ENTITY"));
    settings->project = project ? name_project(project) : NULL;
    settings->mode = (enum wandb_mode) options->mode;
    if (settings->mode == WANDB_AUTO && mode_by_environment(settings, &settings->mode, err))
        return -1;
    if (settings->mode == WANDB_ONLINE && !settings->key)
        return error_set(
            err, "CONFIG",
            "there is no API key for %s: set api_key or WANDB_API_KEY, or say `mode: offline` (then `wandb sync` sends "
            "the files later)",
            settings->base_url);
    if (options->pull.count && settings->mode != WANDB_ONLINE)
        return error_set(err, "CONFIG",
                         "metrics are to be pulled, but the mode is not online: leave out pull, or give an API key");
    if (options->pull.count && !options->pull_project && !settings->project)
        return error_set(err, "CONFIG", "pull needs to know the project: set pull_project");
    return 0;
}

void settings_free(struct settings *settings)
{
    free(settings->base_url);
    free(settings->key);
    free(settings->entity);
    free(settings->project);
}
