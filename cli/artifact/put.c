/* SPDX-License-Identifier: Apache-2.0 */
/* lineshaft artifact put: files, folders and standard input into the store. A file is hashed first, so that the store can refuse what
 * the way has changed; a pipe is hashed while it is sent, and compared with what the answer says. */
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/artifact/artifact.h"
#include "cli/render.h"
#include "cli/store.h"
#include "lib/error.h"
#include "lib/utf8.h"
#include "lib/xmem.h"

#define PIECE_BYTES 262144
#define TYPE_DEFAULT "application/octet-stream"

struct upload {
    struct artifact *a;
    const char *file, *key;
    int fd;
    bool regular, broken; /* broken: `err` says how reading went wrong */
    uint64_t size;        /* regular */
    struct hash *hash;    /* of what is sent, when it is not regular */
    uint8_t sum[HASH_SIZE];
    struct progress progress;
    struct ls_error err;
};

/* ---- reading ---- */

static int read_failed(struct upload *u, const char *why)
{
    u->broken = true;
    return error_set(&u->err, "SYSTEM", "%.200s: %s", u->file, why);
}

/* The sum and the size of a file, as it is now. */
static int hash_file(struct upload *u)
{
    char *piece = xcalloc(1, PIECE_BYTES);
    struct hash *hash = hash_new();
    ssize_t got;
    progress_begin(&u->progress, u->a, "hashing", u->key);
    u->progress.task = false; /* a runner is told one fraction, of the sending */
    u->progress.total = u->size;
    while ((got = read(u->fd, piece, PIECE_BYTES)) > 0 || (got < 0 && errno == EINTR)) {
        if (got < 0)
            continue;
        hash_add(hash, piece, (size_t) got);
        u->progress.done += (uint64_t) got;
        progress_show(&u->progress);
    }
    progress_end(&u->progress);
    u->size = u->progress.done;
    hash_end(&hash, u->sum);
    free(piece);
    if (got < 0)
        return read_failed(u, strerror(errno));
    return lseek(u->fd, 0, SEEK_SET) < 0 ? read_failed(u, strerror(errno)) : 0;
}

static size_t on_read(void *arg, char *out, size_t size)
{
    struct upload *u = arg;
    ssize_t got;
    if (u->regular && size > u->size - u->progress.done)
        size = (size_t) (u->size - u->progress.done);
    do
        got = size ? read(u->fd, out, size) : 0;
    while (got < 0 && errno == EINTR);
    if (got < 0 || (got == 0 && size && u->regular)) {
        read_failed(u, got < 0 ? strerror(errno) : "it became shorter while it was sent");
        return HTTP_CALL_ABORT;
    }
    u->progress.done += (uint64_t) got;
    if (!u->regular)
        hash_add(u->hash, out, (size_t) got);
    progress_show(&u->progress);
    return (size_t) got;
}

static bool on_rewind(void *arg)
{
    struct upload *u = arg;
    u->progress.done = 0;
    return lseek(u->fd, 0, SEEK_SET) == 0;
}

/* ---- the answer ---- */

static int check_answer(struct upload *u, const json_t *object)
{
    char ours[HASH_TEXT_SIZE];
    const char *theirs = json_string_value(json_object_get(object, "sha256"));
    hash_text(u->sum, ours);
    if (!object)
        return error_set(&u->err, "FAILED", "%.200s: the answer of %s is not to be understood", u->key, u->a->door.name);
    if (theirs && strcmp(theirs, ours) != 0)
        return error_set(&u->err, "CORRUPT", "%.200s: the store has a content with the SHA-256 %.64s, but %s was sent; put it again",
                         u->key, theirs, ours);
    return 0;
}

static void show(const struct upload *u, json_t *object, unsigned status)
{
    char size[RENDER_SHORT_SIZE], sum[HASH_TEXT_SIZE];
    hash_text(u->sum, sum);
    json_object_set_new(object, "size", json_integer((json_int_t) u->progress.done));
    json_object_set_new(object, "sha256", json_string(sum));
    if (u->a->json)
        artifact_json(json_incref(object));
    else if (status == 202)
        artifact_say(u->a, STORE_SPOOLED, u->key);
    else
        artifact_say(u->a, "%s: %s, SHA-256 %s%s", u->key, render_size(u->progress.done, size), sum,
                     status == 200 ? "; it was there, or replaced what was" : "");
}

static int send_file(struct upload *u)
{
    char type[300], digest[80], value[64], run[300], why[100];
    char *path = artifact_path(u->key, NULL);
    struct artifact *a = u->a;
    struct talk talk = {.method = "PUT", .path = path, .arg = u, .read = on_read, .rewind = u->regular ? on_rewind : NULL,
                        .body_bytes = u->regular ? (int64_t) u->size : -1};
    size_t count = 0;
    snprintf(type, sizeof type, "Content-Type: %s", a->type ? a->type : TYPE_DEFAULT);
    talk.headers[count++] = type;
    if (u->regular) {
        hash_digest(u->sum, value);
        snprintf(digest, sizeof digest, "Repr-Digest: %s", value);
        talk.headers[count++] = digest;
    }
    if (a->run_id) {
        snprintf(run, sizeof run, "X-Lineshaft-Run: %s", a->run_id);
        talk.headers[count++] = run;
    }
    if (a->no_replace)
        talk.headers[count++] = "If-None-Match: *";
    progress_begin(&u->progress, a, "sending", u->key);
    u->progress.total = u->regular ? u->size : 0;
    struct ls_error err = {0};
    talk_begin(a);
    int result = talk_well(a, &talk, &err);
    progress_end(&u->progress);
    snprintf(why, sizeof why, "%s", err.text);
    if (result < 0 && a->spent)
        error_set(&err, "TIMEOUT", "%.200s: %s; it may be stored all the same, if all of it arrived", u->key, why);
    if (!u->regular)
        hash_end(&u->hash, u->sum);
    if (result < 0 && !u->broken)
        u->err = err;
    if (result == 0) {
        json_auto_t *object = json_loadb((const char *) talk.body.data, talk.body.len, 0, NULL);
        result = check_answer(u, object);
        if (result == 0)
            show(u, object, talk.status);
    }
    buf_fini(&talk.body);
    free(path);
    return result;
}

static int put_one(struct artifact *a, const char *file, const char *key)
{
    struct stat st;
    bool input = strcmp(file, "-") == 0;
    struct upload u = {.a = a, .file = input ? "standard input" : file, .key = key};
    u.fd = input ? STDIN_FILENO : open(file, O_RDONLY | O_CLOEXEC);
    int result = u.fd < 0 || fstat(u.fd, &st) < 0 ? read_failed(&u, strerror(errno)) : 0;
    if (result == 0 && S_ISDIR(st.st_mode))
        result = read_failed(&u, "that is a folder: -r puts all that is in it");
    if (result == 0 && !utf8_valid(key, strlen(key)))
        result = error_set(&u.err, "BAD_VALUE", "%.200s: the name is not UTF-8, as keys are: name a KEY", u.file);
    if (result == 0)
        result = artifact_key_check(key, &u.err);
    u.regular = result == 0 && S_ISREG(st.st_mode) && lseek(u.fd, 0, SEEK_CUR) == 0;
    u.size = u.regular ? (uint64_t) st.st_size : 0;
    if (result == 0 && u.regular)
        result = hash_file(&u);
    else if (result == 0)
        u.hash = hash_new();
    if (result == 0)
        result = send_file(&u);
    hash_end(&u.hash, NULL);
    if (u.fd >= 0 && !input)
        close(u.fd);
    return result < 0 ? artifact_failed(&u.err) : CLI_OK;
}

/* ---- which files, and which keys ---- */

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* FOLDER/a/b goes to KEY/FOLDER's name/a/b; what is named FOLDER/ or FOLDER/. to KEY/a/b. Links to files are followed, links to folders
 * are not. */
static int put_folder(struct artifact *a, const char *folder, const char *key)
{
    size_t len = strlen(folder);
    bool content = strcmp(folder, ".") == 0 || folder[len - 1] == '/' || (len > 1 && strcmp(folder + len - 2, "/.") == 0);
    while (len > 1 && (folder[len - 1] == '/' || (len > 2 && folder[len - 1] == '.' && folder[len - 2] == '/')))
        len--;
    char *root = xstrndup(folder, len), *roots[] = {root, NULL};
    char *begin = content ? xstrdup(key) : xasprintf("%s%s/", key, base_name(root));
    FTS *tree = fts_open(roots, FTS_PHYSICAL | FTS_COMFOLLOW | FTS_NOCHDIR, NULL);
    int status = CLI_OK;
    for (FTSENT *entry; tree && (entry = fts_read(tree));) {
        struct stat st;
        bool file = entry->fts_info == FTS_F ||
                    (entry->fts_info == FTS_SL && stat(entry->fts_accpath, &st) == 0 && S_ISREG(st.st_mode));
        struct ls_error err;
        int one = CLI_OK;
        if (entry->fts_info == FTS_DNR || entry->fts_info == FTS_ERR || entry->fts_info == FTS_NS) {
            error_set(&err, "SYSTEM", "%.200s: %s", entry->fts_path, strerror(entry->fts_errno));
            one = artifact_failed(&err);
        } else if (file) {
            const char *below = entry->fts_path + strlen(root);
            char *name = xasprintf("%s%s", begin, below + strspn(below, "/"));
            one = put_one(a, entry->fts_path, name);
            free(name);
        }
        status = one != CLI_OK ? one : status;
        if (!artifact_goes_on(a, one))
            break;
    }
    if (tree)
        fts_close(tree);
    free(begin);
    free(root);
    return status;
}

static bool is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static int put_named(struct artifact *a, const char *file, const char *to)
{
    size_t len = strlen(to);
    bool below = !len || to[len - 1] == '/';
    if (a->recursive && is_folder(file)) {
        char *folder = below ? xstrdup(to) : xasprintf("%s/", to);
        int status = put_folder(a, file, folder);
        free(folder);
        return status;
    }
    char *key = below ? xasprintf("%s%s", to, base_name(file)) : xstrdup(to);
    int status = put_one(a, file, key);
    free(key);
    return status;
}

int artifact_put(struct artifact *a)
{
    size_t files = a->count > 1 ? a->count - 1 : a->count;
    int status = CLI_OK;
    char *to = artifact_key(a->count > 1 ? a->names[a->count - 1] : "");
    bool below = !*to || to[strlen(to) - 1] == '/';
    if (!a->count)
        status = options_usage(&ARTIFACT, "put: which file?");
    else if (files > 1 && !below)
        status = options_usage(&ARTIFACT, "put: several files go below a key that ends with a slash: %.200s/", to);
    for (size_t i = 0; status == CLI_OK && i < files; i++)
        if (strcmp(a->names[i], "-") == 0 && below)
            status = options_usage(&ARTIFACT, "put: standard input has no name: under which KEY?");
    if (status != CLI_OK || (status = door_find(&a->door, a->http, &a->broker)) != CLI_OK)
        files = 0;
    for (size_t i = 0; i < files && artifact_goes_on(a, status); i++) {
        int one = put_named(a, a->names[i], to);
        status = one != CLI_OK ? one : status;
    }
    free(to);
    return status;
}
