/* SPDX-License-Identifier: Apache-2.0 */
/* Time in the broker. A turn of the loop at a set time is all that a timer needs, so "not yet" and "now" are exact to the
 * millisecond. */
#include "tests/unit/broker_rig.h"

/* ---- deliveries ---- */

static void a_nak_comes_back_after_its_delay_and_not_before(void **state)
{
    struct rig *r = *state;
    struct peer *p = holder(r, "patient");
    say(p, "NAK", "u:cid", 1, "a:seqs", 1, "u:delay", 500, "u:tag", 0);
    expect(p, "OK");
    at(r, 499);
    expect_nothing(p);
    at(r, 500);
    expect_attempt(p, 2);
}

static void the_back_off_list_is_followed_and_its_last_repeats(void **state)
{
    static const int64_t DUE[] = {100, 100 + 250, 100 + 250 + 250};
    struct rig *r = *state;
    struct peer *p = holder(r, "patient");
    for (size_t i = 0; i < 3; i++) {
        settle(p, "NAK");
        at(r, DUE[i] - 1);
        expect_nothing(p);
        at(r, DUE[i]);
        expect_attempt(p, i + 2);
    }
}

static void ack_wait_runs_out_and_counts_an_attempt(void **state)
{
    struct rig *r = *state;
    struct peer *p = holder(r, "hasty");
    at(r, 999);
    expect_nothing(p);
    at(r, 1000);
    expect_attempt(p, 2);
    settle(p, "ACK");
    at(r, 100000);
    expect_nothing(p);
}

static void wip_starts_ack_wait_anew(void **state)
{
    struct rig *r = *state;
    struct peer *p = holder(r, "hasty");
    at(r, 600);
    settle(p, "WIP");
    at(r, 1599);
    expect_nothing(p);
    at(r, 1600);
    expect_attempt(p, 2);
}

static void a_clock_that_leaps_fires_each_timer_once(void **state)
{
    struct rig *r = *state;
    struct peer *p = holder(r, "hasty");
    leap(r, 170000); /* ack_wait many times over, and just short of the session's end */
    expect_attempt(p, 2);
    expect_nothing(p);
    at(r, 170999);
    expect_nothing(p);
    at(r, 171000);
    expect_attempt(p, 3);
}

/* ---- sessions ---- */

static void silence_of_three_heartbeats_ends_a_session_and_others_get_its_deliveries(void **state)
{
    struct rig *r = *state;
    struct peer *quiet = peer_with(r, "quiet", 1000), *other = peer(r, "other");
    join(quiet, "patient");
    publish(other, "e1");
    expect_attempt(quiet, 1);
    join(other, "patient");
    at(r, 2000);
    expect_nothing(quiet); /* its PING is a sign of life */
    at(r, 4999);
    expect_nothing(other);
    at(r, 5000);
    expect_attempt(other, 1); /* a session that ends is no failed attempt */
    expect(quiet, "GOODBYE");
    assert_heard(quiet, "reason", "silent");
}

static void a_pause_of_the_broker_ends_no_session_that_could_not_be_heard(void **state)
{
    struct rig *r = *state;
    struct peer *p = peer_with(r, "patient", 1000), *quiet = peer_with(r, "quiet", 1000);
    join(p, "patient");
    leap(r, 60000); /* nothing of what came meanwhile has been read in this turn */
    at(r, 60999);
    say(p, "PING");
    expect(p, "PONG");
    assert_true(heard_bool(p, "session"));
    at(r, 61000); /* from here on silence is silence */
    expect(quiet, "GOODBYE");
    assert_heard(quiet, "reason", "silent");
    at(r, 63998);
    say(p, "PING");
    expect(p, "PONG");
    assert_true(heard_bool(p, "session"));
    publish(quiet, "e1");
    expect_attempt(p, 1); /* and its subscription stands */
}

static void a_member_unseen_for_member_ttl_loses_its_position(void **state)
{
    struct rig *r = *state;
    struct peer *p = holder(r, "every");
    settle(p, "ACK");
    say(p, "BYE", "u:cid", 1);
    expect(p, "OK");
    at(r, 4999);
    join(p, "every");
    expect_nothing(p); /* the position stands behind e1 */
    at(r, 8000);
    say(p, "BYE", "u:cid", 1);
    expect(p, "OK");
    at(r, 13000);
    join(p, "every");
    expect_attempt(p, 1); /* a new position begins with the first event */
}

/* ---- requests ---- */

static void a_deadline_is_kept_exactly_and_told_to_both_ends(void **state)
{
    struct rig *r = *state;
    struct peer *asker = peer(r, "asker"), *first = peer(r, "first"), *second = peer(r, "second");
    say(first, "SUB", "u:cid", 1, "l:serves", "job.do");
    expect(first, "OK");
    say(asker, "REQ", "u:rid", 7, "s:topic", "job.do", "u:timeout", 1500);
    expect(first, "REQ");
    assert_int_equal(heard_uint(first, "timeout"), 1500);
    say(second, "SUB", "u:cid", 1, "l:serves", "job.do");
    expect(second, "OK");
    at(r, 400);
    say(first, "BYE");
    expect(second, "REQ");
    assert_int_equal(heard_uint(second, "timeout"), 1100); /* what is left, for the one who gets it next */
    at(r, 1499);
    expect_nothing(asker);
    expect_nothing(second);
    at(r, 1500);
    expect(asker, "ERR");
    assert_heard(asker, "name", "TIMEOUT");
    assert_int_equal(heard_uint(asker, "rid"), 7);
    expect(second, "CANCEL");
    assert_heard(second, "reason", "timeout");
}

/* ---- the wall clock ---- */

static uint64_t published_ts(struct peer *by, struct peer *to, const char *id)
{
    publish(by, id);
    expect_attempt(to, 1);
    return heard_uint(to, "ts_us");
}

static void a_wall_clock_that_jumps_moves_no_timer_and_ts_us_never_decreases(void **state)
{
    static const int64_t JUMPS[] = {-YEAR_US, 3 * YEAR_US};
    struct rig *r = *state;
    struct peer *p = peer(r, "publisher"), *q = peer(r, "subscriber");
    char id[2] = "a";
    join(q, "patient");
    uint64_t before = published_ts(p, q, id);
    assert_int_equal(before, START_US);
    for (int i = 0; i < 2; i++) {
        int64_t begin = r->now_ms - START_MS;
        say(q, "NAK", "u:cid", 1, "a:seqs", 1, "u:delay", 500, "u:tag", 0);
        expect(q, "OK");
        r->now_us += JUMPS[i];
        at(r, begin + 499);
        expect_nothing(q);
        at(r, begin + 500);
        expect_attempt(q, (uint64_t) i + 2);
        id[0]++;
        uint64_t after = published_ts(p, q, id);
        assert_true(i ? after == (uint64_t) r->now_us : after == before);
        before = after;
    }
}

static void assert_dup(struct peer *p, bool dup)
{
    publish(p, "e1");
    assert_int_equal(heard_key(p, "dup"), dup);
}

static void an_id_is_new_again_once_the_window_has_passed(void **state)
{
    struct rig *r = *state;
    struct peer *p = peer(r, "publisher");
    assert_dup(p, false);
    r->now_us += DEDUP_MS * 1000ll - 1;
    assert_dup(p, true);
    r->now_us++;
    assert_dup(p, false);
    r->now_us -= YEAR_US;
    assert_dup(p, true); /* set back, it forgets nothing */
}

static void the_window_stands_after_a_restart_by_the_time_of_the_restart(void **state)
{
    struct rig *r = *state;
    assert_dup(peer(r, "publisher"), false);
    for (int i = 0; i < 2; i++) {
        close_peers(r);
        broker_close(&r->broker);
        r->now_us += i ? 1 : DEDUP_MS * 1000ll - 1;
        open_broker(r);
        assert_dup(peer(r, "publisher"), i == 0);
    }
}

/* ---- the broker's own ---- */

static void statistics_come_at_their_interval(void **state)
{
    struct rig *r = *state;
    struct peer *p = peer(r, "watcher");
    say(p, "SUB", "u:cid", 1, "l:topics", "$sys.stats");
    expect(p, "OK");
    for (int64_t due = STATS_MS; due <= 2 * STATS_MS; due += STATS_MS) {
        at(r, due - 1);
        expect_nothing(p);
        at(r, due);
        expect(p, "MSG");
        assert_int_equal(heard_uint(p, "ts_us"), START_US + due * 1000);
    }
}

static void changes_of_services_are_told_at_once_and_then_every_50_ms(void **state)
{
    struct rig *r = *state;
    struct peer *p = peer(r, "watcher"), *q = peer(r, "worker");
    say(p, "SUB", "u:cid", 1, "l:topics", "$sys.services");
    expect(p, "OK");
    say(q, "SUB", "u:cid", 1, "l:serves", "job.do");
    expect(q, "OK");
    expect(p, "MSG");
    for (int slots = 2; slots < 5; slots++) {
        say(q, "SUB", "u:cid", 1, "l:serves", "job.do", "u:slots", slots);
        expect(q, "OK");
    }
    expect_nothing(p);
    at(r, 49);
    expect_nothing(p);
    at(r, 50);
    expect(p, "MSG"); /* one for all three */
    at(r, 1000);
    expect_nothing(p);
    say(q, "BYE", "u:cid", 1);
    expect(q, "OK");
    expect(p, "MSG");
    assert_int_equal(heard_uint(p, "ts_us"), START_US + 1000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_nak_comes_back_after_its_delay_and_not_before),
        TEST(the_back_off_list_is_followed_and_its_last_repeats),
        TEST(ack_wait_runs_out_and_counts_an_attempt),
        TEST(wip_starts_ack_wait_anew),
        TEST(a_clock_that_leaps_fires_each_timer_once),
        TEST(silence_of_three_heartbeats_ends_a_session_and_others_get_its_deliveries),
        TEST(a_pause_of_the_broker_ends_no_session_that_could_not_be_heard),
        TEST(a_member_unseen_for_member_ttl_loses_its_position),
        TEST(a_deadline_is_kept_exactly_and_told_to_both_ends),
        TEST(a_wall_clock_that_jumps_moves_no_timer_and_ts_us_never_decreases),
        TEST(an_id_is_new_again_once_the_window_has_passed),
        TEST(the_window_stands_after_a_restart_by_the_time_of_the_restart),
        TEST(statistics_come_at_their_interval),
        TEST(changes_of_services_are_told_at_once_and_then_every_50_ms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
