/* SPDX-License-Identifier: Apache-2.0 */
/* Making text: which token comes next, and which bytes may be handed out. The choice is made in integers (ngram_chance.h):
 * what was seen after the context is listed with its costs, and everything else lies behind it in one order that holds for
 * every context, that of the single tokens. Walking both lists together gives the tokens from the most probable on. */
#include <ctype.h>
#include <stdlib.h>
#include <sys/random.h>

#include "lib/buf.h"
#include "lib/clock.h"
#include "lib/error.h"
#include "lib/utf8.h"
#include "lib/xmem.h"
#include "nodes/inference/ngram_chance.h"
#include "nodes/inference/ngram_prompt.h"

#define COLDEST 1e-4     /* a lower temperature is 0 */
#define TOPIC_BITS 6     /* a topic's word counts as 2^6 times as probable where it was seen to follow */
#define STOPS_MAX 64
#define STOP_BYTES_MAX 1024

/* What a piece begins or ends with. Text has no two pieces of one class side by side: they would be one piece. */
enum class { CLASS_NONE, CLASS_WORD, CLASS_MARK, CLASS_SPACE, CLASSES };

struct candidate {
    int64_t cost;
    uint32_t token;
    uint64_t weight;
};

struct ngram_stream {
    struct ngram *model;
    struct ngram_prompt prompt; /* its context goes on with the answer */
    struct ngram_random random;
    bool greedy, trim_all, trim_one;
    int64_t rarity;         /* what beginning a rare word costs on top */
    uint64_t coldness;      /* 1 / temperature, in units of 2^-32 */
    uint64_t nucleus;       /* top_p, in units of 2^-32 */
    uint64_t *base;         /* weight of each token without context; NULL if greedy */
    uint64_t base_sums[CLASSES]; /* by what the tokens begin with */
    uint32_t *seen, turn;   /* seen[token] == turn: it is among the candidates, or cannot be */
    struct candidate *candidates;
    size_t count, room;
    uint64_t said;          /* topics, as bits */
    struct spelling {
        uint32_t low, high; /* the rare words that begin with what was spelled so far */
        size_t depth;       /* bytes of it; 0: no word is being spelled */
    } spelling;
    enum class last;        /* what the text ends with so far */
    uint32_t pending;       /* chosen behind a spelled word; NGRAM_BEGIN: none */
    uint32_t chosen, chosen_max; /* pieces */
    char **stop;
    size_t stop_count;
    struct buf text;        /* chosen and not yet handed out */
    size_t handed;          /* of it, by the last call */
    const char *finish;
};

/* ---- the next token ---- */

static enum class class_of(uint8_t byte)
{
    if (byte == ' ' || (byte >= '\t' && byte <= '\r'))
        return CLASS_SPACE;
    return byte >= 0x80 || isalnum(byte) ? CLASS_WORD : CLASS_MARK;
}

static enum class beginning(const struct ngram_stream *s, uint32_t token)
{
    struct ls_slice text = ngram_text(&s->model->view, token);
    return text.len ? class_of((uint8_t) *text.data) : CLASS_NONE;
}

static void push(struct ngram_stream *s, uint32_t token)
{
    struct ngram_prompt *at = &s->prompt;
    struct ls_slice text = ngram_text(&s->model->view, token);
    if (at->context_count == NGRAM_ORDER_MAX - 1)
        memmove(at->context, at->context + 1, --at->context_count * sizeof *at->context);
    at->context[at->context_count++] = token;
    s->last = class_of((uint8_t) text.data[text.len - 1]);
}

/* The rare words among [low, high) whose byte number `depth` is `byte`. They are sorted, so they lie together. */
static struct spelling spell(const struct ngram_strings *rare, struct spelling from, uint8_t byte)
{
    uint32_t bounds[2];
    for (unsigned i = 0; i < 2; i++) {
        uint32_t low = from.low, high = from.high;
        while (low < high) {
            uint32_t middle = low + (high - low) / 2;
            struct ls_slice word = ngram_string(rare, middle);
            if (word.len <= from.depth || (uint8_t) word.data[from.depth] < byte + i)
                low = middle + 1;
            else
                high = middle;
        }
        bounds[i] = low;
    }
    return (struct spelling){bounds[0], bounds[1], from.depth + 1};
}

static struct spelling any_word(const struct ngram_stream *s)
{
    return (struct spelling){0, s->model->view.rare.count, 0};
}

/* Is what was spelled so far a word, so that the text may go on behind it? */
static bool is_whole(const struct ngram_stream *s)
{
    return !s->spelling.depth || ngram_string(&s->model->view.rare, s->spelling.low).len == s->spelling.depth;
}

static bool goes_on(const struct ngram_stream *s, struct spelling from, uint32_t token)
{
    if (token < NGRAM_BYTES || token >= NGRAM_WORDS)
        return false;
    struct spelling next = spell(&s->model->view.rare, from, (uint8_t) (token - NGRAM_BYTES));
    return next.low < next.high;
}

/* Without context only words are said, and only where a piece can begin. */
static bool is_other(const struct ngram_stream *s, uint32_t token)
{
    return token == NGRAM_END || (token >= NGRAM_WORDS && beginning(s, token) != s->last);
}

/* What is spelled is a word of the training text: a byte must begin one, or go on with the one that was begun. */
static bool can_be_said(const struct ngram_stream *s, uint32_t token)
{
    if (s->spelling.depth && goes_on(s, s->spelling, token))
        return true;
    return is_whole(s) && (token == NGRAM_END || token >= NGRAM_WORDS ||
                           (beginning(s, token) != s->last && goes_on(s, any_word(s), token)));
}

static int by_cost(const void *a, const void *b)
{
    const struct candidate *one = a, *other = b;
    if (one->cost != other->cost)
        return one->cost < other->cost ? -1 : 1;
    return (one->token > other->token) - (one->token < other->token);
}

static void add_candidate(struct ngram_stream *s, uint32_t token, int64_t cost)
{
    if (s->seen[token] == s->turn)
        return;
    s->seen[token] = s->turn;
    if (!can_be_said(s, token))
        return;
    if (token >= NGRAM_BYTES && token < NGRAM_WORDS && !(s->spelling.depth && goes_on(s, s->spelling, token)))
        cost += s->rarity;
    uint8_t topic = s->prompt.topics ? s->prompt.topics[token] : 0;
    if (topic && !(s->said >> topic & 1))
        cost -= TOPIC_BITS * (int64_t) NGRAM_COST_BIT;
    s->candidates = xgrow(s->candidates, &s->room, s->count + 1, sizeof *s->candidates);
    s->candidates[s->count++] = (struct candidate){.cost = cost, .token = token};
}

/* Lists what was seen after the context, longest first; returns what all else costs on top of its own cost. */
static int64_t list_candidates(struct ngram_stream *s)
{
    const struct ngram_view *view = &s->model->view;
    const struct ngram_prompt *at = &s->prompt;
    int64_t backoff = 0;
    size_t used = at->context_count < view->order - 1 ? at->context_count : view->order - 1;
    s->count = 0;
    s->turn++;
    if (!s->chosen)
        s->seen[NGRAM_END] = s->turn; /* no answer is empty */
    for (; used; used--) {
        uint32_t node;
        if (!ngram_find(view, at->context + at->context_count - used, used, &node))
            continue;
        const struct ngram_level *level = &view->levels[used - 1], *next = &view->levels[used];
        for (uint32_t i = level->firsts[node]; i < level->firsts[node + 1]; i++)
            add_candidate(s, next->words[i], backoff + next->costs[i]);
        backoff += level->backoffs[node];
    }
    if (s->count)
        qsort(s->candidates, s->count, sizeof *s->candidates, by_cost);
    return backoff;
}

/* The walk over candidates and all others, from the most probable on. */
struct walk {
    struct ngram_stream *stream;
    int64_t backoff;
    uint64_t factor; /* of the weights of others */
    size_t at, other;
    size_t others; /* 0: none, a word is being spelled */
};

static bool walk_next(struct walk *walk, uint32_t *token, uint64_t *weight)
{
    const struct ngram_stream *s = walk->stream;
    const struct ngram *model = s->model;
    while (walk->other < walk->others && (s->seen[model->by_cost[walk->other]] == s->turn || !is_other(s, model->by_cost[walk->other])))
        walk->other++;
    bool others = walk->other < walk->others;
    uint32_t other = others ? model->by_cost[walk->other] : 0;
    if (walk->at < s->count && (!others || s->candidates[walk->at].cost <= walk->backoff + model->view.levels[0].costs[other])) {
        *token = s->candidates[walk->at].token;
        *weight = s->candidates[walk->at++].weight;
        return true;
    }
    *token = other;
    *weight = others && s->base ? ngram_share(s->base[other], walk->factor, 40) : 0;
    walk->other++;
    return others;
}

/* The weight of a token that costs `cost` where the cheapest costs `least`. */
static uint64_t weigh(const struct ngram_stream *s, int64_t cost, int64_t least)
{
    return ngram_weight(ngram_share((uint64_t) (cost - least), s->coldness, 32));
}

/* The sum of the weights without context of all that is no candidate. */
static uint64_t sum_others(const struct ngram_stream *s)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < CLASSES; i++)
        sum += i != s->last || i == CLASS_NONE ? s->base_sums[i] : 0;
    for (size_t i = 0; i < s->count; i++)
        sum -= is_other(s, s->candidates[i].token) ? s->base[s->candidates[i].token] : 0;
    return s->chosen ? sum : sum - s->base[NGRAM_END];
}

static uint32_t draw(struct ngram_stream *s, struct walk start)
{
    const struct ngram *model = s->model;
    int64_t least = start.backoff + model->view.levels[0].costs[model->by_cost[0]];
    uint64_t all = 0, sum = 0, weight;
    uint32_t token;
    if (s->count && s->candidates[0].cost < least)
        least = s->candidates[0].cost;
    for (size_t i = 0; i < s->count; i++) {
        s->candidates[i].weight = weigh(s, s->candidates[i].cost, least);
        all += s->candidates[i].weight;
    }
    start.factor = weigh(s, start.backoff + model->view.levels[0].costs[model->by_cost[0]], least);
    all += start.others ? ngram_share(sum_others(s), start.factor, 40) : 0;
    uint64_t wanted = ngram_share(all, s->nucleus, 32);
    for (struct walk walk = start; walk_next(&walk, &token, &weight);) {
        sum += weight;
        if (sum >= wanted && sum)
            break;
    }
    if (!sum)
        return NGRAM_END;
    uint64_t drawn = ngram_random_below(&s->random, sum);
    for (struct walk walk = start; walk_next(&walk, &token, &weight); drawn -= weight)
        if (drawn < weight)
            break;
    return token;
}

static uint32_t choose(struct ngram_stream *s)
{
    struct walk walk = {.stream = s, .backoff = list_candidates(s), .others = is_whole(s) ? s->model->view.vocabulary : 0};
    uint32_t token;
    uint64_t weight;
    if (!s->count && !walk.others) /* nothing seen goes on with this word: its next byte, then */
        return NGRAM_BYTES + (uint8_t) ngram_string(&s->model->view.rare, s->spelling.low).data[s->spelling.depth];
    if (!s->greedy)
        return draw(s, walk);
    return walk_next(&walk, &token, &weight) ? token : NGRAM_END;
}

/* ---- what may be handed out ---- */

/* At the beginning, the space that the prompt has already, or that an answer does not begin with. */
static struct ls_slice trim(struct ngram_stream *s, struct ls_slice text)
{
    while ((s->trim_one || s->trim_all) && text.len && strchr(s->trim_all ? " \t\n\v\f\r" : " ", *text.data)) {
        text = (struct ls_slice){text.data + 1, text.len - 1};
        s->trim_one = false;
    }
    s->trim_one = s->trim_one && !text.len;
    s->trim_all = s->trim_all && !text.len;
    return text;
}

static void cut_at_stop(struct ngram_stream *s)
{
    const uint8_t *first = NULL;
    for (size_t i = 0; i < s->stop_count && s->text.len; i++) {
        const uint8_t *found = memmem(s->text.data, s->text.len, s->stop[i], strlen(s->stop[i]));
        if (found && (!first || found < first))
            first = found;
    }
    if (!first)
        return;
    s->text.len = (size_t) (first - s->text.data);
    s->finish = "stop";
}

/* How many bytes at the end could be the beginning of a stop string. */
static size_t held_back(const struct ngram_stream *s)
{
    size_t held = 0;
    for (size_t i = 0; i < s->stop_count; i++) {
        size_t len = strlen(s->stop[i]) - 1;
        for (len = len < s->text.len ? len : s->text.len; len > held; len--)
            if (memcmp(s->text.data + s->text.len - len, s->stop[i], len) == 0)
                held = len;
    }
    return held;
}

/* Spells a word to its end, from its first byte on; what was chosen behind it is left in `pending`. */
static struct ls_slice spell_word(struct ngram_stream *s, uint32_t token)
{
    struct spelling word = any_word(s);
    while (goes_on(s, word, token)) {
        word = s->spelling = spell(&s->model->view.rare, word, (uint8_t) (token - NGRAM_BYTES));
        push(s, token);
        s->pending = NGRAM_BEGIN;
        if (is_whole(s) && word.high - word.low == 1)
            break;
        token = s->pending = choose(s);
    }
    s->spelling.depth = 0;
    return ngram_string(&s->model->view.rare, word.low);
}

static void go_on(struct ngram_stream *s)
{
    uint32_t token = s->pending != NGRAM_BEGIN ? s->pending : choose(s);
    struct ls_slice text;
    s->pending = NGRAM_BEGIN;
    if (token == NGRAM_END) {
        s->finish = "stop";
        return;
    }
    if (token < NGRAM_WORDS) {
        text = spell_word(s, token);
    } else {
        push(s, token);
        if (s->prompt.topics && s->prompt.topics[token])
            s->said |= 1ull << s->prompt.topics[token];
        text = ngram_text(&s->model->view, token);
    }
    text = trim(s, text);
    buf_add(&s->text, text.data, text.len);
    if (++s->chosen == s->chosen_max)
        s->finish = "length";
    cut_at_stop(s);
}

bool ngram_next(struct ngram_stream *s, struct ls_slice *piece, const char **finish_reason)
{
    size_t ready = 0;
    if (s->handed)
        memmove(s->text.data, s->text.data + s->handed, s->text.len -= s->handed);
    s->handed = 0;
    while (!s->finish && !(ready = s->text.len - held_back(s)))
        go_on(s);
    if (s->finish)
        ready = s->text.len;
    s->handed = ready;
    *piece = ls_bytes(s->text.data, ready);
    *finish_reason = ready ? NULL : s->finish;
    return ready > 0;
}

/* ---- beginning and end ---- */

static int check(const struct ngram_sampling *sampling, struct ls_error *err)
{
    if (!(sampling->temperature >= 0 && sampling->temperature <= 100))
        return error_set(err, "BAD_VALUE", "temperature is not from 0 to 100");
    if (!(sampling->top_p >= 0 && sampling->top_p <= 1))
        return error_set(err, "BAD_VALUE", "top_p is not from 0 to 1");
    if (sampling->max_tokens < 0)
        return error_set(err, "BAD_VALUE", "max_tokens is less than 0");
    if (sampling->stop_count > STOPS_MAX)
        return error_set(err, "BAD_VALUE", "stop has more than %d strings", STOPS_MAX);
    for (size_t i = 0; i < sampling->stop_count; i++)
        if (strlen(sampling->stop[i]) > STOP_BYTES_MAX || !utf8_valid(sampling->stop[i], strlen(sampling->stop[i])))
            return error_set(err, "BAD_VALUE", "stop has a string that is no UTF-8 or longer than %d bytes", STOP_BYTES_MAX);
    return 0;
}

static void weigh_all(struct ngram_stream *s)
{
    const struct ngram *model = s->model;
    const uint32_t *costs = model->view.levels[0].costs;
    s->base = xcalloc(model->view.vocabulary, sizeof *s->base);
    for (uint32_t i = 0; i < model->view.vocabulary; i++)
        if ((i == NGRAM_END || i >= NGRAM_WORDS) && costs[i] != NGRAM_NEVER)
            s->base_sums[beginning(s, i)] += s->base[i] = weigh(s, costs[i], costs[model->by_cost[0]]);
}

static uint64_t any_seed(void)
{
    uint64_t seed;
    if (getrandom(&seed, sizeof seed, 0) != sizeof seed)
        seed = (uint64_t) clock_wall_us();
    return seed;
}

/* The first byte stands for all n rare words. Away from temperature 1 that would not be fair: one of n that share a chance p
 * has p / n, and n of them with (p / n)^(1/t) together weigh what one does that costs (1 - t) log2 n on top of p. */
static int64_t rarity(const struct ngram *model, double temperature)
{
    int bits = 0;
    while (model->view.rare.count >> bits > 1)
        bits++;
    return (int64_t) ((1 - temperature) * bits * NGRAM_COST_BIT);
}

static void copy_stops(struct ngram_stream *s, const struct ngram_sampling *sampling)
{
    s->stop = xcalloc(sampling->stop_count, sizeof *s->stop);
    for (size_t i = 0; i < sampling->stop_count; i++)
        if (*sampling->stop[i])
            s->stop[s->stop_count++] = xstrdup(sampling->stop[i]);
}

struct ngram_stream *ngram_start(struct ngram *model, struct ls_slice prompt, const struct ngram_sampling *sampling,
                                 struct ls_error *err)
{
    if (check(sampling, err) < 0)
        return NULL;
    struct ngram_stream *s = xcalloc(1, sizeof *s);
    s->model = model;
    model->uses++;
    ngram_prompt_read(&model->view, prompt, sampling->answer, &s->prompt);
    ngram_random_seed(&s->random, sampling->has_seed ? sampling->seed : any_seed());
    s->trim_all = sampling->answer;
    s->trim_one = s->prompt.after_space;
    struct ls_slice last = ngram_text(&model->view, s->prompt.context[s->prompt.context_count - 1]);
    s->last = last.len ? class_of((uint8_t) last.data[last.len - 1]) : CLASS_NONE;
    s->greedy = sampling->temperature < COLDEST;
    s->rarity = rarity(model, s->greedy ? 0 : sampling->temperature);
    s->nucleus = (uint64_t) (sampling->top_p * 4294967296.0);
    s->seen = xcalloc(model->view.vocabulary, sizeof *s->seen);
    s->chosen_max = NGRAM_TOKENS_MAX;
    if (sampling->max_tokens && sampling->max_tokens < NGRAM_TOKENS_MAX)
        s->chosen_max = (uint32_t) sampling->max_tokens;
    copy_stops(s, sampling);
    if (!s->greedy) {
        s->coldness = (uint64_t) (4294967296.0 / sampling->temperature);
        weigh_all(s);
    }
    return s;
}

uint32_t ngram_prompt_tokens(const struct ngram_stream *s)
{
    return s->prompt.pieces;
}

uint32_t ngram_completion_tokens(const struct ngram_stream *s)
{
    return s->chosen;
}

void ngram_finish(struct ngram_stream **stream)
{
    struct ngram_stream *s = *stream;
    *stream = NULL;
    if (!s)
        return;
    ngram_close(&s->model);
    for (size_t i = 0; i < s->stop_count; i++)
        free(s->stop[i]);
    free(s->stop);
    free(s->prompt.topics);
    free(s->base);
    free(s->seen);
    free(s->candidates);
    buf_fini(&s->text);
    free(s);
}
