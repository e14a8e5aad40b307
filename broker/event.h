/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BROKER_EVENT_H
#define BROKER_EVENT_H
/* Messages and events: as they come from a socket, their headers, how they lie in the log, and which were seen before. */
#include <zmq.h>

#include "broker/log/log.h"
#include "lib/buf.h"
#include "lib/mp.h"

#define SLICE(text) ((struct mp_slice){(text), sizeof(text) - 1})
#define TAG_BYTES_MAX 72 /* a string of 64 bytes with its msgpack head, and room */

struct broker;
struct session;

/* ---- frames.c: messages as they come from a socket ---- */

enum origin { FROM_ROUTER, FROM_PULL, FROM_SUB, ORIGIN_COUNT };

#define MESSAGE_PARTS_MAX 3
struct message {
    enum origin origin;
    char route[256]; /* libzmq's routing id (ROUTER only) */
    size_t route_len;
    bool delimited; /* an empty frame stood in front */
    int fd;         /* the connection's descriptor (set by sockets_drain) */
    size_t parts;
    zmq_msg_t part[MESSAGE_PARTS_MAX];
    bool too_many_parts;
    size_t bytes;
    struct session *session; /* ROUTER only */
};

struct mp_slice message_part(struct message *m, size_t i);                     /* empty if absent */
bool message_receive(struct broker *b, enum origin origin, struct message *m); /* false: nothing there */
void message_fini(struct message *m);
int message_fd(
    struct message *m); /* the descriptor of the connection that it came by; costs a look-up by name in libzmq */

/* ---- header.c: an event's header map, read once ---- */

struct header {
    struct mp_slice topic, id, source, time, subject, traceparent;
    bool has_n, has_batch, has_tag;
    uint64_t n, batch;
    struct mp_slice tag;     /* raw msgpack of the value */
    struct mp_slice data;    /* raw msgpack of `data` (bare maps only) */
    uint32_t pairs, control; /* pairs in the map; how many of them are not attributes */
    struct mp_slice span[5]; /* the attribute pairs, in runs between the control keys */
    size_t spans;
};

/* header_read: 0, or -1 with *err BAD_FRAME or BAD_VALUE. Slices point into the input. `bare`: `data` is a control key. */
int header_read(struct mp_slice map, bool bare, struct header *h, struct ls_error *err);
/* header_read_control reads only `n`, `batch` and `tag`, as far as they can be found, of a header that header_read refused. */
void header_read_control(struct mp_slice map, struct header *h);
/* header_write writes the attributes of h, and those of id, source, time that h lacks and that are given (not empty). */
void header_write(struct buf *out, const struct header *h, struct mp_slice id, struct mp_slice source,
                  struct mp_slice time);

/* header_number reads an optional number of any verb's header: 1 and *value, 0 if it is absent, -1 with *err (BAD_VALUE). */
int header_number(struct mp header, const char *key, uint64_t low, uint64_t high, uint64_t *value,
                  struct ls_error *err);

/* ---- stored.c: how events lie in log entries, and walking over them ---- */

#define ENTRY_BATCH 1 /* flag: payload is u8 length, source, packed events; else packed events, complete headers */

struct stored {
    uint64_t seq;
    int64_t ts_us;
    bool batch;
    struct mp_slice source; /* for batch entries: the publisher's name */
    struct mp_slice header, body;
    struct mp_slice packed; /* the event with its two lengths */
};

struct walk {
    struct log_cursor cursor;
    struct log_entry entry;
    bool open;
    size_t at;
    uint64_t index;      /* the next event wanted */
    uint64_t cursor_seq; /* of the event at `at` in the open entry */
    struct mp_slice source;
};
void walk_seek(struct walk *w, struct log *log, uint64_t seq);
/* walk_next: 1 and the next durable event, 0 at the end, -1 if the disk refuses. Slices are valid until the next call. */
int walk_next(struct walk *w, struct stored *s);
void walk_rest(struct walk *w); /* before log_device_poll may run: forget borrowed bytes, keep the place */
void walk_fini(struct walk *w);
bool stored_topic(const struct stored *s, struct mp_slice *topic);
/* stored_complete writes the event's header with source and time filled in (batch entries lack them). */
void stored_complete(const struct stored *s, struct buf *out);
void pack_event(struct buf *out, struct mp_slice header, struct mp_slice body);
/* unpack_event takes one event off the front of `packed`; false if the lengths do not fit. */
bool unpack_event(struct mp_slice *packed, struct mp_slice *header, struct mp_slice *body);

/* ---- dedup.c ---- */

struct dedup {
    struct dedup_slot *ring;
    struct dedup_entry *table;
    size_t room, table_room;
    uint64_t head, tail; /* ring positions, ever growing */
    uint64_t count_max;
    int64_t window_us;
    uint64_t seed;
};
void dedup_init(struct dedup *d, uint64_t count_max, int64_t window_ms);
void dedup_fini(struct dedup *d);
/* A publish knows the pair long before it may add it: dedup_prepare hashes it and fetches its place from memory meanwhile. */
struct dedup_key {
    uint64_t high, low;
};
struct dedup_key dedup_prepare(const struct dedup *d, struct mp_slice source, struct mp_slice id);
uint64_t dedup_add_key(struct dedup *d, struct dedup_key key, uint64_t seq, int64_t now_us);
/* dedup_add: 0 if (source, id) is new and now stands for seq, else the seq that it already stands for. */
uint64_t dedup_add(struct dedup *d, struct mp_slice source, struct mp_slice id, uint64_t seq, int64_t now_us);
void dedup_forget_from(struct dedup *d, uint64_t seq); /* drops what was added for seq and above */

#endif
