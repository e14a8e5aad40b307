/* SPDX-License-Identifier: Apache-2.0 */
/* Keys as files below a folder: opening without following links, making and pruning folders, listing in byte order of keys, and what is
 * noted at a file (user.lineshaft.sha256, user.lineshaft.type). */
#include "nodes/kit/objstore_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "lib/error.h"
#include "lib/xmem.h"

#define XATTR_SHA256 "user.lineshaft.sha256" /* "HASH SIZE MTIME_NS": void when size or time differ */
#define XATTR_TYPE "user.lineshaft.type"
#define FOLDER_FLAGS (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
#define PATH_BYTES 1100 /* a key, a slash, and some */

int folder_error(struct ls_error *err, const char *key, const char *what)
{
    int number = errno;
    const char *name = "SYSTEM";
    if (number == ENOENT || number == ENOTDIR || number == ELOOP || number == EISDIR)
        name = "NOT_FOUND";
    else if (number == ENOSPC || number == EDQUOT)
        name = "FULL";
    else if (number == EACCES || number == EPERM || number == EROFS)
        name = "FORBIDDEN";
    else if (number == ENAMETOOLONG)
        name = "BAD_VALUE";
    error_set(err, name, "%.300s: %s: %s", key, what,
              number == ENAMETOOLONG ? "a part of the key is longer than this file system can hold (255 bytes)" : strerror(number));
    static const int PASSING[] = {ENOSPC, EDQUOT, EIO, EROFS, ESTALE, EMFILE, ENFILE, ENOMEM}; /* disks are mended */
    for (size_t i = 0; err && i < sizeof PASSING / sizeof *PASSING; i++)
        err->again |= number == PASSING[i];
    return -1;
}

/* ---- from a key to a file ---- */

/* The folder `name` in `parent`; made, and the parent synced, with `make`. -1 with errno. */
static int open_folder(int parent, const char *name, bool make)
{
    int fd = openat(parent, name, FOLDER_FLAGS);
    if (fd >= 0 || errno != ENOENT || !make)
        return fd;
    if ((mkdirat(parent, name, 0755) && errno != EEXIST) || fsync(parent))
        return -1;
    return openat(parent, name, FOLDER_FLAGS);
}

int folder_parent(int root, const char *key, bool make, const char **leaf, struct ls_error *err)
{
    char part[PATH_BYTES];
    size_t own = strlen(OBJSTORE_FILE_OWN);
    if (strncmp(key, OBJSTORE_FILE_OWN, own) == 0 && (key[own] == '/' || !key[own]))
        return error_set(err, "BAD_VALUE", "%.300s: the folder " OBJSTORE_FILE_OWN " is the store's own", key);
    int at = openat(root, ".", FOLDER_FLAGS); /* one of its own: duplicates share the place in the folder */
    const char *rest = key, *slash;
    while (at >= 0 && (slash = strchr(rest, '/')) != NULL) {
        snprintf(part, sizeof part, "%.*s", (int) (slash - rest), rest);
        int next = open_folder(at, part, make), number = errno;
        close(at);
        errno = number;
        at = next;
        rest = slash + 1;
    }
    *leaf = rest;
    if (at >= 0)
        return at;
    if (make && (errno == ENOTDIR || errno == ELOOP))
        return error_set(err, "CONFLICT", "%.300s: \"%.200s\" on the way is no folder, so nothing can be below it", key, part);
    return folder_error(err, key, "cannot open its folder");
}

int folder_open(int root, const char *key, struct stat *st, struct ls_error *err)
{
    const char *leaf;
    int parent = folder_parent(root, key, false, &leaf, err);
    if (parent < 0)
        return -1;
    int fd = openat(parent, leaf, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC), number = errno;
    close(parent);
    if (fd >= 0 && (fstat(fd, st) || !S_ISREG(st->st_mode))) {
        close(fd);
        fd = -1;
        number = ENOENT;
    }
    errno = number;
    return fd < 0 ? folder_error(err, key, "cannot open it") : fd;
}

/* ---- a folder's names ---- */

/* A folder's names; those of folders end with a slash, so that byte order of names is byte order of keys. */
struct names {
    char **items;
    size_t count, room;
};

static void names_free(struct names *names)
{
    for (size_t i = 0; i < names->count; i++)
        free(names->items[i]);
    free(names->items);
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *) a, *(char *const *) b);
}

/* DT_DIR or DT_REG; DT_UNKNOWN: symbolic links, sockets and the like are no objects, nor is what has no name that could be a key. */
static unsigned char type_of(DIR *dir, const struct dirent *entry)
{
    struct stat st;
    if (objstore_key_check(entry->d_name, NULL)) /* "." and ".." among them */
        return DT_UNKNOWN;
    if (entry->d_type != DT_UNKNOWN || fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW))
        return entry->d_type;
    return S_ISDIR(st.st_mode) ? DT_DIR : S_ISREG(st.st_mode) ? DT_REG : DT_UNKNOWN;
}

/* Takes over `fd`. */
static int read_names(int fd, struct names *names)
{
    DIR *dir = fdopendir(fd);
    if (!dir)
        return close(fd), -1;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        unsigned char type = type_of(dir, entry);
        if (type != DT_DIR && type != DT_REG)
            continue;
        names->items = xgrow(names->items, &names->room, names->count + 1, sizeof *names->items);
        names->items[names->count++] = xasprintf("%s%s", entry->d_name, type == DT_DIR ? "/" : "");
    }
    closedir(dir);
    if (names->count)
        qsort(names->items, names->count, sizeof *names->items, by_bytes);
    return 0;
}

/* ---- removing ---- */

/* Removes the folder of this key if it is empty. False: it is there and is not, or cannot be removed. */
static bool remove_empty(int root, const char *key)
{
    const char *leaf;
    int parent = folder_parent(root, key, false, &leaf, NULL);
    if (parent < 0)
        return true;
    bool gone = unlinkat(parent, leaf, AT_REMOVEDIR) == 0 || errno == ENOENT || errno == ENAMETOOLONG;
    close(parent);
    return gone;
}

void folder_prune_way(int root, const char *key)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s", key);
    for (char *slash; (slash = strrchr(path, '/')) != NULL;) {
        *slash = '\0';
        if (!remove_empty(root, path))
            break; /* something else is in it */
    }
}

static void prune_below(int root, const char *key)
{
    struct names names = {0};
    char below[PATH_BYTES];
    const char *leaf;
    int fd = snprintf(below, sizeof below, "%s/x", key) >= (int) sizeof below ? -1 : folder_parent(root, below, false, &leaf, NULL);
    if (fd < 0 || read_names(fd, &names))
        return;
    for (size_t i = 0; i < names.count; i++) {
        size_t len = strlen(names.items[i]);
        if (names.items[i][len - 1] == '/' &&
            snprintf(below, sizeof below, "%s/%.*s", key, (int) len - 1, names.items[i]) < (int) sizeof below)
            prune_below(root, below);
    }
    names_free(&names);
    remove_empty(root, key);
}

void folder_prune(int root, const char *key)
{
    prune_below(root, key);
    folder_prune_way(root, key);
}

int folder_remove(int root, const char *key, struct ls_error *err)
{
    struct ls_error why;
    const char *leaf;
    int parent = folder_parent(root, key, false, &leaf, &why);
    if (parent < 0 || unlinkat(parent, leaf, 0)) {
        if (parent >= 0) {
            folder_error(&why, key, "cannot remove it");
            close(parent);
        }
        if (strcmp(why.name, "NOT_FOUND") == 0)
            return 0;
        if (err)
            *err = why;
        return -1;
    }
    int rc = fsync(parent) ? folder_error(err, key, "cannot sync its folder") : 0;
    close(parent);
    folder_prune_way(root, key);
    return rc;
}

/* ---- what is noted at a file ---- */

static int64_t mtime_ns(const struct stat *st)
{
    return (int64_t) st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
}

static void get_text(int fd, const char *name, char *text, size_t size)
{
    ssize_t len = fgetxattr(fd, name, text, size - 1);
    text[len > 0 ? len : 0] = '\0';
}

void folder_mark(int fd, const char *key, const char *sha256, const char *content_type)
{
    struct stat st;
    char text[160];
    if (fstat(fd, &st))
        return;
    int len = snprintf(text, sizeof text, "%s %" PRIu64 " %" PRId64, sha256, (uint64_t) st.st_size, mtime_ns(&st));
    fsetxattr(fd, XATTR_SHA256, text, (size_t) len, 0);
    if (strcmp(content_type, objstore_content_type(key)) != 0)
        fsetxattr(fd, XATTR_TYPE, content_type, strlen(content_type), 0);
}

static void read_sha256(int fd, const struct stat *st, char sha256[65])
{
    char text[160], now[160];
    get_text(fd, XATTR_SHA256, text, sizeof text);
    snprintf(now, sizeof now, " %" PRIu64 " %" PRId64, (uint64_t) st->st_size, mtime_ns(st));
    bool stands = strlen(text) > 64 && strspn(text, "0123456789abcdef") == 64 && strcmp(text + 64, now) == 0;
    snprintf(sha256, 65, "%.64s", stands ? text : "");
}

void folder_object(int fd, const struct stat *st, const char *key, struct objstore_object *object)
{
    *object = (struct objstore_object){.key = key, .size = (uint64_t) st->st_size, .modified_ms = mtime_ns(st) / 1000000};
    read_sha256(fd, st, object->sha256);
    if (object->sha256[0])
        snprintf(object->etag, sizeof object->etag, "\"%s\"", object->sha256);
    else
        snprintf(object->etag, sizeof object->etag, "\"%" PRIx64 "-%" PRIx64 "\"", object->size, (uint64_t) mtime_ns(st));
    get_text(fd, XATTR_TYPE, object->content_type, sizeof object->content_type);
    for (const char *c = object->content_type; *c; c++)
        if (*c < 0x20 || *c > 0x7e) /* not noted by us */
            object->content_type[0] = '\0';
    if (!object->content_type[0])
        snprintf(object->content_type, sizeof object->content_type, "%s", objstore_content_type(key));
}

/* ---- listing ---- */

/* May something at or below this key come behind `after`? */
static bool comes_behind(const char *key, const struct folder_list *list, bool folder)
{
    if (!list->after)
        return true;
    bool leads_there = folder && list->recursive && strncmp(list->after, key, strlen(key)) == 0;
    return leads_there || strcmp(key, list->after) > 0;
}

static bool tell_file(int root, const struct folder_list *list, const char *key)
{
    struct objstore_object object;
    struct stat st;
    int fd = folder_open(root, key, &st, NULL);
    if (fd < 0)
        return true; /* removed a moment ago, or not ours to read */
    folder_object(fd, &st, key, &object);
    close(fd);
    return list->entry(list->arg, key, &object);
}

/* Is there an object somewhere below the folder `path`, which ends with a slash? */
static bool holds_something(int root, const char *path)
{
    char below[PATH_BYTES];
    const char *leaf;
    if (snprintf(below, sizeof below, "%sx", path) >= (int) sizeof below || objstore_key_check(below, NULL))
        return false;
    int fd = folder_parent(root, below, false, &leaf, NULL);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        if (fd >= 0)
            close(fd);
        return false;
    }
    bool found = false;
    for (struct dirent *entry; !found && (entry = readdir(dir)) != NULL;) {
        unsigned char type = type_of(dir, entry);
        if (type == DT_DIR && snprintf(below, sizeof below, "%s%s/", path, entry->d_name) < (int) sizeof below)
            found = holds_something(root, below);
        else
            found = type == DT_REG;
    }
    closedir(dir);
    return found;
}

/* The folder at `path` ("" or with a slash at its end), whose names begin with `start`. False: enough was told. */
static bool tell_folder(int root, const struct folder_list *list, const char *path, const char *start)
{
    struct names names = {0};
    char below[PATH_BYTES];
    bool more = true;
    snprintf(below, sizeof below, "%sx", path); /* a key in that folder: the way to its parent is the way to the folder */
    const char *leaf;
    int fd = objstore_key_check(below, NULL) ? -1 : folder_parent(root, below, false, &leaf, NULL);
    if (fd < 0 || read_names(fd, &names))
        return true;
    for (size_t i = 0; i < names.count && more; i++) {
        const char *name = names.items[i];
        bool folder = name[strlen(name) - 1] == '/';
        int len = snprintf(below, sizeof below, "%s%s", path, name);
        if (strncmp(name, start, strlen(start)) != 0 || len >= (int) sizeof below || strcmp(below, OBJSTORE_FILE_OWN "/") == 0 ||
            !comes_behind(below, list, folder))
            continue;
        if (!folder)
            more = tell_file(root, list, below);
        else if (list->recursive)
            more = tell_folder(root, list, below, "");
        else if (holds_something(root, below))
            more = list->entry(list->arg, below, NULL);
    }
    names_free(&names);
    return more;
}

int folder_list(int root, const struct folder_list *list, struct ls_error *err)
{
    char path[PATH_BYTES];
    const char *slash = strrchr(list->prefix, '/');
    size_t len = slash ? (size_t) (slash + 1 - list->prefix) : 0;
    if (faccessat(root, ".", R_OK | X_OK, AT_EACCESS))
        return folder_error(err, list->prefix, "cannot list the folder of the store");
    snprintf(path, sizeof path, "%.*s", (int) len, list->prefix);
    tell_folder(root, list, path, list->prefix + len);
    return 0;
}
