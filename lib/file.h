/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LIB_FILE_H
#define LIB_FILE_H
#include "lib/buf.h"

/* Whole files into memory, bounded. On failure -1 with errno, and `out` has what was read so far: open(2)'s and read(2)'s errors, EISDIR
 * for a folder, EFBIG for more than `most` bytes (out then has most + 1). */

/* file_read appends what is left to read from a descriptor; blocks as it does. */
int file_read(int fd, size_t most, struct buf *out);

/* file_load appends the content of what is at `path`, waiting for a pipe's writer. file_load_regular waits for nothing: what is neither a
 * file nor a folder is ENOTSUP. */
int file_load(const char *path, size_t most, struct buf *out);
int file_load_regular(const char *path, size_t most, struct buf *out);

/* file_problem: such an errno in words for people: "it is a folder", "No such file or directory". */
const char *file_problem(int error);

#endif
