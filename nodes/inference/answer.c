/* SPDX-License-Identifier: Apache-2.0 */
/* Parts of an answer: pieces are kept and joined, and written as msgpack when they are sent. */
#include "nodes/inference/answer.h"

#include <stdlib.h>

#include "lib/error.h"
#include "lib/xmem.h"

#define TEXT_BYTES_MAX (128u << 10) /* of one kind in one part */
#define JSON_BYTES_MAX (512u << 10) /* tool calls and logprobs of one part */
#define PENDING_BYTES_MAX (4u << 20)
#define PENDING_PARTS_MAX 16384 /* pieces that cannot be joined */

/* Text in the order in which it may stand in one part: a later kind never comes before an earlier one. */
enum rank { RANK_REASONING, RANK_TEXT, RANK_REFUSAL, RANK_COUNT };

struct pending {
    STAILQ_ENTRY(pending) link;
    uint32_t index;
    struct buf texts[RANK_COUNT], tool_calls, logprobs;
    const char *finish_reason;
};

void answer_open(struct answer *a, struct ls_call *call, struct buf *scratch)
{
    *a = (struct answer){.call = call, .scratch = scratch};
    STAILQ_INIT(&a->pending);
}

void answer_name(struct answer *a, const char *model, const char *version, const char *worker)
{
    a->model = xstrdup(model);
    a->version = version ? xstrdup(version) : NULL;
    a->worker = worker;
}

static void drop_first(struct answer *a)
{
    struct pending *p = STAILQ_FIRST(&a->pending);
    STAILQ_REMOVE_HEAD(&a->pending, link);
    a->pending_count--;
    for (int i = 0; i < RANK_COUNT; i++) {
        a->pending_bytes -= p->texts[i].len;
        buf_fini(&p->texts[i]);
    }
    a->pending_bytes -= p->tool_calls.len + p->logprobs.len;
    buf_fini(&p->tool_calls);
    buf_fini(&p->logprobs);
    free(p);
}

void answer_close(struct answer *a)
{
    while (!STAILQ_EMPTY(&a->pending))
        drop_first(a);
    free(a->model);
    free(a->version);
    buf_fini(&a->last);
}

/* ---- one part ---- */

static uint16_t put_str(struct buf *out, const char *key, struct ls_slice value)
{
    if (value.len)
        buf_pair_strn(out, key, value.data, value.len);
    return value.len > 0;
}

static uint16_t put_delta(struct buf *out, const struct delta *d)
{
    uint16_t pairs = 0;
    pairs += put_str(out, "reasoning", d->reasoning);
    pairs += put_str(out, "text", d->text);
    pairs += put_str(out, "refusal", d->refusal);
    pairs += put_str(out, "tool_calls", d->tool_calls);
    pairs += put_str(out, "logprobs", d->logprobs);
    pairs += put_str(out, "finish_reason", ls_str(d->finish_reason));
    if (d->index && pairs) {
        buf_pair_uint(out, "index", d->index);
        pairs++;
    }
    return pairs;
}

/* The caller has seen that there is credit. */
static int send_part(struct answer *a, const struct delta *d, bool last, struct ls_error *err)
{
    struct buf *out = a->scratch;
    uint16_t pairs = 0;
    buf_clear(out);
    size_t at = buf_begin_map(out);
    pairs += put_delta(out, d);
    if (!a->begun) {
        pairs += put_str(out, "model", ls_str(a->model));
        pairs += put_str(out, "version", ls_str(a->version));
        pairs += put_str(out, "worker", ls_str(a->worker));
    }
    if (last) {
        buf_add(out, a->last.data, a->last.len);
        pairs += a->last_pairs;
    }
    buf_end_map(out, at, pairs);
    if (ls_reply(a->call, ls_bytes(out->data, out->len), (struct ls_slice){0}, last, err) < 0)
        return -1;
    a->begun = true;
    return 0;
}

/* ---- what waits for credit ---- */

static struct delta delta_of(const struct pending *p)
{
    return (struct delta){
        .index = p->index,
        .reasoning = ls_bytes(p->texts[RANK_REASONING].data, p->texts[RANK_REASONING].len),
        .text = ls_bytes(p->texts[RANK_TEXT].data, p->texts[RANK_TEXT].len),
        .refusal = ls_bytes(p->texts[RANK_REFUSAL].data, p->texts[RANK_REFUSAL].len),
        .tool_calls = ls_bytes(p->tool_calls.data, p->tool_calls.len),
        .logprobs = ls_bytes(p->logprobs.data, p->logprobs.len),
        .finish_reason = p->finish_reason,
    };
}

/* One part for both tells the same: nothing changes its order, and both stay small enough. */
static bool can_join(const struct pending *p, const struct delta *d)
{
    const struct ls_slice texts[RANK_COUNT] = {d->reasoning, d->text, d->refusal};
    int behind = p->tool_calls.len ? RANK_COUNT : -1;
    if (p->finish_reason || p->logprobs.len || d->logprobs.len)
        return false;
    if (p->tool_calls.len && d->tool_calls.len) /* clients take in one fragment of a call at a time */
        return false;
    for (int i = 0; i < RANK_COUNT; i++)
        if (p->texts[i].len && behind < i)
            behind = i;
    for (int i = 0; i < RANK_COUNT; i++)
        if (texts[i].len && (i < behind || p->texts[i].len + texts[i].len > TEXT_BYTES_MAX))
            return false;
    return true;
}

static void keep(struct answer *a, const struct delta *d)
{
    struct pending *p, *found = NULL;
    const struct ls_slice texts[RANK_COUNT] = {d->reasoning, d->text, d->refusal};
    STAILQ_FOREACH(p, &a->pending, link)
    if (p->index == d->index)
        found = p; /* the last one: choices may overtake each other, not themselves */
    if (!found || !can_join(found, d)) {
        found = xcalloc(1, sizeof *found);
        found->index = d->index;
        STAILQ_INSERT_TAIL(&a->pending, found, link);
        a->pending_count++;
    }
    for (int i = 0; i < RANK_COUNT; i++) {
        buf_add(&found->texts[i], texts[i].data, texts[i].len);
        a->pending_bytes += texts[i].len;
    }
    buf_add(&found->tool_calls, d->tool_calls.data, d->tool_calls.len);
    buf_add(&found->logprobs, d->logprobs.data, d->logprobs.len);
    a->pending_bytes += d->tool_calls.len + d->logprobs.len;
    found->finish_reason = d->finish_reason;
}

int answer_credit(struct answer *a, struct ls_error *err)
{
    while (a->call->credit) {
        struct pending *p = STAILQ_FIRST(&a->pending);
        bool last = a->ending && (!p || !STAILQ_NEXT(p, link));
        struct delta d = p ? delta_of(p) : (struct delta){0};
        if (!p && !last)
            return 0;
        if (send_part(a, &d, last, err) < 0)
            return -1;
        if (p)
            drop_first(a);
        if (last)
            return 1;
    }
    return 0;
}

/* ---- pieces ---- */

static int add_one(struct answer *a, const struct delta *d, struct ls_error *err)
{
    keep(a, d);
    if (a->pending_bytes > TEXT_BYTES_MAX && answer_credit(a, err) < 0)
        return -1;
    if (a->pending_bytes <= PENDING_BYTES_MAX && a->pending_count <= PENDING_PARTS_MAX)
        return 0;
    error_set(err, "BUSY", "%zu bytes of the answer wait for a requester who does not take them", a->pending_bytes);
    err->again = false;
    return -1;
}

/* How much of a long text goes into one part: whole characters. */
static size_t cut_at(struct ls_slice text)
{
    size_t len = TEXT_BYTES_MAX;
    while (len > TEXT_BYTES_MAX - 4 && ((unsigned char) text.data[len] & 0xc0) == 0x80)
        len--;
    return len;
}

/* Takes off *text what is too long for one part; the rest stays. */
static int add_long(struct answer *a, uint32_t index, bool reasoning, struct ls_slice *text, struct ls_error *err)
{
    while (text->len > TEXT_BYTES_MAX) {
        struct ls_slice piece = {text->data, cut_at(*text)};
        struct delta one = {.index = index};
        *(reasoning ? &one.reasoning : &one.text) = piece;
        if (add_one(a, &one, err) < 0)
            return -1;
        *text = (struct ls_slice){text->data + piece.len, text->len - piece.len};
    }
    return 0;
}

int answer_add(struct answer *a, const struct delta *delta, struct ls_error *err)
{
    struct delta d = *delta, before = {.index = d.index};
    if (d.tool_calls.len + d.logprobs.len > JSON_BYTES_MAX)
        return error_set(err, "TOO_BIG", "the backend sent %zu bytes of tool calls and logprobs at once",
                         d.tool_calls.len + d.logprobs.len);
    if (!d.reasoning.len && !d.text.len && !d.refusal.len && !d.tool_calls.len && !d.logprobs.len && !d.finish_reason)
        return 0;
    a->bytes += d.reasoning.len + d.text.len + d.refusal.len + d.tool_calls.len;
    if (add_long(a, d.index, true, &d.reasoning, err) < 0)
        return -1;
    if (d.reasoning.len && d.text.len > TEXT_BYTES_MAX) {
        before.reasoning = d.reasoning;
        d.reasoning = (struct ls_slice){0};
        if (add_one(a, &before, err) < 0)
            return -1;
    }
    if (add_long(a, d.index, false, &d.text, err) < 0)
        return -1;
    return add_one(a, &d, err);
}

int answer_end(struct answer *a, const struct usage *usage, double backend_ms, struct ls_error *err)
{
    struct buf *out = &a->last;
    uint16_t pairs = (uint16_t) (3 + usage->estimated + usage->more_pairs);
    buf_pack_str(out, "usage");
    size_t at = buf_begin_map(out);
    buf_pair_uint(out, "prompt_tokens", usage->prompt_tokens);
    buf_pair_uint(out, "completion_tokens", usage->completion_tokens);
    buf_pair_uint(out, "total_tokens", usage->total_tokens);
    if (usage->estimated)
        buf_pair_bool(out, "estimated", true);
    buf_add(out, usage->more.data, usage->more.len);
    buf_end_map(out, at, pairs);
    buf_pack_str(out, "backend_ms");
    buf_pack_double(out, backend_ms);
    a->last_pairs = 2;
    a->ending = true;
    return answer_credit(a, err);
}
