/* SPDX-License-Identifier: Apache-2.0 */
/* Bodies of events as text. What they are, and how they become JSON, is lib/json.c. */
#include "cli/render.h"
#include "lib/json.h"

bool render_mp(struct buf *out, struct mp *value, size_t max)
{
    return json_put_value(out, value, max);
}

void render_body(struct buf *out, const void *body, size_t len, size_t max)
{
    struct mp value = mp_over(body, len);
    char size[RENDER_SHORT_SIZE];
    switch (json_body_kind(ls_bytes(body, len))) {
    case LS_BODY_EMPTY:
        break;
    case LS_BODY_JSON:
        json_put_copy(out, body, len, max);
        break;
    case LS_BODY_MSGPACK:
        json_put_value(out, &value, max);
        break;
    case LS_BODY_BYTES:
        buf_addf(out, "(%s) ", render_size(len, size));
        render_harmless(out, body, len < max ? len : max);
    }
}

bool render_body_json(struct buf *out, const void *body, size_t len)
{
    return json_put_body(out, ls_bytes(body, len));
}
