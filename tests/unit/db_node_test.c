/* SPDX-License-Identifier: Apache-2.0 */
/* A node whose database goes away and comes back: it takes work while it is there, and nothing meanwhile. */
#include "tests/unit/postgres.h" /* brings cmocka.h */

#include "nodes/kit/db_node.h"
#include "tests/unit/node_rig.h"

struct options {
    const char *database;
    bool careless;
};

struct keeper {
    struct node *node;
    struct db_node *db_node;
    int64_t rows;
    int losses;
    bool careless; /* does not see at once that `ready` failed */
};

static const struct db_step STEPS[] = {
    {.sqlite = "CREATE TABLE lineshaft_kept (n BIGINT)", .postgres = "CREATE TABLE lineshaft.lineshaft_kept (n BIGINT)"}};

static void take_rows(void *arg, const struct db_row *row)
{
    *(int64_t *) arg = db_get_int(row, 0);
}

static int keeper_ready(void *self, struct db *db, struct ls_error *err)
{
    struct keeper *k = self;
    assert_ptr_equal(db_node_db(k->db_node), db);
    if (k->careless) {
        k->careless = false;
        db_run(db, "SELECT pg_terminate_backend(pg_backend_pid())", NULL, 0, NULL, NULL, err);
        return 0;
    }
    return db_run(db, "SELECT count(*) FROM lineshaft_kept", NULL, 0, take_rows, &k->rows, err) < 0 ? -1 : 0;
}

static void keeper_lost(void *self, const struct ls_error *err)
{
    struct keeper *k = self;
    assert_true(err->text[0]);
    assert_null(db_node_db(k->db_node));
    k->losses++;
    k->rows = -1;
}

static int keeper_open(void *self, struct node *node, const void *options, struct ls_error *err)
{
    struct keeper *k = self;
    const struct db_node_options o = {.url = ((const struct options *) options)->database, .lock = "keeper", .component = "keeper",
                                      .steps = STEPS, .step_count = 1, .ready = keeper_ready, .lost = keeper_lost, .self = self};
    (void) err;
    k->node = node;
    k->careless = ((const struct options *) options)->careless;
    k->db_node = db_node_open(node, &o);
    return 0;
}

static enum ls_verdict keeper_event(void *self, const struct ls_event *event, struct ls_error *err)
{
    struct keeper *k = self;
    struct db *db = db_node_db(k->db_node);
    (void) event;
    if (!db)
        return LS_RETRY;
    if (db_run(db, "INSERT INTO lineshaft_kept (n) VALUES ($1)", DB_VALUES(db_int(1)), NULL, NULL, err) >= 0) {
        k->rows++;
        return LS_DONE;
    }
    bool away = db_node_failed(k->db_node, err);
    assert_int_equal(db_node_failed(k->db_node, err), away); /* whoever else saw it fail may say so too */
    return away ? LS_RETRY : LS_REJECT;
}

static enum ls_verdict keeper_request(void *self, struct ls_call *call, const struct ls_event *request, struct ls_error *err)
{
    const struct keeper *k = self;
    char text[64];
    (void) request;
    snprintf(text, sizeof text, "rows %lld, losses %d", (long long) k->rows, k->losses);
    assert_int_equal(ls_reply(call, ls_str(text), (struct ls_slice){0}, true, err), 0);
    return LS_DONE;
}

static void keeper_close(void *self)
{
    db_node_close(&((struct keeper *) self)->db_node);
}

static const struct kind_option OPTIONS[] = {{"database", KIND_TEXT, 0, offsetof(struct options, database), .help = "."},
                                             {"careless", KIND_BOOL, 0, offsetof(struct options, careless), .help = "."}, {0}};
static const struct kind KIND = {.name = "keeper", .summary = ".", .options = OPTIONS, .options_size = sizeof(struct options), .slots = 3};
static const struct node_code CODE = {.kind = &KIND, .size = sizeof(struct keeper), .open = keeper_open, .event = keeper_event,
                                      .request = keeper_request, .close = keeper_close};

/* ---- words of these tests ---- */

static struct db *connect_as_test(void)
{
    struct ls_error err = {0};
    struct db *db = db_open(postgres_url(), &err);
    if (!db)
        fail_msg("%s", err.text);
    return db;
}

static void as_test(const char *sql)
{
    struct ls_error err = {0};
    struct db *db = connect_as_test();
    if (db_script(db, sql, &err))
        fail_msg("%s", err.text);
    db_close(&db);
}

static void start_keeper(struct bench *b, const char *url)
{
    char option[160];
    snprintf(option, sizeof option, "\"database\": \"%s\"", url);
    start_wired(b, option);
}

/* The database may be there before the session is, or after it. */
static void expect_work(struct bench *b)
{
    uint64_t slots = 0, window = 0;
    welcome_node(b);
    while (slots != 3 || window != 5) {
        hear_node(b);
        if (strcmp(b->s.verb, "PING") == 0)
            continue;
        wire_uint(mp_over(b->s.header.data, b->s.header.len), "slots", &slots);
        wire_uint(mp_over(b->s.header.data, b->s.header.len), "window", &window);
        if (strcmp(b->s.verb, "SUB") == 0)
            say(&b->s, "OK", "u:cid", (int) heard_uint(&b->s, "cid"));
    }
}

/* The node's log goes to the test; returns where it can be read. */
static int start_and_listen(struct bench *b, const char *url)
{
    int log[2], own = dup(STDERR_FILENO);
    assert_int_equal(pipe2(log, O_CLOEXEC), 0);
    assert_int_equal(dup2(log[1], STDERR_FILENO), STDERR_FILENO);
    start_keeper(b, url);
    dup2(own, STDERR_FILENO);
    close(own);
    close(log[1]);
    return log[0];
}

static void expect_log(int log, const char *text)
{
    char said[8192] = "";
    struct pollfd wait = {.fd = log, .events = POLLIN};
    for (size_t len = 0; !strstr(said, text);) {
        assert_int_equal(poll(&wait, 1, PATIENCE_MS), 1);
        ssize_t got = read(log, said + len, sizeof said - 1 - len);
        assert_true(got > 0);
        len += (size_t) got;
    }
}

static void start_on_postgres(struct bench *b)
{
    as_test("DROP SCHEMA IF EXISTS lineshaft CASCADE");
    start_keeper(b, postgres_url());
    expect_work(b);
}

static void expect_state(struct bench *b, const char *text)
{
    send_request(b, "r.state", 7, 1);
    expect_answer(b, 7, text);
}

/* ---- the rules ---- */

static void work_begins_when_the_database_is_there(void **state)
{
    struct bench *b = *state;
    char folder[] = "/tmp/lineshaft-db-XXXXXX", url[80];
    assert_non_null(mkdtemp(folder));
    snprintf(url, sizeof url, "sqlite:%s/x.db", folder);
    start_keeper(b, url);
    expect_work(b);
    send_event(b, "e.add", 1);
    expect_seq(b, "ACK", 1);
    expect_state(b, "rows 1, losses 0");
    kill(b->node, SIGTERM);
    expect_pause(b);
    expect_farewell(b);
    expect_exit(b, 0);
    nftw(folder, postgres_remove, 16, FTW_DEPTH | FTW_PHYS);
}

static void a_server_killed_while_the_node_is_idle_is_noticed(void **state)
{
    struct bench *b = *state;
    start_on_postgres(b);
    send_event(b, "e.add", 1);
    expect_seq(b, "ACK", 1);
    postgres_stop(SIGKILL);
    expect_pause(b);
    postgres_url(); /* starts it */
    expect_offer(b, 3, 5);
    expect_state(b, "rows 1, losses 1");
    send_event(b, "e.add", 2);
    expect_seq(b, "ACK", 2);
}

static void a_connection_that_is_ended_is_made_anew(void **state)
{
    struct bench *b = *state;
    start_on_postgres(b);
    as_test("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'lineshaft' AND pid <> pg_backend_pid()");
    expect_pause(b);
    expect_offer(b, 3, 5);
    expect_state(b, "rows 0, losses 1");
}

static void a_server_that_is_down_at_the_start_is_waited_for(void **state)
{
    struct bench *b = *state;
    as_test("DROP SCHEMA IF EXISTS lineshaft CASCADE");
    const char *url = postgres_url();
    postgres_stop(SIGQUIT);
    start_keeper(b, url);
    welcome_paused_node(b);
    send_request(b, "r.state", 8, 1);
    expect_refusal(b, 8, 503, true);
    postgres_url();
    expect_offer(b, 3, 5);
    expect_state(b, "rows 0, losses 0");
}

static void a_second_node_stands_by(void **state)
{
    struct bench *b = *state;
    struct ls_error err = {0};
    struct db *first = connect_as_test();
    as_test("DROP SCHEMA IF EXISTS lineshaft CASCADE");
    assert_int_equal(db_lock(first, "keeper", &err), 1);
    int log = start_and_listen(b, postgres_url());
    welcome_paused_node(b);
    expect_log(log, "database-taken");
    send_request(b, "r.state", 8, 1);
    expect_refusal(b, 8, 503, true);
    db_close(&first);
    expect_offer(b, 3, 5);
    expect_state(b, "rows 0, losses 0");
    close(log);
}

static void another_reason_is_told_at_once(void **state)
{
    struct bench *b = *state;
    char url[160];
    postgres_url();
    snprintf(url, sizeof url, "postgresql://tester:wrong@127.0.0.1:%d/postgres", postgres.port);
    postgres_stop(SIGQUIT);
    int log = start_and_listen(b, url);
    expect_log(log, "Connection refused");
    postgres_url();
    expect_log(log, "password authentication failed");
    close(log);
}

static void a_table_that_is_gone_stops_the_work(void **state)
{
    struct bench *b = *state;
    start_on_postgres(b);
    as_test("ALTER TABLE lineshaft.lineshaft_kept RENAME TO hidden");
    send_event(b, "e.add", 1);
    expect_pause(b);
    expect_seq(b, "NAK", 1);
    as_test("ALTER TABLE lineshaft.hidden RENAME TO lineshaft_kept");
    expect_offer(b, 3, 5);
    expect_state(b, "rows 0, losses 1");
}

static void a_ready_that_does_not_see_the_loss_is_no_success(void **state)
{
    struct bench *b = *state;
    char options[160];
    as_test("DROP SCHEMA IF EXISTS lineshaft CASCADE");
    snprintf(options, sizeof options, "\"database\": \"%s\", \"careless\": true", postgres_url());
    start_wired(b, options);
    expect_work(b);
    send_event(b, "e.add", 1);
    expect_seq(b, "ACK", 1);
    expect_state(b, "rows 1, losses 0");
}

static void a_server_that_says_nothing_does_not_hold_up_the_end(void **state)
{
    struct bench *b = *state;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    char url[120];
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct pollfd tried = {.fd = fd, .events = POLLIN};
    assert_int_equal(bind(fd, (struct sockaddr *) &at, size), 0);
    assert_int_equal(listen(fd, 16), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *) &at, &size), 0);
    snprintf(url, sizeof url, "postgresql://tester@127.0.0.1:%d/postgres?connect_timeout=3600", ntohs(at.sin_port));
    start_keeper(b, url);
    assert_int_equal(poll(&tried, 1, PATIENCE_MS), 1);
    welcome_paused_node(b);
    send_request(b, "r.state", 8, 1); /* it answers while it waits */
    expect_refusal(b, 8, 503, true);
    kill(b->node, SIGTERM);
    expect_pause(b);
    expect_farewell(b);
    expect_exit(b, 0);
    close(fd);
}

static void a_lock_of_somebody_else_does_not_hold_up_the_end(void **state)
{
    struct bench *b = *state;
    struct ls_error err = {0};
    char url[160];
    as_test("DROP SCHEMA IF EXISTS lineshaft CASCADE");
    snprintf(url, sizeof url, "%s?options=-clock_timeout%%3D0", postgres_url());
    start_keeper(b, url);
    expect_work(b);
    struct db *other = connect_as_test();
    assert_int_equal(db_begin(other, &err), 0);
    assert_int_equal(db_script(other, "LOCK TABLE lineshaft_kept", &err), 0);
    send_event(b, "e.add", 1);
    for (int64_t waiting = 0, until = clock_mono_ms() + POSTGRES_PATIENCE_MS; !waiting;) {
        assert_true(clock_mono_ms() < until);
        assert_true(db_run(other, "SELECT count(*) FROM pg_locks WHERE NOT granted", NULL, 0, take_rows, &waiting, &err) == 1);
    }
    kill(b->node, SIGTERM);
    expect_pause(b);
    expect_seq(b, "NAK", 1);
    expect_pause(b); /* now the node itself hears of it */
    expect_farewell(b);
    expect_exit(b, 0);
    db_close(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RULE(work_begins_when_the_database_is_there),
        RULE(a_server_killed_while_the_node_is_idle_is_noticed),
        RULE(a_connection_that_is_ended_is_made_anew),
        RULE(a_server_that_is_down_at_the_start_is_waited_for),
        RULE(a_second_node_stands_by),
        RULE(another_reason_is_told_at_once),
        RULE(a_table_that_is_gone_stops_the_work),
        RULE(a_ready_that_does_not_see_the_loss_is_no_success),
        RULE(a_server_that_says_nothing_does_not_hold_up_the_end),
        RULE(a_lock_of_somebody_else_does_not_hold_up_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
