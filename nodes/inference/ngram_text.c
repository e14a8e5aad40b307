/* SPDX-License-Identifier: Apache-2.0 */
/* Cutting text into words, numbers, marks and white space. The classes beyond ASCII are coarse ranges of Unicode: they decide
 * where words end, and nothing is lost when they are wrong. */
#include "nodes/inference/ngram_text.h"

#include <stdbool.h>
#include <stdint.h>

#include "lib/utf8.h"

#define RIGHT_QUOTE 0x2019 /* the apostrophe of typeset text */

static const struct range {
    uint32_t from, to;
} MARKS[] = {{0x80, 0xa9}, {0xab, 0xb4}, {0xb6, 0xb9}, {0xbb, 0xbf}, {0xd7, 0xd7}, {0xf7, 0xf7}, {0x2000, 0x206f},
             {0x20a0, 0x20cf}, {0x2190, 0x2bff}, {0xfe00, 0xfe0f}, {0xfffd, 0xfffd}, {0x1f000, 0x1faff}},
  /* Written without spaces: each character is a piece. */
  IDEOGRAPHS[] = {{0x2e80, 0xa4cf}, {0xf900, 0xfaff}, {0xff00, 0xffef}, {0x20000, 0x3ffff}};

static bool within(const struct range *ranges, size_t count, uint32_t code)
{
    for (size_t i = 0; i < count; i++)
        if (code >= ranges[i].from && code <= ranges[i].to)
            return true;
    return false;
}

static enum ngram_kind kind_of(uint32_t code)
{
    if (code == ' ' || (code >= '\t' && code <= '\r'))
        return NGRAM_SPACE;
    if (code >= '0' && code <= '9')
        return NGRAM_NUMBER;
    if ((code >= 'a' && code <= 'z') || (code >= 'A' && code <= 'Z'))
        return NGRAM_WORD;
    return code < 0x80 || within(MARKS, sizeof MARKS / sizeof *MARKS, code) ? NGRAM_MARK : NGRAM_WORD;
}

static size_t first(struct ls_slice text, size_t at, uint32_t *code, enum ngram_kind *kind)
{
    size_t len = at < text.len ? utf8_next((const uint8_t *) text.data + at, text.len - at, code) : 0;
    *kind = len ? kind_of(*code) : NGRAM_LOOSE;
    return len;
}

/* The end of a run of one kind that begins at `at`. */
static size_t run_end(struct ls_slice text, size_t at, enum ngram_kind wanted)
{
    uint32_t code;
    enum ngram_kind kind;
    for (size_t len; (len = first(text, at, &code, &kind)) && kind == wanted; at += len)
        if (within(IDEOGRAPHS, sizeof IDEOGRAPHS / sizeof *IDEOGRAPHS, code))
            break;
    return at;
}

/* Letters, and apostrophes with a letter on either side; or one ideograph. */
static size_t word_end(struct ls_slice text, size_t at)
{
    uint32_t code = 0;
    enum ngram_kind kind;
    size_t end = run_end(text, at, NGRAM_WORD);
    if (end == at)
        return at + first(text, at, &code, &kind);
    for (;;) {
        size_t len = first(text, end, &code, &kind);
        size_t next = len && (code == '\'' || code == RIGHT_QUOTE) ? run_end(text, end + len, NGRAM_WORD) : end;
        if (next <= end + len)
            return end;
        end = next;
    }
}

struct ls_slice ngram_cut(struct ls_slice *text, enum ngram_kind *kind)
{
    uint32_t code = 0;
    enum ngram_kind next;
    size_t len = first(*text, 0, &code, kind), end, at = 0;
    if (code == ' ' && len && first(*text, 1, &code, &next) && next != NGRAM_SPACE) { /* a loose byte stands alone */
        *kind = next;
        at = 1;
    }
    if (*kind == NGRAM_LOOSE)
        end = 1;
    else if (*kind == NGRAM_WORD)
        end = word_end(*text, at);
    else
        end = run_end(*text, at, *kind);
    struct ls_slice piece = {text->data, end};
    *text = (struct ls_slice){text->data + end, text->len - end};
    return piece;
}

size_t ngram_characters(struct ls_slice text)
{
    size_t count = 0;
    for (size_t i = 0; i < text.len; i++)
        count += ((uint8_t) text.data[i] & 0xc0) != 0x80;
    return count;
}
