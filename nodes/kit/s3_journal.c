/* SPDX-License-Identifier: Apache-2.0 */
/* The file in which a multipart upload remembers its id, so that a process that was killed goes on with it and leaves no parts behind. */
#include "nodes/kit/s3_journal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/buf.h"
#include "lib/error.h"
#include "lib/file.h"
#include "lib/uri.h"
#include "lib/xmem.h"

#define MAGIC "lineshaft-upload 1 "
#define FILE_BYTES_MAX (8u << 20) /* 10,000 parts of 200 bytes are 2 MB */

static int failed(const struct s3_journal *j, const char *doing, struct ls_error *err)
{
    int code = errno;
    bool full = code == ENOSPC || code == EDQUOT;
    error_set(err, full ? "FULL" : "SYSTEM", "cannot %s the upload's journal %s: %s", doing, j->path, strerror(code));
    err->again = full || code == EMFILE || code == ENFILE || code == EIO || code == ENOMEM;
    return -1;
}

static int append(struct s3_journal *j, const char *text, struct ls_error *err)
{
    size_t len = strlen(text);
    if (!j->path)
        return 0;
    for (size_t at = 0; at < len;) {
        ssize_t put = write(j->fd, text + at, len - at);
        if (put < 0 && errno != EINTR)
            return failed(j, "write", err);
        at += put > 0 ? (size_t) put : 0;
    }
    return fdatasync(j->fd) < 0 ? failed(j, "sync", err) : 0;
}

/* ---- reading ---- */

static bool read_head(struct s3_journal *j, const char *line)
{
    char hash[65];
    int at = 0;
    if (sscanf(line, MAGIC "%" SCNu64 " %64[0-9a-f] %" SCNu64 " %n", &j->size, hash, &j->part_bytes, &at) != 3 || !at ||
        !line[at] || !j->part_bytes)
        return false;
    snprintf(j->sha256, sizeof j->sha256, "%s", hash);
    j->key = uri_decoded(line + at);
    return true;
}

static void read_lines(struct s3_journal *j, char *text)
{
    char *rest = text, *line = strsep(&rest, "\n");
    if (!line || !read_head(j, line))
        return;
    while ((line = strsep(&rest, "\n"))) {
        if (strncmp(line, "upload ", 7) == 0 && line[7] && !j->upload)
            j->upload = uri_decoded(line + 7);
        else if (strncmp(line, "creating ", 9) == 0)
            j->creating_ms = strtoll(line + 9, NULL, 10);
        else if (strcmp(line, "complete") == 0)
            j->completing = true;
    }
}

int s3_journal_load(struct s3_journal *j, const char *path, struct ls_error *err)
{
    struct buf text = {0};
    *j = (struct s3_journal){.fd = -1};
    if (!path)
        return 0;
    j->path = xstrdup(path);
    j->fd = open(path, O_RDWR | O_APPEND | O_CLOEXEC);
    if (j->fd < 0)
        return errno == ENOENT ? 0 : failed(j, "open", err);
    if (file_read(j->fd, FILE_BYTES_MAX, &text) && errno != EFBIG) {
        buf_fini(&text);
        return failed(j, "read", err);
    }
    uint8_t *end = text.len ? memrchr(text.data, '\n', text.len) : NULL;
    text.len = end ? (size_t) (end - text.data) + 1 : 0;
    int cut = ftruncate(j->fd, (off_t) text.len);
    buf_text(&text);
    read_lines(j, (char *) text.data);
    buf_fini(&text);
    return cut < 0 ? failed(j, "mend", err) : 0;
}

/* ---- writing ---- */

/* The folder too, so that a power cut does not take the name away. */
static int sync_folder(const struct s3_journal *j, struct ls_error *err)
{
    char *copy = xstrdup(j->path);
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int result = fd < 0 || fsync(fd) < 0 ? failed(j, "sync the folder of", err) : 0;
    if (fd >= 0)
        close(fd);
    free(copy);
    return result;
}

int s3_journal_begin(struct s3_journal *j, struct ls_error *err)
{
    if (!j->path)
        return 0;
    if (j->fd >= 0)
        close(j->fd);
    j->fd = open(j->path, O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
    if (j->fd < 0)
        return failed(j, "create", err);
    char *key = uri_encoded(j->key, "/");
    char *text = xasprintf(MAGIC "%" PRIu64 " %s %" PRIu64 " %s\ncreating %" PRId64 "\n", j->size, j->sha256,
                           j->part_bytes, key, j->creating_ms);
    int result = append(j, text, err);
    free(text);
    free(key);
    return result < 0 ? -1 : sync_folder(j, err);
}

int s3_journal_upload(struct s3_journal *j, struct ls_error *err)
{
    char *upload = uri_encoded(j->upload, ""), *line = xasprintf("upload %s\n", upload);
    int result = append(j, line, err);
    free(line);
    free(upload);
    return result;
}

int s3_journal_part(struct s3_journal *j, unsigned number, const char *etag, struct ls_error *err)
{
    char *line = xasprintf("part %u %s\n", number, etag);
    int result = append(j, line, err);
    free(line);
    return result;
}

int s3_journal_complete(struct s3_journal *j, struct ls_error *err)
{
    if (j->completing)
        return 0;
    j->completing = true;
    return append(j, "complete\n", err);
}

void s3_journal_remove(struct s3_journal *j)
{
    if (j->path)
        unlink(j->path);
}

void s3_journal_fini(struct s3_journal *j)
{
    if (j->fd >= 0)
        close(j->fd);
    free(j->path);
    free(j->key);
    free(j->upload);
    *j = (struct s3_journal){.fd = -1};
}
