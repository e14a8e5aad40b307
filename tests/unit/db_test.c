/* SPDX-License-Identifier: Apache-2.0 */
/* One SQL text, two databases: every rule of nodes/kit/db.h is asked of SQLite and of PostgreSQL. */
#include <float.h>
#include <math.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "tests/unit/db_rig.h"

#define MANY 10000

/* ---- values ---- */

struct sample {
    struct db_value n, d, b, s;
};

static void compare(void *arg, const struct db_row *row)
{
    const struct sample *sample = arg;
    assert_true(db_get_int(row, 0) == sample->n.i);
    assert_int_equal(db_is_null(row, 1), sample->d.type == DB_NULL);
    assert_true(db_get_double(row, 1) == (sample->d.type == DB_NULL ? 0 : sample->d.d));
    assert_int_equal(db_is_null(row, 2), sample->b.type == DB_NULL);
    assert_int_equal(db_get_bool(row, 2), sample->b.type != DB_NULL && sample->b.i);
    struct ls_slice text = db_get_text(row, 3);
    assert_int_equal(db_is_null(row, 3), sample->s.type == DB_NULL);
    assert_int_equal(text.data == NULL, sample->s.type == DB_NULL);
    assert_int_equal(text.len, sample->s.type == DB_NULL ? 0 : sample->s.text.len);
    if (text.len)
        assert_memory_equal(text.data, sample->s.text.data, text.len);
}

static void values_come_back_as_they_went(void **state)
{
    struct rig *r = *state;
    const struct sample samples[] = {
        {db_int(INT64_MIN), db_double(DBL_MAX), db_bool(true), db_text("")},
        {db_int(INT64_MAX), db_double(-DBL_TRUE_MIN), db_bool(false), db_text(NULL)},
        {db_int(0), db_double(0.1), db_null(), db_text("Gr\xc3\xbc\xc3\x9f' \\ $1 %")},
        {db_int(-1), db_null(), db_bool(true), db_slice(ls_bytes("cut here", 3))},
        {db_int(1), db_double(HUGE_VAL), db_bool(true), db_text("a\nb")},
        {db_int(2), db_double(-HUGE_VAL), db_null(), db_null()},
    };
    make_table(r);
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        const struct sample *s = &samples[i];
        assert_int_equal(RUN(r, INSERT, s->n, s->d, s->b, s->s), 1);
        assert_int_equal(db_run(r->db, "SELECT n, d, b, s FROM t WHERE n = $1", DB_VALUES(s->n), compare, (void *) (uintptr_t) s, &r->err),
                         1);
    }
}

static void convert(void *arg, const struct db_row *row)
{
    ++*(int *) arg;
    assert_int_equal(db_get_int(row, 0), 2);
    assert_true(db_get_double(row, 1) == 7.0);
    assert_true(ls_slice_is(db_get_text(row, 1), "7"));
    assert_int_equal(db_get_int(row, 2), 1);
    assert_true(db_get_int(row, 3) == INT64_MAX);
    assert_true(db_get_bool(row, 1));
}

static void getters_convert(void **state)
{
    struct rig *r = *state;
    int rows = 0;
    make_table(r);
    script(r, "CREATE TABLE big (d DOUBLE PRECISION); INSERT INTO big VALUES (1e300)");
    well(r, RUN(r, INSERT, db_int(7), db_double(2.9), db_bool(true), db_null()));
    well(r, db_run(r->db, "SELECT t.d, n, b, big.d FROM t, big", NULL, 0, convert, &rows, &r->err));
    assert_int_equal(rows, 1);
}

static void values_that_one_of_them_cannot_keep_are_refused(void **state)
{
    struct rig *r = *state;
    make_table(r);
    fails(r, RUN(r, INSERT, db_int(1), db_double(NAN), db_null(), db_null()), DB_VALUE, "BAD_VALUE");
    fails(r, RUN(r, INSERT, db_int(1), db_null(), db_null(), db_slice(ls_bytes("a\0b", 3))), DB_VALUE, "BAD_VALUE");
    fails(r, RUN(r, INSERT, db_int(1), db_null(), db_null(), db_text("\xff")), DB_VALUE, "BAD_VALUE");
    assert_int_equal(number_of(r, "SELECT count(*) FROM t"), 0);
}

static void parameters_repeat_in_any_order(void **state)
{
    struct rig *r = *state;
    make_table(r);
    well(r, RUN(r, "INSERT INTO t (s, n, d) VALUES ($2, $1::bigint, $1::bigint)", db_int(5), db_text("x")));
    assert_int_equal(RUN(r, "SELECT 1 FROM t WHERE s = $2 AND (n = $1 OR n = $3) AND n = $1", db_int(5), db_text("x"), db_int(6)), 1);
    assert_int_equal(RUN(r, "SELECT 1 FROM t WHERE $1::bigint IS NULL OR n > $1::bigint", db_null()), 1);
    assert_int_equal(RUN(r, "SELECT 1 FROM t WHERE $1::bigint IS NULL OR n > $1::bigint", db_int(5)), 0);
    fails(r, RUN(r, "SELECT 1 FROM t WHERE n = $1", db_int(5), db_int(6)), DB_OTHER, "FAILED");
}

/* ---- statements ---- */

static void runs_tell_how_many_rows(void **state)
{
    struct rig *r = *state;
    int64_t number = 0;
    make_table(r);
    well(r, db_run(r->db, "INSERT INTO t (n, s) VALUES ($1, $2) RETURNING n + 1", DB_VALUES(db_int(1), db_text("a")), take_int, &number,
                   &r->err));
    assert_int_equal(number, 2);
    assert_int_equal(RUN(r, INSERT_N " ON CONFLICT (n) DO NOTHING", db_int(1)), 0);
    assert_int_equal(RUN(r, INSERT_N " ON CONFLICT (n) DO NOTHING", db_int(2)), 1);
    assert_int_equal(RUN(r, "INSERT INTO t (n, s) VALUES ($1, $2) ON CONFLICT (n) DO UPDATE SET s = excluded.s", db_int(1),
                         db_text("b")), 1);
    assert_int_equal(RUN(r, "SELECT n FROM t WHERE (s, n) >= ($1, $2)", db_text("b"), db_int(1)), 1);
    assert_int_equal(RUN(r, "UPDATE t SET d = $1", db_double(1)), 2);
    assert_int_equal(db_run(r->db, "CREATE TABLE u (n BIGINT)", NULL, 0, NULL, NULL, &r->err), 0);
    assert_int_equal(RUN(r, "DELETE FROM t WHERE n > $1", db_int(5)), 0);
    assert_int_equal(number_of(r, "SELECT count(*) FROM t"), 2);
}

static void failures_have_their_class(void **state)
{
    struct rig *r = *state;
    static const struct {
        const char *sql;
        enum db_problem problem;
        const char *name, *says;
    } CASES[] = {
        {"INSERT INTO t (n) VALUES (1)", DB_UNIQUE, "CONFLICT", "INSERT INTO t (n) VALUES (1)"},
        {"INSERT INTO child (n, email) VALUES (1, 'a')", DB_UNIQUE, "CONFLICT", ""},
        {"INSERT INTO child (n) VALUES (99)", DB_FOREIGN, "BAD_VALUE", "child"},
        {"DELETE FROM t WHERE n = 1", DB_FOREIGN, "BAD_VALUE", ""},
        {"INSERT INTO child (n) VALUES (NULL)", DB_VALUE, "BAD_VALUE", ""},
        {"INSERT INTO child (n, age) VALUES (1, -1)", DB_VALUE, "BAD_VALUE", ""},
        {"SELECT n FROM nowhere", DB_SCHEMA, "CONFIG", "nowhere"},
        {"SELECT absent FROM t", DB_SCHEMA, "CONFIG", "absent"},
        {"INSERT INTO t (absent) VALUES (1)", DB_SCHEMA, "CONFIG", "absent"},
        {"SELECT nofunction(n) FROM t", DB_SCHEMA, "CONFIG", "nofunction"},
        {"SELEC n FROM t", DB_OTHER, "FAILED", "SELEC n FROM t"},
        {"SELECT 1; SELECT 2", DB_OTHER, "FAILED", ""},
    };
    make_table(r);
    script(r, "CREATE TABLE child (n BIGINT NOT NULL REFERENCES t (n), email TEXT UNIQUE, age INT CHECK (age > 0));"
              "INSERT INTO t (n) VALUES (1); INSERT INTO child (n, email) VALUES (1, 'a')");
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        fails(r, db_run(r->db, CASES[i].sql, NULL, 0, NULL, NULL, &r->err), CASES[i].problem, CASES[i].name);
        assert_non_null(strstr(r->err.text, CASES[i].says));
        assert_int_equal(number_of(r, "SELECT count(*) FROM t"), 1);
    }
}

static void more_texts_than_are_kept_prepared(void **state)
{
    struct rig *r = *state;
    char sql[60];
    make_table(r);
    for (int i = 0; i < 1200; i++) {
        snprintf(sql, sizeof sql, "INSERT INTO t (n) VALUES ($1 + %d)", i);
        well(r, RUN(r, sql, db_int(1000)));
    }
    assert_int_equal(number_of(r, "SELECT count(*) FROM t WHERE n >= 1000 AND n < 2200"), 1200);
}

/* ---- transactions ---- */

static void a_transaction_happens_whole_or_not_at_all(void **state)
{
    struct rig *r = *state;
    make_table(r);
    well(r, db_begin(r->db, &r->err));
    fails(r, db_begin(r->db, &r->err), DB_OTHER, "FAILED");
    db_rollback(r->db);
    well(r, db_begin(r->db, &r->err));
    well(r, RUN(r, INSERT_N, db_int(1)));
    db_rollback(r->db);
    db_rollback(r->db); /* harmless */
    assert_int_equal(number_of(r, "SELECT count(*) FROM t"), 0);
    well(r, db_begin(r->db, &r->err));
    well(r, RUN(r, INSERT_N, db_int(1)));
    well(r, db_commit(r->db, &r->err));
    well(r, db_begin(r->db, &r->err));
    well(r, RUN(r, INSERT_N, db_int(2)));
    db_close(&r->db);
    r->db = open_or_fail(r->url);
    assert_int_equal(number_of(r, "SELECT count(*) FROM t"), 1);
}

static void after_a_failure_nothing_runs_before_rollback(void **state)
{
    struct rig *r = *state;
    make_table(r);
    well(r, RUN(r, INSERT_N, db_int(1)));
    well(r, db_begin(r->db, &r->err));
    well(r, RUN(r, INSERT_N, db_int(2)));
    fails(r, RUN(r, INSERT_N, db_int(1)), DB_UNIQUE, "CONFLICT");
    fails(r, RUN(r, INSERT_N, db_int(3)), DB_OTHER, "FAILED");
    fails(r, db_commit(r->db, &r->err), DB_OTHER, "FAILED");
    db_rollback(r->db);
    assert_int_equal(number_of(r, "SELECT count(*) FROM t"), 1);
    well(r, db_begin(r->db, &r->err));
    fails(r, RUN(r, INSERT_N, db_int(1)), DB_UNIQUE, "CONFLICT");
    db_rollback(r->db);
    assert_int_equal(db_problem(r->db), DB_UNIQUE); /* who rolls back may still ask why */
}

static void a_savepoint_undoes_what_came_after_it(void **state)
{
    struct rig *r = *state;
    make_table(r);
    well(r, db_begin(r->db, &r->err));
    well(r, RUN(r, INSERT_N, db_int(1)));
    well(r, db_savepoint(r->db, &r->err));
    well(r, RUN(r, INSERT_N, db_int(2)));
    fails(r, RUN(r, INSERT_N, db_int(1)), DB_UNIQUE, "CONFLICT");
    well(r, db_restore(r->db, &r->err));
    well(r, RUN(r, INSERT_N, db_int(3)));
    well(r, db_savepoint(r->db, &r->err));
    well(r, QUEUE(r, INSERT_N, db_int(4)));
    well(r, db_release(r->db, &r->err));
    well(r, db_savepoint(r->db, &r->err));
    QUEUE(r, INSERT_N, db_int(5));
    QUEUE(r, INSERT_N, db_int(4)); /* fails, here or at the next call */
    well(r, db_restore(r->db, &r->err));
    well(r, db_commit(r->db, &r->err));
    assert_int_equal(number_of(r, "SELECT sum(n) * 10 + count(*) FROM t"), 83);
}

static void a_deferred_failure_fails_the_commit(void **state)
{
    struct rig *r = *state;
    make_table(r);
    script(r, "CREATE TABLE child (n BIGINT REFERENCES t (n) DEFERRABLE INITIALLY DEFERRED)");
    well(r, db_begin(r->db, &r->err));
    well(r, RUN(r, "INSERT INTO child VALUES ($1)", db_int(9)));
    fails(r, db_commit(r->db, &r->err), DB_FOREIGN, "BAD_VALUE");
    db_rollback(r->db);
    assert_int_equal(number_of(r, "SELECT count(*) FROM child"), 0);
}

/* ---- the queue ---- */

static void many_are_queued_in_one_transaction(void **state)
{
    struct rig *r = *state;
    make_table(r);
    fails(r, QUEUE(r, INSERT_N, db_int(1)), DB_OTHER, "FAILED");
    well(r, db_begin(r->db, &r->err));
    for (int i = 0; i < MANY; i++)
        well(r, QUEUE(r, INSERT, db_int(i), db_double(i), db_bool(i % 2), db_text("text")));
    assert_int_equal(number_of(r, "SELECT count(*) FROM t"), MANY);
    well(r, QUEUE(r, INSERT_N, db_int(-1)));
    well(r, db_commit(r->db, &r->err));
    assert_int_equal(number_of(r, "SELECT count(*) FROM t"), MANY + 1);
}

/* The server does not read while we do not read what it says. */
static void answers_larger_than_every_buffer_do_not_stop_the_queue(void **state)
{
    struct rig *r = *state;
    size_t size = 100000;
    char *text = xcalloc(1, size + 1);
    memset(text, 'x', size);
    well(r, db_begin(r->db, &r->err));
    for (int i = 0; i < 300; i++)
        well(r, QUEUE(r, "SELECT $1::text, $1::text", db_text(text)));
    well(r, db_commit(r->db, &r->err));
    free(text);
}

static void a_failure_within_the_queue_is_told_by_the_next_call(void **state)
{
    struct rig *r = *state;
    make_table(r);
    well(r, db_begin(r->db, &r->err));
    int rc = 0; /* at once, or later */
    for (int i = 0; i < 1000 && rc == 0; i++)
        rc = QUEUE(r, INSERT_N, db_int(i == 500 ? 1 : i));
    if (rc == 0)
        rc = db_commit(r->db, &r->err);
    fails(r, rc, DB_UNIQUE, "CONFLICT");
    assert_non_null(strstr(r->err.text, INSERT_N));
    db_rollback(r->db);
    assert_int_equal(number_of(r, "SELECT count(*) FROM t"), 0);
    well(r, db_begin(r->db, &r->err)); /* a statement that could not be prepared is tried anew */
    QUEUE(r, "INSERT INTO later (n) VALUES ($1)", db_int(1));
    db_rollback(r->db);
    script(r, "CREATE TABLE later (n BIGINT)");
    well(r, RUN(r, "INSERT INTO later (n) VALUES ($1)", db_int(1)));
}

/* ---- migrations, locks ---- */

static const struct db_step STEPS[] = {
    {.sqlite = "CREATE TABLE lineshaft_a (n BIGINT); CREATE INDEX a_n ON lineshaft_a (n)",
     .postgres = "CREATE TABLE lineshaft.lineshaft_a (n BIGINT); CREATE INDEX a_n ON lineshaft.lineshaft_a (n)"},
    {.both = "INSERT INTO lineshaft_a VALUES (1); INSERT INTO lineshaft_a VALUES (2)"},
    {.both = "INSERT INTO lineshaft_a VALUES (3)"},
};

static void migrations_go_up_once(void **state)
{
    struct rig *r = *state;
    well(r, db_migrate(r->db, "a", STEPS, 1, &r->err));
    assert_int_equal(number_of(r, "SELECT count(*) FROM lineshaft_a"), 0);
    well(r, db_migrate(r->db, "a", STEPS, 3, &r->err));
    well(r, db_migrate(r->db, "a", STEPS, 3, &r->err));
    assert_int_equal(number_of(r, "SELECT sum(n) FROM lineshaft_a"), 6);
    assert_int_equal(number_of(r, "SELECT version FROM lineshaft_schema WHERE component = 'a' AND applied > 1600000000000"), 3);
    well(r, db_migrate(r->db, "b", NULL, 0, &r->err));
    fails(r, db_migrate(r->db, "a", STEPS, 2, &r->err), DB_SCHEMA, "CONFIG");
    assert_non_null(strstr(r->err.text, "version 3"));
    assert_int_equal(number_of(r, "SELECT sum(n) FROM lineshaft_a"), 6);
}

static void a_step_that_fails_leaves_the_last_version(void **state)
{
    struct rig *r = *state;
    const struct db_step steps[] = {STEPS[0], STEPS[1], {.both = "INSERT INTO lineshaft_a VALUES (9); SELEC 1"}};
    fails(r, db_migrate(r->db, "a", steps, 3, &r->err), DB_OTHER, "FAILED");
    assert_non_null(strstr(r->err.text, "step 3"));
    assert_int_equal(number_of(r, "SELECT sum(n) FROM lineshaft_a"), 3);
    well(r, db_migrate(r->db, "a", STEPS, 3, &r->err));
    assert_int_equal(number_of(r, "SELECT sum(n) FROM lineshaft_a"), 6);
}

static void a_lock_belongs_to_one_connection(void **state)
{
    struct rig *r = *state;
    struct db *other = open_or_fail(r->url);
    assert_int_equal(db_lock(r->db, "tracker", &r->err), 1);
    assert_int_equal(db_lock(other, "tracker", &r->err), 0);
    assert_int_equal(db_lock(other, "scheduler", &r->err), 1);
    db_close(&r->db);
    int got = 0; /* a PostgreSQL server sees the end of a connection in its own time */
    for (int64_t until = clock_mono_ms() + POSTGRES_PATIENCE_MS; !got && clock_mono_ms() < until;)
        got = db_lock(other, "tracker", &r->err);
    assert_int_equal(got, 1);
    db_close(&other);
}

/* ---- PostgreSQL alone ---- */

static void a_server_that_dies_takes_the_transaction_with_it(void **state)
{
    struct rig *r = *state;
    make_table(r);
    well(r, RUN(r, INSERT_N, db_int(1)));
    well(r, db_begin(r->db, &r->err));
    well(r, RUN(r, INSERT_N, db_int(2)));
    postgres_stop(SIGKILL);
    struct ls_error err;
    int64_t rc = 0;
    for (int64_t until = clock_mono_ms() + POSTGRES_PATIENCE_MS; rc >= 0 && clock_mono_ms() < until;)
        rc = RUN(r, "SELECT n FROM t WHERE n = $1", db_int(2)); /* until its process sees that the server is gone */
    fails(r, rc, DB_LOST, "UNREACHABLE");
    fails(r, db_commit(r->db, &r->err), DB_LOST, "UNREACHABLE");
    db_rollback(r->db);
    assert_int_equal(db_problem(r->db), DB_LOST);
    fails(r, RUN(r, INSERT_N, db_int(3)), DB_LOST, "UNREACHABLE");
    assert_true(r->err.again);
    assert_null(db_open(r->url, &err));
    assert_string_equal(err.name, "UNREACHABLE");
    assert_null(strstr(err.text, POSTGRES_PASSWORD));
    postgres_url();
    db_close(&r->db);
    r->db = open_or_fail(r->url);
    assert_int_equal(number_of(r, "SELECT sum(n) FROM t"), 1);
    well(r, RUN(r, INSERT_N, db_int(3))); /* prepared anew */
}

static void a_connection_that_the_server_ends_is_lost(void **state)
{
    struct rig *r = *state;
    struct db *other = open_or_fail(r->url);
    int64_t pid = number_of(r, "SELECT pg_backend_pid()");
    assert_int_equal(db_run(other, "SELECT pg_terminate_backend($1, 60000)", DB_VALUES(db_int(pid)), NULL, NULL, &r->err), 1);
    fails(r, RUN(r, "SELECT $1::bigint", db_int(1)), DB_LOST, "UNREACHABLE");
    db_close(&other);
}

static void a_wrong_password_is_told_without_it(void **state)
{
    struct rig *r = *state;
    struct ls_error err;
    char url[160];
    snprintf(url, sizeof url, "postgresql://tester:wrong-" POSTGRES_PASSWORD "@127.0.0.1:%d/postgres", postgres.port);
    assert_null(db_open(url, &err));
    assert_string_equal(err.name, "UNREACHABLE");
    assert_non_null(strstr(err.text, "password authentication failed"));
    assert_null(strstr(err.text, POSTGRES_PASSWORD));
    char *place = db_place(r->url);
    snprintf(url, sizeof url, "postgresql://127.0.0.1:%d/postgres", postgres.port);
    assert_string_equal(place, url);
    free(place);
}

static void take_text(void *arg, const struct db_row *row)
{
    struct ls_slice text = db_get_text(row, 0);
    snprintf(arg, 100, "%.*s", (int) text.len, text.data);
}

static void the_url_may_set_the_search_path(void **state)
{
    struct rig *r = *state;
    char url[240], path[100] = "";
    well(r, db_run(r->db, "SHOW search_path", NULL, 0, take_text, path, &r->err));
    assert_string_equal(path, "public, lineshaft");
    snprintf(url, sizeof url, "%s?options=-csearch_path%%3Dother", r->url);
    struct db *other = open_or_fail(url);
    well(r, db_run(other, "SHOW search_path", NULL, 0, take_text, path, &r->err));
    assert_string_equal(path, "other");
    db_close(&other);
}

/* ---- SQLite alone ---- */

static void the_file_is_private_and_safe(void **state)
{
    struct rig *r = *state;
    struct stat st;
    char mode[100] = "";
    assert_int_equal(stat(r->url + strlen("sqlite:"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    well(r, db_run(r->db, "PRAGMA journal_mode", NULL, 0, take_text, mode, &r->err));
    assert_string_equal(mode, "wal");
    assert_int_equal(number_of(r, "PRAGMA synchronous"), 2);
    assert_int_equal(number_of(r, "PRAGMA foreign_keys"), 1);
}

static void a_full_disk_loses_the_database(void **state)
{
    struct rig *r = *state;
    struct rlimit was, small = {.rlim_cur = 65536};
    char *text = xcalloc(1, 200001);
    memset(text, 'x', 200000);
    script(r, "CREATE TABLE t (s TEXT)");
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
    small.rlim_max = was.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    int64_t rc = RUN(r, "INSERT INTO t VALUES ($1)", db_text(text));
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
    fails(r, rc, DB_LOST, "UNREACHABLE");
    fails(r, RUN(r, "SELECT $1", db_int(1)), DB_LOST, "UNREACHABLE"); /* until it is opened again */
    db_close(&r->db);
    r->db = open_or_fail(r->url);
    well(r, RUN(r, "INSERT INTO t VALUES ($1)", db_text(text)));
    free(text);
}

static void what_cannot_be_opened_says_why(void **state)
{
    struct rig *r = *state;
    struct ls_error err;
    char url[240];
    snprintf(url, sizeof url, "sqlite:%s/no/x.db", r->folder);
    assert_null(db_open(url, &err));
    assert_string_equal(err.name, "UNREACHABLE");
    assert_non_null(strstr(err.text, "folder"));
    snprintf(url, sizeof url, "%s/page", r->folder);
    FILE *file = fopen(url, "w");
    assert_non_null(file);
    for (int i = 0; i < 1000; i++)
        fputs("This is no database.\n", file);
    fclose(file);
    snprintf(url, sizeof url, "sqlite:%s/page", r->folder);
    assert_null(db_open(url, &err));
    assert_string_equal(err.name, "UNREACHABLE");
    assert_non_null(strstr(err.text, "not a database"));
}

/* ---- URLs ---- */

static void urls_are_checked(void **state)
{
    static const char *const GOOD[] = {"sqlite:x.db", "sqlite:/var/lib/x.db", "postgresql://h/n", "postgres://u:p@h:5432/n?sslmode=require",
                                       "postgresql:///n?host=/run/postgresql"};
    static const char *const BAD[] = {"", "x.db", "sqlite:", "sqlite:var/", "sqlite:///x.db", "sqlite::memory:", "mysql://h/n",
                                      "postgresql://h:port:x/n?colour=red", "postgres://u:" POSTGRES_PASSWORD "@[h/n",
                                      "postgres://u:" POSTGRES_PASSWORD "%zz@h/n", "postgresql://h/n?password=" POSTGRES_PASSWORD "&x=1"};
    struct ls_error err;
    (void) state;
    for (size_t i = 0; i < sizeof GOOD / sizeof *GOOD; i++)
        assert_int_equal(db_url_check(GOOD[i], &err), 0);
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        assert_int_equal(db_url_check(BAD[i], &err), -1);
        assert_string_equal(err.name, "BAD_VALUE");
        assert_non_null(strstr(err.text, "write "));
        assert_null(strstr(err.text, POSTGRES_PASSWORD));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(values_come_back_as_they_went),
        BOTH(getters_convert),
        BOTH(values_that_one_of_them_cannot_keep_are_refused),
        BOTH(parameters_repeat_in_any_order),
        BOTH(runs_tell_how_many_rows),
        BOTH(failures_have_their_class),
        BOTH(more_texts_than_are_kept_prepared),
        BOTH(a_transaction_happens_whole_or_not_at_all),
        BOTH(after_a_failure_nothing_runs_before_rollback),
        BOTH(a_savepoint_undoes_what_came_after_it),
        BOTH(a_deferred_failure_fails_the_commit),
        BOTH(many_are_queued_in_one_transaction),
        BOTH(answers_larger_than_every_buffer_do_not_stop_the_queue),
        BOTH(a_failure_within_the_queue_is_told_by_the_next_call),
        BOTH(migrations_go_up_once),
        BOTH(a_step_that_fails_leaves_the_last_version),
        BOTH(a_lock_belongs_to_one_connection),
        POSTGRES(a_server_that_dies_takes_the_transaction_with_it),
        POSTGRES(a_connection_that_the_server_ends_is_lost),
        POSTGRES(a_wrong_password_is_told_without_it),
        POSTGRES(the_url_may_set_the_search_path),
        SQLITE(the_file_is_private_and_safe),
        SQLITE(a_full_disk_loses_the_database),
        SQLITE(what_cannot_be_opened_says_why),
        cmocka_unit_test(urls_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
