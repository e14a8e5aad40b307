/* SPDX-License-Identifier: Apache-2.0 */
/* The built-in node kinds by name. */
#include "nodes/kinds.h"

#include <string.h>

#define DECLARE(name) extern const struct kind kind_##name;
NODE_KINDS(DECLARE)

#define ADDRESS(name) &kind_##name,
const struct kind *const KINDS[] = {NODE_KINDS(ADDRESS) NULL};

const struct kind *kinds_find(const char *name)
{
    for (size_t i = 0; KINDS[i]; i++)
        if (strcmp(KINDS[i]->name, name) == 0)
            return KINDS[i];
    return NULL;
}
