/* SPDX-License-Identifier: Apache-2.0 */
/* When a workflow runs: its ticks from cron expressions, `every` and single times, and which of those that were
 * missed are made up. */
#include "workflow/workflow.h"

#define NONE (-1)

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Seconds as milliseconds; the limits of "no limit" stay what they are. */
static int64_t to_ms(int64_t s)
{
    return s <= INT64_MIN / 1000 ? INT64_MIN : s >= INT64_MAX / 1000 ? INT64_MAX : s * 1000;
}

static int64_t floor_s(int64_t ms)
{
    return ms / 1000 - (ms % 1000 < 0);
}

/* The first of two ticks, of which each may be missing. */
static int64_t first_of(int64_t a, int64_t b)
{
    return a < 0 ? b : b < 0 ? a : earlier(a, b);
}

/* ---- `every`: anchor, anchor + every, anchor + 2 every, ... ---- */

static int64_t every_after(int64_t every, int64_t anchor, int64_t after)
{
    int64_t passed, next;
    if (after < anchor)
        return anchor;
    if (__builtin_sub_overflow(after, anchor, &passed) || __builtin_add_overflow(after - passed % every, every, &next))
        return NONE;
    return next;
}

static int64_t every_before(int64_t every, int64_t anchor, int64_t before)
{
    int64_t passed;
    if (before <= anchor || __builtin_sub_overflow(before - 1, anchor, &passed))
        return NONE;
    return before - 1 - passed % every;
}

/* ---- all that a schedule may hold ---- */

int64_t workflow_next(const struct workflow *w, int64_t after_ms, int64_t anchor_ms)
{
    int64_t start = to_ms(w->start_s), after = later(after_ms, start > 0 ? start - 1 : -1),
            found = NONE; /* from 1970 on */
    for (size_t i = 0; i < w->cron_count; i++) {
        int64_t at = cron_next(&w->crons[i], w->zone, floor_s(after));
        found = first_of(found, at < 0 ? NONE : at * 1000);
    }
    if (w->every_ms > 0)
        found = first_of(found, every_after(w->every_ms, anchor_ms, after));
    for (size_t i = 0; i < w->at_count; i++)
        if (to_ms(w->at_s[i]) > after) {
            found = first_of(found, to_ms(w->at_s[i]));
            break;
        }
    return found > to_ms(w->end_s) ? NONE : found;
}

/* The last tick before a time. */
static int64_t previous(const struct workflow *w, int64_t before_ms, int64_t anchor_ms)
{
    int64_t end = to_ms(w->end_s), before = end == INT64_MAX ? before_ms : earlier(before_ms, end + 1), found = NONE;
    int64_t before_s = floor_s(before) + (before % 1000 != 0); /* whole seconds before it are those before its end */
    for (size_t i = 0; i < w->cron_count; i++) {
        int64_t at = cron_previous(&w->crons[i], w->zone, before_s);
        found = later(found, at < 0 ? NONE : at * 1000);
    }
    if (w->every_ms > 0)
        found = later(found, every_before(w->every_ms, anchor_ms, before));
    for (size_t i = w->at_count; i > 0; i--)
        if (to_ms(w->at_s[i - 1]) < before) {
            found = later(found, to_ms(w->at_s[i - 1]));
            break;
        }
    return found < to_ms(w->start_s) ? NONE : found;
}

void workflow_interval(const struct workflow *w, int64_t tick_ms, int64_t anchor_ms, int64_t *start_ms)
{
    int64_t before = previous(w, tick_ms, anchor_ms);
    *start_ms = before < 0 ? tick_ms : before;
}

size_t workflow_missed(const struct workflow *w, int64_t done_ms, int64_t now_ms, int64_t anchor_ms, int64_t *ticks,
                       size_t room, bool *more, int64_t *handled_ms)
{
    int64_t oldest; /* the window ends just before it */
    size_t count = 0;
    *more = false;
    *handled_ms = later(done_ms, now_ms); /* never back, when the clock went back */
    if (now_ms <= done_ms || w->catchup == CATCHUP_NONE)
        return 0;
    if (__builtin_sub_overflow(now_ms, w->catchup_window_ms, &oldest))
        oldest = INT64_MIN + 1;
    int64_t done = later(done_ms, oldest - 1);
    if (w->catchup == CATCHUP_LATEST) {
        int64_t latest = previous(w, now_ms + 1, anchor_ms);
        *more = latest > done && room == 0;
        if (*more)
            *handled_ms = done;
        else if (latest > done)
            ticks[count++] = latest;
        return count;
    }
    for (int64_t tick = done; (tick = workflow_next(w, tick, anchor_ms)) >= 0 && tick <= now_ms;) {
        *more = count == room;
        if (*more) {
            *handled_ms = count ? ticks[count - 1] : done;
            break;
        }
        ticks[count++] = tick;
    }
    return count;
}
