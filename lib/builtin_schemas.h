/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LIB_BUILTIN_SCHEMAS_H
#define LIB_BUILTIN_SCHEMAS_H

/* The files of schemas/, embedded by schemas/embed.sh at build time, in the order of their topics. */
struct builtin_schema {
    const char *topic;
    const char *text;
    const char *origin; /* "schemas/<topic>.yaml", for messages */
};
extern const struct builtin_schema BUILTIN_SCHEMAS[]; /* ends with a NULL topic */

#endif
