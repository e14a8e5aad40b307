/* SPDX-License-Identifier: Apache-2.0 */
/* Events in and out of header maps, body kinds, broker addresses, packed events, error headers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "lib/event.h"
#include "lib/wire.h"

/* Packs the event and reads it back; *header holds what the slices point to. */
static struct ls_event round_trip(const struct ls_event *event, struct buf *header)
{
    struct buf pairs = {0};
    struct ls_event back;
    uint32_t count;
    assert_int_equal(event_pack(&pairs, event, &count, NULL), 0);
    buf_pack_map(header, count);
    buf_add(header, pairs.data, pairs.len);
    buf_fini(&pairs);
    assert_true(mp_valid(header->data, header->len, 8));
    event_read(&back, ls_bytes(header->data, header->len), event->body);
    return back;
}

static void every_attribute_survives(void **state)
{
    (void) state;
    struct buf header = {0};
    const struct ls_event event = {
        .topic = ls_str("a.b"), .id = ls_str("i"), .source = ls_str("s"), .time = ls_str("t"), .subject = ls_str("u"),
        .datacontenttype = ls_str("c"), .dataschema = ls_str("d"), .dataref = ls_str("r"), .traceparent = ls_str("p"),
        .tracestate = ls_str("e"), .correlationid = ls_str("o"), .causationid = ls_str("n"),
        .partitionkey = ls_str("k"), .expirytime = ls_str("x"), .body = ls_str("{}")};
    struct ls_event back = round_trip(&event, &header);
    const struct ls_slice *in = &event.topic, *out = &back.topic;
    for (; in <= &event.expirytime; in++, out++) {
        assert_int_equal(in->len, out->len);
        assert_memory_equal(in->data, out->data, in->len);
    }
    assert_true(ls_slice_is(back.body, "{}"));
    buf_fini(&header);
}

static void further_keys_are_kept(void **state)
{
    (void) state;
    struct buf header = {0}, more = {0};
    struct ls_slice value = {0};
    buf_pack_map(&more, 2);
    buf_pack_str(&more, "colour");
    buf_pack_str(&more, "red");
    buf_pack_str(&more, "depth");
    buf_pack_uint(&more, 3);
    const struct ls_event event = {.topic = ls_str("a"), .more = ls_bytes(more.data, more.len)};
    struct ls_event back = round_trip(&event, &header);
    assert_true(ls_event_attribute(&back, "colour", &value) && ls_slice_is(value, "red"));
    assert_false(ls_event_attribute(&back, "depth", &value)); /* no string */
    assert_int_equal(back.id.len, 36);                        /* made where absent */
    buf_fini(&header);
    buf_fini(&more);
}

static void bad_events_are_refused(void **state)
{
    (void) state;
    static char long_id[257];
    struct buf pairs = {0}, more = {0};
    struct ls_error err;
    uint32_t count;
    memset(long_id, 'x', sizeof long_id);
    const struct ls_event no_topic = {.id = ls_str("x")};
    const struct ls_event id_too_long = {.topic = ls_str("a"), .id = ls_bytes(long_id, sizeof long_id)};
    assert_int_equal(event_pack(&pairs, &no_topic, &count, &err), -1);
    assert_string_equal(err.name, "BAD_TOPIC");
    assert_int_equal(event_pack(&pairs, &id_too_long, &count, &err), -1);
    assert_string_equal(err.name, "BAD_VALUE");
    buf_pack_map(&more, 63);
    for (int i = 0; i < 126; i++)
        buf_pack_uint(&more, 1);
    const struct ls_event too_many = {.topic = ls_str("a"), .more = ls_bytes(more.data, more.len)};
    assert_int_equal(event_pack(&pairs, &too_many, &count, &err), -1);
    assert_string_equal(err.name, "TOO_BIG");
    buf_fini(&pairs);
    buf_fini(&more);
}

static void damaged_headers_give_what_can_be_read(void **state)
{
    (void) state;
    struct ls_event event;
    event_read(&event, ls_bytes("\x82\xa5topic\xa1" "a\xa2id", 13), (struct ls_slice){0});
    assert_true(ls_slice_is(event.topic, "a"));
    assert_int_equal(event.id.len, 0);
    event_read(&event, ls_str("\xc1"), (struct ls_slice){0});
    assert_int_equal(event.topic.len, 0);
}

static void body_kinds(void **state)
{
    (void) state;
    assert_int_equal(ls_body_kind((struct ls_slice){0}), LS_BODY_EMPTY);
    assert_int_equal(ls_body_kind(ls_str("{\"a\":1}")), LS_BODY_JSON);
    assert_int_equal(ls_body_kind(ls_str("[1]")), LS_BODY_JSON);
    assert_int_equal(ls_body_kind(ls_str("\x81\xa1k\x01")), LS_BODY_MSGPACK);
    assert_int_equal(ls_body_kind(ls_str("plain words")), LS_BODY_BYTES); /* one msgpack number, then rest */
}

static void addresses_follow_the_base(void **state)
{
    (void) state;
    static const struct { const char *url; enum wire_port port; const char *address; } CASES[] = {
        {"tcp://127.0.0.1:7400", WIRE_ROUTER, "tcp://127.0.0.1:7400"},
        {"tcp://[::1]:7400", WIRE_LIVE, "tcp://[::1]:7402"},
        {"ipc:///run/ls", WIRE_BATCH, "ipc:///run/ls/batch"},
        {"tcp://127.0.0.1", WIRE_ROUTER, NULL},
        {"tcp://127.0.0.1:65533", WIRE_ROUTER, NULL},
        {"http://127.0.0.1:7400", WIRE_ROUTER, NULL},
        {"ipc://", WIRE_ROUTER, NULL},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        char *address = wire_address(CASES[i].url, CASES[i].port, NULL);
        if (CASES[i].address)
            assert_string_equal(address, CASES[i].address);
        else
            assert_null(address);
        free(address);
    }
}

static void packed_events_unpack_and_lies_end_them(void **state)
{
    (void) state;
    struct buf packed = {0};
    struct ls_slice header, body;
    wire_packed_add(&packed, ls_str("h1"), ls_str("body"));
    wire_packed_add(&packed, ls_str("h2"), (struct ls_slice){0});
    struct ls_slice rest = ls_bytes(packed.data, packed.len);
    assert_true(wire_packed_next(&rest, &header, &body) && ls_slice_is(header, "h1") && ls_slice_is(body, "body"));
    assert_true(wire_packed_next(&rest, &header, &body) && ls_slice_is(header, "h2") && !body.len);
    assert_false(wire_packed_next(&rest, &header, &body));
    packed.data[0] = 0xff;
    rest = ls_bytes(packed.data, packed.len);
    assert_false(wire_packed_next(&rest, &header, &body));
    buf_fini(&packed);
}

static void errors_are_read(void **state)
{
    (void) state;
    struct buf h = {0};
    struct ls_error err;
    buf_pack_map(&h, 5);
    buf_pack_str(&h, "name");
    buf_pack_str(&h, "BUSY");
    buf_pack_str(&h, "number");
    buf_pack_uint(&h, 429);
    buf_pack_str(&h, "again");
    buf_pack_bool(&h, true);
    buf_pack_str(&h, "retry_ms");
    buf_pack_uint(&h, 50);
    buf_pack_str(&h, "text");
    buf_pack_str(&h, "later");
    wire_error(mp_over(h.data, h.len), &err);
    assert_string_equal(err.name, "BUSY");
    assert_string_equal(err.text, "later");
    assert_true(err.number == 429 && err.again && err.retry_ms == 50);
    buf_fini(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_attribute_survives),
        cmocka_unit_test(further_keys_are_kept),
        cmocka_unit_test(bad_events_are_refused),
        cmocka_unit_test(damaged_headers_give_what_can_be_read),
        cmocka_unit_test(body_kinds),
        cmocka_unit_test(addresses_follow_the_base),
        cmocka_unit_test(packed_events_unpack_and_lies_end_them),
        cmocka_unit_test(errors_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
