/* SPDX-License-Identifier: Apache-2.0 */
/* How a connection to PostgreSQL is made, without waiting, and what a session is told first; what its URLs mean.
 * Sources: postgresql.org/docs/15: libpq-connect, runtime-config-connection, runtime-config-client. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/error.h"
#include "lib/logger.h"
#include "lib/xmem.h"
#include "nodes/kit/db_postgres.h"

#define CONNECT_MS 10000   /* for each address, unless the URL says otherwise */
#define PATIENCE_MS 300000 /* a server that says nothing for so long is lost, though its machine answers */

/* ---- URLs ---- */

static bool may_hold_secret(const char *url)
{
    return strchr(url, '@') || strcasestr(url, "password");
}

int postgres_check_url(const char *url, struct ls_error *err)
{
    char *why = NULL;
    PQconninfoOption *options = PQconninfoParse(url, &why);
    if (!options) /* libpq's sentence may quote the URL */
        error_set(err, "BAD_VALUE", "not a URL that PostgreSQL's library can read%s%.200s; write postgresql://USER:PASSWORD@HOST:5432/"
                                    "NAME, with %%40 for @ and %%2F for / within the parts",
                  may_hold_secret(url) ? "" : ": ", may_hold_secret(url) ? "" : why ? why : "");
    int rc = options ? 0 : -1;
    PQfreemem(why);
    PQconninfoFree(options);
    return rc;
}

static const char *option(const PQconninfoOption *options, const char *name)
{
    for (; options && options->keyword; options++)
        if (strcmp(options->keyword, name) == 0)
            return options->val;
    return NULL;
}

char *postgres_place(const char *url)
{
    PQconninfoOption *options = PQconninfoParse(url, NULL);
    const char *host = option(options, "host"), *port = option(options, "port"), *name = option(options, "dbname");
    host = host ? host : option(options, "hostaddr");
    char *place = xasprintf("postgresql://%s%s%s/%s", host ? host : "", port ? ":" : "", port ? port : "", name ? name : "");
    PQconninfoFree(options);
    return place;
}

/* ---- connecting ---- */

static int count_parts(const char *list)
{
    int count = 1;
    for (; list && *list; list++)
        count += *list == ',';
    return count;
}

/* "a,b,c" as "b,c,a", so many times; NULL stays NULL. The caller's to free. */
static char *rotated(const char *list, int times)
{
    char *turned = list ? xstrdup(list) : NULL;
    for (const char *comma; turned && times > 0 && (comma = strchr(turned, ',')); times--) {
        char *next = xasprintf("%s,%.*s", comma + 1, (int) (comma - turned), turned);
        free(turned);
        turned = next;
    }
    return turned;
}

static void note_address(struct postgres *p, int64_t timeout_ms)
{
    char address[sizeof p->address];
    const char *host = PQhostaddr(p->conn), *port = PQport(p->conn);
    snprintf(address, sizeof address, "%s:%s", host ? host : "", port ? port : "");
    if (strcmp(address, p->address) == 0)
        return;
    memcpy(p->address, address, sizeof address);
    p->wait.until_ms = clock_mono_ms() + timeout_ms;
}

static int64_t timeout_of(const struct postgres *p)
{
    PQconninfoOption *options = PQconninfo(p->conn);
    const char *seconds = option(options, "connect_timeout");
    int64_t timeout = seconds ? strtol(seconds, NULL, 10) : CONNECT_MS / 1000;
    PQconninfoFree(options);
    return timeout > 0 && timeout < INT32_MAX / 1000 ? timeout * 1000 : INT32_MAX; /* libpq's 0 is for ever */
}

/* What stands before dbname gives way to the URL; what stands behind it does not. */
static int begin_connection(struct postgres *p, struct db_call *call)
{
    static const char *const NAMES[] = {"keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout",
                                        "fallback_application_name", "dbname", "client_encoding", "host", "hostaddr", "port", NULL};
    PQconninfoOption *options = PQconninfoParse(p->url, NULL);
    char *host = rotated(option(options, "host"), p->turns), *hostaddr = rotated(option(options, "hostaddr"), p->turns);
    char *port = rotated(option(options, "port"), p->turns);
    const char *const values[] = {"1", "4", "2", "3", "10000", "lineshaft", p->url, "UTF8", host, hostaddr, port, NULL};
    PQfinish(p->conn);
    p->conn = PQconnectStartParams(NAMES, values, 1);
    p->host_count = count_parts(host ? host : hostaddr);
    p->wait.events = POLLOUT;
    p->address[0] = '\0';
    free(host);
    free(hostaddr);
    free(port);
    PQconninfoFree(options);
    if (PQstatus(p->conn) == CONNECTION_BAD)
        return postgres_fail(p, call);
    note_address(p, timeout_of(p));
    return 0;
}

/* libpq leaves the time to its caller, and has no word for "the next host". */
static int pass_over(struct postgres *p, struct db_call *call)
{
    if (++p->turns < p->host_count)
        return begin_connection(p, call);
    return db_problem_set(call, DB_LOST, "PostgreSQL: no answer from %s", p->address);
}

/* What would hold a node up, or hold its lock when it is gone, unless URL, role or database say otherwise: how long a lock is waited for,
 * and how soon the server notices that nobody is there any more. */
static const char SETTINGS[] =
    "SELECT set_config(s.name, v.value, false) FROM pg_settings s JOIN (VALUES ('lock_timeout', '10000'), ('tcp_keepalives_idle', '4'),"
    " ('tcp_keepalives_interval', '2'), ('tcp_keepalives_count', '3'), ('tcp_user_timeout', '10000')) v (name, value)"
    " ON v.name = s.name WHERE s.source IN ('default', 'configuration file')";
static const char CHECKED[] = /* since version 14, and not on every system */
    "SELECT set_config(name, '10000', false) FROM pg_settings WHERE name = 'client_connection_check_interval'"
    " AND source IN ('default', 'configuration file')";
static const char PATH[] = "SET search_path TO public, lineshaft";

static void on_notice(void *arg, const PGresult *result)
{
    const char *text = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    const char *level = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);
    bool last = level && strcmp(level, "FATAL") == 0; /* why an idle connection ends */
    (void) arg;
    logger_put(last ? LEVEL_WARN : LEVEL_DEBUG, "database-notice", text ? text : "", "level=%s", level ? level : "");
}

/* A server that refuses a setting can still be worked with. */
static int set(struct postgres *p, const char *sql, struct db_call *call)
{
    struct ls_error err = {0};
    struct db_call one = {.sql = sql, .err = &err};
    if (postgres_run(&p->db, &one) >= 0)
        return 0;
    if (one.problem != DB_LOST) {
        logger_put(LEVEL_WARN, "database-setting", err.text, "address=%s", p->address);
        return 0;
    }
    call->problem = one.problem;
    if (call->err)
        *call->err = err;
    return -1;
}

static int set_up(struct postgres *p, struct db_call *call)
{
    const char *options = PQoptions(p->conn);
    bool has_path = options && strstr(options, "search_path");
    PQsetNoticeReceiver(p->conn, on_notice, NULL);
    if (PQsetnonblocking(p->conn, 1) || !PQenterPipelineMode(p->conn))
        return postgres_fail(p, call);
    p->db.patience_ms = PATIENCE_MS;
    return (!has_path && set(p, PATH, call)) || set(p, SETTINGS, call) || set(p, CHECKED, call) ? -1 : 1;
}

int postgres_connect(struct db *db, struct db_call *call, struct db_wait *wait)
{
    struct postgres *p = postgres_of(db);
    struct pollfd fd = {.fd = PQsocket(p->conn), .events = p->wait.events};
    if (poll(&fd, 1, 0) > 0) { /* libpq must not be asked before */
        PostgresPollingStatusType status = PQconnectPoll(p->conn);
        if (status == PGRES_POLLING_OK)
            return set_up(p, call);
        if (status == PGRES_POLLING_FAILED)
            return postgres_fail(p, call);
        p->wait.events = status == PGRES_POLLING_READING ? POLLIN : POLLOUT;
        note_address(p, timeout_of(p));
    } else if (clock_mono_ms() >= p->wait.until_ms && pass_over(p, call)) {
        return -1;
    }
    *wait = p->wait;
    return 0;
}

struct db *postgres_open_start(const char *url, struct ls_error *err)
{
    struct db_call call = {.err = err};
    struct postgres *p = xcalloc(1, sizeof *p);
    struct db *db = &p->db;
    db->driver = &POSTGRES_DRIVER;
    db->patience_ms = INT64_MAX; /* each address has its own time */
    p->url = xstrdup(url);
    if (begin_connection(p, &call))
        db_close(&db);
    return db;
}
