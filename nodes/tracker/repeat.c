/* SPDX-License-Identifier: Apache-2.0 */
/* The answers of writes that carry a key, for those who ask again. */
#include "nodes/tracker/repeat.h"

#include "lib/buf.h"
#include "lib/clock.h"
#include "lib/node.h"

#define KEEP_MS 86400000
#define FIND "SELECT answer FROM lineshaft_repeat WHERE key = $1 AND topic = $2"
#define KEEP "INSERT INTO lineshaft_repeat (key, topic, answer, time_ms) VALUES ($1, $2, $3, $4)"
#define FORGET "DELETE FROM lineshaft_repeat WHERE time_ms < $1"

static void take_answer(void *arg, const struct db_row *row)
{
    json_t **answer = arg;
    struct ls_slice text = db_get_text(row, 0);
    *answer = json_loadb(text.data, text.len, JSON_DECODE_ANY, NULL);
}

int repeat_find(struct db *db, struct ls_slice key, const char *topic, json_t **answer, struct ls_error *err)
{
    *answer = NULL;
    if (db_run(db, FIND, DB_VALUES(db_slice(key), db_text(topic)), take_answer, answer, err) < 0)
        return -1;
    return *answer ? 1 : 0;
}

int repeat_keep(struct db *db, struct ls_slice key, const char *topic, const json_t *answer, struct ls_error *err)
{
    int64_t now_ms = clock_wall_us() / 1000;
    struct buf text = {0};
    node_write(&text, answer);
    int rc = db_queue(db, FORGET, DB_VALUES(db_int(now_ms - KEEP_MS)), err);
    if (!rc)
        rc = db_queue(db, KEEP,
                      DB_VALUES(db_slice(key), db_text(topic), db_slice(ls_bytes(text.data, text.len)), db_int(now_ms)), err);
    buf_fini(&text);
    return rc;
}
