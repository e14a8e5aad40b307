/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_EVENT_VIEW_H
#define CLI_EVENT_VIEW_H
#include <jansson.h>

#include "cli/render.h"
#include "lib/lineshaft.h"

/* Events as text, and copies of events. */

/* An event that outlives its handler: every slice of `event` points into `memory`. */
struct event_copy {
    struct ls_event event;
    char *memory;
};
void event_copy_init(struct event_copy *copy, const struct ls_event *event);
void event_copy_fini(struct event_copy *copy);

enum view_body { VIEW_BODY_NONE, VIEW_BODY_SHORT, VIEW_BODY_FULL };
struct view {
    bool colours;
    size_t width;              /* columns of the terminal; 0: lines of any length */
    enum view_body body;
    const char *const *fields; /* event_fields; NULL-terminated */
};

/* event_line appends one line (with its end): time, place in the log, topic, subject, body. VIEW_BODY_FULL appends the body's
 * own lines, indented. */
void event_line(const struct ls_event *event, const struct view *view, struct buf *out);
/* event_json appends the event as one JSON object on one line: stream, seq, every attribute, data or data_base64. */
void event_json(const struct ls_event *event, struct buf *out);
/* event_fields appends the chosen fields, tabs between them: stream, seq, body, body.KEY ..., or an attribute. */
void event_fields(const struct ls_event *event, const struct view *view, struct buf *out);

/* event_body_lines appends the body alone, indented, on lines of its own. */
void event_body_lines(const struct ls_event *event, struct buf *out);
/* event_body_json: the body as JSON, NULL if it is neither JSON nor msgpack; the caller's to json_decref. */
json_t *event_body_json(const struct ls_event *event);

/* event_clock appends the local time of day with milliseconds, and the date in front unless it is today. */
void event_clock(int64_t time_us, struct buf *out);
/* event_time_us: the event's own time, else when the broker took it (in a batch: took the batch's first). */
int64_t event_time_us(const struct ls_event *event);
/* event_trace_id: the 32 digits in traceparent, or an empty slice. */
struct ls_slice event_trace_id(const struct ls_event *event);

#endif
