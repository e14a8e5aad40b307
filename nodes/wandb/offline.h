/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_WANDB_OFFLINE_H
#define NODES_WANDB_OFFLINE_H
#include <jansson.h>

#include "lib/lineshaft.h"

/* A `.wandb` file, as `wandb sync` reads it: LevelDB's log format with W&B's file header and plain CRC-32, around protobuf messages
 * `Record` (wandb's wandb_internal.proto). Appended to; a file that a crash tore is cut to its last whole record when it is opened
 * again, and goes on there. Blocks for the disk. Errors: SYSTEM (path and cause), CORRUPT (a file that is none of ours). */

struct offline;

/* A run as W&B knows it; texts may be NULL but for id. Borrowed. */
struct wandb_run {
    const char *id, *entity, *project, *display_name, *group, *job_type, *notes;
    const char *const *tags; /* NULL-terminated; NULL: none */
    const json_t *config;    /* object: name to value, without W&B's {"value": ...} around; NULL: none */
    int64_t started_ms;      /* since 1970 */
};

/* offline_open opens DIR/offline-run-YYYYMMDD_HHMMSS-ID/run-ID.wandb (times in UTC, of started_ms; folders are made), or goes on with it.
 * A new file gets its header and the run's record. *rows: history records that it has. NULL on failure. */
/* offline_is_there: a run of that id and second has a folder. */
bool offline_is_there(const char *dir, const char *id, int64_t started_ms);
struct offline *offline_open(const char *dir, const struct wandb_run *run, uint64_t *rows, struct ls_error *err);
const char *offline_path(const struct offline *file); /* of the .wandb file */
/* One record each; 0, or -1 with *err, after which only offline_close is allowed. A row is an object with _step, _timestamp and _runtime
 * among its keys; what it says goes into the file byte by byte, with NaN, Infinity and -Infinity bare, as W&B knows them. */
int offline_history(struct offline *file, const char *row_json, struct ls_error *err);
int offline_summary(struct offline *file, const char *summary_json, struct ls_error *err);
int offline_config(struct offline *file, const json_t *changed, struct ls_error *err);
/* `wandb sync` reads no further than the exit record: what is written after it goes before it, and a second one takes its place. */
int offline_exit(struct offline *file, int exit_code, double runtime_s, struct ls_error *err);
int offline_sync(struct offline *file, struct ls_error *err); /* what was written is on disk (fdatasync; the folder too at first) */
bool offline_ended(const struct offline *file);               /* it has an exit record */
void offline_close(struct offline **file);                    /* NULL allowed; does not sync */

#endif
