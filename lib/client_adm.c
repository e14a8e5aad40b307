/* SPDX-License-Identifier: Apache-2.0 */
/* Administration without waiting: open questions by tag. They are read-only or harmless to repeat (docs/protocol.md,
 * "Administration"), so a reconnect asks them again. */
#include <stdlib.h>

#include "lib/client.h"
#include "lib/error.h"
#include "lib/wire.h"
#include "lib/xmem.h"

static void question_free(struct question *q)
{
    buf_fini(&q->header);
    free(q);
}

static void question_send(struct ls_client *client, const struct question *q)
{
    client_send(client, "ADM", &q->header, (struct ls_slice){0});
}

/* The question leaves the list first: its callback may ask the next. */
static void conclude(struct ls_client *client, struct question *q, struct ls_slice reply, const struct ls_error *err)
{
    STAILQ_REMOVE(&client->questions, q, question, link);
    q->fn(q->arg, reply, err);
    question_free(q);
}

int ls_adm(struct ls_client *client, struct ls_slice request, ls_adm_fn *fn, void *arg, struct ls_error *err)
{
    struct ls_slice rest;
    uint32_t pairs;
    if (client_may_ask(client, err))
        return -1;
    if (!request.len || !wire_map_pairs(request, &pairs, &rest))
        return error_set(err, "USAGE", "an ADM request must be one msgpack map with `op`");
    struct question *q = xcalloc(1, sizeof *q);
    q->tag = ++client->last_tag;
    q->fn = fn;
    q->arg = arg;
    buf_pack_map(&q->header, pairs + 1);
    buf_pair_uint(&q->header, "tag", q->tag);
    buf_add(&q->header, rest.data, rest.len);
    STAILQ_INSERT_TAIL(&client->questions, q, link);
    question_send(client, q);
    return 0;
}

void adm_init(struct ls_client *client)
{
    STAILQ_INIT(&client->questions);
}

void adm_ready(struct ls_client *client)
{
    struct question *q;
    STAILQ_FOREACH(q, &client->questions, link)
        question_send(client, q);
}

void adm_answer(struct ls_client *client, uint64_t tag, const struct message *message)
{
    struct ls_error err;
    struct question *q;
    STAILQ_FOREACH(q, &client->questions, link)
        if (q->tag == tag)
            break;
    if (!q)
        return;
    if (!ls_slice_is(message->verb, "ERR")) {
        conclude(client, q, message->header, NULL);
        return;
    }
    wire_error(wire_map(message->header), &err);
    conclude(client, q, (struct ls_slice){0}, &err);
}

void adm_ended(struct ls_client *client)
{
    while (!STAILQ_EMPTY(&client->questions))
        conclude(client, STAILQ_FIRST(&client->questions), (struct ls_slice){0}, &client->why);
}

void adm_free(struct ls_client *client)
{
    struct question *q;
    while ((q = STAILQ_FIRST(&client->questions)) != NULL) {
        STAILQ_REMOVE_HEAD(&client->questions, link);
        question_free(q);
    }
}
