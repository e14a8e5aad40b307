/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LIB_FOLDER_H
#define LIB_FOLDER_H
#include <sys/types.h>

#include "lib/lineshaft.h"

/* folder_make makes a folder and those above it, as `mkdir -p` does; one that is there is well. `mode` (umask applies) is the last
 * one's; those above get 0755 as well. -1 with SYSTEM, which names the folder that could not be made (err may be NULL), and errno as
 * mkdir(2) left it. folder_make_above makes the folders that the file at `path` is to lie in. */
int folder_make(const char *path, mode_t mode, struct ls_error *err);
int folder_make_above(const char *path, mode_t mode, struct ls_error *err);

#endif
