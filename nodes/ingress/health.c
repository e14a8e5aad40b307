/* SPDX-License-Identifier: Apache-2.0 */
/* /healthz and /readyz: no detail, as they need no key. */
#include "nodes/ingress/ingress.h"

static void say(struct visit *v, unsigned status, const char *text)
{
    struct buf *out = &v->ingress->scratch;
    buf_clear(out);
    buf_addf(out, "{\"status\":\"%s\"}", text);
    answer_json(v, status, out);
}

void handle_health(struct visit *v)
{
    say(v, 200, "ok");
}

void handle_ready(struct visit *v)
{
    if (node_draining(v->ingress->node))
        say(v, 503, "stopping");
    else if (!v->ingress->connected || !directory_known(v->ingress))
        say(v, 503, "not connected to the bus");
    else
        say(v, 200, "ok");
}
