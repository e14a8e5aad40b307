/* SPDX-License-Identifier: Apache-2.0 */
/* Facts about tries of tasks: a command that was killed cannot say so of its run, and the scheduler says it of the try. */
#include "nodes/tracker/fact.h"

#define TRY "lineshaft.try" /* the tag by which a run names the try that it is of */

/* Ended from outside; what ended by itself has failed. */
static bool was_killed(struct ls_slice reason)
{
    static const char *const REASONS[] = {"lost", "timeout", "cancelled", "stopped", "signal"};
    for (size_t i = 0; i < sizeof REASONS / sizeof *REASONS; i++)
        if (ls_slice_is(reason, REASONS[i]))
            return true;
    return false;
}

/* Runs of the try that have not ended themselves. */
int fact_try_failed(struct fact *f)
{
    static const char SET[] = "UPDATE runs SET status = $2, end_time = $3 WHERE status IN ('RUNNING', 'SCHEDULED') AND "
                              "run_uuid IN (SELECT run_uuid FROM tags WHERE key = '" TRY "' AND value = $1)";
    struct db_value try = fact_text(f, "try", 100), reason = fact_or(f, "reason", 100, ""), end = fact_time(f, "end_time");
    if (f->wrong || try.type == DB_NULL)
        return f->wrong ? -1 : 0;
    return fact_put(f, SET, try, db_text(was_killed(reason.text) ? "KILLED" : "FAILED"), end);
}
