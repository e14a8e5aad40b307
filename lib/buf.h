/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LIB_BUF_H
#define LIB_BUF_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A growable byte buffer, and msgpack written into it (msgpack-c does the encoding). Zero-initialise to start. */
struct buf {
    uint8_t *data;
    size_t len, room;
};

void buf_fini(struct buf *b);
void buf_clear(struct buf *b);                          /* empties, keeps the memory */
void buf_reserve(struct buf *b, size_t more);           /* room for `more` further bytes */
void buf_add(struct buf *b, const void *data, size_t len);
void buf_add_byte(struct buf *b, uint8_t byte);
void buf_addf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
const char *buf_text(struct buf *b);                    /* NUL-terminates behind the end; valid until the next change */

/* msgpack (https://github.com/msgpack/msgpack/blob/master/spec.md), one value each. */
void buf_pack_map(struct buf *b, uint32_t pairs);
void buf_pack_array(struct buf *b, uint32_t items);
void buf_pack_nil(struct buf *b);
void buf_pack_bool(struct buf *b, bool value);
void buf_pack_uint(struct buf *b, uint64_t value);
void buf_pack_int(struct buf *b, int64_t value);
void buf_pack_double(struct buf *b, double value);
void buf_pack_str(struct buf *b, const char *text);     /* NUL-terminated */
void buf_pack_strn(struct buf *b, const char *text, size_t len);
void buf_pack_bin(struct buf *b, const void *data, size_t len);

/* A key and its value, two of a map's items. */
void buf_pair_uint(struct buf *b, const char *key, uint64_t value);
void buf_pair_bool(struct buf *b, const char *key, bool value);
void buf_pair_str(struct buf *b, const char *key, const char *text);
void buf_pair_strn(struct buf *b, const char *key, const char *text, size_t len);

/* buf_begin_map and buf_end_map write a map whose number of pairs is not known at the start:
 * `at = buf_begin_map(b)` ... `buf_end_map(b, at, pairs)`; at most 65,535 pairs (msgpack map 16). */
size_t buf_begin_map(struct buf *b);
void buf_end_map(struct buf *b, size_t at, uint16_t pairs);
size_t buf_begin_array(struct buf *b);
void buf_end_array(struct buf *b, size_t at, uint16_t items);

#endif
