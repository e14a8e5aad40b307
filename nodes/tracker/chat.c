/* SPDX-License-Identifier: Apache-2.0 */
/* Chat turns as runs: one run a request, its id made of the request's, so that completed and feedback find each
 * other in any order. */
#include <openssl/evp.h>
#include <stdio.h>

#include "lib/error.h"
#include "nodes/tracker/fact.h"

#define RUN_ID_SIZE 33
#define TEXT_MAX 8000

/* The run of a turn. */
struct turn {
    char run[RUN_ID_SIZE];
    struct db_value id; /* of the run */
    struct db_value request;
};

static int run_id_of(struct fact *f, struct turn *turn)
{
    static const char PREFIX[] = "chat:";
    uint8_t digest[EVP_MAX_MD_SIZE];
    struct buf text = {0};
    turn->request = fact_need(f, "request_id", 200);
    buf_add(&text, PREFIX, sizeof PREFIX - 1);
    buf_add(&text, turn->request.text.data, turn->request.text.len);
    int ok = EVP_Digest(text.data, text.len, digest, NULL, EVP_sha256(), NULL);
    buf_fini(&text);
    if (!ok)
        return error_set(f->err, "SYSTEM", "libcrypto cannot make a SHA-256");
    for (int i = 0; i < 16; i++)
        snprintf(turn->run + 2 * i, 3, "%02x", digest[i]);
    turn->id = db_text(turn->run);
    return 0;
}

/* The run of the fact, made if need be. Once the turn has ended no column of it depends on which fact made it. 1:
 * there is nothing to do. */
static int begin(struct fact *f, struct turn *turn)
{
    const char *experiment = f->t->options->chat_experiment;
    if (!experiment || !*experiment)
        return 1;
    int64_t id = run_id_of(f, turn) || f->wrong ? -1 : need_experiment_named(f, ls_str(experiment), NULL);
    if (id < 0 || need_run_in(f, turn->id.text, id, turn->request.text))
        return -1;
    return run_set_tag(f, turn->id, db_text("request_id"), turn->request);
}

static int end(struct fact *f, const struct turn *turn, const char *status)
{
    static const char SET[] = "UPDATE runs SET status = $2, start_time = $3, end_time = $4 WHERE run_uuid = $1";
    double lasted = json_number_value(json_object_get(f->body, "duration_ms"));
    int64_t start = lasted > 0 && lasted < (double) f->time_ms ? f->time_ms - (int64_t) (lasted + 0.5) : f->time_ms;
    return fact_put(f, SET, turn->id, db_text(status), db_int(start), db_int(f->time_ms));
}

/* ---- what was told of it ---- */

static int put_tag(struct fact *f, const struct turn *turn, const char *key, const json_t *value)
{
    char room[FACT_ROOM];
    struct db_value text = fact_value(value, TEXT_MAX, room);
    return text.type == DB_NULL ? 0 : run_set_tag(f, turn->id, db_text(key), text);
}

static int put_param(struct fact *f, const struct turn *turn, const char *key)
{
    static const char SET[] = "INSERT INTO params (key, value, run_uuid) VALUES ($1, $2, $3) ON CONFLICT (key, "
                              "run_uuid) DO UPDATE SET value = excluded.value";
    char room[FACT_ROOM];
    struct db_value text = fact_value(json_object_get(f->body, key), 6000, room);
    return text.type == DB_NULL ? 0 : fact_put(f, SET, db_text(key), text, turn->id);
}

/* The run's id outlives the call, but not until metrics are written: each fact writes its own. */
static void put_metric(struct fact *f, const struct turn *turn, const char *key, const json_t *value)
{
    if (json_is_number(value))
        metrics_add(f->t->metrics, (struct metric){.run = turn->id.text,
                                                   .key = ls_str(key),
                                                   .timestamp = f->time_ms,
                                                   .value = json_number_value(value)});
}

static int put_common(struct fact *f, const struct turn *turn)
{
    static const char *const PARAMS[] = {"model", "version", "worker", "finish_reason"};
    static const char *const USAGE[] = {"prompt_tokens", "completion_tokens", "total_tokens"};
    static const char *const TIMES[] = {"first_token_ms", "duration_ms"};
    const json_t *usage = json_object_get(f->body, "usage");
    for (size_t i = 0; i < sizeof PARAMS / sizeof *PARAMS; i++)
        if (put_param(f, turn, PARAMS[i]))
            return -1;
    for (size_t i = 0; i < sizeof USAGE / sizeof *USAGE; i++)
        put_metric(f, turn, USAGE[i], json_object_get(usage, USAGE[i]));
    for (size_t i = 0; i < sizeof TIMES / sizeof *TIMES; i++)
        put_metric(f, turn, TIMES[i], json_object_get(f->body, TIMES[i]));
    if (put_tag(f, turn, "chat_id", json_object_get(f->body, "chat_id")) ||
        put_tag(f, turn, "lineshaft.trace", json_object_get(f->body, FACT_TRACE)))
        return -1;
    return metrics_flush(f->t, f->err);
}

/* ---- facts ---- */

int chat_completed(struct fact *f)
{
    struct turn turn;
    int rc = begin(f, &turn);
    if (rc)
        return rc < 0 ? -1 : 0;
    const json_t *answer = json_object_get(json_object_get(f->body, "message"), "content");
    if (f->t->options->chat_text && json_is_string(answer) && put_tag(f, &turn, "answer", answer))
        return -1;
    return end(f, &turn, "FINISHED") ? -1 : put_common(f, &turn);
}

static int broke_off(struct fact *f, const char *status, const char *why)
{
    struct turn turn;
    int rc = begin(f, &turn);
    if (rc)
        return rc < 0 ? -1 : 0;
    if (put_tag(f, &turn, "error", json_object_get(f->body, why)) ||
        put_tag(f, &turn, "error_code", json_object_get(f->body, "code")))
        return -1;
    return end(f, &turn, status) ? -1 : put_common(f, &turn);
}

int chat_failed(struct fact *f)
{
    return broke_off(f, "FAILED", "error");
}

int chat_cancelled(struct fact *f)
{
    return broke_off(f, "KILLED", "reason");
}

int chat_feedback(struct fact *f)
{
    static const char *const TAGS[] = {"rating", "reason", "comment"};
    struct turn turn;
    int rc = begin(f, &turn);
    if (rc)
        return rc < 0 ? -1 : 0;
    for (size_t i = 0; i < sizeof TAGS / sizeof *TAGS; i++)
        if (put_tag(f, &turn, TAGS[i], json_object_get(f->body, TAGS[i])))
            return -1;
    const char *rating = json_string_value(json_object_get(f->body, "rating"));
    json_auto_t *number = rating ? json_integer(strcmp(rating, "up") == 0 ? 1 : -1) : NULL;
    put_metric(f, &turn, "rating", number);
    put_metric(f, &turn, "score", json_object_get(f->body, "score"));
    return metrics_flush(f->t, f->err);
}
