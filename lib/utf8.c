/* SPDX-License-Identifier: Apache-2.0 */
/* UTF-8, read with care. */
#include "lib/utf8.h"

#include <string.h>

size_t utf8_next(const uint8_t *p, size_t len, uint32_t *code)
{
    static const uint32_t SMALLEST[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t size = p[0] < 0x80 ? 1 : p[0] < 0xc0 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf8 ? 4 : 0;
    if (size == 0 || size > len)
        return 0;
    *code = size == 1 ? p[0] : p[0] & (0x7fu >> size);
    for (size_t i = 1; i < size; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        *code = *code << 6 | (p[i] & 0x3f);
    }
    if (size > 1 && (*code < SMALLEST[size] || *code > 0x10ffff || (*code >= 0xd800 && *code < 0xe000)))
        return 0;
    return size;
}

bool utf8_is_harmful(uint32_t code)
{
    return code < 0x20 || (code >= 0x7f && code < 0xa0) || (code >= 0x200b && code <= 0x200f) ||
           (code >= 0x2028 && code <= 0x202e) || (code >= 0x2060 && code <= 0x206f) || code == 0xfeff || code == 0x061c ||
           (code >= 0xe0000 && code <= 0xe007f);
}

bool utf8_valid(const void *data, size_t len)
{
    const uint8_t *p = data;
    uint32_t code;
    for (size_t i = 0, size; i < len; i += size) {
        uint64_t eight = UINT64_MAX; /* most text is ASCII, and the broker reads every header by this; the last eight may overlap */
        size_t at = len - i < sizeof eight ? len - sizeof eight : i;
        if (len >= sizeof eight)
            memcpy(&eight, p + at, sizeof eight);
        if (!(eight & 0x8080808080808080u))
            size = at + sizeof eight - i;
        else if (!(size = p[i] < 0x80 ? 1 : utf8_next(p + i, len - i, &code)))
            return false;
    }
    return true;
}
