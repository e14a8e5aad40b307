/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_ARTIFACTS_SPOOL_PRIVATE_H
#define NODES_ARTIFACTS_SPOOL_PRIVATE_H
#include "nodes/artifacts/spool.h"

/* What spool.c and spool_scan.c share. */

struct spool {
    char *dir;         /* absolute */
    int fd, lock;      /* of the folder; of DIR/lock */
    uint64_t limit, floor;
    uint64_t reserved; /* sum of entry->reserved */
    uint64_t written;  /* sum of entry->held */
    uint64_t order;    /* of the newest entry */
    uint64_t count;
    struct entry_list entries;
};

/* spool_entry_new counts a new entry, which is not in the list yet; spool_entry_free takes all that it counted for back. The files
 * stay as they are. */
struct entry *spool_entry_new(struct spool *spool, const char *id);
void spool_entry_free(struct entry *entry);

#endif
