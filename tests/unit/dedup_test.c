/* SPDX-License-Identifier: Apache-2.0 */
/* The deduplication window: by count, by age, forgetting, growth. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include <stdio.h>

#include "broker/core.h"

#define WINDOW_MS 1000
#define MS 1000ll

static uint64_t add(struct dedup *d, unsigned n, uint64_t seq, int64_t now_us)
{
    char id[16];
    int len = snprintf(id, sizeof id, "id-%u", n);
    return dedup_add(d, SLICE("source"), (struct mp_slice){id, (size_t) len}, seq, now_us);
}

static void the_first_one_is_new_and_the_second_names_it(void **state)
{
    struct dedup d;
    (void) state;
    dedup_init(&d, 100, WINDOW_MS);
    assert_int_equal(add(&d, 1, 7, 0), 0);
    assert_int_equal(add(&d, 1, 8, 0), 7);
    assert_int_equal(add(&d, 1, 9, 0), 7);
    assert_int_equal(add(&d, 2, 8, 0), 0);
    dedup_fini(&d);
}

static void source_and_id_count_together_and_apart(void **state)
{
    struct dedup d;
    (void) state;
    dedup_init(&d, 100, WINDOW_MS);
    assert_int_equal(dedup_add(&d, SLICE("ab"), SLICE("c"), 1, 0), 0);
    assert_int_equal(dedup_add(&d, SLICE("a"), SLICE("bc"), 2, 0), 0);
    assert_int_equal(dedup_add(&d, SLICE("c"), SLICE("ab"), 3, 0), 0);
    assert_int_equal(dedup_add(&d, SLICE("ab"), SLICE("c"), 4, 0), 1);
    dedup_fini(&d);
}

static void the_window_holds_as_many_as_it_says(void **state)
{
    struct dedup d;
    (void) state;
    dedup_init(&d, 3, WINDOW_MS);
    for (unsigned i = 1; i <= 3; i++)
        assert_int_equal(add(&d, i, i, 0), 0);
    for (unsigned i = 1; i <= 3; i++)
        assert_int_equal(add(&d, i, 99, 0), i); /* looking for one pushes none out */
    assert_int_equal(add(&d, 4, 4, 0), 0);
    assert_int_equal(add(&d, 2, 99, 0), 2);
    assert_int_equal(add(&d, 1, 5, 0), 0); /* the oldest had to go */
    dedup_fini(&d);
}

static void a_window_of_one_knows_the_last_one(void **state)
{
    struct dedup d;
    (void) state;
    dedup_init(&d, 1, WINDOW_MS);
    assert_int_equal(add(&d, 1, 1, 0), 0);
    assert_int_equal(add(&d, 1, 2, 0), 1);
    assert_int_equal(add(&d, 2, 2, 0), 0);
    assert_int_equal(add(&d, 1, 3, 0), 0);
    dedup_fini(&d);
}

static void a_full_ring_goes_on_turning(void **state)
{
    struct dedup d;
    (void) state;
    dedup_init(&d, 1024, WINDOW_MS);
    for (unsigned i = 1; i <= 5000; i++)
        assert_int_equal(add(&d, i, i, 0), 0);
    for (unsigned i = 1; i <= 1024; i++)
        assert_int_equal(add(&d, 5000 - 1024 + i, 9999, 0), 5000 - 1024 + i);
    assert_int_equal(d.room, 1024); /* it needs no more memory than the window */
    dedup_fini(&d);
}

static void what_is_older_than_the_window_is_forgotten(void **state)
{
    struct dedup d;
    (void) state;
    dedup_init(&d, 100, WINDOW_MS);
    add(&d, 1, 1, 0);
    add(&d, 2, 2, 500 * MS);
    assert_int_equal(add(&d, 1, 3, 999 * MS), 1);
    assert_int_equal(add(&d, 1, 3, 1000 * MS), 0);
    assert_int_equal(add(&d, 2, 4, 1499 * MS), 2);
    assert_int_equal(add(&d, 2, 4, 1500 * MS), 0);
    dedup_fini(&d);
}

static void no_window_means_no_deduplication(void **state)
{
    struct dedup d;
    (void) state;
    dedup_init(&d, 0, WINDOW_MS);
    assert_true(add(&d, 1, 1, 0) == 0 && add(&d, 1, 2, 0) == 0);
    dedup_fini(&d);
    dedup_init(&d, 100, 0);
    assert_true(add(&d, 1, 1, 0) == 0 && add(&d, 1, 2, 0) == 0);
    dedup_fini(&d);
}

static void what_was_never_stored_is_new_again(void **state)
{
    struct dedup d;
    (void) state;
    dedup_init(&d, 100, WINDOW_MS);
    dedup_forget_from(&d, 0);
    for (unsigned i = 1; i <= 9; i++)
        add(&d, i, i, 0);
    dedup_forget_from(&d, 6);
    for (unsigned i = 1; i <= 9; i++)
        assert_int_equal(add(&d, i, 20 + i, 0), i < 6 ? i : 0);
    dedup_forget_from(&d, 0);
    assert_int_equal(add(&d, 1, 40, 0), 0);
    dedup_fini(&d);
}

/* Against the plain rule "the last COUNT different ones", over several rounds through the ring. */
static void it_agrees_with_a_list_while_it_grows_and_turns(void **state)
{
    enum { COUNT = 3000, IDS = 5000, STEPS = 60000 };
    static uint64_t stands_for[IDS]; /* the number it was stored under; 0: never */
    static unsigned order[STEPS + 1];
    struct dedup d;
    uint64_t stored = 0, random = 1;
    (void) state;
    dedup_init(&d, COUNT, WINDOW_MS);
    for (unsigned i = 0; i < STEPS; i++) {
        random = random * 6364136223846793005ull + 1442695040888963407ull;
        unsigned n = (unsigned) (random >> 33) % IDS;
        bool known = stands_for[n] && stands_for[n] + COUNT > stored;
        assert_int_equal(add(&d, n, stored + 1, 0), known ? stands_for[n] : 0);
        if (!known) {
            stands_for[n] = ++stored;
            order[stored] = n;
        }
        if (i % 1000 == 999) { /* the last ones were refused by the log after all */
            for (unsigned k = 0; k < 10; k++)
                stands_for[order[stored - k]] = 0;
            dedup_forget_from(&d, stored - 9);
            stored -= 10;
        }
        if (i % 1000 == 999) /* what the window let go for them does not come back: begin anew */
            for (unsigned k = 0; k < IDS; k++)
                if (stands_for[k] && stands_for[k] + COUNT <= stored + 10)
                    stands_for[k] = 0;
    }
    dedup_fini(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_one_is_new_and_the_second_names_it),
        cmocka_unit_test(source_and_id_count_together_and_apart),
        cmocka_unit_test(the_window_holds_as_many_as_it_says),
        cmocka_unit_test(a_window_of_one_knows_the_last_one),
        cmocka_unit_test(a_full_ring_goes_on_turning),
        cmocka_unit_test(what_is_older_than_the_window_is_forgotten),
        cmocka_unit_test(no_window_means_no_deduplication),
        cmocka_unit_test(what_was_never_stored_is_new_again),
        cmocka_unit_test(it_agrees_with_a_list_while_it_grows_and_turns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
