/* SPDX-License-Identifier: Apache-2.0 */
/* nodes/kit/objstore at the command line, for tests:
 *
 *   objstore_peer URL COMMAND [KEY] [FILE] [NAME=VALUE...]
 *   put KEY FILE, get KEY FILE, stat KEY, list PREFIX, delete KEY, abandon KEY JOURNAL
 *
 * Names: of the store region, addressing, encryption, create_bucket, part_bytes, parallel, ca_file; of a put journal, replace,
 * type, sha256; of a get offset, length, pause; of a list recursive, after, max; die_at=N: SIGKILL as soon as the journal has N
 * lines. One line of JSON for each thing that happened. Exit status 1 if the operation failed. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/logger.h"
#include "nodes/kit/objstore.h"

static char **words;
static struct objstore *store;
static struct objstore_op *op;
static FILE *out;
static bool over, failed, paused;

static const char *option(const char *name, const char *fallback)
{
    size_t len = strlen(name);
    for (char **w = words; *w; w++)
        if (strncmp(*w, name, len) == 0 && (*w)[len] == '=')
            return *w + len + 1;
    return fallback;
}

static int64_t number(const char *name, int64_t fallback)
{
    const char *text = option(name, NULL);
    return text ? strtoll(text, NULL, 10) : fallback;
}

static void say(json_t *line)
{
    char *text = json_dumps(line, JSON_COMPACT | JSON_ENSURE_ASCII);
    printf("%s\n", text);
    free(text);
    json_decref(line);
}

static json_t *object_json(const char *what, const struct objstore_object *o)
{
    return json_pack("{s:s, s:s, s:I, s:s, s:s, s:s, s:s, s:I}", "what", what, "key", o->key, "size",
                     (json_int_t) o->size, "sha256", o->sha256, "etag", o->etag, "version", o->version_id, "type",
                     o->content_type, "modified_ms", (json_int_t) o->modified_ms);
}

static void end(const struct ls_error *err)
{
    over = true;
    failed = err != NULL;
    op = NULL;
    if (err)
        say(json_pack("{s:s, s:s, s:s, s:b}", "what", "error", "name", err->name, "text", err->text, "again",
                      err->again));
}

/* ---- put ---- */

static long journal_lines(void)
{
    const char *path = option("journal", NULL);
    FILE *file = path ? fopen(path, "re") : NULL;
    long lines = 0;
    for (int c; file && (c = getc(file)) != EOF;)
        lines += c == '\n';
    if (file)
        fclose(file);
    return lines;
}

/* After each look of the store at its sockets: tells the journal's new lines, and dies where it was told to. */
static void watch_journal(void)
{
    static long told;
    long lines = journal_lines();
    if (lines > told)
        say(json_pack("{s:s, s:I}", "what", "journal", "lines", (json_int_t) lines));
    told = lines;
    fflush(stdout);
    if (number("die_at", 0) && lines >= number("die_at", 0))
        raise(SIGKILL);
}

static void on_progress(void *arg, uint64_t bytes)
{
    (void) arg;
    say(json_pack("{s:s, s:I}", "what", "progress", "bytes", (json_int_t) bytes));
}

static void on_put(void *arg, const struct objstore_object *object, bool already_there, const struct ls_error *err)
{
    (void) arg;
    if (object) {
        char *uri = objstore_uri(store, object->key);
        json_t *line = object_json("stored", object);
        json_object_set_new(line, "already_there", json_boolean(already_there));
        json_object_set_new(line, "uri", json_string(uri));
        say(line);
        free(uri);
    }
    end(err);
}

static void hash_file(const char *path, char hex[65])
{
    static uint8_t bytes[1 << 20];
    uint8_t digest[EVP_MAX_MD_SIZE];
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    EVP_DigestInit_ex(ctx, EVP_sha256(), NULL);
    for (ssize_t got; fd >= 0 && (got = read(fd, bytes, sizeof bytes)) > 0;)
        EVP_DigestUpdate(ctx, bytes, (size_t) got);
    EVP_DigestFinal_ex(ctx, digest, NULL);
    EVP_MD_CTX_free(ctx);
    if (fd >= 0)
        close(fd);
    for (int i = 0; i < 32; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
}

static void put(const char *key, const char *file, struct ls_error *err)
{
    struct stat st = {0};
    struct objstore_put p = {.key = key,
                             .file = file,
                             .content_type = option("type", NULL),
                             .replace = number("replace", 0) != 0,
                             .journal = option("journal", NULL),
                             .progress = on_progress,
                             .end = on_put};
    stat(file, &st);
    p.size = (uint64_t) st.st_size;
    hash_file(file, p.sha256);
    if (option("sha256", NULL))
        snprintf(p.sha256, sizeof p.sha256, "%s", option("sha256", ""));
    op = objstore_put(store, &p, err);
}

/* ---- get ---- */

static void on_found(void *arg, const struct objstore_object *object)
{
    (void) arg;
    say(object_json("found", object));
}

static void on_data(void *arg, struct ls_slice bytes)
{
    (void) arg;
    fwrite(bytes.data, 1, bytes.len, out);
    if (number("pause", 0)) {
        objstore_pause(op);
        paused = true;
    }
}

static void on_end(void *arg, const struct ls_error *err)
{
    (void) arg;
    end(err);
}

static void get(const char *key, const char *file, int64_t length, struct ls_error *err)
{
    struct objstore_get g = {.key = key,
                             .offset = (uint64_t) number("offset", 0),
                             .length = length,
                             .found = on_found,
                             .data = on_data,
                             .end = on_end};
    out = file ? fopen(file, "we") : NULL;
    op = objstore_get(store, &g, err);
}

/* ---- list, delete ---- */

static void on_entry(void *arg, const char *key, const struct objstore_object *object)
{
    (void) arg;
    say(object ? object_json("entry", object) : json_pack("{s:s, s:s}", "what", "folder", "key", key));
}

static void on_listed(void *arg, bool more, const struct ls_error *err)
{
    (void) arg;
    say(json_pack("{s:s, s:b}", "what", "listed", "more", more));
    end(err);
}

static void list(const char *prefix, struct ls_error *err)
{
    struct objstore_list l = {.prefix = prefix,
                              .recursive = number("recursive", 0) != 0,
                              .after = option("after", NULL),
                              .max = (size_t) number("max", 0),
                              .entry = on_entry,
                              .end = on_listed};
    op = objstore_list(store, &l, err);
}

/* ---- the loop ---- */

static void run(void)
{
    int64_t due = objstore_due(store), now = clock_mono_ms();
    struct pollfd polled = {objstore_fd(store), POLLIN, 0};
    poll(&polled, 1, due == INT64_MAX ? 1000 : due <= now ? 0 : due - now > 1000 ? 1000 : (int) (due - now));
    objstore_run(store);
    watch_journal();
    if (paused && op) {
        paused = false;
        objstore_resume(op);
    }
}

static void say_memory(void)
{
    char line[256];
    FILE *file = fopen("/proc/self/status", "re");
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, "VmHWM:", 6) == 0)
            say(json_pack("{s:s, s:I}", "what", "memory", "kb", (json_int_t) strtoll(line + 6, NULL, 10)));
    if (file)
        fclose(file);
}

static int open_store(const char *url, struct ls_error *err)
{
    struct objstore_options o = {.url = url,
                                 .region = option("region", NULL),
                                 .addressing = option("addressing", NULL),
                                 .encryption = option("encryption", NULL),
                                 .ca_file = option("ca_file", NULL),
                                 .create_bucket = number("create_bucket", 0) != 0,
                                 .part_bytes = number("part_bytes", 0),
                                 .parallel = (int) number("parallel", 0)};
    store = objstore_open(&o, err);
    return store ? 0 : -1;
}

static void begin(const char *command, char **args, struct ls_error *err)
{
    if (!strcmp(command, "put"))
        put(args[0], args[1], err);
    else if (!strcmp(command, "get"))
        get(args[0], args[1], number("length", -1), err);
    else if (!strcmp(command, "stat"))
        get(args[0], NULL, 0, err);
    else if (!strcmp(command, "list"))
        list(args[0], err);
    else if (!strcmp(command, "delete"))
        op = objstore_delete(store, args[0], on_end, NULL, err);
}

int main(int argc, char **argv)
{
    struct ls_error err = {0};
    logger_init("objstore_peer", LEVEL_INFO);
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc < 4)
        return 2;
    words = argv + 3;
    if (open_store(argv[1], &err) < 0) {
        end(&err);
        return 1;
    }
    if (!strcmp(argv[2], "abandon")) {
        objstore_abandon(store, argv[3], argv[4]);
        while (access(argv[4], F_OK) == 0)
            run();
    } else {
        begin(argv[2], argv + 3, &err);
        if (!op)
            end(&err);
        while (!over)
            run();
    }
    if (!strcmp(argv[2], "put"))
        say(json_pack("{s:s, s:i}", "what", "conditional", "is", objstore_conditional(store)));
    objstore_close(&store);
    if (out)
        fclose(out);
    say_memory();
    return failed;
}
