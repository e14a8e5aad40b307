/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_DB_RIG_H
#define TESTS_UNIT_DB_RIG_H
/* A fresh database for each rule, SQLite's or PostgreSQL's, and the words of the tests that use it. */
#include "tests/unit/postgres.h" /* brings cmocka.h */

#include "lib/error.h"
#include "lib/xmem.h"
#include "nodes/kit/db.h"

struct rig {
    struct db *db;
    char url[160], folder[40];
    struct ls_error err;
};

static inline struct db *open_or_fail(const char *url)
{
    struct ls_error err = {0};
    struct db *db = db_open(url, &err);
    if (!db)
        fail_msg("%s", err.text);
    return db;
}

static inline void script(struct rig *r, const char *sql)
{
    if (db_script(r->db, sql, &r->err))
        fail_msg("%s", r->err.text);
}

static inline int sqlite_setup(void **state)
{
    struct rig *r = *state = xcalloc(1, sizeof *r);
    snprintf(r->folder, sizeof r->folder, "/tmp/lineshaft-db-XXXXXX");
    assert_non_null(mkdtemp(r->folder));
    snprintf(r->url, sizeof r->url, "sqlite:%s/x.db", r->folder);
    r->db = open_or_fail(r->url);
    return 0;
}

static inline int postgres_setup(void **state)
{
    struct rig *r = *state = xcalloc(1, sizeof *r);
    snprintf(r->url, sizeof r->url, "%s", postgres_url());
    r->db = open_or_fail(r->url);
    script(r, "DROP SCHEMA public CASCADE; DROP SCHEMA IF EXISTS lineshaft CASCADE; CREATE SCHEMA public");
    return 0;
}

static inline int teardown(void **state)
{
    struct rig *r = *state;
    db_close(&r->db);
    if (r->folder[0])
        nftw(r->folder, postgres_remove, 16, FTW_DEPTH | FTW_PHYS);
    free(r);
    return 0;
}

/* ---- words of these tests ---- */

#define RUN(r, sql, ...) db_run((r)->db, sql, DB_VALUES(__VA_ARGS__), NULL, NULL, &(r)->err)
#define QUEUE(r, sql, ...) db_queue((r)->db, sql, DB_VALUES(__VA_ARGS__), &(r)->err)

static inline void take_int(void *arg, const struct db_row *row)
{
    *(int64_t *) arg = db_get_int(row, 0);
}

static inline int64_t number_of(struct rig *r, const char *sql)
{
    int64_t number = -1;
    if (db_run(r->db, sql, NULL, 0, take_int, &number, &r->err) < 0)
        fail_msg("%s", r->err.text);
    return number;
}

static inline void make_table(struct rig *r)
{
    script(r, "CREATE TABLE t (n BIGINT PRIMARY KEY, d DOUBLE PRECISION, b BOOLEAN, s VARCHAR(50))");
}

#define INSERT "INSERT INTO t (n, d, b, s) VALUES ($1, $2, $3, $4)"
#define INSERT_N "INSERT INTO t (n) VALUES ($1)"

static inline void well(struct rig *r, int64_t rc)
{
    if (rc < 0)
        fail_msg("%s", r->err.text);
    assert_int_equal(db_problem(r->db), DB_OK);
}

static inline void fails(struct rig *r, int64_t rc, enum db_problem problem, const char *name)
{
    assert_true(rc < 0);
    if (db_problem(r->db) != problem || strcmp(r->err.name, name))
        fail_msg("problem %d, name %s: %s", (int) db_problem(r->db), r->err.name, r->err.text);
    assert_null(strstr(r->err.text, POSTGRES_PASSWORD));
}

#define SQLITE(rule) {#rule " (SQLite)", rule, sqlite_setup, teardown, NULL}
#define POSTGRES(rule) {#rule " (PostgreSQL)", rule, postgres_setup, teardown, NULL}
#define BOTH(rule) SQLITE(rule), POSTGRES(rule)

#endif
