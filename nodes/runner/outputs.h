/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_RUNNER_OUTPUTS_H
#define NODES_RUNNER_OUTPUTS_H
#include <jansson.h>

#include "lib/lineshaft.h"

#define OUTPUTS_BYTES_MAX ((size_t) 1 << 20)

/* The file LINESHAFT_OUTPUTS of a command: a line `key=value` each, values read as JSON where they are JSON and as text
 * where not, or whole JSON objects, over as many lines as they like. Of a key that comes twice the last value counts.
 * outputs_parse: an object, the caller's; NULL with OUTPUTS and a sentence with the line. outputs_read reads the file; no file
 * is an empty object. */
json_t *outputs_parse(const char *text, size_t len, struct ls_error *err);
json_t *outputs_read(const char *path, struct ls_error *err);

#endif
