/* SPDX-License-Identifier: Apache-2.0 */
/* What `up` tells of its processes: see up_status.h. */
#include "cli/up/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "cli/up/usage.h"
#include "lib/clock.h"
#include "lib/error.h"
#include "lib/json.h"
#include "lib/xmem.h"

#define MEASURE_EVERY_MS 500

struct up_status {
    struct up_story story;
    const struct child *children;
    size_t count;
    const struct warden *warden;
    struct usage *usage; /* [0]: of `up`; then one for each child */
    struct buf answer;   /* the last one */
    int64_t measured_ms, started_us;
};

/* ---- the answer ---- */

static void put_number(struct buf *out, const char *key, int64_t number)
{
    buf_addf(out, ",\"%s\":%lld", key, (long long) number);
}

static void put_text(struct buf *out, const char *key, const char *text)
{
    buf_addf(out, ",\"%s\":", key);
    json_put_text(out, text);
}

static void put_usage(struct buf *out, const struct usage *u)
{
    put_number(out, "cpu_ms", u->cpu_ms);
    if (u->pss < 0)
        put_text(out, "pss", NULL);
    else
        put_number(out, "pss", u->pss);
    put_number(out, "rss", u->rss);
    put_number(out, "processes", (int64_t) u->processes);
    buf_add_byte(out, '}');
}

static void put_self(struct buf *out, const struct up_status *status)
{
    buf_addf(out, "{\"name\":\"up\",\"node\":null,\"kind\":\"up\",\"state\":\"running\",\"restarts\":0,\"last_end\":null");
    put_number(out, "pid", getpid());
    put_number(out, "since_us", status->started_us);
    put_usage(out, &status->usage[0]);
}

static void put_child(struct buf *out, const struct child *child, const struct usage *usage)
{
    static const char *const STATES[] = {
        [CHILD_IDLE] = "waiting", [CHILD_RUNNING] = "running", [CHILD_CLEARING] = "ending", [CHILD_DONE] = "ended"};
    char end[64];
    buf_addf(out, ",{\"name\":");
    json_put_text(out, child->speaker.name);
    put_text(out, "node", child->node);
    put_text(out, "kind", child->kind);
    put_text(out, "state", STATES[child->state]);
    put_number(out, "since_us", child->since_us);
    put_number(out, "restarts", child->starts ? (int64_t) child->starts - 1 : 0);
    put_text(out, "last_end", child->has_ended ? child_status_text(child->status, end) : NULL);
    if (child->pid)
        put_number(out, "pid", child->pid);
    else
        put_text(out, "pid", NULL);
    put_usage(out, usage);
}

static void write_answer(struct up_status *status)
{
    struct utsname host;
    struct buf *out = &status->answer;
    if (uname(&host) != 0)
        host.nodename[0] = '\0';
    buf_clear(out);
    buf_addf(out, "{\"name\":");
    json_put_text(out, status->story.name);
    put_text(out, "file", status->story.file);
    put_text(out, "host", host.nodename);
    put_number(out, "pid", getpid());
    put_number(out, "started_us", status->started_us);
    put_number(out, "now_us", clock_wall_us());
    buf_addf(out, ",\"processes\":[");
    put_self(out, status);
    for (size_t i = 0; i < status->count; i++)
        put_child(out, &status->children[i], &status->usage[i + 1]);
    buf_addf(out, "],\"nodes\":%s}", status->story.nodes);
}

static void measure(struct up_status *status)
{
    status->usage[0] = (struct usage){.group = status->warden->pid, .also = getpid()};
    for (size_t i = 0; i < status->count; i++)
        status->usage[i + 1] = (struct usage){.group = status->children[i].pid};
    usage_measure(status->usage, status->count + 1);
    write_answer(status);
}

/* ---- the request ---- */

static void on_request(void *arg, struct ls_call *call, const struct ls_event *request)
{
    struct up_status *status = arg;
    struct ls_error err;
    int64_t now_ms = clock_mono_ms();
    (void) request;
    if (!status->answer.len || now_ms - status->measured_ms >= MEASURE_EVERY_MS) {
        status->measured_ms = now_ms;
        measure(status);
    }
    if (ls_reply(call, ls_bytes(status->answer.data, status->answer.len), (struct ls_slice){0}, true, &err) < 0) {
        error_wrap(&err, "too many processes to tell");
        ls_reply_error(call, &err);
    }
}

void up_status_serve(struct up_status *status, struct ls_client *client)
{
    char topic[40];
    snprintf(topic, sizeof topic, "up.status.%s", status->story.id);
    ls_serve(client, &(struct ls_service){.topics = (const char *[]){topic, NULL}, .request = on_request, .arg = status}, NULL);
}

struct up_status *up_status_new(const struct up_story *story, const struct child *children, size_t count, const struct warden *warden)
{
    struct up_status *status = xcalloc(1, sizeof *status);
    *status = (struct up_status){.story = *story, .children = children, .count = count, .warden = warden, .started_us = clock_wall_us()};
    status->usage = xcalloc(count + 1, sizeof *status->usage);
    return status;
}

void up_status_destroy(struct up_status **status)
{
    if (!*status)
        return;
    free((*status)->usage);
    buf_fini(&(*status)->answer);
    free(*status);
    *status = NULL;
}
