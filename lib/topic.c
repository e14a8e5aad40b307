/* SPDX-License-Identifier: Apache-2.0 */
/* Topic grammar and matching, word by word. */
#include "lib/topic.h"

#include <stdint.h>
#include <string.h>

static bool word_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

struct words {
    const char *word;
    size_t len;
    const char *rest, *end;
};

static struct words words_over(const char *text, size_t len)
{
    return (struct words){NULL, 0, text, text + len};
}

/* Steps to the next word; false at the end. */
static bool words_next(struct words *w)
{
    if (!w->rest)
        return false;
    w->word = w->rest;
    const char *dot = memchr(w->rest, '.', (size_t) (w->end - w->rest));
    w->len = (size_t) ((dot ? dot : w->end) - w->rest);
    w->rest = dot ? dot + 1 : NULL;
    return true;
}

static bool is_wild(const struct words *w, char wildcard)
{
    return w->len == 1 && w->word[0] == wildcard;
}

static bool plain_word(const struct words *w, bool first)
{
    size_t from = first && w->len > 1 && w->word[0] == '$';
    for (size_t i = from; i < w->len; i++)
        if (!word_byte(w->word[i]))
            return false;
    return w->len > from;
}

static bool valid(const char *text, size_t len, bool wildcards)
{
    if (!len || len > TOPIC_LEN_MAX)
        return false;
    struct words w = words_over(text, len);
    for (bool first = true; words_next(&w); first = false) {
        if (wildcards && is_wild(&w, '*'))
            continue;
        if (wildcards && is_wild(&w, '>') && !w.rest)
            continue;
        if (!plain_word(&w, first))
            return false;
    }
    return true;
}

bool topic_valid(const char *topic, size_t len)
{
    return valid(topic, len, false);
}

bool topic_pattern_valid(const char *pattern, size_t len)
{
    return valid(pattern, len, true);
}

bool topic_match(const char *pattern, size_t pattern_len, const char *topic, size_t topic_len)
{
    if (!pattern_len || !topic_len)
        return false;
    if (topic[0] == '$' && pattern[0] != '$')
        return false;
    struct words p = words_over(pattern, pattern_len), t = words_over(topic, topic_len);
    while (words_next(&p)) {
        if (!words_next(&t))
            return false;
        if (is_wild(&p, '>'))
            return true;
        if (!is_wild(&p, '*') && (p.len != t.len || memcmp(p.word, t.word, p.len)))
            return false;
    }
    return !t.rest;
}

static bool same_word(const struct words *a, const struct words *b)
{
    return a->len == b->len && !memcmp(a->word, b->word, a->len);
}

/* Both relations walk two patterns in step; `$` topics are only reached by patterns that begin with `$`. */
bool topic_overlap(const char *a, const char *b)
{
    if ((a[0] == '$') != (b[0] == '$'))
        return false;
    struct words x = words_over(a, strlen(a)), y = words_over(b, strlen(b));
    for (;;) {
        bool more_x = words_next(&x), more_y = words_next(&y);
        if (!more_x || !more_y)
            return more_x == more_y;
        if (is_wild(&x, '>') || is_wild(&y, '>'))
            return true;
        if (!is_wild(&x, '*') && !is_wild(&y, '*') && !same_word(&x, &y))
            return false;
    }
}

bool topic_covers(const char *wide, const char *narrow)
{
    if ((wide[0] == '$') != (narrow[0] == '$'))
        return false;
    struct words w = words_over(wide, strlen(wide)), n = words_over(narrow, strlen(narrow));
    for (;;) {
        bool more_w = words_next(&w), more_n = words_next(&n);
        if (!more_w || !more_n)
            return more_w == more_n;
        if (is_wild(&w, '>'))
            return true;
        if (is_wild(&n, '>'))
            return false;
        if (!is_wild(&w, '*') && (is_wild(&n, '*') || !same_word(&w, &n)))
            return false;
    }
}
