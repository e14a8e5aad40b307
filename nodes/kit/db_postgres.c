/* SPDX-License-Identifier: Apache-2.0 */
/* The driver for PostgreSQL: one connection that is always in libpq's pipeline mode. A call sends its commands and a sync, and reads
 * until the sync comes back; what db_queue sends has no sync, and is read with the next call.
 * Sources: postgresql.org/docs/15: libpq-pipeline-mode, libpq-async, errcodes-appendix. */
#include "nodes/kit/db_postgres.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "lib/clock.h"
#include "lib/error.h"
#include "lib/xmem.h"

#define SENT_MAX 2000     /* commands without an answer; then their answers are read */
#define FLUSH_EVERY 32    /* commands */
#define NUMBER_SIZE 32    /* a number as text */
#define TYPE_BOOL 16      /* pg_type.dat */
#define TYPE_NUMERIC 1700
#define TYPE_FLOAT4 700
#define TYPE_FLOAT8 701

struct statement {
    char *sql;
    char name[24];
    bool prepared; /* sent to be prepared, and not refused since */
};

/* ---- errors ---- */

struct state_problem {
    const char *state; /* an SQLSTATE or its beginning; the first that fits counts */
    enum db_problem problem;
};

static const struct state_problem PROBLEMS[] = {
    {"08P01", DB_OTHER},  /* a wrong message, for example too few values */
    {"08", DB_LOST},      /* connection exceptions */
    {"53", DB_LOST},      /* disk full, out of memory, too many connections */
    {"57014", DB_RETRY},  /* statement_timeout, or somebody cancelled it */
    {"57", DB_LOST},      /* the server is stopping or starting, the database was dropped */
    {"58", DB_LOST},      /* input or output failed */
    {"XX001", DB_LOST}, {"XX002", DB_LOST}, /* damaged: somebody must mend it, and the values are not to blame */
    {"25006", DB_LOST},   /* read-only: a standby, until it is promoted */
    {"25P03", DB_LOST},   /* it was idle in a transaction for too long */
    {"26000", DB_LOST}, {"42P05", DB_LOST}, /* our prepared statements are not there, or not ours: this is another session */
    {"40", DB_RETRY},     /* deadlock, serialization failure */
    {"55P03", DB_RETRY},  /* lock_timeout */
    {"23503", DB_FOREIGN}, {"23001", DB_FOREIGN}, {"23505", DB_UNIQUE}, {"23P01", DB_UNIQUE},
    {"23", DB_VALUE},     /* NOT NULL, CHECK */
    {"P0001", DB_VALUE},  /* a trigger refuses it */
    {"22", DB_VALUE},     /* data exceptions */
    {"54", DB_VALUE},     /* too large for the program's limits */
    {"42P01", DB_SCHEMA}, {"42703", DB_SCHEMA}, {"42883", DB_SCHEMA}, {"42501", DB_SCHEMA}, {"3F000", DB_SCHEMA}, {"42704", DB_SCHEMA},
    {"0A000", DB_SCHEMA}, /* among others: a table that a prepared statement knows was changed */
    {"", DB_OTHER},
};

static enum db_problem problem_of(const char *state)
{
    const struct state_problem *p = PROBLEMS;
    while (strncmp(state, p->state, strlen(p->state)))
        p++;
    return p->problem;
}

static int fail_by(struct db_call *call, const char *sql, const PGresult *result)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE), *text = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    struct db_call at = {.sql = sql, .err = call->err};
    if (state && text)
        db_problem_set(&at, problem_of(state), "PostgreSQL: %s (%s)", text, state);
    else /* libpq's own: the connection is broken */
        db_problem_set(&at, DB_LOST, "PostgreSQL: %s", PQresultErrorMessage(result));
    call->problem = at.problem;
    return -1;
}

int postgres_fail(const struct postgres *p, struct db_call *call)
{
    const char *text = PQerrorMessage(p->conn);
    return db_problem_set(call, DB_LOST, "PostgreSQL: %s", *text ? text : "the connection ended");
}

/* ---- sending ---- */

/* Waits for the socket; returns what it is ready for, or -1. */
static int await(const struct postgres *p, short events, struct db_call *call)
{
    struct pollfd wait = {.fd = PQsocket(p->conn), .events = events};
    int64_t since = clock_mono_ms();
    const char *why;
    if (wait.fd < 0)
        return postgres_fail(p, call);
    while (poll(&wait, 1, DB_LOOK_MS) < 1)
        if ((why = db_give_up(&p->db, since)))
            return db_problem_set(call, DB_LOST, "PostgreSQL: %s", why);
    return wait.revents;
}

/* Writes until everything is on its way. While the server takes nothing because we have not read what it has to say, that is read. */
static int flush(struct postgres *p, struct db_call *call)
{
    int left;
    while ((left = PQflush(p->conn)) > 0) {
        int ready = await(p, POLLIN | POLLOUT, call);
        if (ready < 0)
            return -1;
        if (ready & POLLIN && !PQconsumeInput(p->conn))
            return postgres_fail(p, call);
    }
    return left ? postgres_fail(p, call) : 0;
}

static void note_sent(struct postgres *p, const char *sql, struct statement *prepares)
{
    p->sent = xgrow(p->sent, &p->sent_room, p->sent_count + 1, sizeof *p->sent);
    p->sent[p->sent_count++] = (struct postgres_sent){sql, prepares};
}

/* ---- reading ---- */

/* An answer of the command sent[at]; after a failure the rest of the pipeline comes back as aborted. */
static int take(struct postgres *p, size_t at, const PGresult *result, struct db_call *call)
{
    static const struct postgres_sent NONE;
    const struct postgres_sent *sent = at < p->sent_count ? &p->sent[at] : &NONE;
    ExecStatusType status = PQresultStatus(result);
    if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK)
        return 0;
    if (sent->prepares)
        sent->prepares->prepared = false;
    if (status == PGRES_PIPELINE_ABORTED)
        return 0;
    return status == PGRES_EMPTY_QUERY ? db_problem_set(call, DB_OTHER, "not one statement") : fail_by(call, sent->sql, result);
}

/* libpq would wait for its data for ever. */
static bool is_copy(const PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);
    return status == PGRES_COPY_IN || status == PGRES_COPY_OUT;
}

static int refuse_copy(PGresult *result, struct db_call *call)
{
    PQclear(result);
    return db_problem_set(call, DB_LOST, "COPY, which this program does not speak");
}

/* Waits for what PQgetResult would wait for, but not for ever. */
static int await_result(struct postgres *p, struct db_call *call)
{
    while (PQisBusy(p->conn)) {
        if (await(p, POLLIN, call) < 0)
            return -1;
        if (!PQconsumeInput(p->conn))
            return 0; /* PQgetResult says why */
    }
    return 0;
}

/* Reads the answers of everything that was sent, up to the sync; *last is that of the last command. The first failure is told. */
static int read_answers(struct postgres *p, struct db_call *call, PGresult **last)
{
    struct db_call unheard = {0};
    bool ended = false; /* the answers of one command */
    size_t at = 0;
    int rc = 0;
    for (;;) {
        if (await_result(p, call))
            return -1;
        PGresult *result = PQgetResult(p->conn);
        if (!result && (ended || PQstatus(p->conn) == CONNECTION_BAD))
            return rc ? rc : postgres_fail(p, call); /* no more will come */
        ended = !result;
        if (ended) {
            at++;
            continue;
        }
        if (PQresultStatus(result) == PGRES_PIPELINE_SYNC) {
            PQclear(result);
            return rc;
        }
        if (is_copy(result))
            return refuse_copy(result, call);
        PQclear(*last);
        *last = result;
        if (take(p, at, result, rc ? &unheard : call))
            rc = -1;
    }
}

static int collect(struct postgres *p, struct db_call *call, PGresult **last)
{
    *last = NULL;
    if (!PQpipelineSync(p->conn))
        return postgres_fail(p, call);
    int rc = flush(p, call) ? -1 : read_answers(p, call, last);
    p->sent_count = 0;
    return rc;
}

static int postgres_settle(struct db *db, struct db_call *call)
{
    PGresult *last = NULL;
    int rc = postgres_of(db)->sent_count ? collect(postgres_of(db), call, &last) : 0;
    PQclear(last);
    return rc;
}

/* ---- several at once ---- */

static int read_script(struct postgres *p, struct db_call *call)
{
    int rc = 0;
    for (;;) {
        if (await_result(p, call))
            return -1;
        PGresult *result = PQgetResult(p->conn);
        if (!result)
            return rc;
        if (is_copy(result))
            return refuse_copy(result, call);
        ExecStatusType status = PQresultStatus(result);
        if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK && status != PGRES_EMPTY_QUERY && rc == 0)
            rc = fail_by(call, call->sql, result); /* the server goes no further */
        PQclear(result);
    }
}

/* A text of several statements is beyond the protocol of the pipeline. Nobody knows how long it takes. */
static int postgres_script(struct db *db, struct db_call *call)
{
    struct postgres *p = postgres_of(db);
    int64_t patience = db->patience_ms;
    if (postgres_settle(db, call))
        return -1;
    if (!PQexitPipelineMode(p->conn) || !PQsendQuery(p->conn, call->sql))
        return postgres_fail(p, call);
    db->patience_ms = INT64_MAX;
    int rc = flush(p, call) || read_script(p, call) ? -1 : 0;
    db->patience_ms = patience;
    if (!PQenterPipelineMode(p->conn) && (rc == 0 || call->problem != DB_LOST))
        return postgres_fail(p, call);
    return rc;
}

/* ---- statements ---- */

static const char *put_number(struct buf *out, const struct db_value *v)
{
    size_t from = out->len;
    if (v->type == DB_BOOL)
        buf_addf(out, "%c", v->i ? 't' : 'f');
    else if (v->type == DB_INT)
        buf_addf(out, "%lld", (long long) v->i);
    else
        buf_addf(out, "%.17g", v->d);
    buf_add_byte(out, 0);
    return (const char *) out->data + from;
}

static const char *put_value(struct buf *out, const struct db_value *v)
{
    if (v->type == DB_NULL)
        return NULL;
    if (v->type != DB_TEXT)
        return put_number(out, v);
    size_t from = out->len;
    if (v->text.len)
        buf_add(out, v->text.data, v->text.len);
    buf_add_byte(out, 0);
    return (const char *) out->data + from;
}

/* The values as text, in p->params; the room is made first, since they are pointers into it. */
static void put_values(struct postgres *p, const struct db_call *call)
{
    size_t size = 0;
    for (size_t i = 0; i < call->count; i++)
        size += call->values[i].type == DB_TEXT ? call->values[i].text.len + 1 : NUMBER_SIZE;
    buf_clear(&p->text);
    buf_reserve(&p->text, size + 1);
    p->params = xgrow(p->params, &p->param_room, call->count + 1, sizeof *p->params);
    for (size_t i = 0; i < call->count; i++)
        p->params[i] = put_value(&p->text, &call->values[i]);
}

static void forget_statements(struct postgres *p)
{
    struct statement *st;
    for (size_t i = 0; (st = map_walk(&p->statements, &i, NULL));) {
        free(st->sql);
        free(st);
    }
    map_fini(&p->statements);
    p->statements = (struct map){0};
    p->statement_count = 0;
}

/* In a transaction that failed the server forgets nothing: some more fit until it is rolled back. */
static int make_room(struct postgres *p, struct db_call *call)
{
    if (p->statement_count < DB_STATEMENTS_MAX || PQtransactionStatus(p->conn) == PQTRANS_INERROR)
        return 0;
    struct db_call all = {.sql = "DEALLOCATE ALL", .err = call->err};
    if (postgres_script(&p->db, &all)) {
        call->problem = all.problem;
        return -1;
    }
    forget_statements(p);
    return 0;
}

/* NULL: there was no room for one more. */
static struct statement *find(struct postgres *p, struct db_call *call)
{
    uint64_t key = XXH3_64bits(call->sql, strlen(call->sql));
    struct statement *st = map_get(&p->statements, key);
    if (st && strcmp(st->sql, call->sql) == 0)
        return st;
    if (make_room(p, call))
        return NULL;
    if (map_get(&p->statements, key)) /* another text of the same hash: it keeps its place, this one is prepared for the moment */
        key = ++p->last_name;
    st = xcalloc(1, sizeof *st);
    st->sql = xstrdup(call->sql);
    snprintf(st->name, sizeof st->name, "s%llu", ++p->last_name);
    map_put(&p->statements, key, st);
    p->statement_count++;
    return st;
}

/* Prepares, if that was not done, and runs; does not wait. */
static int send_statement(struct postgres *p, struct db_call *call)
{
    struct statement *st = find(p, call);
    if (!st)
        return -1;
    if (!st->prepared) {
        if (!PQsendPrepare(p->conn, st->name, st->sql, 0, NULL))
            return postgres_fail(p, call);
        st->prepared = true;
        note_sent(p, st->sql, st);
    }
    put_values(p, call);
    if (!PQsendQueryPrepared(p->conn, st->name, (int) call->count, p->params, NULL, NULL, 0))
        return postgres_fail(p, call);
    note_sent(p, st->sql, NULL);
    return 0;
}

/* ---- calls ---- */

static int64_t hand_out(PGresult *result, const struct db_call *call)
{
    struct db_row row = {.driver = &POSTGRES_DRIVER, .from = result};
    int count = PQntuples(result);
    if (PQresultStatus(result) == PGRES_COMMAND_OK)
        return strtoll(PQcmdTuples(result), NULL, 10);
    for (; call->fn && row.number < count; row.number++)
        call->fn(call->arg, &row);
    return count;
}

int64_t postgres_run(struct db *db, struct db_call *call)
{
    struct postgres *p = postgres_of(db);
    PGresult *last = NULL;
    if (send_statement(p, call))
        return -1;
    int64_t rows = collect(p, call, &last);
    if (rows == 0)
        rows = hand_out(last, call);
    PQclear(last);
    return rows;
}

static int postgres_queue(struct db *db, struct db_call *call)
{
    struct postgres *p = postgres_of(db);
    if (p->sent_count >= SENT_MAX && postgres_settle(db, call))
        return -1;
    if (send_statement(p, call))
        return -1;
    return p->sent_count % FLUSH_EVERY ? 0 : flush(p, call);
}

static void take_bool(void *arg, const struct db_row *row)
{
    *(bool *) arg = db_get_bool(row, 0);
}

static int postgres_lock(struct db *db, const char *name, struct db_call *call)
{
    bool taken = false;
    const struct db_value key = db_int((int64_t) XXH3_64bits(name, strlen(name)));
    struct db_call try = {.sql = "SELECT pg_try_advisory_lock($1)", .values = &key, .count = 1, .fn = take_bool, .arg = &taken,
                          .err = call->err};
    if (postgres_run(db, &try) >= 0)
        return taken;
    call->problem = try.problem;
    return -1;
}

static int postgres_check(struct db *db, struct db_call *call)
{
    struct postgres *p = postgres_of(db);
    if (!PQconsumeInput(p->conn) || PQstatus(p->conn) == CONNECTION_BAD)
        return postgres_fail(p, call);
    PQisBusy(p->conn); /* reads notices and settings that the server tells of its own accord */
    return 0;
}

static PGconn *connection_of(const struct db *db)
{
    return ((const struct postgres *) (const void *) db)->conn;
}

static int postgres_fd(const struct db *db)
{
    return PQsocket(connection_of(db));
}

static bool postgres_in_transaction(const struct db *db)
{
    return PQtransactionStatus(connection_of(db)) != PQTRANS_IDLE;
}

/* ---- rows ---- */

static const PGresult *result_of(const struct db_row *row)
{
    return row->from;
}

static bool postgres_is_null(const struct db_row *row, int column)
{
    return PQgetisnull(result_of(row), row->number, column);
}

static double postgres_get_double(const struct db_row *row, int column)
{
    const char *text = PQgetvalue(result_of(row), row->number, column);
    return PQftype(result_of(row), column) == TYPE_BOOL ? *text == 't' : strtod(text, NULL);
}

static int64_t postgres_get_int(const struct db_row *row, int column)
{
    const char *text = PQgetvalue(result_of(row), row->number, column);
    Oid type = PQftype(result_of(row), column);
    if (type == TYPE_BOOL)
        return *text == 't';
    if (type != TYPE_FLOAT4 && type != TYPE_FLOAT8 && type != TYPE_NUMERIC)
        return strtoll(text, NULL, 10);
    double number = strtod(text, NULL); /* as SQLite does it: towards zero, and no further than an integer goes */
    return number >= 0x1p63 ? INT64_MAX : number >= -0x1p63 ? (int64_t) number : number < 0 ? INT64_MIN : 0;
}

static bool postgres_get_bool(const struct db_row *row, int column)
{
    return postgres_get_int(row, column) != 0;
}

static struct ls_slice postgres_get_text(const struct db_row *row, int column)
{
    if (postgres_is_null(row, column))
        return (struct ls_slice){0};
    return ls_bytes(PQgetvalue(result_of(row), row->number, column), (size_t) PQgetlength(result_of(row), row->number, column));
}

/* ---- the connection ---- */

static void postgres_close(struct db *db)
{
    struct postgres *p = postgres_of(db);
    PQfinish(p->conn);
    free(p->url);
    forget_statements(p);
    free(p->sent);
    buf_fini(&p->text);
    free(p->params);
    free(p);
}

const struct db_driver POSTGRES_DRIVER = {
    .postgres = true, .connect = postgres_connect, .close = postgres_close, .run = postgres_run, .queue = postgres_queue,
    .settle = postgres_settle, .script = postgres_script, .lock = postgres_lock, .check = postgres_check, .fd = postgres_fd,
    .in_transaction = postgres_in_transaction, .begin = "BEGIN",
    .is_null = postgres_is_null, .get_int = postgres_get_int, .get_double = postgres_get_double, .get_bool = postgres_get_bool,
    .get_text = postgres_get_text,
};
