/* SPDX-License-Identifier: Apache-2.0 */
/* The kind `tracker`: its life, its database, and the callbacks of the node. */
#include "nodes/tracker/tracker.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/error.h"
#include "lib/folder.h"
#include "lib/xmem.h"
#include "nodes/tracker/fact.h"
#include "nodes/tracker/feed.h"
#include "nodes/tracker/missed.h"
#include "nodes/tracker/outbox.h"
#include "nodes/tracker/schema.h"

/* ---- options ---- */

/* An absolute URI without a slash at the end, so that "/0/..." can follow: file:var/x becomes
 * file:///where/we/are/var/x. */
static char *absolute(const char *uri, struct ls_error *err)
{
    char here[PATH_MAX];
    char *root;
    if (strncmp(uri, "file:", 5) != 0) {
        root = xstrdup(uri);
    } else if (uri[5] == '/') {
        const char *path = uri + 5;
        while (path[0] == '/' && path[1] == '/')
            path++;
        root = xasprintf("file://%s", path);
    } else {
        if (!getcwd(here, sizeof here)) {
            error_set(err, "SYSTEM", "the working directory is gone, and artifact_root is relative to it");
            return NULL;
        }
        root = xasprintf("file://%s/%s", strcmp(here, "/") ? here : "", strncmp(uri + 5, "./", 2) ? uri + 5 : uri + 7);
    }
    for (size_t len = strlen(root); len && root[len - 1] == '/'; len--)
        root[len - 1] = '\0';
    return root;
}

/* The folder of a SQLite file, which the first start has to make. What fails here shows when the file is opened. */
static void make_folder(const char *database)
{
    if (strncmp(database, "sqlite:", 7) == 0)
        folder_make_above(database + 7, 0755, NULL);
}

/* ---- the database comes and goes ---- */

static int ready(void *self, struct db *db, struct ls_error *err)
{
    struct tracker *t = self;
    t->db = db;
    known_forget(t->known);
    if (schema_open(db, t->artifact_root, err) || feed_load(t->feed, err) || outbox_read(t->outbox, err)) {
        t->db = NULL;
        return -1;
    }
    missed_look(t->missed);
    return 0;
}

/* Of several replicas another may take over now. It must have the events that are here before it takes later ones;
 * the broker gives them on when this process ends. */
static void lost(void *self, const struct ls_error *err)
{
    struct tracker *t = self;
    struct ls_error why = *err;
    t->db = NULL;
    outbox_abort(t->outbox);
    known_forget(t->known);
    metrics_drop(t->metrics);
    if (feed_count(t->feed) && strcmp(node_member(t->node), node_name(t->node)) != 0) {
        error_wrap(&why,
                   "the database went away, and another replica may go on with the events that this one has taken");
        node_fail(t->node, &why);
    }
}

/* ---- callbacks ---- */

static int on_open(void *self, struct node *node, const void *options, struct ls_error *err)
{
    struct tracker *t = self;
    t->node = node;
    t->options = options;
    TAILQ_INIT(&t->held);
    TAILQ_INIT(&t->askings);
    t->known = known_new();
    t->metrics = metrics_new();
    t->feed = feed_new(t);
    t->missed = missed_new(t);
    t->outbox = outbox_new(t);
    t->artifact_root = absolute(t->options->artifact_root, err);
    if (!t->artifact_root || db_url_check(t->options->database, err))
        return -1;
    if (strlen(t->artifact_root) > 140) /* with the id of an experiment and of a run it must fit into 200 */
        return error_set(err, "CONFIG",
                         "artifact_root becomes %s, which is too long for MLflow's tables: use a shorter path",
                         t->artifact_root);
    make_folder(t->options->database);
    t->db_node = db_node_open(node, &(struct db_node_options){.url = t->options->database,
                                                              .lock = "tracker",
                                                              .component = "tracker",
                                                              .steps = SCHEMA_STEPS,
                                                              .step_count = SCHEMA_STEP_COUNT,
                                                              .ready = ready,
                                                              .lost = lost,
                                                              .self = t});
    return 0;
}

static enum ls_verdict on_event(void *self, const struct ls_event *event, struct ls_error *err)
{
    struct tracker *t = self;
    (void) err;
    return feed_take(t->feed, event);
}

static enum ls_verdict reply_text(struct ls_call *call, const char *text, struct ls_error *err)
{
    struct buf more = {0};
    buf_pack_map(&more, 1);
    buf_pack_str(&more, "headers");
    buf_pack_map(&more, 1);
    buf_pair_str(&more, "Content-Type", "text/plain; charset=utf-8");
    int rc = ls_reply(call, ls_str(text), ls_bytes(more.data, more.len), true, err);
    buf_fini(&more);
    return rc ? LS_RETRY : LS_DONE;
}

static enum ls_verdict on_request(void *self, struct ls_call *call, const struct ls_event *request,
                                  struct ls_error *err)
{
    if (ls_slice_is(request->topic, "tracker.health"))
        return reply_text(call, "OK", err);
    if (ls_slice_is(request->topic, "tracker.version"))
        return reply_text(call, SCHEMA_RELEASE, err);
    return tracker_request(self, call, request, err);
}

static void on_credit(void *self, struct ls_call *call)
{
    (void) self;
    tracker_credit(call);
}

static void on_cancelled(void *self, struct ls_call *call, const char *reason)
{
    (void) reason;
    tracker_cancelled(self, call);
}

static int64_t on_tick(void *self, int64_t now_ms)
{
    struct tracker *t = self;
    struct ls_error err = {0};
    int64_t next = feed_turn(t->feed, now_ms);
    if (outbox_turn(t->outbox, &err))
        db_node_failed(t->db_node, &err);
    int64_t release = tracker_release(t, now_ms);
    return release < next ? release : next;
}

static void on_close(void *self)
{
    struct tracker *t = self;
    asking_close(t);
    outbox_free(&t->outbox);
    feed_free(&t->feed);
    missed_free(&t->missed);
    known_free(&t->known);
    metrics_free(&t->metrics);
    db_node_close(&t->db_node);
    free(t->artifact_root);
}

const struct node_code node_tracker = {
    .kind = &kind_tracker,
    .size = sizeof(struct tracker),
    .open = on_open,
    .event = on_event,
    .request = on_request,
    .credit = on_credit,
    .cancelled = on_cancelled,
    .tick = on_tick,
    .close = on_close,
};
