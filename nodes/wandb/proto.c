/* SPDX-License-Identifier: Apache-2.0 */
/* Protobuf's encoding, written and read field by field. */
#include "nodes/wandb/proto.h"

enum { VARINT = 0, FIXED64 = 1, WITH_LENGTH = 2, FIXED32 = 5 };

static void put_varint(struct buf *out, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        buf_add_byte(out, (uint8_t) (value | 0x80));
    buf_add_byte(out, (uint8_t) value);
}

void proto_put_int(struct buf *out, uint32_t field, int64_t value)
{
    put_varint(out, (uint64_t) field << 3 | VARINT);
    put_varint(out, (uint64_t) value);
}

void proto_put_bytes(struct buf *out, uint32_t field, struct ls_slice value)
{
    put_varint(out, (uint64_t) field << 3 | WITH_LENGTH);
    put_varint(out, value.len);
    buf_add(out, value.data, value.len);
}

void proto_put_text(struct buf *out, uint32_t field, const char *text)
{
    if (text && text[0])
        proto_put_bytes(out, field, ls_str(text));
}

void proto_put_message(struct buf *out, uint32_t field, struct buf *inside)
{
    proto_put_bytes(out, field, ls_bytes(inside->data, inside->len));
    buf_clear(inside);
}

static bool take_varint(struct ls_slice *message, uint64_t *value)
{
    *value = 0;
    for (unsigned shift = 0; shift < 64 && message->len > 0; shift += 7) {
        uint8_t byte = (uint8_t) *message->data;
        *message = ls_bytes(message->data + 1, message->len - 1);
        *value |= (uint64_t) (byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return true;
    }
    return false;
}

bool proto_next(struct ls_slice *message, uint32_t *field, uint64_t *number, struct ls_slice *bytes)
{
    uint64_t tag, len;
    *field = 0;
    if (!take_varint(message, &tag) || tag >> 3 == 0 || tag >> 3 > UINT32_MAX)
        return false;
    *field = (uint32_t) (tag >> 3);
    switch (tag & 7) {
    case VARINT:
        return take_varint(message, number);
    case WITH_LENGTH:
        if (!take_varint(message, &len))
            return false;
        break;
    case FIXED64:
        len = 8;
        break;
    case FIXED32:
        len = 4;
        break;
    default:
        return false;
    }
    if (len > message->len)
        return false;
    *bytes = ls_bytes(message->data, (size_t) len);
    *message = ls_bytes(message->data + len, message->len - (size_t) len);
    return true;
}
