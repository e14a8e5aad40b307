/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_TRACKER_SCHEMA_H
#define NODES_TRACKER_SCHEMA_H
#include "nodes/kit/db.h"

/* MLflow's tables and our own. The release whose tables a new database gets (docs/decisions/034-tracker.md). */
#define SCHEMA_RELEASE "3.1.4"
#define SCHEMA_REVISION "bda7b8c39065"

struct schema_table {
    const char *name, *columns; /* separated by blanks */
};

#define SCHEMA_STEP_COUNT 2
extern const struct db_step SCHEMA_STEPS[SCHEMA_STEP_COUNT]; /* for db_migrate: ours */
extern const char SCHEMA_SQLITE[], SCHEMA_POSTGRES[];        /* MLflow's */
extern const struct schema_table SCHEMA_NEEDED[];            /* ends with {0} */

/* schema_open makes MLflow's tables in an empty database, or looks whether those that are there can be worked with;
 * makes experiment 0, whose files go below `artifact_root`, if it is not there. -1: the database's error, or SCHEMA
 * with what to do. */
int schema_open(struct db *db, const char *artifact_root, struct ls_error *err);

#endif
