/* SPDX-License-Identifier: Apache-2.0 */
/* Reading text for training: files and folders, documents, cleaning, and the deal into training and held-out text. */
#include "nodes/inference/ngram_corpus.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "lib/error.h"
#include "lib/file.h"
#include "lib/xmem.h"
#include "nodes/inference/ngram_text.h"

#define FULL_LINE 50 /* columns: a shorter line was broken on purpose */
#define FOLDERS_MAX 32

void ngram_corpus_fini(struct ngram_corpus *corpus)
{
    buf_fini(&corpus->text);
    free(corpus->documents);
    free(corpus->seen);
    *corpus = (struct ngram_corpus){0};
}

/* ---- cleaning ---- */

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static void drop_last_character(struct buf *out)
{
    while (out->len && (out->data[out->len - 1] & 0xc0) == 0x80)
        out->len--;
    out->len -= out->len && out->data[out->len - 1] != '\n';
}

/* Controls: the first pass, into a buffer of its own. */
static void drop_controls(struct buf *out, struct ls_slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        if (c == '\b')
            drop_last_character(out);
        else if (c == '\r' && (i + 1 == text.len || text.data[i + 1] != '\n'))
            buf_add_byte(out, '\n');
        else if ((uint8_t) c >= ' ' ? c != 0x7f : c == '\n' || c == '\t')
            buf_add_byte(out, (uint8_t) c);
    }
}

static struct ls_slice cut_line(struct ls_slice *text)
{
    const char *end = text->len ? memchr(text->data, '\n', text->len) : NULL;
    struct ls_slice line = {text->data, end ? (size_t) (end - text->data) : text->len};
    size_t used = line.len + (end != NULL);
    *text = (struct ls_slice){text->data + used, text->len - used};
    while (line.len && is_blank(line.data[line.len - 1]))
        line.len--;
    return line;
}

/* Was `line` broken before `next` only because the next word did not fit into `width` columns? */
static bool was_full(struct ls_slice line, struct ls_slice next, size_t width)
{
    size_t columns = ngram_characters(line), word = 0;
    if (columns < FULL_LINE || !next.len || is_blank(next.data[0]))
        return false;
    while (word < next.len && !is_blank(next.data[word]))
        word++;
    return columns + 1 + ngram_characters((struct ls_slice){next.data, word}) > width;
}

static void add_line(struct buf *out, struct ls_slice line)
{
    for (size_t i = 0; i < line.len; i++) {
        bool second = line.data[i] == ' ' && i >= 2 && line.data[i - 1] == ' ' && strchr(".?!:\"')", line.data[i - 2]);
        if (!second || (i + 1 < line.len && line.data[i + 1] == ' '))
            buf_add_byte(out, (uint8_t) line.data[i]);
    }
}

void ngram_corpus_clean(struct buf *out, struct ls_slice document)
{
    struct buf plain = {0};
    size_t width = 0, start = out->len;
    drop_controls(&plain, document);
    struct ls_slice text = ls_bytes(plain.data, plain.len), all = text;
    while (all.len) {
        size_t columns = ngram_characters(cut_line(&all));
        width = columns > width ? columns : width;
    }
    while (text.len) {
        struct ls_slice line = cut_line(&text), rest = text, next = cut_line(&rest);
        size_t skip = 0;
        while (out->len == start && skip < line.len && is_blank(line.data[skip]))
            skip++;
        add_line(out, (struct ls_slice){line.data + skip, line.len - skip});
        if (out->len > start)
            buf_add_byte(out, was_full(line, next, width) ? ' ' : '\n');
    }
    while (out->len > start && is_blank((char) out->data[out->len - 1]))
        out->len--;
    buf_fini(&plain);
}

/* ---- documents ---- */

static void add_document(struct ngram_corpus *corpus, struct ls_slice text)
{
    struct buf *out = &corpus->text;
    size_t at = out->len;
    ngram_corpus_clean(out, text);
    size_t len = out->len - at;
    if (!len)
        return;
    const char *clean = (const char *) out->data + at;
    bool held_out = (double) (XXH64(clean, len, 0) % 10000) < corpus->held_out * 100;
    corpus->documents = xgrow(corpus->documents, &corpus->room, corpus->count + 1, sizeof *corpus->documents);
    corpus->documents[corpus->count++] = (struct ngram_document){at, (uint32_t) len, held_out};
    if (held_out) {
        corpus->held_out_count++;
        corpus->held_out_bytes += len;
    } else {
        corpus->training_bytes += len;
    }
}

static bool separates(struct ls_slice line, bool by_percent)
{
    return by_percent ? line.len == 1 && *line.data == '%' : !line.len;
}

static bool has_percent(struct ls_slice text)
{
    while (text.len)
        if (separates(cut_line(&text), true))
            return true;
    return false;
}

void ngram_corpus_text(struct ngram_corpus *corpus, struct ls_slice text)
{
    bool by_percent = has_percent(text);
    const char *begin = text.data;
    while (text.len) {
        struct ls_slice line = cut_line(&text);
        if (!separates(line, by_percent))
            continue;
        add_document(corpus, (struct ls_slice){begin, (size_t) (line.data - begin)});
        begin = text.data;
    }
    if (begin < text.data)
        add_document(corpus, (struct ls_slice){begin, (size_t) (text.data - begin)});
}

/* ---- files ---- */

static bool seen_before(struct ngram_corpus *corpus, const struct stat *info)
{
    for (size_t i = 0; i < corpus->seen_count; i++)
        if (corpus->seen[i].device == info->st_dev && corpus->seen[i].inode == info->st_ino)
            return true;
    corpus->seen = xgrow(corpus->seen, &corpus->seen_room, corpus->seen_count + 1, sizeof *corpus->seen);
    corpus->seen[corpus->seen_count++] = (struct ngram_inode){info->st_dev, info->st_ino};
    return false;
}

/* NAME.dat beside NAME: an index made by strfile(1). */
static bool is_index(const char *path)
{
    size_t len = strlen(path);
    if (len <= 4 || strcmp(path + len - 4, ".dat") != 0)
        return false;
    char *text = xstrndup(path, len - 4);
    bool found = access(text, F_OK) == 0;
    free(text);
    return found;
}

static int add_file(struct ngram_corpus *corpus, const char *path, struct ls_error *err)
{
    struct buf text = {0};
    int result = file_load(path, NGRAM_TEXT_MAX, &text);
    if (result < 0) {
        error_set(err, "SYSTEM", "cannot read %s: %s", path, file_problem(errno));
    } else if (corpus->read_bytes + text.len > NGRAM_TEXT_MAX) {
        result = error_set(err, "TOO_BIG", "with %s there is more than 1 GiB of text: name fewer files", path);
    } else if (text.len && memchr(text.data, '\0', text.len)) {
        corpus->skipped++;
    } else {
        corpus->files++;
        corpus->read_bytes += text.len;
        ngram_corpus_text(corpus, ls_bytes(text.data, text.len));
        if (corpus->progress)
            corpus->progress(corpus->arg, corpus);
    }
    buf_fini(&text);
    return result;
}

static int add_path(struct ngram_corpus *corpus, const char *path, int depth, struct ls_error *err);

static int add_folder(struct ngram_corpus *corpus, const char *path, int depth, struct ls_error *err)
{
    struct dirent **entries = NULL;
    int count = scandir(path, &entries, NULL, alphasort), result = 0;
    if (count < 0)
        return error_set(err, "SYSTEM", "cannot read the folder %s: %s", path, strerror(errno));
    for (int i = 0; i < count; i++) {
        char *inner = xasprintf("%s/%s", path, entries[i]->d_name);
        if (result == 0 && entries[i]->d_name[0] != '.')
            result = add_path(corpus, inner, depth + 1, err);
        free(inner);
        free(entries[i]);
    }
    free(entries);
    return result;
}

static int add_path(struct ngram_corpus *corpus, const char *path, int depth, struct ls_error *err)
{
    struct stat info;
    bool named = depth == 0; /* by the caller */
    if (stat(path, &info) < 0) {
        corpus->skipped++; /* a link to nothing */
        return named ? error_set(err, "SYSTEM", "cannot read %s: %s", path, strerror(errno)) : 0;
    }
    if (seen_before(corpus, &info) || is_index(path))
        return 0;
    if (S_ISDIR(info.st_mode) && depth < FOLDERS_MAX)
        return add_folder(corpus, path, depth, err);
    if (S_ISREG(info.st_mode) || (named && !S_ISDIR(info.st_mode)))
        return add_file(corpus, path, err);
    corpus->skipped++;
    return 0;
}

int ngram_corpus_add(struct ngram_corpus *corpus, const char *path, struct ls_error *err)
{
    return add_path(corpus, path, 0, err);
}
