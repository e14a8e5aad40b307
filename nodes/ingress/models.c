/* SPDX-License-Identifier: Apache-2.0 */
/* /v1/models: what the directory knows, in the form of the OpenAI API; what is ours stands under "lineshaft". */
#include <stdio.h>

#include "lib/json.h"
#include "nodes/ingress/ingress.h"

static void put_model(struct buf *out, const struct model *m)
{
    buf_addf(out, "{\"id\":");
    json_put_text(out, m->id);
    buf_addf(out, ",\"object\":\"model\",\"created\":%lld,\"owned_by\":", (long long) m->created);
    json_put_text(out, m->owned_by);
    buf_addf(out, ",\"lineshaft\":{\"kind\":");
    json_put_text(out, m->kind);
    buf_addf(out, ",\"version\":");
    json_put_text(out, m->version);
    if (m->context_length)
        buf_addf(out, ",\"context_length\":%lld", (long long) m->context_length);
    buf_addf(out, "}}");
}

void handle_models(struct visit *v)
{
    struct buf *out = &v->ingress->scratch;
    size_t count;
    const struct model *models = directory_models(v->ingress, &count);
    if (!directory_known(v->ingress)) {
        answer_problem(v, &(struct problem){.status = 503, .retry_ms = 1000}, "not connected to the bus yet");
        return;
    }
    buf_clear(out);
    buf_addf(out, "{\"object\":\"list\",\"data\":[");
    for (size_t i = 0; i < count; i++) {
        buf_addf(out, "%s", i ? "," : "");
        put_model(out, &models[i]);
    }
    buf_addf(out, "]");
    if (directory_unready(v->ingress)) {
        buf_addf(out, ",\"lineshaft\":{\"waits\":");
        json_put_text(out, directory_unready(v->ingress));
        buf_addf(out, "}");
    }
    buf_addf(out, "}");
    answer_json(v, 200, out);
}

void handle_model(struct visit *v)
{
    const struct model *m = directory_model(v->ingress, v->params[0]);
    if (!m) {
        answer_problem(v, &(struct problem){.status = 404, .code = "model_not_found", .param = "model"},
                       "no worker on the bus answers for the model \"%.200s\"; GET /v1/models lists those there are",
                       v->params[0]);
        return;
    }
    buf_clear(&v->ingress->scratch);
    put_model(&v->ingress->scratch, m);
    answer_json(v, 200, &v->ingress->scratch);
}
