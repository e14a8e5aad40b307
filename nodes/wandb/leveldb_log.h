/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_WANDB_LEVELDB_LOG_H
#define NODES_WANDB_LEVELDB_LOG_H
#include "lib/buf.h"
#include "lib/lineshaft.h"

/* Records in a file, framed as LevelDB's log (https://github.com/google/leveldb/blob/main/doc/log_format.md) with W&B's three changes:
 * the file begins with LEVELDB_LOG_HEAD, which counts into the first block; the checksum is zlib's CRC-32, not masked CRC-32C. */

#define LEVELDB_LOG_HEAD ":W&B\xe1\xbe\x00" /* magic 0xBEE1, little-endian, and version 0 */
#define LEVELDB_LOG_HEAD_SIZE 7

/* leveldb_log_frame appends to `out` the bytes that put `record` into a file of `at` bytes. */
void leveldb_log_frame(struct buf *out, uint64_t at, struct ls_slice record);

/* leveldb_log_read calls `fn` for each whole record (borrowed for the call), up to the first that is torn, damaged, or refused by `fn`.
 * *end: where the last one that `fn` took ends, so 0 for a file without a whole head. Blocks for the disk. -1 with SYSTEM, or with
 * CORRUPT for a file that begins with anything else. */
typedef bool leveldb_log_fn(void *arg, struct ls_slice record);
int leveldb_log_read(int fd, leveldb_log_fn *fn, void *arg, uint64_t *end, struct ls_error *err);

#endif
