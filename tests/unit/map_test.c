/* SPDX-License-Identifier: Apache-2.0 */
/* The hash map against a plain array, through collisions, growth and shrinking. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include <stdbool.h>

#include "lib/map.h"

#define KEYS 6000
static char things[KEYS]; /* values: addresses in it */

static uint64_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005ull + 1442695040888963407ull;
    return *state >> 33;
}

static void an_empty_map_has_nothing(void **state)
{
    struct map m = {0};
    size_t at = 0;
    (void) state;
    assert_null(map_get(&m, 0));
    assert_null(map_remove(&m, 0));
    assert_null(map_walk(&m, &at, NULL));
    map_fini(&m);
}

static void putting_again_replaces(void **state)
{
    struct map m = {0};
    (void) state;
    map_put(&m, UINT64_MAX, &things[0]);
    map_put(&m, 0, &things[1]);
    map_put(&m, UINT64_MAX, &things[2]);
    assert_int_equal(m.used, 2);
    assert_ptr_equal(map_get(&m, UINT64_MAX), &things[2]);
    assert_ptr_equal(map_remove(&m, 0), &things[1]);
    assert_null(map_get(&m, 0));
    map_fini(&m);
}

static void assert_same(const struct map *m, void *const *model, uint64_t stride)
{
    size_t used = 0, walked = 0;
    uint64_t key;
    void *value;
    for (uint64_t i = 0; i < KEYS; i++) {
        used += model[i] != NULL;
        assert_ptr_equal(map_get(m, i * stride), model[i]);
    }
    for (size_t at = 0; (value = map_walk(m, &at, &key)); walked++)
        assert_ptr_equal(value, model[key / stride]);
    assert_true(m->used == used && walked == used);
}

/* `range` keys in use: few of them keep a small map nearly full, where every probe collides and wraps around. */
static void run_model(uint64_t range, uint64_t stride, unsigned operations)
{
    static void *model[KEYS];
    struct map m = {0};
    uint64_t random = 42;
    for (unsigned i = 0; i < KEYS; i++)
        model[i] = NULL;
    for (unsigned i = 0; i < operations; i++) {
        uint64_t n = next_random(&random) % range;
        bool put = next_random(&random) % 8 < (i / 2000 % 2 ? 2 : 6); /* phases of growth and of decay */
        if (put) {
            model[n] = &things[n];
            map_put(&m, n * stride, &things[n]);
        } else {
            assert_ptr_equal(map_remove(&m, n * stride), model[n]);
            model[n] = NULL;
        }
        if (i % 500 == 0)
            assert_same(&m, model, stride);
    }
    assert_same(&m, model, stride);
    map_fini(&m);
}

static void it_agrees_with_an_array_when_small_and_crowded(void **state)
{
    (void) state;
    run_model(13, 1, 20000);
    run_model(24, 1ull << 51, 20000);
}

static void it_agrees_with_an_array_when_it_grows_and_shrinks(void **state)
{
    (void) state;
    run_model(KEYS, 3, 40000);
}

static void it_gives_memory_back(void **state)
{
    struct map m = {0};
    (void) state;
    for (uint64_t i = 0; i < KEYS; i++)
        map_put(&m, i, &things[i]);
    size_t grown = m.room;
    for (uint64_t i = 0; i < KEYS - 5; i++)
        assert_ptr_equal(map_remove(&m, i), &things[i]);
    assert_true(m.room < grown / 4 && m.used == 5);
    for (uint64_t i = KEYS - 5; i < KEYS; i++)
        assert_ptr_equal(map_get(&m, i), &things[i]);
    map_fini(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_map_has_nothing),
        cmocka_unit_test(putting_again_replaces),
        cmocka_unit_test(it_agrees_with_an_array_when_small_and_crowded),
        cmocka_unit_test(it_agrees_with_an_array_when_it_grows_and_shrinks),
        cmocka_unit_test(it_gives_memory_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
