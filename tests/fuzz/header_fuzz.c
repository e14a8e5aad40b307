/* SPDX-License-Identifier: Apache-2.0 */
/* An event's header map, read and written again. The first byte chooses a bare map or a verb's header and what the broker has to
 * fill in; the rest is the map. */
#include <stdlib.h>
#include <string.h>

#include "broker/core.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PAIRS_MAX 64 /* as docs/protocol.md says; what is filled in may come on top */

static void check(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "header_fuzz: %s\n", what);
    abort();
}

static bool same(struct mp_slice a, struct mp_slice b)
{
    return a.len == b.len && (!a.len || !memcmp(a.data, b.data, a.len));
}

static void check_inside(struct mp_slice map, struct mp_slice part)
{
    check(!part.len || (part.data >= map.data && part.data + part.len <= map.data + map.len), "a slice points outside");
}

static bool is_control(struct mp_slice key, bool bare)
{
    return mp_is(key, "n") || mp_is(key, "batch") || mp_is(key, "tag") || (bare && mp_is(key, "data"));
}

/* Every pair of `from` that is not a control key stands in `to`, in the same order and with the same bytes. */
static void check_attributes(struct mp_slice from, struct mp_slice to, bool bare)
{
    struct mp a = mp_over(from.data, from.len), b = mp_over(to.data, to.len);
    uint32_t pairs_a, pairs_b, kept = 0;
    check(mp_map(&a, &pairs_a) && mp_map(&b, &pairs_b), "no map");
    for (uint32_t i = 0; i < pairs_a; i++) {
        const uint8_t *pair = a.p, *copy = b.p;
        struct mp_slice key;
        check(mp_str(&a, &key) && mp_skip(&a), "an accepted pair cannot be read");
        if (is_control(key, bare))
            continue;
        kept++;
        check(mp_skip(&b) && mp_skip(&b) && same((struct mp_slice){(const char *) pair, (size_t) (a.p - pair)},
                                                 (struct mp_slice){(const char *) copy, (size_t) (b.p - copy)}), "an attribute changed");
    }
    check(kept <= pairs_b && pairs_b - kept <= 3, "another number of pairs");
}

/* mp_find and header_read must name the same value: the broker uses both. */
static void check_found(struct mp_slice map, const char *key, struct mp_slice value)
{
    struct mp at;
    struct mp_slice found = {0};
    if (mp_find(mp_over(map.data, map.len), key, &at))
        check(mp_str(&at, &found), "an attribute that is no string");
    check(same(found, value), "a key stands for two values");
}

static void check_written(struct mp_slice map, const struct header *h, bool bare, uint8_t fill)
{
    struct mp_slice id = fill & 2 ? SLICE("the-id") : (struct mp_slice){0}, source = fill & 4 ? SLICE("the-source") : (struct mp_slice){0};
    struct mp_slice time = fill & 8 ? SLICE("2026-01-02T03:04:05.000Z") : (struct mp_slice){0};
    struct buf out = {0};
    struct header again;
    struct ls_error err = {0};
    header_write(&out, h, id, source, time);
    struct mp_slice written = {(const char *) out.data, out.len};
    check(mp_valid(out.data, out.len, 9), "what was written is not one value");
    check_attributes(map, written, bare);
    struct mp r = mp_over(out.data, out.len);
    uint32_t pairs = 0;
    check(mp_map(&r, &pairs), "what was written is no map");
    if (pairs <= PAIRS_MAX) {
        check(header_read(written, false, &again, &err) == 0, err.text);
        check(!again.control && !again.has_n && !again.has_batch && !again.has_tag, "a control key was written");
        check(same(again.topic, h->topic) && same(again.subject, h->subject) && same(again.traceparent, h->traceparent), "another value");
        check(same(again.id, h->id.len ? h->id : id) && same(again.source, h->source.len ? h->source : source) &&
              same(again.time, h->time.len ? h->time : time), "another id, source or time");
        check_found(written, "topic", again.topic);
        check_found(written, "id", again.id);
        check_found(written, "source", again.source);
    }
    buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct header h;
    struct ls_error err = {0};
    if (!size)
        return 0;
    bool bare = data[0] & 1;
    struct mp_slice map = {(const char *) data + 1, size - 1};
    struct header control;
    header_read_control(map, &control);
    if (header_read(map, bare, &h, &err) < 0) {
        check(err.name[0] && err.text[0], "a refusal without a reason");
        return 0;
    }
    check(h.pairs <= PAIRS_MAX && h.control <= h.pairs && h.spans <= 5, "counts");
    check(same(control.tag, h.tag) || !control.has_tag, "another tag");
    const struct mp_slice parts[] = {h.topic, h.id, h.source, h.time, h.subject, h.traceparent, h.tag, h.data};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        check_inside(map, parts[i]);
    for (size_t i = 0; i < h.spans; i++)
        check_inside(map, h.span[i]);
    check_written(map, &h, bare, data[0]);
    return 0;
}
