/* SPDX-License-Identifier: Apache-2.0 */
/* Topic grammar and matching against a slow second opinion. An input is up to eight lines: the first two are also taken as
 * patterns, all as topics; the relations between patterns are checked at those topics and at some made from the patterns. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/topic.h"
#include "lib/xmem.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

#define LINES_MAX 8

static void check(bool holds, const char *rule, const char *a, const char *b)
{
    if (holds)
        return;
    fprintf(stderr, "topic_fuzz: %s: \"%s\" \"%s\"\n", rule, a, b);
    abort();
}

/* ---- the second opinion: recursive, letter by letter, from docs/protocol.md ---- */

static size_t word_len(const char *text)
{
    return strcspn(text, ".");
}

static bool plain(const char *word, size_t len)
{
    return len && strspn(word, "abcdefghijklmnopqrstuvwxyz0123456789_-") >= len;
}

static bool valid_from(const char *text, bool wild)
{
    size_t len = word_len(text);
    bool last = !text[len];
    bool good = plain(text, len) || (wild && len == 1 && (*text == '*' || (*text == '>' && last)));
    return good && (last || valid_from(text + len + 1, wild));
}

static bool oracle_valid(const char *text, bool wild)
{
    if (strlen(text) > 200)
        return false;
    if (*text == '$') /* what follows the sign must be a plain word */
        return plain(text + 1, word_len(text + 1)) && valid_from(text + 1, wild);
    return valid_from(text, wild);
}

static bool match_from(const char *pattern, const char *topic)
{
    size_t p = word_len(pattern), t = word_len(topic);
    if (!strcmp(pattern, ">"))
        return true;
    if (!(p == 1 && *pattern == '*') && (p != t || strncmp(pattern, topic, p) != 0))
        return false;
    if (!pattern[p] || !topic[t])
        return !pattern[p] && !topic[t];
    return match_from(pattern + p + 1, topic + t + 1);
}

static bool oracle_match(const char *pattern, const char *topic)
{
    bool wild = *pattern == '*' || *pattern == '>';
    return !(*topic == '$' && wild) && match_from(pattern, topic);
}

/* ---- rules ---- */

static bool match(const char *pattern, const char *topic)
{
    return topic_match(pattern, strlen(pattern), topic, strlen(topic));
}

static void check_at(const char *a, const char *b, const char *topic)
{
    bool in_a = match(a, topic), in_b = match(b, topic);
    check(in_a == oracle_match(a, topic), "match", a, topic);
    check(in_b == oracle_match(b, topic), "match", b, topic);
    if (in_a && in_b)
        check(topic_overlap(a, b), "both match a topic, yet no overlap", a, b);
    if (in_b && !in_a)
        check(!topic_covers(a, b), "covers, yet a topic is left out", a, b);
    if (in_a && !in_b)
        check(!topic_covers(b, a), "covers, yet a topic is left out", b, a);
}

/* A topic that `pattern` matches: `*` becomes `star`, `>` becomes `rest`. */
static char *example(const char *pattern, const char *star, const char *rest)
{
    char *text = xstrdup("");
    for (const char *at = pattern; *at; at++) {
        char one[2] = {*at, 0};
        char *longer = xasprintf("%s%s", text, *at == '*' ? star : *at == '>' ? rest : one);
        free(text);
        text = longer;
    }
    return text;
}

static void check_examples(const char *a, const char *b)
{
    static const char *const WORDS[] = {"a", "b", "zz", "0"}, *const RESTS[] = {"a", "b", "a.b", "zz.0.a"};
    for (size_t i = 0; i < 4; i++)
        for (size_t k = 0; k < 4; k++) {
            char *topic = example(a, WORDS[i], RESTS[k]);
            if (topic_valid(topic, strlen(topic))) {
                check(match(a, topic), "a pattern's own example", a, topic);
                check_at(a, b, topic);
            }
            free(topic);
        }
}

/* Where patterns overlap there is a topic that both match: word by word the more definite one. */
static void check_common(const char *a, const char *b)
{
    const char *x = a, *y = b;
    char topic[2 * TOPIC_LEN_MAX + 2] = "";
    while (*x || *y) {
        bool rest_x = !strcmp(x, ">"), rest_y = !strcmp(y, ">");
        const char *from = rest_x || (*x == '*' && !rest_y) || !*x ? y : x;
        size_t len = word_len(from), used = strlen(topic);
        bool wild = *from == '*' || *from == '>';
        snprintf(topic + used, sizeof topic - used, "%s%.*s", used ? "." : "", wild ? 1 : (int) len, wild ? "w" : from);
        x += rest_x ? (*y && y[word_len(y)] ? 0 : 1) : word_len(x) + (x[word_len(x)] == '.');
        y += rest_y ? (*x && !rest_x ? 0 : 1) : word_len(y) + (y[word_len(y)] == '.');
    }
    check(strlen(topic) > TOPIC_LEN_MAX || (match(a, topic) && match(b, topic)), "overlap without a common topic", a, b);
}

static void check_patterns(const char *a, const char *b)
{
    bool overlap = topic_overlap(a, b);
    check(topic_covers(a, a) && topic_overlap(a, a), "a pattern covers itself", a, a);
    check(overlap == topic_overlap(b, a), "overlap goes both ways", a, b);
    if (topic_covers(a, b))
        check(overlap, "what covers overlaps", a, b);
    check_examples(a, b);
    check_examples(b, a);
    if (overlap)
        check_common(a, b);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    char *lines[LINES_MAX], *text = xstrndup((const char *) data, size), *rest = text;
    size_t count = 0;
    while (rest && count < LINES_MAX) {
        lines[count] = strsep(&rest, "\n");
        size_t len = strlen(lines[count]);
        check(topic_valid(lines[count], len) == oracle_valid(lines[count], false), "valid", lines[count], "");
        check(topic_pattern_valid(lines[count], len) == oracle_valid(lines[count], true), "pattern valid", lines[count], "");
        count++;
    }
    if (memchr(data, 0, size))
        check(!topic_valid((const char *) data, size) && !topic_pattern_valid((const char *) data, size), "a NUL is no word", text, "");
    if (count >= 2 && oracle_valid(lines[0], true) && oracle_valid(lines[1], true)) {
        check_patterns(lines[0], lines[1]);
        for (size_t i = 0; i < count; i++)
            if (oracle_valid(lines[i], false))
                check_at(lines[0], lines[1], lines[i]);
    }
    free(text);
    return 0;
}
