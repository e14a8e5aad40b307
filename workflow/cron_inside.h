/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WORKFLOW_CRON_INSIDE_H
#define WORKFLOW_CRON_INSIDE_H
#include "workflow/cron.h"

/* cron_search: what cron_next (forward) and cron_previous do; *steps (may be NULL) grows by the days and months that
 * were looked at, for tests of how far a search goes. */
int64_t cron_search(const struct cron *cron, const struct zone *zone, int64_t from_s, bool forward, uint64_t *steps);

#endif
