/* SPDX-License-Identifier: Apache-2.0 */
/* Reading a prompt: where to go on from, and what it is about (docs/nodes/ngram.md, "How it answers"). */
#include "nodes/inference/ngram_prompt.h"

#include <ctype.h>

#include "lib/xmem.h"

#define TOPIC_COST (10 * NGRAM_COST_BIT) /* a word that is more frequent than one in 2^10 says nothing of a topic */

/* Nobody ends a sentence with one of these. */
static const char *const LEADING[] = {"a", "an", "and", "are", "as", "at", "because", "but", "by", "every", "for", "from", "his",
                                      "if", "in", "into", "is", "its", "my", "no", "of", "or", "our", "than", "that", "the",
                                      "their", "to", "was", "were", "when", "which", "who", "whose", "with", "your"};

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static struct ls_slice without_space(struct ls_slice piece)
{
    return piece.len && *piece.data == ' ' ? (struct ls_slice){piece.data + 1, piece.len - 1} : piece;
}

static bool is_leading(struct ls_slice word)
{
    for (size_t i = 0; i < sizeof LEADING / sizeof *LEADING; i++)
        if (word.len == strlen(LEADING[i]) && strncasecmp(word.data, LEADING[i], word.len) == 0)
            return true;
    return false;
}

static bool ends_with(struct ls_slice text, const char *end)
{
    size_t len = strlen(end);
    return text.len >= len && memcmp(text.data + text.len - len, end, len) == 0;
}

static bool is_unfinished(struct ls_slice text, struct ls_slice last_piece)
{
    static const char *const ENDS[] = {",", ";", ":", "-", "...", "…", "–", "—", "(", NULL};
    for (const char *const *end = ENDS; *end; end++)
        if (ends_with(text, *end))
            return true;
    return is_leading(without_space(last_piece));
}

/* Small and capital, behind a space and not: the tokens that are the same word. */
static size_t forms_of(const struct ngram_view *view, struct ls_slice word, uint32_t forms[6])
{
    char text[NGRAM_WORD_MAX + 2] = " ";
    size_t count = 0;
    if (!word.len || word.len >= NGRAM_WORD_MAX)
        return 0;
    memcpy(text + 1, word.data, word.len);
    for (int pass = 0; pass < 3; pass++) { /* as it is, all small, a capital first */
        for (size_t i = 1; pass == 1 && i <= word.len; i++)
            text[i] = (char) tolower((uint8_t) text[i]);
        if (pass == 2)
            text[1] = (char) toupper((uint8_t) text[1]);
        for (int space = 0; space < 2; space++) {
            uint32_t token = ngram_word(view, ls_bytes(text + 1 - space, word.len + (size_t) space));
            if (token != NGRAM_BEGIN)
                forms[count++] = token;
        }
    }
    return count;
}

static void note_topic(const struct ngram_view *view, struct ls_slice word, struct ngram_prompt *prompt, uint8_t *topics)
{
    uint32_t forms[6];
    size_t count = forms_of(view, word, forms);
    bool known = count == 0 || *topics == NGRAM_TOPICS_MAX;
    for (size_t i = 0; i < count; i++)
        known = known || view->levels[0].costs[forms[i]] < TOPIC_COST || (prompt->topics && prompt->topics[forms[i]]);
    if (known)
        return;
    if (!prompt->topics)
        prompt->topics = xcalloc(view->vocabulary, 1);
    ++*topics;
    for (size_t i = 0; i < count; i++)
        prompt->topics[forms[i]] = *topics;
}

static void push(struct ngram_prompt *prompt, uint32_t token)
{
    if (prompt->context_count == NGRAM_ORDER_MAX - 1)
        memmove(prompt->context, prompt->context + 1, --prompt->context_count * sizeof *prompt->context);
    prompt->context[prompt->context_count++] = token;
}

void ngram_prompt_read(const struct ngram_view *view, struct ls_slice text, bool answer, struct ngram_prompt *prompt)
{
    struct ngram_reader reader = {.view = view, .text = text};
    struct ls_slice piece = {0};
    uint8_t topics = 0;
    uint32_t token;
    size_t end = text.len;
    while (end && is_blank(text.data[end - 1]) && (answer || text.data[end - 1] == ' '))
        end--;
    *prompt = (struct ngram_prompt){.context = {NGRAM_BEGIN}, .context_count = 1, .after_space = end < text.len};
    reader.text.len = end;
    for (const char *begin = reader.text.data; ngram_read(&reader, &token); begin = reader.text.data) {
        push(prompt, token);
        if (reader.text.data == begin) /* a further byte of the piece before */
            continue;
        piece = (struct ls_slice){begin, (size_t) (reader.text.data - begin)};
        prompt->pieces++;
        if (answer && reader.kind == NGRAM_WORD)
            note_topic(view, without_space(piece), prompt, &topics);
    }
    if (answer && !(end && is_unfinished((struct ls_slice){text.data, end}, piece))) {
        prompt->context[0] = NGRAM_BEGIN;
        prompt->context_count = 1;
    }
}
