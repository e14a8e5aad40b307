/* SPDX-License-Identifier: Apache-2.0 */
/* A position's books: what is done ahead of its cursor, what is ready to be given out again, what an ACK takes away. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include <string.h>

#include "broker/core.h"

struct rig { /* just enough around a position; no log, no state file */
    struct broker broker;
    struct stream stream;
    struct consumer consumer;
    struct position position;
    struct ranges acked;
};

static int rig_init(void **state)
{
    struct rig *rig = xcalloc(1, sizeof *rig);
    rig->stream.broker = &rig->broker;
    rig->consumer.stream = &rig->stream;
    rig->position.consumer = &rig->consumer;
    rig->position.cursor = 1000;
    *state = rig;
    return 0;
}

static int rig_fini(void **state)
{
    struct rig *rig = *state;
    struct delivery *d;
    for (size_t at = 0; (d = map_walk(&rig->position.pending, &at, NULL)); at = 0)
        delivery_finish(d);
    map_fini(&rig->position.pending);
    heap_fini(&rig->broker.timers);
    free(rig->position.done.items);
    free(rig->acked.items);
    free(rig);
    return 0;
}

/* The ranges as text: "3-5 9-9 ". */
static const char *text_of(const struct ranges *r)
{
    static char text[500];
    size_t used = 0;
    text[0] = 0;
    for (size_t i = 0; i < r->count && used < sizeof text; i++)
        used += (size_t) snprintf(text + used, sizeof text - used, "%llu-%llu ", (unsigned long long) r->items[i].from,
                                  (unsigned long long) r->items[i].to);
    return text;
}

static void ranges_join_what_follows_on(void **state)
{
    struct rig *rig = *state;
    ranges_add(&rig->acked, 1, 1);
    ranges_add(&rig->acked, 2, 5);
    ranges_add(&rig->acked, 7, 7);
    ranges_add(&rig->acked, 6, 6);
    assert_string_equal(text_of(&rig->acked), "1-5 7-7 6-6 ");
}

static void done_ahead_stays_sorted_and_joined(void **state)
{
    struct rig *rig = *state;
    struct position *p = &rig->position;
    position_done_ahead(p, 10, 12);
    position_done_ahead(p, 20, 22);
    position_done_ahead(p, 5, 5);
    assert_string_equal(text_of(&p->done), "5-5 10-12 20-22 ");
    position_done_ahead(p, 11, 11); /* inside */
    position_done_ahead(p, 13, 13); /* behind */
    position_done_ahead(p, 9, 9);   /* in front */
    assert_string_equal(text_of(&p->done), "5-5 9-13 20-22 ");
    position_done_ahead(p, 14, 19); /* closes a gap */
    assert_string_equal(text_of(&p->done), "5-5 9-22 ");
    position_done_ahead(p, 4, 30); /* swallows all */
    assert_string_equal(text_of(&p->done), "4-30 ");
}

static void done_is_known_to_the_number(void **state)
{
    struct rig *rig = *state;
    struct position *p = &rig->position;
    assert_false(position_is_done(p, 1));
    position_done_ahead(p, 10, 12);
    position_done_ahead(p, 20, 20);
    position_done_ahead(p, UINT64_MAX - 2, UINT64_MAX - 1);
    assert_true(position_is_done(p, 10) && position_is_done(p, 12) && position_is_done(p, 20) && position_is_done(p, UINT64_MAX - 1));
    assert_false(position_is_done(p, 9) || position_is_done(p, 13) || position_is_done(p, 19) || position_is_done(p, 21));
    assert_false(position_is_done(p, UINT64_MAX) || position_is_done(p, 0));
}

static void what_is_given_out_again_goes_in_the_order_of_the_log(void **state)
{
    static const uint64_t SEQS[] = {30, 10, 20, 40, 5};
    struct rig *rig = *state;
    uint64_t last = 0;
    size_t count = 0;
    for (size_t i = 0; i < 5; i++)
        delivery_restore(&rig->position, SEQS[i]);
    assert_ptr_equal(delivery_restore(&rig->position, 20), map_get(&rig->position.pending, 20)); /* once only */
    for (const struct delivery *d = rig->position.ready_head; d; d = d->ready_next, count++) {
        assert_true(d->seq > last);
        last = d->seq;
    }
    assert_true(count == 5 && rig->position.ready_tail->seq == 40);
    delivery_finish(map_get(&rig->position.pending, 40));
    delivery_finish(map_get(&rig->position.pending, 5));
    delivery_finish(map_get(&rig->position.pending, 20));
    assert_true(rig->position.ready_head->seq == 10 && rig->position.ready_tail->seq == 30);
    assert_ptr_equal(rig->position.ready_head->ready_next, rig->position.ready_tail);
}

static void an_ack_takes_what_is_pending_and_nothing_else(void **state)
{
    struct rig *rig = *state;
    for (uint64_t seq = 1; seq <= 9; seq++)
        delivery_restore(&rig->position, seq);
    position_ack(&rig->position, NULL, 3, 5, &rig->acked);
    position_ack(&rig->position, NULL, 8, 20, &rig->acked);
    position_ack(&rig->position, NULL, 4, 4, &rig->acked); /* again: nothing */
    assert_string_equal(text_of(&rig->acked), "3-5 8-9 ");
    assert_true(rig->position.pending.used == 4 && rig->consumer.acked == 5);
}

static void a_range_without_measure_costs_no_more_than_what_is_pending(void **state)
{
    struct rig *rig = *state;
    for (uint64_t seq = 1; seq <= 200; seq++)
        delivery_restore(&rig->position, 3 * seq);
    for (unsigned i = 0; i < 20000; i++) /* far from here: a broker that counted would count for minutes */
        position_ack(&rig->position, NULL, 1 << 20, (1 << 20) + 39000, &rig->acked);
    assert_int_equal(rig->acked.count, 0);
    position_ack(&rig->position, NULL, 1, UINT64_MAX, &rig->acked);
    assert_true(rig->position.pending.used == 0 && rig->acked.count == 200);
    for (size_t i = 0; i < 200; i++)
        assert_int_equal(rig->acked.items[i].from, 3 * (i + 1)); /* in order, so that neighbours join */
}

static void what_is_acknowledged_ahead_of_the_cursor_is_remembered(void **state)
{
    struct rig *rig = *state;
    delivery_restore(&rig->position, 999);
    delivery_restore(&rig->position, 1000);
    delivery_restore(&rig->position, 1001);
    position_ack(&rig->position, NULL, 999, 1001, &rig->acked);
    assert_string_equal(text_of(&rig->position.done), "1000-1001 ");
}

static void only_the_latest_failures_are_kept(void **state)
{
    struct rig *rig = *state;
    struct delivery *d = delivery_restore(&rig->position, 1);
    char text[600];
    memset(text, 'e', sizeof text);
    for (unsigned i = 0; i < FAILURES_MAX + 3; i++)
        delivery_add_failure(d, "client/member", i, (struct mp_slice){text, i ? sizeof text : 0});
    assert_true(d->failed == FAILURES_MAX + 3 && d->failure_count == FAILURES_MAX);
    assert_true(d->failures[0].attempt == 4 && d->failures[FAILURES_MAX - 1].attempt == FAILURES_MAX + 3);
    assert_int_equal(strlen(d->failures[0].error), 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(ranges_join_what_follows_on, rig_init, rig_fini),
        cmocka_unit_test_setup_teardown(done_ahead_stays_sorted_and_joined, rig_init, rig_fini),
        cmocka_unit_test_setup_teardown(done_is_known_to_the_number, rig_init, rig_fini),
        cmocka_unit_test_setup_teardown(what_is_given_out_again_goes_in_the_order_of_the_log, rig_init, rig_fini),
        cmocka_unit_test_setup_teardown(an_ack_takes_what_is_pending_and_nothing_else, rig_init, rig_fini),
        cmocka_unit_test_setup_teardown(a_range_without_measure_costs_no_more_than_what_is_pending, rig_init, rig_fini),
        cmocka_unit_test_setup_teardown(what_is_acknowledged_ahead_of_the_cursor_is_remembered, rig_init, rig_fini),
        cmocka_unit_test_setup_teardown(only_the_latest_failures_are_kept, rig_init, rig_fini),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
