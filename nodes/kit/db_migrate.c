/* SPDX-License-Identifier: Apache-2.0 */
/* Migrations: brings the tables of a component to the last version, one step a transaction. */
#include "lib/clock.h"
#include "lib/error.h"
#include "lib/logger.h"
#include "nodes/kit/db_private.h"

/* Two nodes that start at once take turns: SQLite by its write lock, PostgreSQL by a lock of this transaction. */
#define TAKE_TURNS "SELECT pg_advisory_xact_lock(7811068532361489)" /* any number that stays the same */

static const char SQLITE_TABLE[] = "CREATE TABLE IF NOT EXISTS lineshaft_schema (component TEXT PRIMARY KEY, version BIGINT NOT NULL,"
                                   " applied BIGINT NOT NULL)";
static const char POSTGRES_TABLE[] = "CREATE TABLE IF NOT EXISTS lineshaft.lineshaft_schema (component TEXT PRIMARY KEY,"
                                     " version BIGINT NOT NULL, applied BIGINT NOT NULL)";
static const char HAS_SCHEMA[] = "SELECT 1 FROM pg_namespace WHERE nspname = 'lineshaft'";
static const char SQLITE_VERSION_OF[] = "SELECT version FROM lineshaft_schema WHERE component = $1";
static const char POSTGRES_VERSION_OF[] = "SELECT version FROM lineshaft.lineshaft_schema WHERE component = $1";
static const char SQLITE_SET[] = "INSERT INTO lineshaft_schema (component, version, applied) VALUES ($1, $2, $3)"
                                 " ON CONFLICT (component) DO UPDATE SET version = $2, applied = $3";
static const char POSTGRES_SET[] = "INSERT INTO lineshaft.lineshaft_schema (component, version, applied) VALUES ($1, $2, $3)"
                                   " ON CONFLICT (component) DO UPDATE SET version = $2, applied = $3";

static void take_version(void *arg, const struct db_row *row)
{
    *(int64_t *) arg = db_get_int(row, 0);
}

static int begin(struct db *db, struct ls_error *err)
{
    if (db_begin(db, err))
        return -1;
    return db_is_postgres(db) && db_run(db, TAKE_TURNS, NULL, 0, NULL, NULL, err) < 0 ? -1 : 0;
}

static int make_table(struct db *db, struct ls_error *err)
{
    if (begin(db, err))
        return -1;
    if (db_is_postgres(db)) { /* IF NOT EXISTS would ask for the right to make it even when it is there */
        int64_t rows = db_run(db, HAS_SCHEMA, NULL, 0, NULL, NULL, err);
        if (rows < 0 || (rows == 0 && db_run(db, "CREATE SCHEMA lineshaft", NULL, 0, NULL, NULL, err) < 0))
            return -1;
    }
    if (db_run(db, db_is_postgres(db) ? POSTGRES_TABLE : SQLITE_TABLE, NULL, 0, NULL, NULL, err) < 0)
        return -1;
    return db_commit(db, err);
}

static int apply(struct db *db, const char *name, const struct db_step *step, int64_t version, struct ls_error *err)
{
    bool postgres = db_is_postgres(db);
    const char *script = step->both ? step->both : postgres ? step->postgres : step->sqlite;
    const char *set = postgres ? POSTGRES_SET : SQLITE_SET;
    if (db_script(db, script, err) ||
        db_run(db, set, DB_VALUES(db_text(name), db_int(version), db_int(clock_wall_us() / 1000)), NULL, NULL, err) < 0)
        return error_wrap(err, "step %lld of the tables of %s", (long long) version, name);
    return 0;
}

/* One step in a transaction. Returns 1: more may follow, 0: the last version is there. */
static int migrate_step(struct db *db, const char *name, const struct db_step *steps, size_t count, struct ls_error *err)
{
    struct db_call later = {.err = err};
    int64_t version = 0;
    if (begin(db, err) || db_run(db, db_is_postgres(db) ? POSTGRES_VERSION_OF : SQLITE_VERSION_OF, DB_VALUES(db_text(name)),
                                 take_version, &version, err) < 0)
        return -1;
    if (version > (int64_t) count) {
        db->problem = DB_SCHEMA;
        return db_problem_set(&later, DB_SCHEMA,
                              "the tables of %s in this database have version %lld, this program knows %zu: start a lineshaft as new as "
                              "the one that made them, or name another database",
                              name, (long long) version, count);
    }
    if (version == (int64_t) count)
        return db_commit(db, err);
    if (apply(db, name, &steps[version], version + 1, err) || db_commit(db, err))
        return -1;
    logger_put(LEVEL_INFO, "migrated", name, "version=%lld", (long long) version + 1);
    return 1;
}

int db_migrate(struct db *db, const char *name, const struct db_step *steps, size_t count, struct ls_error *err)
{
    int rc = make_table(db, err);
    while (rc == 0 && (rc = migrate_step(db, name, steps, count, err)) > 0)
        rc = 0;
    if (rc < 0)
        db_rollback(db);
    return rc;
}
