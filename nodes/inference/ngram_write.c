/* SPDX-License-Identifier: Apache-2.0 */
/* Writing a model file: beside its place, synced, renamed. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "lib/buf.h"
#include "lib/error.h"
#include "lib/xmem.h"
#include "nodes/inference/ngram_file.h"

static ngram_array_fn append;

static void append(void *arg, const void **array, uint64_t bytes)
{
    buf_add(arg, *array, bytes);
}

static uint64_t bits(double value)
{
    uint64_t out;
    memcpy(&out, &value, sizeof out);
    return out;
}

static struct ngram_file_header header_of(const struct ngram_view *view, const struct ngram_info *info)
{
    struct ngram_file_header header = {.magic = NGRAM_FILE_MAGIC, .version = NGRAM_FILE_VERSION, .order = view->order,
                                       .created = info->created, .training_tokens = info->training_tokens,
                                       .held_out_tokens = info->held_out_tokens, .rare = view->rare.count,
                                       .bits_per_character = bits(info->bits_per_character), .vocabulary = view->vocabulary};
    snprintf(header.name, sizeof header.name, "%s", info->name);
    for (size_t i = 0; i < view->order; i++) {
        header.perplexity[i] = bits(info->perplexity[i]);
        header.counts[i] = view->levels[i].count;
    }
    return header;
}

static void seal(struct buf *out, struct ngram_file_header *header, struct ngram_info *info)
{
    header->file_bytes = out->len;
    header->content = XXH64(out->data + sizeof *header, out->len - sizeof *header, 0);
    memcpy(out->data, header, sizeof *header);
    size_t from = offsetof(struct ngram_file_header, version);
    header->checksum = XXH64(out->data + from, out->len - from, 0);
    memcpy(out->data, header, sizeof *header);
    snprintf(info->version, sizeof info->version, "%016llx", (unsigned long long) header->content);
    info->bytes = out->len;
}

static int write_all(int fd, const struct buf *out)
{
    for (size_t at = 0; at < out->len;) {
        ssize_t wrote = write(fd, out->data + at, out->len - at);
        if (wrote < 0 && errno != EINTR)
            return -1;
        at += wrote > 0 ? (size_t) wrote : 0;
    }
    return fsync(fd);
}

/* The new name is durable only once its folder is. */
static int sync_folder(const char *path)
{
    char *copy = xstrdup(path);
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC), result = fd < 0 ? -1 : fsync(fd);
    if (fd >= 0)
        close(fd);
    free(copy);
    return result;
}

static int replace_file(const struct buf *out, const char *path, struct ls_error *err)
{
    char *name = xasprintf("%s.new-%ld", path, (long) getpid());
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666), result = -1;
    if (fd >= 0) {
        result = write_all(fd, out);
        int code = errno;
        if (close(fd) < 0 && result == 0)
            result = -1;
        else
            errno = code;
    }
    if (result == 0)
        result = rename(name, path);
    if (result == 0)
        result = sync_folder(path);
    if (result < 0) {
        error_set(err, "SYSTEM", "cannot write %s: %s%s", path, strerror(errno),
                  errno == ENOSPC || errno == EDQUOT ? ": make room, or name another folder" : "");
        unlink(name);
    }
    free(name);
    return result;
}

/* A copy that is filled up with zeros, so that the next array is aligned. */
static char *padded(const struct ngram_strings *strings, uint32_t *bytes)
{
    uint32_t used = strings->ends[strings->count];
    *bytes = (used + 3) / 4 * 4;
    char *copy = xcalloc(1, *bytes);
    memcpy(copy, strings->bytes, used);
    return copy;
}

int ngram_write(const struct ngram_view *view, struct ngram_info *info, const char *path, struct ls_error *err)
{
    struct ngram_view copy = *view;
    struct ngram_file_header header = header_of(view, info);
    struct buf out = {0};
    char *words = padded(&view->words, &header.word_bytes), *rare = padded(&view->rare, &header.rare_bytes);
    copy.words.bytes = words;
    copy.rare.bytes = rare;
    buf_add(&out, &header, sizeof header);
    ngram_file_arrays(&copy, &header, append, &out);
    seal(&out, &header, info);
    int result = replace_file(&out, path, err);
    buf_fini(&out);
    free(words);
    free(rare);
    return result;
}
