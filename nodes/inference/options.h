/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_INFERENCE_OPTIONS_H
#define NODES_INFERENCE_OPTIONS_H
#include "lib/kind.h"

/* What the tables (kind.c) and the code share. The help of each option is in kind.c. */

enum inference_backend { BACKEND_NGRAM, BACKEND_OPENAI };

struct inference_options {
    int backend; /* enum inference_backend */
    const char *model, *owned_by;
    int64_t context_length, max_tokens;
    const char *file;
    int64_t pace;
    const char *cache;
    int64_t cache_keep;
    const char *url, *api_key, *backend_model, *ca_file;
    int64_t models_every, connect_timeout, first_byte_timeout, stall_timeout, total_timeout;
};

enum inference_metric {
    METRIC_CALLS,
    METRIC_OPEN,
    METRIC_COMPLETED,
    METRIC_FAILED,
    METRIC_CANCELLED,
    METRIC_TOKENS,
    METRIC_FIRST_TOKENS,
    METRIC_FIRST_TOKEN_MS,
    METRIC_BACKEND_UNREACHABLE,
    METRIC_BACKEND_TIMEOUT,
    METRIC_BACKEND_BUSY,
    METRIC_BACKEND_REFUSED,
    METRIC_BACKEND_BROKEN,
};

extern const struct kind kind_inference;

/* A model of the registry as MLflow names it: "models:/NAME@ALIAS" or "models:/NAME/VERSION". One of alias and version is "". */
struct registry_uri {
    char name[257], alias[256], version[11];
    bool bridged; /* not of the name: the option `file` is served until there is such a version */
};

/* registry_uri_meant: does the option `model` mean the registry? registry_uri_read: NULL, or what is wrong with it. */
bool registry_uri_meant(const char *model);
const char *registry_uri_read(const char *model, struct registry_uri *uri);

#endif
