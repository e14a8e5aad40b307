/* SPDX-License-Identifier: Apache-2.0 */
/* The n-gram model: tokens lose nothing, probabilities are those that hand and theory give, files are refused unless they are
 * whole, streams keep their word. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/utf8.h"
#include "lib/xmem.h"
#include "nodes/inference/ngram_chance.h"
#include "nodes/inference/ngram_file.h"
#include "nodes/inference/ngram_train.h"

#define FILE_NAME_SIZE 64

/* A macro, so that a failure names the test's line. */
#define expect_near(got, wanted, by)                                                                                               \
    do {                                                                                                                           \
        double got_ = (got), wanted_ = (wanted);                                                                                   \
        if (!(fabs(got_ - wanted_) <= (by)))                                                                                       \
            fail_msg("%.9g, not %.9g", got_, wanted_);                                                                             \
    } while (0)

/* ---- what the tests share ---- */

static struct ngram_trained *train(const char *text, uint32_t order, uint32_t word_min, double held_out)
{
    struct ngram_corpus corpus = {.held_out = held_out};
    struct ngram_train_options options = {.order = order, .word_min = word_min, .name = "test", .created = 1700000000};
    struct ls_error err = {0};
    ngram_corpus_text(&corpus, ls_str(text));
    struct ngram_trained *trained = ngram_train(&corpus, &options, &err);
    if (!trained)
        fail_msg("%s", err.text);
    ngram_corpus_fini(&corpus);
    return trained;
}

static void temporary(char path[FILE_NAME_SIZE])
{
    snprintf(path, FILE_NAME_SIZE, "/tmp/ngram_test.XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
}

static struct ngram *model_of(const char *text, uint32_t order, uint32_t word_min)
{
    char path[FILE_NAME_SIZE];
    struct ls_error err = {0};
    struct ngram_trained *trained = train(text, order, word_min, 0);
    temporary(path);
    assert_int_equal(ngram_write(&trained->view, &trained->info, path, &err), 0);
    struct ngram *model = ngram_open(path, &err);
    if (!model)
        fail_msg("%s", err.text);
    assert_string_equal(ngram_info(model)->version, trained->info.version);
    ngram_trained_free(&trained);
    unlink(path);
    return model;
}

/* Documents of words that follow each other by a rule with exceptions: 400 documents, 40 kinds of word. */
static char *synthetic(void)
{
    struct ngram_random random;
    struct buf text = {0};
    ngram_random_seed(&random, 7);
    for (int i = 0; i < 400; i++) {
        uint64_t word = ngram_random_below(&random, 40), count = 3 + ngram_random_below(&random, 12);
        for (uint64_t j = 0; j < count; j++) {
            buf_addf(&text, "%sw%c%c", j ? " " : "", (int) ('a' + word / 8), (int) ('a' + word % 8));
            word = ngram_random_below(&random, 4) ? (word * 3 + j) % 40 : ngram_random_below(&random, 40);
        }
        buf_addf(&text, ".\n%%\n");
    }
    char *copy = xstrdup(buf_text(&text));
    buf_fini(&text);
    return copy;
}

static char *answer_to(struct ngram *model, const char *prompt, const struct ngram_sampling *sampling, const char **reason)
{
    struct ls_error err = {0};
    struct ngram_stream *stream = ngram_start(model, ls_str(prompt), sampling, &err);
    struct buf out = {0};
    struct ls_slice piece;
    if (!stream)
        fail_msg("%s", err.text);
    while (ngram_next(stream, &piece, reason)) {
        assert_true(piece.len > 0);
        assert_true(utf8_valid(piece.data, piece.len));
        buf_add(&out, piece.data, piece.len);
    }
    ngram_finish(&stream);
    char *text = xstrdup(buf_text(&out));
    buf_fini(&out);
    return text;
}

static double chance(const struct ngram_view *view, const uint32_t *context, size_t count, uint32_t word)
{
    uint64_t cost = ngram_cost(view, context, count, word);
    return word == NGRAM_BEGIN ? 0 : exp2(-(double) cost / NGRAM_COST_BIT);
}

static uint32_t token_of(const struct ngram_view *view, const char *text)
{
    uint32_t token = ngram_word(view, ls_str(text));
    assert_int_not_equal(token, NGRAM_BEGIN);
    return token;
}

/* ---- text ---- */

static void expect_pieces(const char *text, const char *joined)
{
    struct ls_slice rest = ls_str(text);
    struct buf out = {0};
    while (rest.len) {
        enum ngram_kind kind;
        struct ls_slice piece = ngram_cut(&rest, &kind);
        buf_addf(&out, "%s%.*s", out.len ? "|" : "", (int) piece.len, piece.data);
    }
    assert_string_equal(buf_text(&out), joined);
    buf_fini(&out);
}

static void text_is_cut_into_words_numbers_marks_and_white_space(void **state)
{
    (void) state;
    expect_pieces("Don't stop, \"Bob\".", "Don't| stop|,| \"|Bob|\".");
    expect_pieces("a\n\t\t-- Mark  Twain ", "a|\n\t\t|--| Mark|  |Twain| ");
    expect_pieces("in 1984, R2D2", "in| 1984|,| R|2|D|2");
    expect_pieces("l\xe2\x80\x99\xc3\xa9t\xc3\xa9 \xe6\xbc\xa2\xe5\xad\x97", "l\xe2\x80\x99\xc3\xa9t\xc3\xa9| \xe6\xbc\xa2|\xe5\xad\x97");
    expect_pieces("x \xff\xffy", "x| |\xff|\xff|y");
}

static void tokens_joined_are_the_text(void **state)
{
    struct ngram_trained *trained = train("the cat and the dog.\nthe end", 2, 2, 0);
    struct ngram_random random;
    (void) state;
    ngram_random_seed(&random, 1);
    for (int round = 0; round < 20000; round++) {
        static const char *const PARTS[] = {"the", " the", " ", "\n", "cat", "'", "\xe2\x80\x99", ".", "..", "9", "\xc3\xa9",
                                            "\xe6\xbc\xa2", "\xf0\x9f\x98\x80", "\t", "xyzzy", "\xff", "\xe2", ""};
        struct buf text = {0}, joined = {0};
        for (uint64_t i = ngram_random_below(&random, 12); i; i--)
            buf_addf(&text, "%s", PARTS[ngram_random_below(&random, sizeof PARTS / sizeof *PARTS)]);
        struct ngram_reader reader = {.view = &trained->view, .text = ls_bytes(text.data, text.len)};
        for (uint32_t token; ngram_read(&reader, &token);)
            buf_add(&joined, ngram_text(&trained->view, token).data, ngram_text(&trained->view, token).len);
        assert_string_equal(buf_text(&joined), buf_text(&text));
        buf_fini(&text);
        buf_fini(&joined);
    }
    ngram_trained_free(&trained);
}

static void expect_clean(const char *raw, const char *clean)
{
    struct buf out = {0};
    ngram_corpus_clean(&out, ls_str(raw));
    assert_string_equal(buf_text(&out), clean);
    buf_fini(&out);
}

static void documents_are_cleaned(void **state)
{
    (void) state;
    expect_clean("  one\r\ntwo  \r\n\r\n", "one\ntwo");
    expect_clean("_\bw_\bo_\brd\x07", "word");
    expect_clean("A horse!  My kingdom.", "A horse! My kingdom.");
    expect_clean("a line that is long enough to have been broken because\nit was full, not on purpose\n\t\t-- Nobody",
                 "a line that is long enough to have been broken because it was full, not on purpose\n\t\t-- Nobody");
    expect_clean("roses are red\nviolets are blue", "roses are red\nviolets are blue");
}

static void documents_end_at_percent_lines_or_else_at_empty_ones(void **state)
{
    struct ngram_corpus corpus = {0};
    (void) state;
    ngram_corpus_text(&corpus, ls_str("a\n\nb\n%\nc\n%\n%\n"));
    assert_int_equal(corpus.count, 2);
    ngram_corpus_text(&corpus, ls_str("a\nb\n\n\nc 5 %\n"));
    assert_int_equal(corpus.count, 4);
    assert_memory_equal(corpus.text.data, "a\n\nbca\nbc 5 %", 13);
    ngram_corpus_fini(&corpus);
}

static void equal_documents_are_never_on_both_sides(void **state)
{
    struct ngram_corpus corpus = {.held_out = 30};
    char text[32];
    (void) state;
    for (int i = 0; i < 2000; i++) {
        snprintf(text, sizeof text, "document %d", i % 1000);
        ngram_corpus_text(&corpus, ls_str(text));
    }
    assert_in_range(corpus.held_out_count, 500, 700);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(corpus.documents[i].held_out, corpus.documents[i + 1000].held_out);
    ngram_corpus_fini(&corpus);
}

/* ---- probabilities ---- */

/* "a,a.a,": BEGIN a , a . a , END. 260 tokens can follow (END, 256 bytes, three words). The text is too small for discounts
 * of its own: half of a count of one, 1 of two, 1.5 of three and more. */
static void probabilities_are_those_computed_by_hand(void **state)
{
    struct ngram_trained *one = train("a,a.a,", 1, 1, 0), *two = train("a,a.a,", 2, 1, 0);
    uint32_t a = token_of(&two->view, "a"), comma = token_of(&two->view, ","), dot = token_of(&two->view, ".");
    uint32_t begin = NGRAM_BEGIN;
    (void) state;
    /* Order 1: a 3, comma 2, dot 1, END 1 of 7; the discounts leave 1.5 + 1 + .5 + .5 = 3.5. */
    expect_near(chance(&one->view, NULL, 0, a), 1.5 / 7 + 3.5 / 7 / 260, 1e-6);
    expect_near(chance(&one->view, NULL, 0, NGRAM_BYTES + 'q'), 3.5 / 7 / 260, 1e-6);
    /* Order 2: different tokens before a: 3 (BEGIN , .), before comma, dot and END: 1 each; 6, left 1.5 + 3 * .5. */
    double rest = 3.0 / 6 / 260, comma1 = .5 / 6 + rest, end1 = .5 / 6 + rest, a1 = 1.5 / 6 + rest;
    expect_near(chance(&two->view, NULL, 0, comma), comma1, 1e-6);
    /* After a: comma 2, dot 1 of 3; left 1 + .5. After comma: a 1, END 1; left .5 + .5. */
    expect_near(chance(&two->view, &a, 1, comma), 1.0 / 3 + .5 * comma1, 1e-6);
    expect_near(chance(&two->view, &a, 1, NGRAM_END), .5 * end1, 1e-6);
    expect_near(chance(&two->view, &comma, 1, a), .5 / 2 + .5 * a1, 1e-6);
    expect_near(chance(&two->view, &begin, 1, a), .5 + .5 * a1, 1e-6);
    expect_near(chance(&two->view, &dot, 1, NGRAM_BYTES + 'q'), .5 * rest, 1e-6);
    ngram_trained_free(&one);
    ngram_trained_free(&two);
}

static void probabilities_sum_to_one_after_every_context(void **state)
{
    char *text = synthetic();
    (void) state;
    for (uint32_t order = 1; order <= NGRAM_ORDER_MAX; order++) {
        struct ngram_trained *trained = train(text, order, order % 2 + 1, 0);
        struct ngram_reader reader = {.view = &trained->view, .text = ls_str("waa wab xyzzy wac. wba")};
        uint32_t context[40] = {NGRAM_BEGIN};
        size_t count = 1;
        while (ngram_read(&reader, &context[count]))
            count++;
        for (size_t end = 0; end <= count; end++) {
            double sum = 0;
            for (uint32_t word = 0; word < trained->view.vocabulary; word++)
                sum += chance(&trained->view, context, end, word);
            expect_near(sum, 1, 1e-5);
        }
        ngram_trained_free(&trained);
    }
    free(text);
}

static void longer_contexts_predict_better_where_there_is_a_rule(void **state)
{
    char *text = synthetic();
    struct ngram_trained *trained = train(text, 3, 2, 20);
    (void) state;
    assert_true(trained->info.held_out_tokens > 100);
    assert_true(trained->info.perplexity[1] < trained->info.perplexity[0] * 0.8);
    assert_true(trained->info.bits_per_character > 0.1 && trained->info.bits_per_character < 4);
    ngram_trained_free(&trained);
    free(text);
}

static void weights_are_powers_of_two(void **state)
{
    (void) state;
    assert_int_equal(ngram_weight(0), NGRAM_WEIGHT_ONE);
    assert_int_equal(ngram_weight(5u << 24), NGRAM_WEIGHT_ONE >> 5);
    for (uint64_t cost = 0; cost < 30u << 24; cost += 99991) {
        double exact = exp2(-(double) cost / NGRAM_COST_BIT) * (double) NGRAM_WEIGHT_ONE;
        expect_near((double) ngram_weight(cost), exact, 1 + exact * 1e-9);
    }
    assert_int_equal(ngram_weight(UINT64_MAX), 0);
}

/* ---- the file ---- */

static void put_file(const char *path, const void *data, size_t len)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, len, file), len);
    assert_int_equal(fclose(file), 0);
}

static void expect_refused(const char *path, const uint8_t *data, size_t len)
{
    struct ls_error err = {0};
    put_file(path, data, len);
    assert_null(ngram_open(path, &err));
    assert_string_equal(err.name, "CORRUPT");
}

static void a_file_that_is_not_whole_is_refused(void **state)
{
    char path[FILE_NAME_SIZE];
    struct ls_error err = {0};
    struct ngram_trained *trained = train("a,a.a,", 3, 1, 0);
    uint8_t data[8192];
    (void) state;
    temporary(path);
    assert_int_equal(ngram_write(&trained->view, &trained->info, path, &err), 0);
    FILE *file = fopen(path, "rb");
    size_t len = fread(data, 1, sizeof data, file);
    fclose(file);
    assert_int_equal(len, trained->info.bytes);
    for (size_t i = 0; i < len; i += i < 300 ? 1 : 37) {
        data[i] ^= (uint8_t) (1u << i % 8);
        expect_refused(path, data, len);
        data[i] ^= (uint8_t) (1u << i % 8);
    }
    for (size_t cut = 0; cut < len; cut += cut < 300 ? 7 : 251)
        expect_refused(path, data, cut);
    data[len] = 0;
    expect_refused(path, data, len + 1);
    put_file(path, data, len);
    struct ngram *model = ngram_open(path, &err);
    assert_non_null(model);
    ngram_close(&model);
    ngram_trained_free(&trained);
    unlink(path);
}

static void a_file_that_is_not_there_is_named(void **state)
{
    struct ls_error err = {0};
    (void) state;
    assert_null(ngram_open("/nowhere/model", &err));
    assert_string_equal(err.name, "SYSTEM");
    assert_non_null(strstr(err.text, "/nowhere/model"));
    assert_null(ngram_open("/tmp", &err));
    assert_string_equal(err.name, "CORRUPT");
}

static void the_same_text_gives_the_same_version(void **state)
{
    struct ngram *one = model_of("a b a b c", 3, 1), *same = model_of("a b a b c", 3, 1), *other = model_of("a b a b d", 3, 1);
    (void) state;
    assert_string_equal(ngram_info(one)->version, ngram_info(same)->version);
    assert_string_not_equal(ngram_info(one)->version, ngram_info(other)->version);
    assert_int_equal(ngram_info(one)->order, 3);
    assert_int_equal(ngram_info(one)->created, 1700000000);
    assert_string_equal(ngram_info(one)->name, "test");
    ngram_close(&one);
    ngram_close(&same);
    ngram_close(&other);
}

/* ---- streams ---- */

static void a_seed_decides_the_answer(void **state)
{
    char *text = synthetic(), *answers[4];
    struct ngram *model = model_of(text, 4, 2);
    struct ngram_sampling sampling = NGRAM_SAMPLING;
    const char *reason;
    (void) state;
    sampling.has_seed = true;
    for (int i = 0; i < 4; i++) {
        sampling.seed = (uint64_t) (i / 2);
        sampling.temperature = 0.8;
        answers[i] = answer_to(model, "waa wab", &sampling, &reason);
    }
    assert_string_equal(answers[0], answers[1]);
    assert_string_equal(answers[2], answers[3]);
    assert_string_not_equal(answers[0], answers[2]);
    /* The same bytes on every machine: if this changes, seeds have lost their meaning for users. */
    assert_string_equal(answers[0], " web wbe weg wef wed wee waa waf weh wdb.");
    assert_string_equal(answers[2], " wbg wbd.");
    for (int i = 0; i < 4; i++)
        free(answers[i]);
    ngram_close(&model);
    free(text);
}

static void temperature_zero_takes_the_most_probable(void **state)
{
    struct ngram *model = model_of("a b c\n\na b c\n\na b d", 3, 1);
    struct ngram_sampling greedy = {0};
    const char *reason;
    (void) state;
    char *text = answer_to(model, "", &greedy, &reason);
    assert_string_equal(text, "a b c");
    assert_string_equal(reason, "stop");
    free(text);
    text = answer_to(model, "a b ", &greedy, &reason);
    assert_string_equal(text, "c"); /* the prompt has the space */
    free(text);
    ngram_close(&model);
}

/* 40,000 first tokens against the model's own probabilities: no count is further off than five standard deviations. */
static void tokens_come_as_often_as_their_probability_says(void **state)
{
    struct ngram *model = model_of("a b\n\na c\n\na b\n\nd b\n\na", 2, 1);
    const struct ngram_view *view = &model->view;
    struct ngram_sampling sampling = NGRAM_SAMPLING;
    uint32_t context = token_of(view, "a"), counts[400] = {0};
    double all = 0;
    (void) state;
    sampling.has_seed = true;
    sampling.max_tokens = 1;
    for (; sampling.seed < 40000; sampling.seed++) {
        const char *reason;
        char *text = answer_to(model, "a", &sampling, &reason);
        counts[token_of(view, text)]++;
        free(text);
    }
    /* No end before the first token, no bytes, and no word glued to a word. */
    const uint32_t sayable[] = {token_of(view, " b"), token_of(view, " c")};
    for (size_t i = 0; i < 2; i++)
        all += chance(view, &context, 1, sayable[i]);
    for (size_t i = 0; i < 2; i++) {
        double share = chance(view, &context, 1, sayable[i]) / all;
        expect_near(counts[sayable[i]], 40000 * share, 5 * sqrt(40000 * share * (1 - share)));
    }
    assert_int_equal(counts[sayable[0]] + counts[sayable[1]], 40000);
    ngram_close(&model);
}

static void top_p_leaves_the_most_probable_only(void **state)
{
    struct ngram *model = model_of("a b\n\na b\n\na b\n\na c", 2, 1);
    struct ngram_sampling sampling = NGRAM_SAMPLING;
    (void) state;
    sampling.top_p = 0.4;
    sampling.max_tokens = 1;
    for (int i = 0; i < 200; i++) {
        const char *reason;
        char *text = answer_to(model, "a", &sampling, &reason);
        assert_string_equal(text, " b");
        free(text);
    }
    ngram_close(&model);
}

static void stop_strings_are_never_shown_wherever_they_begin(void **state)
{
    char *text = synthetic();
    struct ngram *model = model_of(text, 4, 2);
    struct ngram_sampling sampling = {.temperature = 1, .top_p = 1, .has_seed = true, .seed = 3, .max_tokens = 30};
    const char *reason;
    char *whole = answer_to(model, "", &sampling, &reason);
    size_t len = strlen(whole);
    (void) state;
    assert_true(len > 20);
    for (size_t at = 0; at < len; at++)
        for (size_t size = 1; size <= 9 && at + size <= len; size++) {
            char *stop = xstrndup(whole + at, size);
            const char *stops[] = {"never said", "", stop};
            sampling.stop = stops;
            sampling.stop_count = 3;
            char *cut = answer_to(model, "", &sampling, &reason);
            assert_string_equal(reason, "stop");
            assert_int_equal(strlen(cut), strstr(whole, stop) - whole);
            assert_memory_equal(cut, whole, strlen(cut));
            free(cut);
            free(stop);
        }
    const char *stops[] = {"never said", "w"};
    sampling.stop = stops;
    sampling.stop_count = 1;
    char *same = answer_to(model, "", &sampling, &reason);
    assert_string_equal(same, whole); /* what was held back comes in the end */
    free(same);
    free(whole);
    ngram_close(&model);
    free(text);
}

static void the_length_is_kept_and_counted(void **state)
{
    char *text = synthetic();
    struct ngram *model = model_of(text, 2, 2);
    struct ngram_sampling sampling = NGRAM_SAMPLING;
    struct ls_slice piece;
    const char *reason = NULL;
    (void) state;
    sampling.max_tokens = 2;
    struct ngram_stream *stream = ngram_start(model, ls_str("waa xyzzy, 12"), &sampling, NULL);
    assert_int_equal(ngram_prompt_tokens(stream), 4); /* also a word that is spelled is one */
    while (ngram_next(stream, &piece, &reason))
        assert_null(reason);
    if (strcmp(reason, "length") == 0)
        assert_int_equal(ngram_completion_tokens(stream), 2);
    assert_false(ngram_next(stream, &piece, &reason)); /* the end stays the end */
    ngram_finish(&stream);
    assert_null(stream);
    ngram_close(&model);
    free(text);
}

static void streams_do_not_disturb_each_other_and_outlive_the_owner(void **state)
{
    char *text = synthetic();
    struct ngram *model = model_of(text, 4, 2);
    struct ngram_sampling sampling = {.temperature = 1, .top_p = 0.9, .has_seed = true, .seed = 11, .max_tokens = 40};
    const char *reason;
    char *alone = answer_to(model, "waa", &sampling, &reason);
    struct ngram_stream *one = ngram_start(model, ls_str("waa"), &sampling, NULL);
    sampling.seed = 12;
    struct ngram_stream *other = ngram_start(model, ls_str("wab"), &sampling, NULL);
    struct buf out = {0};
    struct ls_slice piece;
    (void) state;
    ngram_close(&model);
    while (ngram_next(one, &piece, &reason)) {
        buf_add(&out, piece.data, piece.len);
        ngram_next(other, &piece, &reason);
    }
    assert_string_equal(buf_text(&out), alone);
    ngram_finish(&one);
    ngram_finish(&other);
    buf_fini(&out);
    free(alone);
    free(text);
}

static void wrong_settings_are_named(void **state)
{
    struct ngram *model = model_of("a b c", 2, 1);
    const char *bad[] = {"\xff"};
    const struct {
        struct ngram_sampling sampling;
        const char *name;
    } cases[] = {{{.temperature = -1, .top_p = 1}, "temperature"}, {{.temperature = NAN, .top_p = 1}, "temperature"},
                 {{.temperature = 1, .top_p = 1.5}, "top_p"}, {{.temperature = 1, .top_p = NAN}, "top_p"},
                 {{.temperature = 1, .top_p = 1, .max_tokens = -1}, "max_tokens"},
                 {{.temperature = 1, .top_p = 1, .stop = bad, .stop_count = 1}, "stop"}};
    (void) state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ls_error err = {0};
        assert_null(ngram_start(model, ls_str(""), &cases[i].sampling, &err));
        assert_string_equal(err.name, "BAD_VALUE");
        assert_non_null(strstr(err.text, cases[i].name));
    }
    ngram_close(&model);
}

static void a_rare_word_is_spelled_whole_or_not_at_all(void **state)
{
    struct ngram *model = model_of("go \xc3\xa9t\xc3\xa9 on\n\ngo \xc3\xa9tage on\n\ngo quick on", 3, 2);
    struct ngram_sampling sampling = NGRAM_SAMPLING;
    bool seen = false;
    (void) state;
    sampling.answer = true;
    assert_int_equal(model->view.rare.count, 3);
    for (int i = 0; i < 300; i++) {
        const char *reason;
        char *text = answer_to(model, "", &sampling, &reason);
        seen = seen || strstr(text, "quick");
        for (char *at = text, *word; (word = strsep(&at, " "));)
            if (strcmp(word, "go") != 0 && strcmp(word, "on") != 0 && strcmp(word, "\xc3\xa9t\xc3\xa9") != 0 &&
                strcmp(word, "\xc3\xa9tage") != 0 && strcmp(word, "quick") != 0)
                fail_msg("\"%s\" is no word of the text", word);
        free(text);
    }
    assert_true(seen);
    ngram_close(&model);
}

static void an_answer_begins_anew_unless_the_turn_is_unfinished(void **state)
{
    struct ngram *model = model_of("Love is the answer.\n\nLove is the question.\n\nMen run.\n\nMen run.\n\nMen run.\n\nMen run.", 4, 1);
    struct ngram_sampling greedy = {.answer = true};
    const char *reason;
    (void) state;
    char *text = answer_to(model, "Run?", &greedy, &reason);
    assert_string_equal(text, "Men run.");
    free(text);
    text = answer_to(model, "Love is the", &greedy, &reason);
    assert_string_equal(text, "answer.");
    free(text);
    ngram_close(&model);
}

static void an_answer_comes_to_the_words_of_the_turn(void **state)
{
    char *others = synthetic(), *text = xasprintf("%sZebra wins.\n%%\nZebra wins.\n%%\nZebra wins.\n", others);
    struct ngram *model = model_of(text, 3, 1);
    struct ngram_sampling greedy = {.answer = true};
    const char *reason;
    (void) state;
    char *answer = answer_to(model, "What of the zebra?", &greedy, &reason);
    assert_string_equal(answer, "Zebra wins.");
    free(answer);
    answer = answer_to(model, "What of it?", &greedy, &reason);
    assert_string_not_equal(answer, "Zebra wins.");
    free(answer);
    ngram_close(&model);
    free(others);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_is_cut_into_words_numbers_marks_and_white_space),
        cmocka_unit_test(tokens_joined_are_the_text),
        cmocka_unit_test(documents_are_cleaned),
        cmocka_unit_test(documents_end_at_percent_lines_or_else_at_empty_ones),
        cmocka_unit_test(equal_documents_are_never_on_both_sides),
        cmocka_unit_test(probabilities_are_those_computed_by_hand),
        cmocka_unit_test(probabilities_sum_to_one_after_every_context),
        cmocka_unit_test(longer_contexts_predict_better_where_there_is_a_rule),
        cmocka_unit_test(weights_are_powers_of_two),
        cmocka_unit_test(a_file_that_is_not_whole_is_refused),
        cmocka_unit_test(a_file_that_is_not_there_is_named),
        cmocka_unit_test(the_same_text_gives_the_same_version),
        cmocka_unit_test(a_seed_decides_the_answer),
        cmocka_unit_test(temperature_zero_takes_the_most_probable),
        cmocka_unit_test(tokens_come_as_often_as_their_probability_says),
        cmocka_unit_test(top_p_leaves_the_most_probable_only),
        cmocka_unit_test(stop_strings_are_never_shown_wherever_they_begin),
        cmocka_unit_test(the_length_is_kept_and_counted),
        cmocka_unit_test(streams_do_not_disturb_each_other_and_outlive_the_owner),
        cmocka_unit_test(wrong_settings_are_named),
        cmocka_unit_test(a_rare_word_is_spelled_whole_or_not_at_all),
        cmocka_unit_test(an_answer_begins_anew_unless_the_turn_is_unfinished),
        cmocka_unit_test(an_answer_comes_to_the_words_of_the_turn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
