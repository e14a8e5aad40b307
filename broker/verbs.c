/* SPDX-License-Identifier: Apache-2.0 */
/* What a message is, by its first byte, and the table of verbs. */
#include "broker/core.h"

#include <string.h>

/* Which verbs there are, who may send them, and where they are handled. */
static const struct verb {
    const char *name;
    void (*handle)(struct broker *b, struct message *m);
    bool needs_hello;
    bool from_anywhere; /* also on the PULL and SUB sockets */
} VERBS[] = {
    {"PUB", on_publish, false, true},    {"ACK", on_settle, true, false}, {"NAK", on_settle, true, false},
    {"TERM", on_settle, true, false},    {"WIP", on_settle, true, false}, {"MORE", on_more, false, false},
    {"PING", on_ping, false, false},     {"REP", on_reply, true, false},  {"REQ", on_request, false, false},
    {"CANCEL", on_cancel, false, false}, {"GET", on_get, false, false},   {"SUB", on_subscribe, false, false},
    {"HELLO", on_hello, false, false},   {"BYE", on_bye, true, false},    {"ADM", on_admin, false, false},
};

static void complain(struct broker *b, struct message *m, const char *name, const char *text)
{
    struct ls_error err;
    error_set(&err, name, "%s", text);
    if (!m->session) {
        publish_rejected(b, m, &err);
        return;
    }
    reply_complaint(m, &err);
}

static bool tag_is_wrong(struct message *m)
{
    struct mp_slice header = message_part(m, 1);
    struct mp value;
    return mp_find(mp_over(header.data, header.len), "tag", &value) && !tag_valid(value);
}

static void dispatch_verb(struct broker *b, struct message *m, struct mp_slice name)
{
    for (size_t i = 0; i < sizeof VERBS / sizeof *VERBS; i++) {
        const struct verb *v = &VERBS[i];
        if (!mp_is(name, v->name))
            continue;
        if (!m->session && !v->from_anywhere)
            complain(b, m, "BAD_VERB", "only events can be sent to this socket: other verbs go to the base port");
        else if (v->needs_hello && !m->session->introduced)
            complain(b, m, "NO_SESSION",
                     "the broker does not know this connection (it may have restarted): send HELLO, then SUB again");
        else if (v->handle != on_publish && tag_is_wrong(m)) /* PUB reads its header itself, once */
            complain(b, m, "BAD_VALUE", "\"tag\" wants a number or a string of at most 64 bytes");
        else
            v->handle(b, m);
        return;
    }
    complain(b, m, "BAD_VERB",
             "there is no such verb (docs/protocol.md lists them; topics begin with a lower-case letter)");
}

void verb_dispatch(struct broker *b, struct message *m)
{
    struct mp_slice first = message_part(m, 0);
    if (!first.len || m->too_many_parts) {
        complain(b, m, "BAD_FRAME", first.len ? "a message has at most three frames" : "the first frame is empty");
        return;
    }
    uint8_t byte = (uint8_t) first.data[0];
    if (byte >= 'A' && byte <= 'Z')
        dispatch_verb(b, m, first);
    else if (((byte >= 0x80 && byte <= 0x8f) || byte == 0xde || byte == 0xdf) && m->parts == 1)
        publish_bare(b, m);
    else if (byte >= 'a' && byte <= 'z' && m->parts <= 2)
        publish_topic(b, m);
    else if (byte == '$')
        complain(b, m, "DENIED", "topics that begin with $ belong to the broker");
    else
        complain(b, m, "BAD_FRAME",
                 "the message is neither [VERB][header][body], nor [topic][body], nor one msgpack map");
}
