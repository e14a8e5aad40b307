/* SPDX-License-Identifier: Apache-2.0 */
/* A list of models, and how the broker is told of it. */
#include "nodes/inference/models.h"

#include <stdlib.h>
#include <string.h>

#include "lib/xmem.h"

static void text_free(const char *text)
{
    free((void *) (uintptr_t) text); /* const for those who look, ours all the same */
}

void models_fini(struct models *m)
{
    for (size_t i = 0; i < m->count; i++) {
        text_free(m->items[i].id);
        text_free(m->items[i].owned_by);
        text_free(m->items[i].version);
        text_free(m->items[i].content);
    }
    free(m->items);
    *m = (struct models){0};
}

void models_add(struct models *m, const struct model *model)
{
    m->items = xgrow(m->items, &m->room, m->count + 1, sizeof *m->items);
    struct model *added = &m->items[m->count++];
    *added = *model;
    added->id = xstrdup(model->id);
    added->owned_by = xstrdup(model->owned_by);
    added->version = model->version ? xstrdup(model->version) : NULL;
    added->content = model->content ? xstrdup(model->content) : NULL;
}

const struct model *models_find(const struct models *m, const char *id)
{
    for (size_t i = 0; i < m->count; i++)
        if (strcmp(m->items[i].id, id) == 0)
            return &m->items[i];
    return NULL;
}

static void pack(const struct model *m, struct buf *out)
{
    buf_pack_map(out, 3u + (m->version != NULL) + (m->content != NULL) + (m->context_length > 0) + (m->kind != NULL));
    buf_pair_str(out, "id", m->id);
    buf_pack_str(out, "created");
    buf_pack_int(out, m->created);
    buf_pair_str(out, "owned_by", m->owned_by);
    if (m->version)
        buf_pair_str(out, "version", m->version);
    if (m->content)
        buf_pair_str(out, "content", m->content);
    if (m->context_length > 0)
        buf_pair_uint(out, "context_length", (uint64_t) m->context_length);
    if (m->kind)
        buf_pair_str(out, "kind", m->kind);
}

bool models_equal(const struct models *a, const struct models *b)
{
    struct buf x = {0}, y = {0};
    models_pack(a, &x, SIZE_MAX);
    models_pack(b, &y, SIZE_MAX);
    bool equal = x.len == y.len && memcmp(x.data, y.data, x.len) == 0;
    buf_fini(&x);
    buf_fini(&y);
    return equal;
}

size_t models_pack(const struct models *m, struct buf *out, size_t max)
{
    size_t start = out->len, packed = 0;
    buf_pack_map(out, 1);
    buf_pack_str(out, "models");
    size_t at = buf_begin_array(out);
    for (; packed < m->count && packed < UINT16_MAX; packed++) {
        size_t before = out->len;
        pack(&m->items[packed], out);
        if (out->len - start > max) {
            out->len = before;
            break;
        }
    }
    buf_end_array(out, at, (uint16_t) packed);
    return packed;
}
