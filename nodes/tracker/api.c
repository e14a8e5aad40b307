/* SPDX-License-Identifier: Apache-2.0 */
/* A request of the API, from the bus or from HTTP: the op that it asks for, run in a transaction if it writes; the
 * answer, in parts, or the error. */
#include "nodes/tracker/api.h"
#include "nodes/tracker/outbox.h"
#include "nodes/tracker/repeat.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/error.h"
#include "lib/json.h"
#include "lib/logger.h"
#include "lib/xmem.h"

#define PART_BYTES 262144
#define WAITING_MAX 20000 /* facts in the outbox; behind that, answers to those who write are held back */
#define HOLD_MS 5000      /* but no longer than this: perhaps the broker takes nothing */
#define ATTEMPTS 4 /* for a transaction that lost against another */

struct op {
    const char *method, *path, *topic;
    json_t *(*fn)(struct op_call *call, struct ls_error *err);
    bool writes;
};

#define READ_ROW(name, method, path, topic, summary) {method, path, topic, op_##name, false},
#define WRITE_ROW(name, method, path, topic, summary) {method, path, topic, op_##name, true},
static const struct op OPS[] = {TRACKER_READS(READ_ROW) TRACKER_WRITES(WRITE_ROW){0}};

/* ---- errors ---- */

const char DATABASE_FAILED[] = "";

static bool is_complaint(const struct op_call *call)
{
    return call->error_code && call->error_code != DATABASE_FAILED;
}

/* https://github.com/mlflow/mlflow/blob/master/mlflow/protos/databricks.proto, and what its server makes of them. */
static const struct {
    const char *code;
    int status;
    bool again;
} CODES[] = {
    {INVALID, 400, false},
    {ABSENT, 404, false},
    {EXISTS, 400, false},
    {"INVALID_STATE", 400, false}, /* MLflow says 500, which makes clients repeat the call for minutes */
    {"ENDPOINT_NOT_FOUND", 404, false},
    {"NOT_IMPLEMENTED", 501, false},
    {"TEMPORARILY_UNAVAILABLE", 503, true},
    {"INTERNAL_ERROR", 500, false},
};

static size_t code_find(const char *code)
{
    size_t i = 0, last = sizeof CODES / sizeof *CODES - 1;
    while (i < last && strcmp(CODES[i].code, code) != 0)
        i++;
    return i;
}

json_t *op_fail(struct op_call *call, struct ls_error *err, const char *error_code, const char *format, ...)
{
    va_list args;
    if (call->error_code)
        return NULL;
    size_t code = code_find(error_code);
    call->error_code = error_code;
    *err = (struct ls_error){.number = CODES[code].status, .again = CODES[code].again};
    snprintf(err->name, sizeof err->name, "FAILED");
    va_start(args, format);
    vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    tracker_mend(err->text);
    return NULL;
}

/* An op failed without saying a code: what the database made of it. */
static const char *code_of(enum db_problem problem, const struct ls_error *err)
{
    if (problem == DB_LOST || problem == DB_RETRY)
        return "TEMPORARILY_UNAVAILABLE";
    if (problem == DB_UNIQUE)
        return EXISTS;
    if (problem == DB_FOREIGN || problem == DB_VALUE || strcmp(err->name, "BAD_VALUE") == 0)
        return INVALID;
    return "INTERNAL_ERROR";
}

/* ---- running an op ---- */

/* The answer that an earlier request with the same key had, or what the op answers now. */
static json_t *do_once(struct op_call *call, const struct op *op, struct ls_error *err)
{
    struct tracker *t = call->tracker;
    json_t *answer = NULL;
    if (!call->repeat.len)
        return op->fn(call, err);
    if (repeat_find(t->db, call->repeat, op->topic, &answer, err))
        return answer;
    answer = op->fn(call, err);
    if (answer && repeat_keep(t->db, call->repeat, op->topic, answer, err) < 0) {
        json_decref(answer);
        answer = NULL;
    }
    return answer;
}

static json_t *run_write(struct op_call *call, const struct op *op, enum db_problem *problem, struct ls_error *err)
{
    struct tracker *t = call->tracker;
    json_t *answer = NULL;
    *problem = DB_OK;
    if (db_begin(t->db, err) < 0) {
        *problem = db_problem(t->db);
        return NULL;
    }
    outbox_begin(t->outbox, call->event);
    answer = do_once(call, op, err);
    if (answer && (outbox_commit(t->outbox, err) < 0 || db_commit(t->db, err) < 0)) {
        json_decref(answer);
        answer = NULL;
    }
    if (answer) {
        outbox_publish(t->outbox);
        call->told = true;
        return answer;
    }
    *problem = is_complaint(call) ? DB_OK : db_problem(t->db);
    db_rollback(t->db);
    outbox_abort(t->outbox);
    return NULL;
}

static json_t *run_op(struct op_call *call, const struct op *op, struct ls_error *err)
{
    struct tracker *t = call->tracker;
    enum db_problem problem = DB_RETRY;
    json_t *answer = NULL;
    for (int i = 0; i < ATTEMPTS && !answer && problem == DB_RETRY; i++) {
        call->error_code = NULL;
        answer = op->writes ? run_write(call, op, &problem, err) : op->fn(call, err);
        if (!answer && !op->writes)
            problem = is_complaint(call) ? DB_OK : db_problem(t->db);
    }
    if (answer || is_complaint(call))
        return answer;
    call->error_code = NULL;
    struct ls_error why = *err;
    const char *code = db_node_failed(t->db_node, &why) ? "TEMPORARILY_UNAVAILABLE" : code_of(problem, &why);
    if (strcmp(code, "INTERNAL_ERROR") == 0)
        logger_put(LEVEL_ERROR, "request-failed", why.text, "op=%s", op->topic);
    return op_fail(call, err, code, "%s", why.text);
}

/* ---- answers ---- */

struct answer {
    struct ls_call *call;
    struct tracker *holder; /* NULL: it is not held back */
    TAILQ_ENTRY(answer) link;
    int64_t until_ms;
    struct buf text;
    size_t at;
    int status; /* 0: a bus caller */
};

static void let_go(struct answer *a)
{
    if (a->holder)
        TAILQ_REMOVE(&a->holder->held, a, link);
    a->holder = NULL;
}

static void answer_free(struct answer *a)
{
    let_go(a);
    a->call->user = NULL;
    buf_fini(&a->text);
    free(a);
}

static void pack_head(struct buf *more, const struct answer *a)
{
    bool retry = a->status == 503;
    buf_pack_map(more, 2);
    buf_pair_uint(more, "status", (uint64_t) a->status);
    buf_pack_str(more, "headers");
    buf_pack_map(more, 1 + retry);
    buf_pair_str(more, "Content-Type", "application/json");
    if (retry)
        buf_pair_str(more, "Retry-After", "1");
}

/* Sends as many parts as there is credit for. */
static enum ls_verdict send_parts(struct answer *a, struct ls_error *err)
{
    bool last = false;
    while (!last && a->call->credit) {
        struct buf more = {0};
        size_t rest = a->text.len - a->at, len = rest < PART_BYTES ? rest : PART_BYTES;
        last = len == rest;
        if (!a->at && a->status)
            pack_head(&more, a);
        struct answer *now = a;
        if (last)
            a->call->user = NULL; /* with its last part the call is over */
        int rc = ls_reply(a->call, ls_bytes(a->text.data + a->at, len), ls_bytes(more.data, more.len), last, err);
        buf_fini(&more);
        if (rc < 0) {
            answer_free(now);
            return err->again ? LS_RETRY : LS_REJECT;
        }
        a->at += len;
    }
    if (!last)
        return LS_PENDING;
    buf_fini(&a->text);
    free(a);
    return LS_DONE;
}

void tracker_credit(struct ls_call *call)
{
    struct ls_error err;
    struct answer *a = call->user;
    if (!a || a->holder)
        return;
    enum ls_verdict verdict = send_parts(a, &err);
    if (verdict == LS_RETRY || verdict == LS_REJECT)
        ls_reply_error(call, &err);
}

int64_t tracker_release(struct tracker *t, int64_t now_ms)
{
    struct answer *a;
    bool all = outbox_waiting(t->outbox) <= WAITING_MAX || node_draining(t->node);
    while ((a = TAILQ_FIRST(&t->held)) && (all || now_ms >= a->until_ms)) {
        let_go(a);
        tracker_credit(a->call);
    }
    return a ? a->until_ms : INT64_MAX;
}

void tracker_cancelled(struct tracker *t, struct ls_call *call)
{
    if (!asking_forget(t, call) && call->user)
        answer_free(call->user);
}

/* Takes `body` over. */
static struct answer *answer_new(struct ls_call *call, json_t *body, int status)
{
    struct answer *a = xcalloc(1, sizeof *a);
    a->call = call;
    a->status = status;
    call->user = a;
    node_write(&a->text, body);
    json_decref(body);
    return a;
}

static enum ls_verdict answer_failure(struct ls_call *call, const struct op_call *op, bool http, struct ls_error *err)
{
    const char *code = op->error_code;
    if (http)
        return send_parts(answer_new(call, json_pack("{s:s,s:s}", "error_code", code, "message", err->text),
                                     CODES[code_find(code)].status),
                          err);
    struct ls_error why = *err;
    int room = (int) sizeof err->text - (int) strlen(code) - 3;
    snprintf(why.text, sizeof why.text, "%s: %.*s", code, room, err->text);
    tracker_mend(why.text);
    ls_reply_error(call, &why);
    return LS_DONE;
}

/* ---- requests ---- */

static const struct op *op_find(struct ls_slice topic, struct ls_slice method)
{
    const struct op *found = NULL;
    for (const struct op *op = OPS; op->topic; op++) {
        if (topic.len <= 8 || !ls_slice_is(ls_bytes(topic.data + 8, topic.len - 8), op->topic))
            continue;
        if (!method.len || ls_slice_is(method, op->method))
            return op;
        found = found ? found : op;
    }
    return found; /* HEAD comes here: it is a GET */
}

static void refuse_unknown(struct op_call *call, const struct ls_event *request, bool http, struct ls_error *err)
{
    struct ls_slice method = {0}, path = request->topic;
    if (http) {
        ls_event_attribute(request, "method", &method);
        ls_event_attribute(request, "path", &path);
    }
    op_fail(call, err, "ENDPOINT_NOT_FOUND",
            "The tracker has no operation %.*s %.*s; its page in docs/nodes lists those that it has", (int) method.len,
            method.len ? method.data : "", (int) (path.len < 200 ? path.len : 200), path.data);
}

/* One caller's key is not another's: their answers are not for each other. */
static struct ls_slice repeat_key(const struct ls_event *request, struct ls_slice principal, struct buf *room)
{
    struct ls_slice key = {0};
    ls_event_attribute(request, "idempotencykey", &key);
    if (!key.len)
        return key;
    buf_add(room, principal.data, principal.len);
    buf_add_byte(room, '\n');
    buf_add(room, key.data, key.len);
    return ls_bytes(room->data, room->len);
}

static json_t *run_request(struct op_call *call, const struct ls_event *request, bool http, struct ls_error *err)
{
    struct ls_slice method = {0}, principal = {0};
    struct buf key = {0};
    if (http)
        ls_event_attribute(request, "method", &method);
    const struct op *op = op_find(request->topic, method);
    if (!op) {
        refuse_unknown(call, request, http, err);
        return NULL;
    }
    if (!call->tracker->db)
        return op_fail(call, err, "TEMPORARILY_UNAVAILABLE", "The tracker's database does not answer now; try again");
    call->request = ask_request(request, http, op->path, err);
    if (!call->request) {
        struct ls_error why = *err;
        return op_fail(call, err, INVALID, "%s", why.text);
    }
    ls_event_attribute(request, "principal", &principal);
    char *who = xstrndup(principal.len ? principal.data : "", principal.len);
    call->principal = who;
    call->repeat = repeat_key(request, principal, &key);
    json_t *answer = run_op(call, op, err);
    json_decref(call->request);
    buf_fini(&key);
    free(who);
    return answer;
}

enum ls_verdict api_answer(struct op_call *call, struct ls_call *to, json_t *answer, bool http, struct ls_error *err)
{
    struct tracker *t = call->tracker;
    if (!answer)
        return answer_failure(to, call, http, err);
    struct answer *a = answer_new(to, answer, http ? 200 : 0);
    if (!call->told || outbox_waiting(t->outbox) <= WAITING_MAX)
        return send_parts(a, err);
    a->holder = t;
    a->until_ms = clock_mono_ms() + HOLD_MS;
    TAILQ_INSERT_TAIL(&t->held, a, link);
    return LS_PENDING;
}

enum ls_verdict tracker_request(struct tracker *t, struct ls_call *call, const struct ls_event *request,
                                struct ls_error *err)
{
    struct ls_slice method;
    bool http = ls_event_attribute(request, "method", &method) && method.len;
    struct op_call op = {.tracker = t, .event = request, .principal = "", .now_ms = clock_wall_us() / 1000};
    json_t *answer = run_request(&op, request, http, err);
    if (answer && op.ask.topic)
        return asking_begin(&op, call, answer, http, err);
    return api_answer(&op, call, answer, http, err);
}
