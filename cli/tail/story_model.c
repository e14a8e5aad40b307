/* SPDX-License-Identifier: Apache-2.0 */
/* What the events of artifacts, of the model registry and of the export to W&B say. */
#include <string.h>

#include "cli/tail/story.h"

/* ---- artifact.* ---- */

static void put_size(const json_t *body, const char *key, struct buf *out)
{
    char text[RENDER_SHORT_SIZE];
    if (story_number(body, key) >= 0)
        buf_addf(out, "%s", render_size((uint64_t) story_number(body, key), text));
}

/* The key comes last: it is long, and a narrow terminal cuts there. */
static void tell_stored(const json_t *body, struct buf *out)
{
    put_size(body, "size", out);
    if (json_is_true(json_object_get(body, "already_there")))
        buf_addf(out, ", was there already");
    else
        story_put_took(body, out);
    story_put_more(out, ": ", story_text(body, "path"));
}

static void tell_artifact_failed(const json_t *body, struct buf *out)
{
    const char *code = story_text(body, "code");
    double attempts = story_number(body, "attempts");
    story_put_text(out, code);
    story_put_more(out, code ? ": " : "", story_text(body, "error"));
    if (attempts > 1)
        buf_addf(out, ", after %.0f attempts", attempts);
    story_put_more(out, ": ", story_text(body, "path"));
}

static void tell_artifact_deleted(const json_t *body, struct buf *out)
{
    story_put_text(out, story_text(body, "path"));
    story_put_more(out, ", by ", story_text(body, "user_id"));
}

static void tell_pressure(const json_t *body, struct buf *out)
{
    story_put_text(out, story_text(body, "state"));
    buf_addf(out, ": ");
    put_size(body, "spool_bytes", out);
    buf_addf(out, " of ");
    put_size(body, "limit_bytes", out);
    buf_addf(out, " wait for the store, ");
    put_size(body, "free_bytes", out);
    buf_addf(out, " free");
}

/* ---- model.* ---- */

static void put_model(const json_t *body, struct buf *out)
{
    story_put_text(out, story_text(body, "name"));
    story_put_version(out, " version ", json_object_get(body, "version"));
}

static void tell_model(const json_t *body, struct buf *out)
{
    put_model(body, out);
    story_put_more(out, ", called ", story_text(body, "new_name"));
    story_put_more(out, ", by ", story_text(body, "user_id"));
    story_put_more(out, ": ", story_text(body, "description"));
    story_put_pairs(out, ": ", json_object_get(body, "tags"));
}

static void tell_version_created(const json_t *body, struct buf *out)
{
    const char *status = story_text(body, "status");
    put_model(body, out);
    if (status && strcmp(status, "READY") != 0)
        story_put_more(out, ", ", status);
    story_put_more(out, ", by ", story_text(body, "user_id"));
    story_put_more(out, ", from ", story_text(body, "source"));
}

static void tell_version_updated(const json_t *body, struct buf *out)
{
    put_model(body, out);
    story_put_more(out, ", ", story_text(body, "status"));
    story_put_more(out, ", stage ", story_text(body, "current_stage"));
    story_put_more(out, ": ", story_text(body, "description"));
    story_put_pairs(out, ": ", json_object_get(body, "tags"));
}

/* "fortunes@champion is version 2 now, was 1". */
static void tell_alias_set(const json_t *body, struct buf *out)
{
    story_put_text(out, story_text(body, "name"));
    story_put_more(out, "@", story_text(body, "alias"));
    story_put_version(out, " is version ", json_object_get(body, "version"));
    story_put_version(out, " now, was ", json_object_get(body, "previous_version"));
    story_put_more(out, ", by ", story_text(body, "user_id"));
    story_put_more(out, ": ", story_text(body, "comment"));
}

static void tell_alias_deleted(const json_t *body, struct buf *out)
{
    story_put_text(out, story_text(body, "name"));
    story_put_more(out, "@", story_text(body, "alias"));
    story_put_version(out, " was version ", json_object_get(body, "previous_version"));
    story_put_more(out, ", by ", story_text(body, "user_id"));
}

static void tell_loaded(const json_t *body, struct buf *out)
{
    put_model(body, out);
    story_put_more(out, " on ", story_text(body, "worker"));
    story_put_version(out, ", in place of ", json_object_get(body, "previous_version"));
    story_put_more(out, ", from the ", story_text(body, "from"));
    story_put_took(body, out);
}

/* ---- wandb.* ---- */

static void tell_synced(const json_t *body, struct buf *out)
{
    const char *mode = story_text(body, "mode"), *url = story_text(body, "url");
    double rows = story_number(body, "rows");
    story_put_text(out, story_text(body, "run"));
    if (rows >= 0)
        buf_addf(out, ", %.0f row%s", rows, rows == 1 ? "" : "s");
    story_put_more(out, ", ", mode);
    if (json_is_true(json_object_get(body, "finished")))
        buf_addf(out, ", finished");
    story_put_more(out, ": ", url ? url : story_text(body, "file"));
}

static void tell_stopped(const json_t *body, struct buf *out)
{
    story_put_text(out, story_text(body, "run"));
    buf_addf(out, ", stopped there");
    story_put_more(out, ": ", story_text(body, "url"));
}

const struct teller STORY_MODEL[] = {
    {"artifact.stored", tell_stored},
    {"artifact.failed", tell_artifact_failed},
    {"artifact.deleted", tell_artifact_deleted},
    {"artifact.pressure", tell_pressure},
    {"model.registered", tell_model},
    {"model.updated", tell_model},
    {"model.deleted", tell_model},
    {"model.version.created", tell_version_created},
    {"model.version.updated", tell_version_updated},
    {"model.alias.set", tell_alias_set},
    {"model.alias.deleted", tell_alias_deleted},
    {"model.loaded", tell_loaded},
    {"wandb.synced", tell_synced},
    {"wandb.stopped", tell_stopped},
    {NULL, NULL},
};
