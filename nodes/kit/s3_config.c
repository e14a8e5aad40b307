/* SPDX-License-Identifier: Apache-2.0 */
/* From options, environment and credentials file to: which host, which bucket, which keys. */
#include "nodes/kit/s3_config.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "lib/error.h"
#include "lib/uri.h"
#include "lib/xmem.h"

#define REGION "us-east-1"
#define PARALLEL 4
#define PART_BYTES_MIN (5 << 20) /* what S3 takes at least, but for the last part */
#define PART_BYTES_MAX (5ll << 30)

/* The first of the environment's variables that is set and not empty; NULL. */
static const char *environment(const char *const *names)
{
    for (; *names; names++) {
        const char *value = getenv(*names);
        if (value && *value)
            return value;
    }
    return NULL;
}

static char *copy(const char *text)
{
    return text && *text ? xstrdup(text) : NULL;
}

/* ---- the bucket ---- */

static bool bucket_is_good(const char *name, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char) name[i]) && !strchr(".-_", name[i]))
            return false;
    return len >= 3 && len <= 63;
}

int s3_config_check(const char *url, struct ls_error *err)
{
    const char *bucket = url + strlen("s3://"), *slash = strchr(bucket, '/');
    size_t len = slash ? (size_t) (slash - bucket) : strlen(bucket);
    if (!bucket_is_good(bucket, len))
        return error_set(err, "BAD_VALUE",
                         "\"%.200s\" names no bucket: write s3://BUCKET or s3://BUCKET/PREFIX; a bucket's "
                         "name has 3 to 63 letters, digits, dots and hyphens",
                         url);
    if (!slash || !slash[1])
        return 0;
    char *prefix = xstrdup(slash + 1);
    size_t end = strlen(prefix);
    if (prefix[end - 1] == '/')
        prefix[end - 1] = 0;
    int result = objstore_key_check(prefix, err);
    if (result < 0)
        error_wrap(err, "the prefix of \"%.200s\"", url);
    free(prefix);
    return result;
}

static void read_place(struct s3_config *c, const char *url)
{
    const char *bucket = url + strlen("s3://"), *slash = strchr(bucket, '/');
    c->bucket = slash ? xstrndup(bucket, (size_t) (slash - bucket)) : xstrdup(bucket);
    const char *prefix = slash ? slash + 1 : "";
    size_t len = strlen(prefix);
    c->prefix = xasprintf("%s%s", prefix, len && prefix[len - 1] != '/' ? "/" : "");
}

/* ---- the endpoint ---- */

static bool is_amazon(const char *endpoint)
{
    const char *host = strstr(endpoint, "://") + 3;
    size_t len = strcspn(host, ":/");
    static const char *const THEIRS[] = {".amazonaws.com", ".amazonaws.com.cn"};
    for (size_t i = 0; i < 2; i++) {
        size_t tail = strlen(THEIRS[i]);
        if (len > tail && strncasecmp(host + len - tail, THEIRS[i], tail) == 0)
            return true;
    }
    return false;
}

/* base and host, from endpoint and region. */
static void settle(struct s3_config *c)
{
    if (c->from_region) {
        free(c->endpoint);
        c->endpoint = xasprintf("https://s3.%s.amazonaws.com%s", c->region, strncmp(c->region, "cn-", 3) ? "" : ".cn");
    }
    c->tls = strncasecmp(c->endpoint, "https:", 6) == 0;
    const char *host = strstr(c->endpoint, "://") + 3, *port = strrchr(host, ':');
    if (port && strchr(port, ']'))
        port = NULL; /* of an IPv6 address */
    size_t len = port && strcmp(port, c->tls ? ":443" : ":80") == 0 ? (size_t) (port - host) : strlen(host);
    free(c->host);
    free(c->base);
    c->host = xasprintf("%s%s%.*s", c->virtual_host ? c->bucket : "", c->virtual_host ? "." : "", (int) len, host);
    c->base = xasprintf("%s://%s", c->tls ? "https" : "http", c->host);
}

static int read_endpoint(struct s3_config *c, const char *given, struct ls_error *err)
{
    static const char *const NAMES[] = {"AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "MLFLOW_S3_ENDPOINT_URL", NULL};
    const char *value = given && *given ? given : environment(NAMES);
    if (!value) {
        c->from_region = true;
        c->endpoint = xasprintf("https://s3.%s.amazonaws.com", c->region);
        return 0;
    }
    size_t scheme = strncasecmp(value, "http://", 7) == 0 ? 7 : strncasecmp(value, "https://", 8) == 0 ? 8 : 0;
    size_t host = scheme ? strcspn(value + scheme, "/") : 0;
    if (!host || strcspn(value, "?#@ \t\r\n") != strlen(value) || strlen(value) > scheme + host + 1)
        return error_set(err, "BAD_VALUE",
                         "the S3 endpoint \"%.200s\" is none: write http://HOST:PORT or https://HOST, without a path",
                         value);
    c->endpoint = xstrndup(value, scheme + host);
    return 0;
}

/* Dots in a bucket's name do not fit Amazon's certificate (*.s3.REGION.amazonaws.com). */
static int read_addressing(struct s3_config *c, const char *how, struct ls_error *err)
{
    if (!how || !*how || strcmp(how, "auto") == 0)
        c->virtual_host = is_amazon(c->endpoint) && !strpbrk(c->bucket, "._");
    else if (strcmp(how, "virtual") == 0)
        c->virtual_host = true;
    else if (strcmp(how, "path") != 0)
        return error_set(err, "BAD_VALUE", "addressing \"%.40s\" is none of: auto, path, virtual", how);
    return 0;
}

/* ---- credentials ---- */

/* The value of a line "name = value"; NULL if it is another. */
static const char *ini_value(char *line, const char *name)
{
    size_t len = strlen(name);
    if (strncmp(line, name, len) != 0)
        return NULL;
    char *c = line + len + strspn(line + len, " \t");
    if (*c != '=')
        return NULL;
    c++;
    return c + strspn(c, " \t");
}

static void take(char **field, const char *value)
{
    if (!value)
        return;
    free(*field);
    *field = xstrdup(value);
}

static void read_profile(struct s3_config *c, FILE *file, const char *profile)
{
    char *line = NULL, *head = xasprintf("[%s]", profile);
    size_t room = 0;
    bool inside = false;
    for (ssize_t len; (len = getline(&line, &room, file)) >= 0;) {
        while (len && isspace((unsigned char) line[len - 1]))
            line[--len] = 0;
        char *text = line + strspn(line, " \t");
        if (*text == '[')
            inside = strcmp(text, head) == 0;
        if (!inside)
            continue;
        take(&c->access_key, ini_value(text, "aws_access_key_id"));
        take(&c->secret_key, ini_value(text, "aws_secret_access_key"));
        take(&c->session_token, ini_value(text, "aws_session_token"));
    }
    free(line);
    free(head);
}

static int read_credentials_file(struct s3_config *c, struct ls_error *err)
{
    const char *profile = environment((const char *const[]){"AWS_PROFILE", NULL});
    const char *named = environment((const char *const[]){"AWS_SHARED_CREDENTIALS_FILE", NULL});
    const char *home = environment((const char *const[]){"HOME", NULL});
    char *path = named ? xstrdup(named) : xasprintf("%s/.aws/credentials", home ? home : "");
    FILE *file = fopen(path, "re");
    char *why = file ? NULL : xstrdup(strerror(errno));
    if (file) {
        read_profile(c, file, profile ? profile : "default");
        fclose(file);
    }
    int result = 0;
    if (!c->access_key || !c->secret_key)
        result = error_set(
            err, "BAD_VALUE",
            "no credentials for S3: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or write them to the profile "
            "[%s] of %s (%s)",
            profile ? profile : "default", path,
            why ? why : "it has no aws_access_key_id and aws_secret_access_key there");
    free(why);
    free(path);
    return result;
}

/* All from one place: a token of the environment does not belong to keys of the options. */
static int read_credentials(struct s3_config *c, const struct objstore_options *o, struct ls_error *err)
{
    const char *access = getenv("AWS_ACCESS_KEY_ID"), *secret = getenv("AWS_SECRET_ACCESS_KEY");
    bool given = o->access_key && *o->access_key, exported = access && *access;
    if (!given && !exported)
        return read_credentials_file(c, err);
    c->access_key = xstrdup(given ? o->access_key : access);
    c->secret_key = copy(given ? o->secret_key : secret);
    c->session_token = copy(given ? o->session_token : getenv("AWS_SESSION_TOKEN"));
    if (!c->secret_key)
        return error_set(err, "BAD_VALUE", "an access key for S3 (\"%.40s\") without its secret: set %s", c->access_key,
                         given ? "secret_key too" : "AWS_SECRET_ACCESS_KEY too");
    return 0;
}

/* ---- the whole ---- */

static int read_sizes(struct s3_config *c, const struct objstore_options *o, struct ls_error *err)
{
    if (o->part_bytes && (o->part_bytes < PART_BYTES_MIN || o->part_bytes > PART_BYTES_MAX))
        return error_set(err, "BAD_VALUE", "part_bytes is %lld: S3 takes parts of 5 MiB (5242880) to 5 GiB",
                         (long long) o->part_bytes);
    if (o->parallel < 0 || o->parallel > 64)
        return error_set(err, "BAD_VALUE", "parallel is %d: write 1 to 64", o->parallel);
    c->part_bytes = o->part_bytes;
    c->parallel = o->parallel ? o->parallel : PARALLEL;
    return 0;
}

/* What stands in a header line or a URL must not end it. */
static int check_texts(const struct s3_config *c, struct ls_error *err)
{
    const char *const texts[] = {c->region, c->access_key, c->session_token, c->encryption};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        for (const char *t = texts[i]; t && *t; t++)
            if (iscntrl((unsigned char) *t) || *t == ' ')
                return error_set(err, "BAD_VALUE",
                                 "region, access key, session token and encryption of S3 hold no blanks or control "
                                 "characters; look for a stray line end");
    if (strlen(c->region) > 64 || strcspn(c->region, "/:@") != strlen(c->region))
        return error_set(err, "BAD_VALUE", "\"%.80s\" is no S3 region", c->region);
    return 0;
}

int s3_config_load(struct s3_config *config, const struct objstore_options *o, struct ls_error *err)
{
    static const char *const REGIONS[] = {"AWS_REGION", "AWS_DEFAULT_REGION", NULL};
    const char *region = o->region && *o->region ? o->region : environment(REGIONS);
    *config = (struct s3_config){.create_bucket = o->create_bucket};
    if (s3_config_check(o->url, err) < 0)
        return -1;
    read_place(config, o->url);
    config->region = xstrdup(region ? region : REGION);
    config->ca_file = copy(o->ca_file);
    config->encryption = copy(o->encryption);
    if (read_endpoint(config, o->endpoint, err) < 0 || read_addressing(config, o->addressing, err) < 0 ||
        read_sizes(config, o, err) < 0 || read_credentials(config, o, err) < 0 || check_texts(config, err) < 0) {
        s3_config_fini(config);
        return -1;
    }
    settle(config);
    return 0;
}

void s3_config_fini(struct s3_config *c)
{
    char *const texts[] = {c->bucket,        c->prefix,  c->endpoint,   c->region, c->access_key, c->secret_key,
                           c->session_token, c->ca_file, c->encryption, c->base,   c->host};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        free(texts[i]);
    *c = (struct s3_config){0};
}

void s3_config_set_region(struct s3_config *config, const char *region)
{
    free(config->region);
    config->region = xstrdup(region);
    settle(config);
}

char *s3_config_path(const struct s3_config *config, const char *key)
{
    char *plain = key ? xasprintf("/%s%s%s%s", config->virtual_host ? "" : config->bucket,
                                  config->virtual_host ? "" : "/", config->prefix, key)
                      : xasprintf("/%s", config->virtual_host ? "" : config->bucket);
    char *encoded = uri_encoded(plain, "/");
    free(plain);
    return encoded;
}
