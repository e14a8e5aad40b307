/* SPDX-License-Identifier: Apache-2.0 */
/* One event as a line for people, as JSON, as fields. */
#include "cli/event_view.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/clock.h"
#include "lib/json.h"
#include "lib/xmem.h"

#define SHORT_BODY 400 /* columns, where there is no terminal's width to cut at */
#define BODY_COLUMNS_MIN 10
#define PLACE_COLUMNS 12
#define TOPIC_COLUMNS 22

/* The members of struct ls_event that are slices. */
static const size_t SLICES[] = {
#define MEMBER(name) offsetof(struct ls_event, name)
    MEMBER(topic), MEMBER(id), MEMBER(source), MEMBER(time), MEMBER(subject), MEMBER(datacontenttype), MEMBER(dataschema),
    MEMBER(dataref), MEMBER(traceparent), MEMBER(tracestate), MEMBER(correlationid), MEMBER(causationid),
    MEMBER(partitionkey), MEMBER(expirytime), MEMBER(more), MEMBER(body), MEMBER(header), MEMBER(stream),
#undef MEMBER
};
#define SLICE_COUNT (sizeof SLICES / sizeof SLICES[0])

static struct ls_slice *slice_at(struct ls_event *event, size_t i)
{
    return (struct ls_slice *) (void *) ((char *) event + SLICES[i]);
}

void event_copy_init(struct event_copy *copy, const struct ls_event *event)
{
    size_t bytes = 0, at = 0;
    copy->event = *event;
    for (size_t i = 0; i < SLICE_COUNT; i++)
        bytes += slice_at(&copy->event, i)->len;
    copy->memory = xcalloc(bytes + 1, 1);
    for (size_t i = 0; i < SLICE_COUNT; i++) {
        struct ls_slice *slice = slice_at(&copy->event, i);
        if (slice->len)
            memcpy(copy->memory + at, slice->data, slice->len);
        slice->data = copy->memory + at;
        at += slice->len;
    }
}

void event_copy_fini(struct event_copy *copy)
{
    free(copy->memory);
    *copy = (struct event_copy){0};
}

int64_t event_time_us(const struct ls_event *event)
{
    int64_t time_us;
    if (event->time.len && clock_parse(event->time.data, event->time.len, &time_us))
        return time_us;
    return event->ts_us;
}

struct ls_slice event_trace_id(const struct ls_event *event)
{
    struct ls_slice t = event->traceparent;
    return t.len >= 55 && t.data[2] == '-' && t.data[35] == '-' ? ls_bytes(t.data + 3, 32) : ls_bytes("", 0);
}

void event_clock(int64_t time_us, struct buf *out)
{
    time_t seconds = (time_t) (time_us / 1000000), now = (time_t) (clock_wall_us() / 1000000);
    struct tm at, today;
    if (!localtime_r(&seconds, &at) || !localtime_r(&now, &today)) {
        buf_addf(out, "%lld", (long long) time_us);
        return;
    }
    if (at.tm_year != today.tm_year)
        buf_addf(out, "%04d-", at.tm_year + 1900);
    if (at.tm_year != today.tm_year || at.tm_yday != today.tm_yday)
        buf_addf(out, "%02d-%02d ", at.tm_mon + 1, at.tm_mday);
    buf_addf(out, "%02d:%02d:%02d.%03d", at.tm_hour, at.tm_min, at.tm_sec, (int) (time_us / 1000 % 1000));
}

static bool ends_with(struct ls_slice text, const char *end)
{
    size_t len = strlen(end);
    return text.len >= len && memcmp(text.data + text.len - len, end, len) == 0;
}

static enum colour topic_colour(struct ls_slice topic)
{
    if (ends_with(topic, ".failed") || (topic.len > 5 && memcmp(topic.data, "$dlq.", 5) == 0))
        return COLOUR_RED;
    return topic.len && *topic.data == '$' ? COLOUR_YELLOW : COLOUR_CYAN;
}

/* Moves the cell to the line, in its colour, padded to `columns` and one more; returns the columns it takes. */
static size_t put_cell(struct buf *line, const struct view *view, enum colour colour, struct buf *cell, size_t columns)
{
    size_t used = render_columns((const char *) cell->data, cell->len), room = used < columns ? columns : used;
    render_colour(line, view->colours, colour);
    buf_add(line, cell->data, cell->len);
    render_colour(line, view->colours, COLOUR_NONE);
    buf_addf(line, "%*s", (int) (room - used) + 1, "");
    buf_clear(cell);
    return room + 1;
}

json_t *event_body_json(const struct ls_event *event)
{
    struct buf text = {0};
    render_body(&text, event->body.data, event->body.len, SIZE_MAX);
    json_t *json = text.len ? json_loadb((const char *) text.data, text.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL) : NULL;
    buf_fini(&text);
    return json;
}

void event_body_lines(const struct ls_event *event, struct buf *out)
{
    struct buf text = {0};
    json_t *json = event_body_json(event);
    char *lines = json ? json_dumps(json, JSON_INDENT(2) | JSON_ENCODE_ANY) : NULL;
    if (!json)
        render_body(&text, event->body.data, event->body.len, SIZE_MAX);
    for (const char *line = lines ? lines : text.len ? buf_text(&text) : NULL; line;) {
        const char *end = strchrnul(line, '\n');
        buf_addf(out, "    ");
        json_put_chars(out, line, (size_t) (end - line), true);
        buf_add_byte(out, '\n');
        line = *end ? end + 1 : NULL;
    }
    free(lines);
    json_decref(json);
    buf_fini(&text);
}

static void put_place(const struct ls_event *event, struct buf *out)
{
    if (!event->seq) {
        buf_add_byte(out, '-');
        return;
    }
    render_harmless(out, event->stream.data, event->stream.len);
    buf_addf(out, ":%llu", (unsigned long long) event->seq);
}

void event_line(const struct ls_event *event, const struct view *view, struct buf *out)
{
    struct buf cell = {0};
    event_clock(event_time_us(event), &cell);
    size_t used = put_cell(out, view, COLOUR_DIM, &cell, 0);
    put_place(event, &cell);
    used += put_cell(out, view, COLOUR_DIM, &cell, PLACE_COLUMNS);
    render_harmless(&cell, event->topic.data, event->topic.len);
    used += put_cell(out, view, topic_colour(event->topic), &cell, TOPIC_COLUMNS);
    if (event->subject.len) {
        render_harmless(&cell, event->subject.data, event->subject.len);
        used += put_cell(out, view, COLOUR_GREEN, &cell, 0);
    }
    if (view->body == VIEW_BODY_SHORT) {
        size_t room = view->width ? (view->width > used + BODY_COLUMNS_MIN ? view->width - used : BODY_COLUMNS_MIN) : SHORT_BODY;
        render_body(&cell, event->body.data, event->body.len, room * 4); /* a character has at most 4 bytes */
        render_cut(&cell, room);
        buf_add(out, cell.data, cell.len);
    }
    while (out->data[out->len - 1] == ' ')
        out->len--;
    buf_add_byte(out, '\n');
    if (view->body == VIEW_BODY_FULL)
        event_body_lines(event, out);
    buf_fini(&cell);
}

void event_json(const struct ls_event *event, struct buf *out)
{
    json_put_event(out, event);
    buf_add_byte(out, '\n');
}

/* `path` is "KEY.KEY": into objects by name, into arrays by number. */
static void put_body_field(const struct ls_event *event, const char *path, struct buf *out)
{
    json_t *json = event_body_json(event), *at = json;
    while (at && *path) {
        char key[256];
        size_t len = strcspn(path, ".");
        snprintf(key, sizeof key, "%.*s", (int) len, path);
        at = json_is_array(at) ? json_array_get(at, (size_t) strtoul(key, NULL, 10)) : json_object_get(at, key);
        path += len + (path[len] == '.');
    }
    char *dump = at && !json_is_string(at) ? json_dumps(at, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    if (json_is_string(at))
        render_harmless(out, json_string_value(at), json_string_length(at));
    else if (dump)
        render_harmless(out, dump, strlen(dump));
    free(dump);
    json_decref(json);
}

static void put_field(const struct ls_event *event, const char *field, struct buf *out)
{
    struct ls_slice value;
    char text[CLOCK_TEXT_SIZE];
    if (strcmp(field, "stream") == 0)
        render_harmless(out, event->stream.data, event->stream.len);
    else if (strcmp(field, "seq") == 0 && event->seq)
        buf_addf(out, "%llu", (unsigned long long) event->seq);
    else if (strcmp(field, "body") == 0)
        render_body(out, event->body.data, event->body.len, SIZE_MAX);
    else if (strncmp(field, "body.", 5) == 0)
        put_body_field(event, field + 5, out);
    else if (ls_event_attribute(event, field, &value))
        render_harmless(out, value.data, value.len);
    else if (strcmp(field, "source") == 0)
        render_harmless(out, event->source.data, event->source.len);
    else if (strcmp(field, "time") == 0) {
        clock_format(event->ts_us, text);
        buf_addf(out, "%s", text);
    }
}

void event_fields(const struct ls_event *event, const struct view *view, struct buf *out)
{
    for (size_t i = 0; view->fields[i]; i++) {
        struct buf cell = {0};
        if (i)
            buf_add_byte(out, '\t');
        put_field(event, view->fields[i], &cell);
        for (size_t k = 0; k < cell.len; k++) /* tabs separate the fields and nothing else */
            if (cell.data[k] == '\t')
                cell.data[k] = ' ';
        buf_add(out, cell.data, cell.len);
        buf_fini(&cell);
    }
    buf_add_byte(out, '\n');
}
