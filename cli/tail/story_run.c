/* SPDX-License-Identifier: Apache-2.0 */
/* What the events of the tracker's runs say, and many values of one run in a line. */
#include <string.h>

#include "cli/tail/story.h"

static void tell_created(const json_t *body, struct buf *out)
{
    const char *name = story_text(body, "run_name"), *id = story_text(body, "run_id");
    const char *experiment = story_text(body, "experiment_name"), *number = story_text(body, "experiment_id");
    story_put_text(out, name ? name : id);
    story_put_more(out, ", in the experiment ", experiment ? experiment : number);
    story_put_more(out, ", by ", story_text(body, "user_id"));
    story_put_more(out, ", run ", name ? id : NULL);
}

static void tell_updated(const json_t *body, struct buf *out)
{
    const char *status = story_text(body, "status"), *name = story_text(body, "run_name"), *stage = story_text(body, "lifecycle_stage");
    story_put_text(out, status);
    story_put_more(out, status ? ", called " : "called ", name);
    story_put_more(out, status || name ? ", " : "", stage);
}

static void tell_metric(const json_t *body, struct buf *out)
{
    const json_t *step = json_object_get(body, "step");
    story_put_text(out, story_text(body, "key"));
    buf_addf(out, " ");
    story_put_value(out, json_object_get(body, "value"));
    if (json_is_integer(step) && json_integer_value(step))
        buf_addf(out, " at step %lld", (long long) json_integer_value(step));
}

static void tell_pair(const json_t *body, struct buf *out)
{
    story_put_text(out, story_text(body, "key"));
    if (json_is_true(json_object_get(body, "deleted"))) {
        buf_addf(out, " removed");
        return;
    }
    buf_addf(out, "=");
    story_put_value(out, json_object_get(body, "value"));
}

static void tell_deleted(const json_t *body, struct buf *out)
{
    story_put_text(out, story_text(body, "run_id"));
    story_put_more(out, ", by ", story_text(body, "user_id"));
}

const struct teller STORY_RUN[] = {
    {"run.created", tell_created}, {"run.updated", tell_updated}, {"run.metric", tell_metric},   {"run.param", tell_pair},
    {"run.tag", tell_pair},        {"run.deleted", tell_deleted}, {"wandb.metric", tell_metric}, {NULL, NULL},
};

/* ---- many in one line ---- */

void story_fold_params(const json_t *bodies, struct buf *out)
{
    const json_t *body;
    size_t i;
    json_array_foreach(bodies, i, body) {
        buf_addf(out, "%s", i ? ", " : "");
        tell_pair(body, out);
    }
}

/* key -> [first value, last value, how many], in the order of the first. */
static json_t *metrics_of(const json_t *bodies)
{
    json_t *metrics = json_object();
    const json_t *body;
    size_t i;
    json_array_foreach(bodies, i, body) {
        const char *key = story_text(body, "key");
        json_t *value = json_object_get(body, "value"), *known = key ? json_object_get(metrics, key) : NULL;
        if (!key || !value)
            continue;
        if (!known)
            json_object_set_new(metrics, key, json_pack("[O, O, i]", value, value, 1));
        else if (!json_array_set(known, 1, value))
            json_integer_set(json_array_get(known, 2), json_integer_value(json_array_get(known, 2)) + 1);
    }
    return metrics;
}

/* "tokens 734817, perplexity 497.9 → 60.85 (5 values)". */
void story_fold_metrics(const json_t *bodies, struct buf *out)
{
    json_auto_t *metrics = metrics_of(bodies);
    const char *key, *before = "";
    json_t *metric;
    json_object_foreach(metrics, key, metric) {
        long long count = json_integer_value(json_array_get(metric, 2));
        story_put_more(out, before, key);
        buf_addf(out, " ");
        story_put_value(out, json_array_get(metric, 0));
        before = ", ";
        if (count == 1)
            continue;
        buf_addf(out, " → ");
        story_put_value(out, json_array_get(metric, 1));
        buf_addf(out, " (%lld values)", count);
    }
}
