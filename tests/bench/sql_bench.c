/* SPDX-License-Identifier: Apache-2.0 */
/* The floor under log-metric and log-batch: the tracker's SQL in its transactions, prepared and pipelined, from a bare loop on libpq.
 *   sql_bench URL COUNT BATCHES ROWS    the tracker's database; prints one JSON object: single (transactions of one metric a second),
 *                                       batch (metrics a second, in transactions of ROWS) */
#include <postgresql/libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define COLUMNS 6
#define ROWS_MAX 64 /* of one statement, as in the tracker */
#define NUMBER_SIZE 24
#define RUN "5e1f0000000000000000000000000b0b"

static PGconn *conn;

static void require(int ok)
{
    if (!ok) {
        fprintf(stderr, "sql_bench: %s", PQerrorMessage(conn));
        exit(1);
    }
}

static void run(const char *sql)
{
    PGresult *result = PQexec(conn, sql);
    require(PQresultStatus(result) == PGRES_COMMAND_OK);
    PQclear(result);
}

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double) now.tv_sec + (double) now.tv_nsec / 1e9;
}

static void prepare(const char *name, const char *before, int rows, const char *after)
{
    static char sql[16384];
    size_t at = (size_t) snprintf(sql, sizeof sql, "%s (key, value, timestamp, run_uuid, step, is_nan) VALUES ", before);
    for (int row = 0; row < rows; row++)
        at += (size_t) snprintf(sql + at, sizeof sql - at, "%s($%d, $%d, $%d, $%d, $%d, $%d)", row ? ", " : "", row * COLUMNS + 1,
                                row * COLUMNS + 2, row * COLUMNS + 3, row * COLUMNS + 4, row * COLUMNS + 5, row * COLUMNS + 6);
    snprintf(sql + at, sizeof sql - at, " %s", after);
    PGresult *result = PQprepare(conn, name, sql, 0, NULL);
    require(PQresultStatus(result) == PGRES_COMMAND_OK);
    PQclear(result);
}

static void prepare_all(void)
{
    static const char LATEST[] = "ON CONFLICT (key, run_uuid) DO UPDATE SET value = excluded.value, timestamp = excluded.timestamp,"
                                 " step = excluded.step, is_nan = excluded.is_nan WHERE (excluded.step, excluded.timestamp,"
                                 " excluded.value) > (latest_metrics.step, latest_metrics.timestamp, latest_metrics.value)";
    prepare("one", "INSERT INTO metrics", 1, "ON CONFLICT DO NOTHING");
    prepare("many", "INSERT INTO metrics", ROWS_MAX, "ON CONFLICT DO NOTHING");
    prepare("latest", "INSERT INTO latest_metrics", 1, LATEST);
}

/* Sends a statement for `rows` values from number `first` on. */
static void send_rows(const char *name, long first, int rows)
{
    static char texts[ROWS_MAX * 2][NUMBER_SIZE], keys[10][4];
    const char *values[ROWS_MAX * COLUMNS];
    for (int row = 0; row < rows; row++) {
        char *number = texts[row * 2], *step = texts[row * 2 + 1], *key = keys[(first + row) % 10];
        snprintf(number, NUMBER_SIZE, "%ld.5", first + row);
        snprintf(step, NUMBER_SIZE, "%ld", first + row);
        snprintf(key, sizeof *keys, "m%ld", (first + row) % 10);
        memcpy(values + row * COLUMNS, (const char *[]){key, number, step, RUN, step, "f"}, sizeof(const char *[COLUMNS]));
    }
    require(PQsendQueryPrepared(conn, name, rows * COLUMNS, values, NULL, NULL, 0));
}

static void send_plain(const char *sql)
{
    require(PQsendQueryParams(conn, sql, 0, NULL, NULL, NULL, NULL, 0));
}

/* Everything that was sent, to the sync behind it. */
static void settle(void)
{
    require(PQpipelineSync(conn));
    for (;;) {
        PGresult *result = PQgetResult(conn);
        ExecStatusType status = result ? PQresultStatus(result) : PGRES_COMMAND_OK;
        require(status == PGRES_COMMAND_OK || status == PGRES_PIPELINE_SYNC);
        PQclear(result);
        if (status == PGRES_PIPELINE_SYNC)
            return;
    }
}

/* A transaction of `rows` values, of ten keys in turn. */
static void transaction(long first, int rows)
{
    int done = 0;
    send_plain("BEGIN");
    for (; rows - done >= ROWS_MAX; done += ROWS_MAX)
        send_rows("many", first + done, ROWS_MAX);
    for (; done < rows; done++)
        send_rows("one", first + done, 1);
    for (int key = rows < 10 ? rows : 10; key > 0; key--)
        send_rows("latest", first + rows - key, 1);
    send_plain("COMMIT");
    settle();
}

int main(int argc, char **argv)
{
    if (argc != 5)
        return fputs("usage: sql_bench URL COUNT BATCHES ROWS\n", stderr), 2;
    long count = strtol(argv[2], NULL, 10), batches = strtol(argv[3], NULL, 10), rows = strtol(argv[4], NULL, 10);
    conn = PQconnectdb(argv[1]);
    require(PQstatus(conn) == CONNECTION_OK);
    run("DELETE FROM metrics WHERE run_uuid = '" RUN "'");
    run("DELETE FROM latest_metrics WHERE run_uuid = '" RUN "'");
    run("INSERT INTO runs (run_uuid, experiment_id, lifecycle_stage, status) VALUES ('" RUN "', 0, 'active', 'RUNNING')"
        " ON CONFLICT DO NOTHING");
    prepare_all();
    require(PQenterPipelineMode(conn));
    double began = seconds_now();
    for (long i = 0; i < count; i++)
        transaction(i, 1);
    double single = seconds_now() - began;
    began = seconds_now();
    for (long i = 0; i < batches; i++)
        transaction(count + i * rows, (int) rows);
    double batch = seconds_now() - began;
    printf("{\"single\": %.1f, \"batch\": %.1f}\n", (double) count / single, (double) (batches * rows) / batch);
    PQfinish(conn);
    return 0;
}
