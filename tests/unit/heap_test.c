/* SPDX-License-Identifier: Apache-2.0 */
/* Timers: due in order, moved, removed, and set again while they fire. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "lib/heap.h"

#define COUNT 500

struct bell { /* a timer, and what it does when it fires */
    struct timer timer;
    int64_t again_ms; /* 0: not again */
    struct bell *silences;
    unsigned rung;
};

struct scene {
    struct heap heap;
    int64_t last_ms;
    unsigned rung;
};

static void ring(void *arg, struct timer *timer)
{
    struct scene *scene = arg;
    struct bell *bell = (struct bell *) (void *) timer;
    assert_int_equal(timer->place, 0);
    assert_true(timer->due_ms >= scene->last_ms);
    scene->last_ms = timer->due_ms;
    scene->rung++;
    bell->rung++;
    if (bell->again_ms)
        heap_set(&scene->heap, timer, timer->due_ms + bell->again_ms);
    if (bell->silences)
        heap_unset(&scene->heap, &bell->silences->timer);
}

static void set_all(struct scene *scene, struct bell *bells, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        bells[i] = (struct bell){.timer.fire = ring};
        heap_set(&scene->heap, &bells[i].timer, (int64_t) (i * 7919 % 1000));
    }
}

static void an_empty_heap_waits_for_ever(void **state)
{
    struct scene scene = {0};
    struct timer timer = {0};
    (void) state;
    assert_int_equal(heap_next(&scene.heap), INT64_MAX);
    heap_unset(&scene.heap, &timer); /* never set: nothing happens */
    heap_fire(&scene.heap, INT64_MAX, &scene);
    heap_fini(&scene.heap);
}

static void what_is_due_fires_in_order_and_nothing_else(void **state)
{
    static struct bell bells[COUNT];
    struct scene scene = {0};
    (void) state;
    set_all(&scene, bells, COUNT);
    heap_fire(&scene.heap, 499, &scene);
    for (size_t i = 0; i < COUNT; i++)
        assert_int_equal(bells[i].rung, bells[i].timer.due_ms <= 499);
    assert_true(heap_next(&scene.heap) > 499);
    heap_fire(&scene.heap, 1000, &scene);
    assert_true(scene.rung == COUNT && scene.heap.count == 0);
    heap_fini(&scene.heap);
}

static void a_timer_can_be_moved_and_removed_wherever_it_lies(void **state)
{
    static struct bell bells[COUNT];
    struct scene scene = {0};
    (void) state;
    set_all(&scene, bells, COUNT);
    for (size_t i = 0; i < COUNT; i += 3)
        heap_unset(&scene.heap, &bells[i].timer);
    for (size_t i = 1; i < COUNT; i += 3)
        heap_set(&scene.heap, &bells[i].timer, 2000 - bells[i].timer.due_ms);
    for (size_t i = 0; i < COUNT; i++)
        assert_int_equal(bells[i].timer.place != 0, i % 3 != 0);
    heap_fire(&scene.heap, 3000, &scene);
    for (size_t i = 0; i < COUNT; i++)
        assert_int_equal(bells[i].rung, i % 3 != 0);
    heap_fini(&scene.heap);
}

static void a_timer_may_set_itself_again_while_it_fires(void **state)
{
    struct scene scene = {0};
    struct bell again = {.timer.fire = ring, .again_ms = 10}, once = {.timer.fire = ring};
    (void) state;
    heap_set(&scene.heap, &again.timer, 5);
    heap_set(&scene.heap, &once.timer, 25);
    heap_fire(&scene.heap, 30, &scene); /* 5, 15, 25 and 25 */
    assert_true(again.rung == 3 && once.rung == 1);
    assert_int_equal(heap_next(&scene.heap), 35);
    heap_fini(&scene.heap);
}

static void a_timer_may_remove_another_that_is_due_as_well(void **state)
{
    struct scene scene = {0};
    struct bell second = {.timer.fire = ring}, first = {.timer.fire = ring, .silences = &second};
    (void) state;
    heap_set(&scene.heap, &second.timer, 2);
    heap_set(&scene.heap, &first.timer, 1);
    heap_fire(&scene.heap, 100, &scene);
    assert_true(first.rung == 1 && second.rung == 0 && scene.heap.count == 0);
    heap_fini(&scene.heap);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_heap_waits_for_ever),
        cmocka_unit_test(what_is_due_fires_in_order_and_nothing_else),
        cmocka_unit_test(a_timer_can_be_moved_and_removed_wherever_it_lies),
        cmocka_unit_test(a_timer_may_set_itself_again_while_it_fires),
        cmocka_unit_test(a_timer_may_remove_another_that_is_due_as_well),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
