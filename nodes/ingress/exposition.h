/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_INGRESS_EXPOSITION_H
#define NODES_INGRESS_EXPOSITION_H
#include <stdbool.h>

#include "lib/buf.h"
#include "lib/lineshaft.h"

/* Prometheus's text format, version 0.0.4 (https://prometheus.io/docs/instrumenting/exposition_formats/): families, each with its
 * HELP and TYPE, and then its samples without another family's between them. */

#define LABELS_MAX 5
struct labels {
    const char *names[LABELS_MAX]; /* the rest NULL */
    struct ls_slice values[LABELS_MAX]; /* UTF-8; an empty one is as good as none */
};

/* family_begin: `name` without the prefix "lineshaft_"; a name that ends in _total is a counter, any other a gauge unless `type` is
 * given. `help` ends without a full stop. */
void family_begin(struct buf *out, struct ls_slice name, const char *type, const char *help);
void sample_put(struct buf *out, struct ls_slice name, const struct labels *labels, double number);

#endif
