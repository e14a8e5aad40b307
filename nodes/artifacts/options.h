/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_ARTIFACTS_OPTIONS_H
#define NODES_ARTIFACTS_OPTIONS_H
#include "lib/kind.h"

/* What the tables (kind.c) and the code share. The help of each option is in kind.c. */

struct artifacts_options {
    const char *store, *dir, *listen;
    int64_t spool_limit, free_floor, answer_after, parallel;
    struct kind_texts files_from;
    /* S3 */
    const char *endpoint, *region, *access_key, *secret_key, *session_token;
    int addressing; /* index into ARTIFACTS_ADDRESSING */
    const char *ca_file, *encryption;
    bool create_bucket;
    int64_t part_size;
};

extern const char *const ARTIFACTS_ADDRESSING[];

enum artifacts_metric {
    METRIC_STORED,
    METRIC_STORED_BYTES,
    METRIC_FAILED,
    METRIC_DELETED,
    METRIC_RETRIES,
    METRIC_REFUSED,
    METRIC_DOWNLOADS,
    METRIC_DOWNLOAD_BYTES,
    METRIC_SPOOL_ENTRIES,
    METRIC_SPOOL_BYTES,
    METRIC_SPOOL_FREE_BYTES,
    METRIC_PRESSURE,
};

extern const struct kind kind_artifacts;

#endif
