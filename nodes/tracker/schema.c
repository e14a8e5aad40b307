/* SPDX-License-Identifier: Apache-2.0 */
/* The tables at the start: made in an empty database, looked at in one that MLflow made. */
#include "nodes/tracker/schema.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/buf.h"
#include "lib/error.h"
#include "lib/logger.h"
#include "lib/xmem.h"

#define NAME_SIZE 128

/* A column of a table that is there. */
struct column {
    char table[NAME_SIZE], name[NAME_SIZE];
    bool filled; /* needs no value in an INSERT */
};

struct columns {
    struct column *items;
    size_t count, room;
};

static const char COLUMNS_SQLITE[] =
    "SELECT m.name, c.name, c.\"notnull\" = 0 OR c.dflt_value IS NOT NULL FROM sqlite_master m"
    " JOIN pragma_table_info(m.name) c WHERE m.type = 'table'";
static const char COLUMNS_POSTGRES[] =
    "SELECT table_name, column_name, CASE WHEN is_nullable = 'YES' OR column_default IS NOT NULL THEN 1 ELSE 0 END"
    " FROM information_schema.columns WHERE table_schema = current_schema()";
static const char REVISION_OF[] = "SELECT version_num FROM alembic_version";
static const char DEFAULT_THERE[] = "SELECT 1 FROM experiments WHERE experiment_id = 0";
static const char DEFAULT_MAKE[] =
    "INSERT INTO experiments (experiment_id, name, artifact_location, lifecycle_stage, creation_time, last_update_time)"
    " VALUES (0, 'Default', $1, 'active', 0, 0) ON CONFLICT (experiment_id) DO NOTHING";

/* ---- what is there ---- */

static void copy_name(char name[NAME_SIZE], struct ls_slice text)
{
    snprintf(name, NAME_SIZE, "%.*s", (int) (text.len < NAME_SIZE ? text.len : NAME_SIZE - 1),
             text.len ? text.data : "");
}

static void take_column(void *arg, const struct db_row *row)
{
    struct columns *all = arg;
    all->items = xgrow(all->items, &all->room, all->count + 1, sizeof *all->items);
    struct column *c = &all->items[all->count++];
    copy_name(c->table, db_get_text(row, 0));
    copy_name(c->name, db_get_text(row, 1));
    c->filled = db_get_int(row, 2) != 0;
}

static bool has_table(const struct columns *all, const char *table)
{
    for (size_t i = 0; i < all->count; i++)
        if (strcmp(all->items[i].table, table) == 0)
            return true;
    return false;
}

static bool has_column(const struct columns *all, const char *table, const char *name, size_t len)
{
    for (size_t i = 0; i < all->count; i++)
        if (strcmp(all->items[i].table, table) == 0 && strlen(all->items[i].name) == len &&
            memcmp(all->items[i].name, name, len) == 0)
            return true;
    return false;
}

static bool is_word(const char *words, const char *word)
{
    size_t len = strlen(word);
    for (const char *at = words; (at = strstr(at, word)); at += len)
        if ((at == words || at[-1] == ' ') && (at[len] == ' ' || !at[len]))
            return true;
    return false;
}

/* ---- can it be worked with? ---- */

static int unfit(const char *revision, const char *table, const char *what, struct ls_error *err)
{
    return error_set(err, "FAILED",
                     "the database has MLflow's tables of revision %s, with which this tracker cannot work: %s %s. "
                     "Bring it to MLflow 3.0.1 or newer with "
                     "`mlflow db upgrade`, or name an empty database",
                     revision, table, what);
}

static int check_table(const struct columns *all, const struct schema_table *t, const char *revision,
                       struct ls_error *err)
{
    char what[NAME_SIZE + 80];
    if (!has_table(all, t->name))
        return unfit(revision, t->name, "is not there", err);
    for (const char *at = t->columns; *at;) {
        size_t len = strcspn(at, " ");
        if (!has_column(all, t->name, at, len)) {
            snprintf(what, sizeof what, "has no column %.*s", (int) len, at);
            return unfit(revision, t->name, what, err);
        }
        at += len + (at[len] == ' ');
    }
    for (size_t i = 0; i < all->count; i++) {
        const struct column *c = &all->items[i];
        if (strcmp(c->table, t->name) != 0 || c->filled || is_word(t->columns, c->name))
            continue;
        snprintf(what, sizeof what, "has a column %s, which needs a value that it does not know", c->name);
        return error_set(err, "FAILED",
                         "the database has MLflow's tables of revision %s, newer than this tracker: %s %s. Use a newer "
                         "lineshaft, or name an "
                         "empty database",
                         revision, t->name, what);
    }
    return 0;
}

static void take_revision(void *arg, const struct db_row *row)
{
    copy_name(arg, db_get_text(row, 0));
}

static int attach(struct db *db, const struct columns *all, struct ls_error *err)
{
    char revision[NAME_SIZE] = "";
    int64_t rows = db_run(db, REVISION_OF, NULL, 0, take_revision, revision, err);
    if (rows < 0)
        return -1;
    if (rows != 1)
        return error_set(err, "FAILED",
                         "the table alembic_version has %lld rows; a database of MLflow has one. Was `mlflow db "
                         "upgrade` broken off?",
                         (long long) rows);
    for (const struct schema_table *t = SCHEMA_NEEDED; t->name; t++)
        if (check_table(all, t, revision, err))
            return -1;
    if (strcmp(revision, SCHEMA_REVISION) != 0)
        logger_put(LEVEL_INFO, "schema", "the tables are of another MLflow release, and can be worked with",
                   "revision=%s own=%s", revision, SCHEMA_REVISION);
    return 0;
}

static int create(struct db *db, const struct columns *all, struct ls_error *err)
{
    for (const struct schema_table *t = SCHEMA_NEEDED; t->name; t++)
        if (has_table(all, t->name))
            return error_set(err, "FAILED",
                             "the database has a table %s, but no alembic_version: it is not MLflow's, nor empty. Name "
                             "another database",
                             t->name);
    if (db_script(db, db_is_postgres(db) ? SCHEMA_POSTGRES : SCHEMA_SQLITE, err))
        return error_wrap(err, "making MLflow's tables");
    logger_put(LEVEL_INFO, "schema", "made MLflow's tables", "release=%s revision=%s", SCHEMA_RELEASE, SCHEMA_REVISION);
    return 0;
}

static int make_default(struct db *db, const char *artifact_root, struct ls_error *err)
{
    int64_t rows = db_run(db, DEFAULT_THERE, NULL, 0, NULL, NULL, err);
    if (rows)
        return rows < 0 ? -1 : 0;
    char *location = xasprintf("%s/0", artifact_root);
    rows = db_run(db, DEFAULT_MAKE, DB_VALUES(db_text(location)), NULL, NULL, err);
    free(location);
    return rows < 0 ? -1 : 0;
}

int schema_open(struct db *db, const char *artifact_root, struct ls_error *err)
{
    struct columns all = {0};
    int rc = db_begin(db, err);
    if (!rc && db_run(db, db_is_postgres(db) ? COLUMNS_POSTGRES : COLUMNS_SQLITE, NULL, 0, take_column, &all, err) < 0)
        rc = -1;
    if (!rc)
        rc = has_table(&all, "alembic_version") ? attach(db, &all, err) : create(db, &all, err);
    if (!rc && (make_default(db, artifact_root, err) || db_commit(db, err)))
        rc = -1;
    if (rc)
        db_rollback(db);
    free(all.items);
    return rc;
}
