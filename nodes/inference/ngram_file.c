/* SPDX-License-Identifier: Apache-2.0 */
/* Opening a model file: mapped, and verified so that nothing read later lies outside of it, even if somebody made the file
 * with a valid checksum to do harm. */
#include "nodes/inference/ngram_file.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "lib/error.h"
#include "lib/utf8.h"
#include "lib/xmem.h"

#if __BYTE_ORDER != __LITTLE_ENDIAN
#error "model files are mapped as they are, which needs a little-endian machine"
#endif

static void string_arrays(struct ngram_strings *strings, uint32_t bytes, ngram_array_fn *fn, void *arg)
{
    const void *arrays[] = {strings->ends, strings->bytes};
    fn(arg, &arrays[0], (strings->count + 1ull) * 4);
    fn(arg, &arrays[1], bytes);
    *strings = (struct ngram_strings){strings->count, arrays[1], arrays[0]};
}

void ngram_file_arrays(struct ngram_view *view, const struct ngram_file_header *header, ngram_array_fn *fn, void *arg)
{
    string_arrays(&view->words, header->word_bytes, fn, arg);
    string_arrays(&view->rare, header->rare_bytes, fn, arg);
    for (uint32_t i = 0; i < view->order; i++) {
        struct ngram_level *level = &view->levels[i];
        const void *arrays[] = {level->words, level->costs, level->backoffs, level->firsts};
        if (i > 0)
            fn(arg, &arrays[0], level->count * 4ull);
        fn(arg, &arrays[1], level->count * 4ull);
        if (i + 1 < view->order) {
            fn(arg, &arrays[2], level->count * 4ull);
            fn(arg, &arrays[3], (level->count + 1ull) * 4);
        }
        *level = (struct ngram_level){level->count, arrays[0], arrays[1], arrays[2], arrays[3]};
    }
}

/* ---- the header ---- */

static void add_bytes(void *arg, const void **array, uint64_t bytes)
{
    uint64_t *sum = arg;
    (void) array;
    *sum += bytes;
}

static void place(void *arg, const void **array, uint64_t bytes)
{
    const char **at = arg;
    *array = *at;
    *at += bytes;
}

static double number(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof value);
    return isfinite(value) && value >= 0 ? value : -1;
}

/* The name is shown to people and in JSON: printable, and NUL behind its end. */
static bool good_name(const char name[NGRAM_NAME_SIZE])
{
    size_t len = strnlen(name, NGRAM_NAME_SIZE);
    uint32_t code;
    if (!len || len == NGRAM_NAME_SIZE)
        return false;
    for (size_t i = len; i < NGRAM_NAME_SIZE; i++)
        if (name[i])
            return false;
    for (size_t at = 0, used; at < len; at += used)
        if (!(used = utf8_next((const uint8_t *) name + at, len - at, &code)) || utf8_is_harmful(code))
            return false;
    return true;
}

static bool read_info(struct ngram *model, const struct ngram_file_header *header)
{
    struct ngram_info *info = &model->info;
    *info = (struct ngram_info){.order = header->order, .vocabulary = header->vocabulary, .created = header->created,
                                .training_tokens = header->training_tokens, .held_out_tokens = header->held_out_tokens,
                                .bits_per_character = number(header->bits_per_character), .bytes = header->file_bytes};
    bool good = good_name(header->name) && info->bits_per_character >= 0;
    memcpy(info->name, header->name, sizeof info->name);
    snprintf(info->version, sizeof info->version, "%016llx", (unsigned long long) header->content);
    for (size_t i = 0; i < NGRAM_ORDER_MAX; i++) {
        info->perplexity[i] = number(header->perplexity[i]);
        info->ngrams[i] = header->counts[i];
        model->view.levels[i].count = header->counts[i];
        good = good && info->perplexity[i] >= 0 && (i < header->order ? true : !header->counts[i]);
    }
    return good;
}

/* What is wrong with the header, the size or the sums; NULL if all is well. Places the view's arrays. */
static const char *check_frame(struct ngram *model)
{
    const struct ngram_file_header *header = model->map;
    const char *data = model->map, *arrays = data + sizeof *header;
    uint64_t bytes = sizeof *header;
    if (model->map_len < sizeof *header || memcmp(header->magic, NGRAM_FILE_MAGIC, sizeof header->magic) != 0)
        return "it is no model file (`lineshaft train` makes one)";
    if (header->version != NGRAM_FILE_VERSION)
        return "it has another version of the format: train it again with this program";
    if (header->file_bytes != model->map_len)
        return "it has been cut, or something was added: copy it again";
    if (header->checksum != XXH64(&header->version, model->map_len - offsetof(struct ngram_file_header, version), 0))
        return "it is damaged (the checksum differs): copy it again";
    if (header->order < 1 || header->order > NGRAM_ORDER_MAX || header->vocabulary < NGRAM_WORDS ||
        header->counts[0] != header->vocabulary || header->word_bytes % 4 || header->rare_bytes % 4 || !read_info(model, header))
        return "its header cannot be";
    model->view.order = header->order;
    model->view.vocabulary = header->vocabulary;
    model->view.words.count = header->vocabulary - NGRAM_WORDS;
    model->view.rare.count = header->rare;
    ngram_file_arrays(&model->view, header, add_bytes, &bytes);
    if (bytes != model->map_len)
        return "its size does not fit what it holds";
    if (header->content != XXH64(arrays, model->map_len - sizeof *header, 0))
        return "its version is not that of its content";
    ngram_file_arrays(&model->view, header, place, &arrays);
    return NULL;
}

/* ---- the arrays ---- */

static const char *check_strings(const struct ngram_strings *strings, uint32_t bytes)
{
    if (strings->ends[0] != 0 || strings->ends[strings->count] > bytes || bytes - strings->ends[strings->count] > 3)
        return "its strings do not fit";
    for (uint32_t i = 0; i < strings->count; i++) {
        uint32_t begin = strings->ends[i], end = strings->ends[i + 1];
        if (end <= begin || end - begin > NGRAM_WORD_MAX || end > bytes)
            return "a string has a length that cannot be";
        if (!utf8_valid(strings->bytes + begin, end - begin))
            return "a string is no UTF-8";
        if (i && ngram_compare(ngram_string(strings, i - 1), ngram_string(strings, i)) >= 0)
            return "strings are out of order";
    }
    return NULL;
}

/* Every n-gram of the level lies within its parent's range, in order, and is a token that can follow. */
static const char *check_level(const struct ngram_view *view, uint32_t i)
{
    const struct ngram_level *level = &view->levels[i], *parents = &view->levels[i - 1];
    if (parents->firsts[0] != 0 || parents->firsts[parents->count] != level->count)
        return "n-grams have no beginning";
    for (uint32_t parent = 0; parent < parents->count; parent++) {
        uint32_t begin = parents->firsts[parent], end = parents->firsts[parent + 1];
        if (end < begin || end > level->count)
            return "n-grams lie outside";
        for (uint32_t at = begin; at < end; at++)
            if (level->words[at] >= view->vocabulary || level->words[at] == NGRAM_BEGIN ||
                (at > begin && level->words[at] <= level->words[at - 1]))
                return "n-grams are out of order";
    }
    return NULL;
}

static const char *check(struct ngram *model)
{
    const char *problem = check_frame(model);
    const struct ngram_file_header *header = model->map;
    if (!problem)
        problem = check_strings(&model->view.words, header->word_bytes);
    if (!problem)
        problem = check_strings(&model->view.rare, header->rare_bytes);
    for (uint32_t i = 1; i < model->view.order && !problem; i++)
        problem = check_level(&model->view, i);
    if (!problem && model->view.levels[0].costs[NGRAM_BEGIN] != NGRAM_NEVER)
        problem = "a text could begin within a text";
    return problem;
}

/* ---- opening ---- */

static int by_cost(const void *a, const void *b, void *arg)
{
    const uint32_t *costs = arg, one = *(const uint32_t *) a, other = *(const uint32_t *) b;
    if (costs[one] != costs[other])
        return costs[one] < costs[other] ? -1 : 1;
    return (one > other) - (one < other);
}

static void sort_tokens(struct ngram *model)
{
    model->by_cost = xcalloc(model->view.vocabulary, sizeof *model->by_cost);
    for (uint32_t i = 0; i < model->view.vocabulary; i++)
        model->by_cost[i] = i;
    union {
        const uint32_t *costs;
        void *arg;
    } costs = {model->view.levels[0].costs};
    qsort_r(model->by_cost, model->view.vocabulary, sizeof *model->by_cost, by_cost, costs.arg);
}

static int map_file(struct ngram *model, const char *path, struct ls_error *err)
{
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return error_set(err, "SYSTEM", "cannot read the model %s: %s (`lineshaft train -o FILE TEXT...` makes one)", path,
                         strerror(errno));
    if (fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && info.st_size > 0) {
        model->map_len = (size_t) info.st_size;
        model->map = mmap(NULL, model->map_len, PROT_READ, MAP_PRIVATE, fd, 0);
    } else {
        errno = EINVAL;
        model->map = MAP_FAILED;
    }
    int code = errno;
    close(fd);
    if (model->map != MAP_FAILED)
        return 0;
    model->map = NULL;
    if (code == EINVAL)
        return error_set(err, "CORRUPT", "%s: it is no model file, or an empty one (`lineshaft train` makes one)", path);
    return error_set(err, "SYSTEM", "cannot map the model %s: %s", path, strerror(code));
}

struct ngram *ngram_open(const char *path, struct ls_error *err)
{
    struct ngram *model = xcalloc(1, sizeof *model);
    model->uses = 1;
    if (map_file(model, path, err) < 0) {
        ngram_close(&model);
        return NULL;
    }
    const char *problem = check(model);
    if (problem) {
        error_set(err, "CORRUPT", "%s: %s", path, problem);
        ngram_close(&model);
        return NULL;
    }
    sort_tokens(model);
    /* Verifying touched every page; those that are used come back by themselves. */
    madvise(model->map, model->map_len, MADV_DONTNEED);
    return model;
}

void ngram_close(struct ngram **model)
{
    struct ngram *old = *model;
    *model = NULL;
    if (!old || --old->uses)
        return;
    if (old->map)
        munmap(old->map, old->map_len);
    free(old->by_cost);
    free(old);
}

const struct ngram_info *ngram_info(const struct ngram *model)
{
    return &model->info;
}
