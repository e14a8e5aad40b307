/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_INFERENCE_CACHE_H
#define NODES_INFERENCE_CACHE_H
#include <stdbool.h>
#include <stdint.h>

#include "lib/lineshaft.h"

/* A folder of model files, each named by the SHA-256 of its content: SHA256.ngram. Several processes share it: a file gets its
 * name by rename when it is whole, synced and has that hash, and never changes afterwards. What is being written is a file
 * .part-XXXXXX, locked by its writer; those without a writer are left by a crash, and cache_open removes them.
 *
 * All calls block on the disk. They may be used from any thread: nothing but the folder is shared. */

struct cache;
struct cache_part; /* a file on its way into the cache */

#define CACHE_HASH_SIZE 65 /* lower-case hex and NUL */

/* cache_open makes the folder with those above it. SYSTEM. */
struct cache *cache_open(const char *folder, int64_t keep, struct ls_error *err);
void cache_close(struct cache **cache);

char *cache_path(const struct cache *cache, const char *sha256); /* the caller's */
/* cache_use: is the file there? It counts as used now. */
bool cache_use(const struct cache *cache, const char *sha256);
void cache_remove(const struct cache *cache, const char *sha256);
/* cache_prune leaves the `keep` latest used files and the one named here. */
void cache_prune(const struct cache *cache, const char *sha256);

/* cache_begin: NULL with SYSTEM. cache_write hashes and writes; -1 with SYSTEM (`again`: the disk may get room). */
struct cache_part *cache_begin(const struct cache *cache, struct ls_error *err);
int cache_write(struct cache_part *part, struct ls_slice bytes, struct ls_error *err);
/* cache_copy writes the file at `path`, or the only *.ngram below it if it is a folder. NOT_FOUND, SYSTEM, BAD_VALUE (no
 * regular file). */
int cache_copy(struct cache_part *part, const char *path, struct ls_error *err);
/* cache_end frees the part. `expected`: the hash that the content must have (CORRUPT, `again`), or "". *there: the cache had this
 * content already. */
int cache_end(const struct cache *cache, struct cache_part **part, const char *expected, char sha256[CACHE_HASH_SIZE], bool *there,
              struct ls_error *err);
void cache_drop(struct cache_part **part); /* removes what was written */

#endif
