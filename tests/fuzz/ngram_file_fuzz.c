/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a model file. The input is a program that damages a good model and puts its sizes and checksums right again, so
 * that the fuzzer gets past them; or, if it begins with 0xff, the bytes of the file themselves. Whatever comes: the file is
 * refused with a reason, or it opens and text can be made with it. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "lib/utf8.h"
#include "nodes/inference/ngram_file.h"
#include "nodes/inference/ngram_train.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define TEXT "The cat sat.\n\nThe dog sat on the cat.\n\nA dog, a cat \xc3\xa9t\xc3\xa9.\n\nThe dog and the dog and a flea."
#define MODEL_MAX 65536

static void check(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "ngram_file_fuzz: %s\n", what);
    abort();
}

static size_t put(int fd, const void *data, size_t len)
{
    check(ftruncate(fd, 0) == 0 && pwrite(fd, data, len, 0) == (ssize_t) len, "the memory file cannot be written");
    return len;
}

static size_t good_model(uint8_t model[MODEL_MAX])
{
    struct ngram_corpus corpus = {0};
    struct ngram_train_options options = {.order = 4, .word_min = 2, .name = "fuzz"};
    struct ls_error err;
    char path[] = "/tmp/ngram_file_fuzz.XXXXXX";
    ngram_corpus_text(&corpus, ls_str(TEXT));
    struct ngram_trained *trained = ngram_train(&corpus, &options, &err);
    int fd = mkstemp(path);
    check(trained && fd >= 0, "no model");
    close(fd);
    check(ngram_write(&trained->view, &trained->info, path, &err) == 0, err.text);
    FILE *file = fopen(path, "rb");
    size_t len = file ? fread(model, 1, MODEL_MAX, file) : 0;
    check(len > sizeof(struct ngram_file_header) && len < MODEL_MAX, "the model has another size");
    fclose(file);
    unlink(path);
    ngram_trained_free(&trained);
    ngram_corpus_fini(&corpus);
    return len;
}

/* Each three bytes: a place in the file, near its beginning or anywhere, and the byte to put there. */
static void damage(uint8_t *model, size_t len, const uint8_t *program, size_t size)
{
    for (; size >= 3; program += 3, size -= 3) {
        size_t at = program[0] & 0x80 ? (size_t) (program[0] & 0x7f) << 8 | program[1] : program[1];
        model[at % len] = program[2];
    }
    struct ngram_file_header header;
    memcpy(&header, model, sizeof header);
    header.content = XXH64(model + sizeof header, len - sizeof header, 0);
    memcpy(model, &header, sizeof header);
    header.checksum = XXH64(model + offsetof(struct ngram_file_header, version), len - offsetof(struct ngram_file_header, version), 0);
    memcpy(model, &header, sizeof header);
}

static void talk(struct ngram *model, struct ls_slice prompt, double temperature)
{
    struct ngram_sampling sampling = {.temperature = temperature, .top_p = 0.9, .has_seed = true, .max_tokens = 20,
                                      .answer = temperature > 0.5};
    struct ls_error err = {0};
    struct ls_slice piece;
    const char *reason;
    struct ngram_stream *stream = ngram_start(model, prompt, &sampling, &err);
    check(stream, err.text);
    while (ngram_next(stream, &piece, &reason))
        check(piece.len && utf8_valid(piece.data, piece.len), "a piece that is empty or no UTF-8");
    check(reason && ngram_completion_tokens(stream) <= 20, "no end");
    ngram_finish(&stream);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t good[MODEL_MAX], copy[MODEL_MAX];
    static size_t good_len;
    static int fd = -1;
    char path[32];
    struct ls_error err = {0};
    if (fd < 0) {
        good_len = good_model(good);
        fd = memfd_create("model", 0);
    }
    if (size && data[0] == 0xff) {
        put(fd, data + 1, size - 1);
    } else {
        memcpy(copy, good, good_len);
        damage(copy, good_len, data, size);
        put(fd, copy, good_len);
    }
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    struct ngram *model = ngram_open(path, &err);
    if (!model) {
        check(err.name[0] && err.text[0], "a refusal without a reason");
        return 0;
    }
    talk(model, ls_str("The cat"), 0);
    talk(model, ls_str("A \xc3\xa9t\xc3\xa9 flea?"), 1);
    talk(model, ls_bytes(data, size), 0.4);
    ngram_close(&model);
    return 0;
}
