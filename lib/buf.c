/* SPDX-License-Identifier: Apache-2.0 */
/* Growable bytes, and msgpack encoding into them through msgpack-c. */
#include "lib/buf.h"

#include <msgpack.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/xmem.h"

void buf_fini(struct buf *b)
{
    free(b->data);
    *b = (struct buf){0};
}

void buf_clear(struct buf *b)
{
    b->len = 0;
}

void buf_reserve(struct buf *b, size_t more)
{
    b->data = xgrow(b->data, &b->room, b->len + more, 1);
}

void buf_add(struct buf *b, const void *data, size_t len)
{
    if (!len)
        return;
    buf_reserve(b, len);
    memcpy(b->data + b->len, data, len);
    b->len += len;
}

void buf_add_byte(struct buf *b, uint8_t byte)
{
    buf_reserve(b, 1);
    b->data[b->len++] = byte;
}

void buf_addf(struct buf *b, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    va_list again;
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (len > 0) {
        buf_reserve(b, (size_t) len + 1);
        vsnprintf((char *) b->data + b->len, (size_t) len + 1, format, again);
        b->len += (size_t) len;
    }
    va_end(again);
}

const char *buf_text(struct buf *b)
{
    buf_reserve(b, 1);
    b->data[b->len] = 0;
    return (const char *) b->data;
}

static int write_into(void *data, const char *bytes, size_t len)
{
    buf_add(data, bytes, len);
    return 0;
}

static msgpack_packer packer(struct buf *b)
{
    return (msgpack_packer){.data = b, .callback = write_into};
}

void buf_pack_map(struct buf *b, uint32_t pairs)
{
    msgpack_packer pk = packer(b);
    msgpack_pack_map(&pk, pairs);
}

void buf_pack_array(struct buf *b, uint32_t items)
{
    msgpack_packer pk = packer(b);
    msgpack_pack_array(&pk, items);
}

void buf_pack_nil(struct buf *b)
{
    msgpack_packer pk = packer(b);
    msgpack_pack_nil(&pk);
}

void buf_pack_bool(struct buf *b, bool value)
{
    msgpack_packer pk = packer(b);
    if (value)
        msgpack_pack_true(&pk);
    else
        msgpack_pack_false(&pk);
}

void buf_pack_uint(struct buf *b, uint64_t value)
{
    msgpack_packer pk = packer(b);
    msgpack_pack_uint64(&pk, value);
}

void buf_pack_int(struct buf *b, int64_t value)
{
    msgpack_packer pk = packer(b);
    msgpack_pack_int64(&pk, value);
}

void buf_pack_double(struct buf *b, double value)
{
    msgpack_packer pk = packer(b);
    msgpack_pack_double(&pk, value);
}

void buf_pack_strn(struct buf *b, const char *text, size_t len)
{
    msgpack_packer pk = packer(b);
    msgpack_pack_str(&pk, len);
    buf_add(b, text, len);
}

void buf_pack_str(struct buf *b, const char *text)
{
    buf_pack_strn(b, text, strlen(text));
}

void buf_pack_bin(struct buf *b, const void *data, size_t len)
{
    msgpack_packer pk = packer(b);
    msgpack_pack_bin(&pk, len);
    buf_add(b, data, len);
}

void buf_pair_uint(struct buf *b, const char *key, uint64_t value)
{
    buf_pack_str(b, key);
    buf_pack_uint(b, value);
}

void buf_pair_bool(struct buf *b, const char *key, bool value)
{
    buf_pack_str(b, key);
    buf_pack_bool(b, value);
}

void buf_pair_strn(struct buf *b, const char *key, const char *text, size_t len)
{
    buf_pack_str(b, key);
    buf_pack_strn(b, text, len);
}

void buf_pair_str(struct buf *b, const char *key, const char *text)
{
    buf_pair_strn(b, key, text, strlen(text));
}

static size_t begin(struct buf *b, uint8_t type)
{
    size_t at = b->len;
    buf_add(b, (uint8_t[]){type, 0, 0}, 3);
    return at;
}

static void end(struct buf *b, size_t at, uint16_t count)
{
    b->data[at + 1] = (uint8_t) (count >> 8);
    b->data[at + 2] = (uint8_t) count;
}

size_t buf_begin_map(struct buf *b)
{
    return begin(b, 0xde); /* map 16 */
}

void buf_end_map(struct buf *b, size_t at, uint16_t pairs)
{
    end(b, at, pairs);
}

size_t buf_begin_array(struct buf *b)
{
    return begin(b, 0xdc); /* array 16 */
}

void buf_end_array(struct buf *b, size_t at, uint16_t items)
{
    end(b, at, items);
}
