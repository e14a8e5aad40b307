/* SPDX-License-Identifier: Apache-2.0 */
/* The public event struct, read from and written to header maps. One table names the attributes. */
#include "lib/event.h"

#include "lib/clock.h"
#include "lib/error.h"
#include "lib/mp.h"
#include "lib/topic.h"
#include "lib/wire.h"

#define KEYS_MAX 64
#define NAME_LEN_MAX 256 /* id and source */

#define ATTRIBUTE(member) {#member, sizeof #member - 1, offsetof(struct ls_event, member)}
static const struct attribute {
    const char *name;
    size_t len, offset;
} ATTRIBUTES[] = {
    ATTRIBUTE(topic),         ATTRIBUTE(id),          ATTRIBUTE(source),       ATTRIBUTE(time),
    ATTRIBUTE(subject),       ATTRIBUTE(traceparent), ATTRIBUTE(tracestate),   ATTRIBUTE(datacontenttype),
    ATTRIBUTE(dataschema),    ATTRIBUTE(dataref),     ATTRIBUTE(correlationid), ATTRIBUTE(causationid),
    ATTRIBUTE(partitionkey),  ATTRIBUTE(expirytime),
};
#define ATTRIBUTE_COUNT (sizeof ATTRIBUTES / sizeof *ATTRIBUTES)

static const struct attribute *attribute_find(struct mp_slice name)
{
    for (size_t i = 0; i < ATTRIBUTE_COUNT; i++)
        if (ATTRIBUTES[i].len == name.len && !memcmp(ATTRIBUTES[i].name, name.data, name.len))
            return &ATTRIBUTES[i];
    return NULL;
}

static struct ls_slice *member(struct ls_event *event, const struct attribute *attribute)
{
    return (struct ls_slice *) (void *) ((char *) event + attribute->offset);
}

void event_read(struct ls_event *event, struct ls_slice header, struct ls_slice body)
{
    *event = (struct ls_event){.header = header, .body = body};
    struct mp r = wire_map(header);
    uint32_t pairs;
    if (!mp_map(&r, &pairs))
        return;
    for (uint32_t i = 0; i < pairs; i++) {
        struct mp_slice name, value;
        const struct attribute *attribute = mp_str(&r, &name) ? attribute_find(name) : NULL;
        if (attribute && mp_str(&r, &value))
            *member(event, attribute) = ls_bytes(value.data, value.len);
        else if (!mp_skip(&r))
            return;
    }
}

static int check(const struct ls_event *event, struct ls_error *err)
{
    if (!topic_valid(event->topic.data, event->topic.len))
        return error_set(err, "BAD_TOPIC", "\"%.*s\" is no topic: words of a-z 0-9 _ - joined by dots, at most %d",
                         (int) (event->topic.len < 80 ? event->topic.len : 80),
                         event->topic.data ? event->topic.data : "", TOPIC_LEN_MAX);
    if (event->id.len > NAME_LEN_MAX || event->source.len > NAME_LEN_MAX)
        return error_set(err, "BAD_VALUE", "id and source are at most %d bytes", NAME_LEN_MAX);
    return 0;
}

int event_pack(struct buf *pairs, const struct ls_event *event, uint32_t *count, struct ls_error *err)
{
    struct ls_slice more;
    struct ls_event filled = *event;
    char id[UUID_TEXT_SIZE];
    if (check(event, err))
        return -1;
    if (!wire_map_pairs(event->more, count, &more))
        return error_set(err, "BAD_VALUE", "`more` of an event must be one msgpack map");
    static const char *const RESERVED[] = {"n", "batch", "tag"}; /* of PUB itself, in the same map */
    for (size_t i = 0; i < sizeof RESERVED / sizeof *RESERVED; i++) {
        struct mp value;
        if (event->more.len && mp_find(wire_map(event->more), RESERVED[i], &value))
            return error_set(err, "BAD_VALUE", "an event has no attribute \"%s\": the protocol uses that key", RESERVED[i]);
    }
    if (!filled.id.len) {
        ls_id(id);
        filled.id = ls_str(id);
    }
    for (size_t i = 0; i < ATTRIBUTE_COUNT; i++) {
        const struct ls_slice *value = member(&filled, &ATTRIBUTES[i]);
        if (!value->len)
            continue;
        buf_pack_strn(pairs, ATTRIBUTES[i].name, ATTRIBUTES[i].len);
        buf_pack_strn(pairs, value->data, value->len);
        ++*count;
    }
    buf_add(pairs, more.data, more.len);
    if (*count > KEYS_MAX)
        return error_set(err, "TOO_BIG", "an event header holds at most %d keys, this one has %u", KEYS_MAX, *count);
    return 0;
}

bool ls_event_attribute(const struct ls_event *event, const char *name, struct ls_slice *value)
{
    return wire_str(wire_map(event->header), name, value);
}

enum ls_body ls_body_kind(struct ls_slice body)
{
    if (!body.len)
        return LS_BODY_EMPTY;
    if (body.data[0] == '{' || body.data[0] == '[')
        return LS_BODY_JSON;
    return mp_valid(body.data, body.len, MP_DEPTH_MAX) ? LS_BODY_MSGPACK : LS_BODY_BYTES;
}

void ls_id(char id[LS_ID_SIZE])
{
    uuid7(clock_wall_us(), id);
}
