/* SPDX-License-Identifier: Apache-2.0 */
/* What the bus hears of the export: wandb.synced and wandb.stopped. Their ids follow from what they say, so that one told twice is stored
 * once. */
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#include "lib/clock.h"
#include "lib/xmem.h"
#include "nodes/wandb/wandb.h"

#define RUN_ID_MAX 32

static json_t *text_or_null(const char *text)
{
    return text ? json_string(text) : json_null();
}

static json_t *about_run(const struct run *run)
{
    bool is_run = strcmp(run->kind, "run") == 0 && strlen(run->id) <= RUN_ID_MAX;
    json_t *body = json_pack("{s:s,s:o,s:o}", "run", run->name, "run_id", text_or_null(is_run ? run->id : NULL),
                             "entity", text_or_null(run->entity));
    if (run->project)
        json_object_set_new(body, "project", json_string(run->project));
    return body;
}

static void publish(struct run *run, const char *topic, json_t *body)
{
    struct buf text = {0};
    char id[40];
    node_write(&text, body);
    XXH128_hash_t hash = XXH3_128bits(text.data, text.len);
    snprintf(id, sizeof id, "wandb-%016llx%016llx", (unsigned long long) hash.high64, (unsigned long long) hash.low64);
    node_publish(run->w->node, &(struct ls_event){.topic = ls_str(topic),
                                                  .id = ls_str(id),
                                                  .subject = ls_str(run->subject),
                                                  .body = ls_bytes(text.data, text.len)});
    buf_fini(&text);
    json_decref(body);
}

void wandb_tell(struct run *run, bool finished)
{
    bool offline = wandb_is_offline(run);
    json_t *body = about_run(run);
    run->told_at = clock_mono_ms();
    run->told_rows = offline ? run->spooled : run->acked;
    json_object_set_new(body, "kind", json_string(run->kind));
    json_object_set_new(body, "rows", json_integer(run->told_rows));
    json_object_set_new(body, "mode", json_string(offline ? "offline" : "online"));
    json_object_set_new(body, "url", text_or_null(run->url));
    json_object_set_new(body, "file", text_or_null(offline ? run->file : NULL));
    json_object_set_new(body, "finished", json_boolean(finished));
    publish(run, "wandb.synced", body);
}

void wandb_stopped(struct run *run)
{
    json_t *body = about_run(run);
    json_object_set_new(body, "url", text_or_null(run->url));
    publish(run, "wandb.stopped", body);
}
