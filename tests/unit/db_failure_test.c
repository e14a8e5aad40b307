/* SPDX-License-Identifier: Apache-2.0 */
/* What a database may do to whoever uses it: refuse, hold a lock, say nothing, go away in the middle. */
#include <sys/socket.h>

#include "tests/unit/db_rig.h"

#include "nodes/kit/db_private.h"

#define HOUR_MS 3600000

/* ---- words of these tests ---- */

static void take_text(void *arg, const struct db_row *row)
{
    struct ls_slice text = db_get_text(row, 0);
    snprintf(arg, 100, "%.*s", (int) text.len, text.data);
}

static void shows(struct rig *r, const char *setting, const char *value)
{
    char sql[80], text[100] = "";
    snprintf(sql, sizeof sql, "SHOW %s", setting);
    well(r, db_run(r->db, sql, NULL, 0, take_text, text, &r->err));
    assert_string_equal(text, value);
}

static void reopen(struct rig *r, const char *parameters)
{
    char url[300];
    snprintf(url, sizeof url, "%s%s", r->url, parameters);
    db_close(&r->db);
    r->db = open_or_fail(url);
}

static void end_connection(struct rig *r, int64_t pid)
{
    struct db *other = open_or_fail(r->url);
    assert_int_equal(db_run(other, "SELECT pg_terminate_backend($1, 60000)", DB_VALUES(db_int(pid)), NULL, NULL, &r->err), 1);
    db_close(&other);
}

/* Somebody else keeps the table (PostgreSQL) or the whole file (SQLite) to himself, and nothing but ourselves ends the wait. */
static struct db *lock_out(struct rig *r)
{
    make_table(r);
    if (!r->folder[0])
        reopen(r, "?options=-clock_timeout%3D0");
    struct db *other = open_or_fail(r->url);
    assert_int_equal(db_begin(other, &r->err), 0);
    assert_true(db_run(other, INSERT_N, DB_VALUES(db_int(1)), NULL, NULL, &r->err) == 1);
    if (db_is_postgres(other))
        assert_int_equal(db_script(other, "LOCK TABLE t", &r->err), 0);
    return other;
}

/* A server that takes connections and never says a word. */
static int mute_server(int *port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *) &at, size), 0);
    assert_int_equal(listen(fd, 16), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *) &at, &size), 0);
    *port = ntohs(at.sin_port);
    return fd;
}

/* As in a node, which reads its signals from a descriptor. */
static void tell_to_stop(sigset_t *signals)
{
    sigemptyset(signals);
    sigaddset(signals, SIGTERM);
    assert_int_equal(sigprocmask(SIG_BLOCK, signals, NULL), 0);
    assert_int_equal(raise(SIGTERM), 0);
}

static void go_on(sigset_t *signals)
{
    int number;
    assert_int_equal(sigwait(signals, &number), 0);
    assert_int_equal(sigprocmask(SIG_UNBLOCK, signals, NULL), 0);
}

/* ---- statements ---- */

static void failures_when_no_more_statements_fit_can_be_rolled_back(void **state)
{
    struct rig *r = *state;
    char sql[80];
    make_table(r);
    for (int i = 0; i < DB_STATEMENTS_MAX + 20; i++) {
        snprintf(sql, sizeof sql, "INSERT INTO nowhere VALUES (%d)", i);
        well(r, db_begin(r->db, &r->err));
        fails(r, db_run(r->db, sql, NULL, 0, NULL, NULL, &r->err), DB_SCHEMA, "CONFIG");
        db_rollback(r->db);
    }
    assert_int_equal(number_of(r, "SELECT count(*) FROM t"), 0);
}

static void more_texts_than_are_kept_prepared_are_queued(void **state)
{
    struct rig *r = *state;
    char sql[80];
    make_table(r);
    well(r, db_begin(r->db, &r->err));
    for (int i = 0; i < 2 * DB_STATEMENTS_MAX + 20; i++) {
        snprintf(sql, sizeof sql, "INSERT INTO t (n) VALUES ($1 + %d)", i);
        well(r, QUEUE(r, sql, db_int(0)));
    }
    well(r, db_commit(r->db, &r->err));
    assert_int_equal(number_of(r, "SELECT count(*) FROM t"), 2 * DB_STATEMENTS_MAX + 20);
}

static void a_text_without_a_statement_is_no_lost_connection(void **state)
{
    struct rig *r = *state;
    fails(r, db_run(r->db, "", NULL, 0, NULL, NULL, &r->err), DB_OTHER, "FAILED");
    fails(r, db_run(r->db, " -- nothing", NULL, 0, NULL, NULL, &r->err), DB_OTHER, "FAILED");
    assert_int_equal(number_of(r, "SELECT 1"), 1);
}

static void what_is_too_much_for_a_statement_is_no_lost_connection(void **state)
{
    struct rig *r = *state;
    struct db_value *many = xcalloc(70000, sizeof *many);
    fails(r, db_run(r->db, "SELECT 1", many, 70000, NULL, NULL, &r->err), DB_OTHER, "FAILED");
    many[0] = many[1] = db_slice(ls_bytes("x", (size_t) 300 << 20)); /* refused by its size, not read */
    fails(r, db_run(r->db, "SELECT $1::text, $2::text", many, 2, NULL, NULL, &r->err), DB_VALUE, "BAD_VALUE");
    assert_int_equal(number_of(r, "SELECT 1"), 1);
    free(many);
}

static void copying_ends_the_connection_and_nothing_hangs(void **state)
{
    struct rig *r = *state;
    make_table(r);
    fails(r, db_script(r->db, "COPY t FROM STDIN", &r->err), DB_LOST, "UNREACHABLE");
    reopen(r, "");
    fails(r, db_run(r->db, "COPY (SELECT 1) TO STDOUT", NULL, 0, NULL, NULL, &r->err), DB_LOST, "UNREACHABLE");
    reopen(r, "");
    fails(r, db_run(r->db, "COPY t FROM STDIN", NULL, 0, NULL, NULL, &r->err), DB_LOST, "UNREACHABLE");
}

static void a_statement_that_fails_between_rows_holds_no_lock(void **state)
{
    struct rig *r = *state;
    struct db *other = open_or_fail(r->url);
    int64_t busy = -1;
    make_table(r);
    well(r, RUN(r, INSERT_N, db_int(1)));
    well(r, RUN(r, INSERT_N, db_int(INT64_MIN)));
    fails(r, db_run(r->db, "SELECT abs(n) FROM t ORDER BY rowid", NULL, 0, NULL, NULL, &r->err), DB_OTHER, "FAILED");
    assert_true(db_run(other, INSERT_N, DB_VALUES(db_int(2)), NULL, NULL, &r->err) == 1);
    assert_true(db_run(other, "PRAGMA wal_checkpoint(TRUNCATE)", NULL, 0, take_int, &busy, &r->err) == 1);
    assert_int_equal(busy, 0);
    db_close(&other);
}

/* ---- transactions ---- */

static void what_belongs_into_a_transaction_is_refused_outside(void **state)
{
    struct rig *r = *state;
    make_table(r);
    fails(r, db_savepoint(r->db, &r->err), DB_OTHER, "FAILED");
    fails(r, db_release(r->db, &r->err), DB_OTHER, "FAILED");
    fails(r, db_restore(r->db, &r->err), DB_OTHER, "FAILED");
    fails(r, db_commit(r->db, &r->err), DB_OTHER, "FAILED");
    well(r, RUN(r, INSERT_N, db_int(1)));
    reopen(r, "");
    assert_int_equal(number_of(r, "SELECT count(*) FROM t"), 1);
}

static void a_connection_that_ends_within_the_queue_takes_the_transaction_with_it(void **state)
{
    struct rig *r = *state;
    char *text = xcalloc(1, 10001);
    int64_t pid = number_of(r, "SELECT pg_backend_pid()");
    int rc = 0;
    memset(text, 'x', 10000);
    script(r, "CREATE TABLE large (s TEXT)");
    well(r, db_begin(r->db, &r->err));
    for (int i = 0; i < 5000 && !rc; i++) {
        if (i == 100)
            end_connection(r, pid);
        rc = QUEUE(r, "INSERT INTO large VALUES ($1)", db_text(text));
    }
    fails(r, rc ? rc : db_commit(r->db, &r->err), DB_LOST, "UNREACHABLE");
    db_rollback(r->db);
    fails(r, db_begin(r->db, &r->err), DB_LOST, "UNREACHABLE");
    fails(r, QUEUE(r, "INSERT INTO large VALUES ($1)", db_text("x")), DB_LOST, "UNREACHABLE");
    reopen(r, "");
    assert_int_equal(number_of(r, "SELECT count(*) FROM large"), 0);
    free(text);
}

/* ---- waiting ---- */

static void what_took_too_long_may_be_tried_again(void **state)
{
    struct rig *r = *state;
    struct db *other = lock_out(r);
    script(r, "SET lock_timeout = 20");
    fails(r, RUN(r, INSERT_N, db_int(2)), DB_RETRY, "FAILED");
    assert_true(r->err.again);
    script(r, "SET lock_timeout = 0; SET statement_timeout = 20");
    fails(r, RUN(r, INSERT_N, db_int(2)), DB_RETRY, "FAILED");
    assert_true(r->err.again);
    db_close(&other);
}

static void a_lock_is_waited_for_only_so_long(void **state)
{
    struct rig *r = *state;
    struct db *other = lock_out(r);
    r->db->patience_ms = 50;
    fails(r, RUN(r, INSERT_N, db_int(2)), DB_LOST, "UNREACHABLE");
    db_close(&other);
}

static void who_is_told_to_stop_does_not_wait(void **state)
{
    struct rig *r = *state;
    sigset_t signals;
    struct db *other = lock_out(r);
    r->db->patience_ms = HOUR_MS;
    tell_to_stop(&signals);
    fails(r, RUN(r, INSERT_N, db_int(2)), DB_LOST, "UNREACHABLE");
    go_on(&signals);
    db_close(&other);
}

static void a_session_waits_and_lives_no_longer_than_it_should(void **state)
{
    struct rig *r = *state;
    shows(r, "lock_timeout", "10s");
    shows(r, "tcp_keepalives_idle", "4"); /* the server's: what a dead node holds is soon free */
    shows(r, "tcp_keepalives_interval", "2");
    shows(r, "tcp_keepalives_count", "3");
    shows(r, "tcp_user_timeout", "10000");
    shows(r, "client_connection_check_interval", "10s");
    reopen(r, "?options=-clock_timeout%3D1234%20-ctcp_keepalives_idle%3D60");
    shows(r, "lock_timeout", "1234ms");
    shows(r, "tcp_keepalives_idle", "60");
    shows(r, "tcp_keepalives_count", "3");
}

/* ---- opening ---- */

static void a_mute_server_does_not_hold_up_the_stop(void **state)
{
    char url[160];
    struct ls_error err = {0};
    sigset_t signals;
    int port, fd = mute_server(&port);
    (void) state;
    snprintf(url, sizeof url, "postgresql://tester@127.0.0.1:%d/postgres?connect_timeout=3600", port);
    tell_to_stop(&signals);
    assert_null(db_open(url, &err));
    assert_string_equal(err.name, "UNREACHABLE");
    go_on(&signals);
    close(fd);
}

static void behind_a_mute_server_the_next_one_is_tried(void **state)
{
    struct rig *r = *state;
    int port, fd = mute_server(&port);
    char url[240];
    struct ls_error err = {0};
    snprintf(url, sizeof url, "postgresql://tester:" POSTGRES_PASSWORD "@127.0.0.1:%d,127.0.0.1:%d/postgres?connect_timeout=1", port,
             postgres.port);
    struct db *db = db_open(url, &err);
    if (!db)
        fail_msg("%s", err.text);
    db_close(&db);
    snprintf(url, sizeof url, "postgresql://127.0.0.1:%d/postgres?connect_timeout=1", port);
    assert_null(db_open(url, &err));
    assert_string_equal(err.name, "UNREACHABLE");
    assert_non_null(strstr(err.text, "no answer"));
    close(fd);
    (void) r;
}

/* ---- damage ---- */

static void a_damaged_file_is_a_database_that_is_away(void **state)
{
    struct rig *r = *state;
    char junk[4096];
    make_table(r);
    for (int i = 0; i < 2000; i++)
        well(r, RUN(r, INSERT, db_int(i), db_null(), db_null(), db_text("some text to fill pages with")));
    db_close(&r->db);
    memset(junk, 0x5a, sizeof junk);
    FILE *file = fopen(r->url + strlen("sqlite:"), "r+");
    assert_non_null(file);
    for (int page = 2; page < 10; page++) {
        assert_int_equal(fseek(file, page * 4096L, SEEK_SET), 0);
        assert_int_equal(fwrite(junk, sizeof junk, 1, file), 1);
    }
    fclose(file);
    reopen(r, "");
    fails(r, db_run(r->db, "SELECT sum(n), max(s) FROM t", NULL, 0, NULL, NULL, &r->err), DB_LOST, "UNREACHABLE");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(failures_when_no_more_statements_fit_can_be_rolled_back),
        BOTH(more_texts_than_are_kept_prepared_are_queued),
        BOTH(a_text_without_a_statement_is_no_lost_connection),
        BOTH(what_is_too_much_for_a_statement_is_no_lost_connection),
        POSTGRES(copying_ends_the_connection_and_nothing_hangs),
        SQLITE(a_statement_that_fails_between_rows_holds_no_lock),
        BOTH(what_belongs_into_a_transaction_is_refused_outside),
        POSTGRES(a_connection_that_ends_within_the_queue_takes_the_transaction_with_it),
        POSTGRES(what_took_too_long_may_be_tried_again),
        BOTH(a_lock_is_waited_for_only_so_long),
        BOTH(who_is_told_to_stop_does_not_wait),
        POSTGRES(a_session_waits_and_lives_no_longer_than_it_should),
        cmocka_unit_test(a_mute_server_does_not_hold_up_the_stop),
        POSTGRES(behind_a_mute_server_the_next_one_is_tried),
        SQLITE(a_damaged_file_is_a_database_that_is_away),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
