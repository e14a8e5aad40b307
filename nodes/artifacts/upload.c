/* SPDX-License-Identifier: Apache-2.0 */
/* An upload: from the socket into the spool, hashed on the way; answered when the store has it, or, if that takes too long, that it is
 * kept. A client that goes away before its content is whole leaves nothing; afterwards the artifact is stored all the same. */
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "lib/clock.h"
#include "lib/error.h"
#include "lib/utf8.h"
#include "lib/xmem.h"
#include "nodes/artifacts/answer.h"
#include "nodes/artifacts/door.h"

#define RUN_ID_BYTES 32
#define CONTENT_TYPE_BYTES 127

struct upload {
    struct visit visit;
    struct entry *entry;     /* NULL: refused, or done */
    struct objstore_op *look; /* does the key exist? */
    bool existed;
    bool has_sha256, has_md5; /* the client told what they are */
    char sha256[65];
    unsigned char md5[16];
    struct timer patience;
};

/* ---- what the header says ---- */

/* Decodes base64 of exactly `size` bytes. */
static bool read_base64(const char *text, size_t len, unsigned char *out, size_t size)
{
    unsigned char decoded[64];
    if (len != (size + 2) / 3 * 4 || len > 4 * sizeof decoded / 3)
        return false;
    if (EVP_DecodeBlock(decoded, (const unsigned char *) text, (int) len) < (int) size)
        return false;
    memcpy(out, decoded, size);
    return true;
}

/* Repr-Digest and Content-Digest (RFC 9530; an uploaded body is the whole representation), Content-MD5 (RFC 1864). */
static int read_digests(struct upload *u, struct ls_error *err)
{
    static const char *const NAMES[] = {"Repr-Digest", "Content-Digest"};
    unsigned char digest[32];
    for (size_t i = 0; i < 2; i++) {
        const char *header = http_header(u->visit.x, NAMES[i]), *at = header ? strstr(header, "sha-256=:") : NULL;
        if (!at)
            continue;
        at += strlen("sha-256=:");
        if (!read_base64(at, strcspn(at, ":"), digest, sizeof digest))
            return error_set(err, "BAD_DIGEST", "%s: its sha-256 is no base64 of 32 bytes", NAMES[i]);
        for (size_t b = 0; b < sizeof digest; b++)
            snprintf(u->sha256 + 2 * b, 3, "%02x", digest[b]);
        u->has_sha256 = true;
    }
    const char *md5 = http_header(u->visit.x, "Content-MD5");
    u->has_md5 = md5 != NULL;
    if (md5 && !read_base64(md5, strlen(md5), u->md5, sizeof u->md5))
        return error_set(err, "BAD_DIGEST", "Content-MD5 is no base64 of 16 bytes");
    return 0;
}

static bool is_plain(const char *text, size_t max)
{
    size_t len = strlen(text);
    for (size_t i = 0; i < len; i++)
        if (text[i] < 0x20 || text[i] > 0x7e)
            return false;
    return len && len <= max;
}

/* What asks for something else than storing all of it must not be taken for that (curl -C sends the rest of a file). */
static int refuse_partial(const struct visit *v, struct ls_error *err)
{
    static const char *const NAMES[] = {"Content-Range", "If-Match", "If-Unmodified-Since"};
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++)
        if (http_header(v->x, NAMES[i]))
            return error_set(err, "BAD_VALUE", "%s is not for uploads: send the whole content, with If-None-Match: * if nothing is to be "
                                               "replaced", NAMES[i]);
    return 0;
}

static int read_facts(struct upload *u, struct entry_facts *facts, struct ls_error *err)
{
    const struct visit *v = &u->visit;
    const char *type = http_header(v->x, "Content-Type"), *run = http_header(v->x, "X-Lineshaft-Run");
    const char *none = http_header(v->x, "If-None-Match"), *trace = visit_trace(v), *user = visit_user(v);
    if (run && (!*run || strlen(run) > RUN_ID_BYTES || !utf8_valid(run, strlen(run))))
        return error_set(err, "BAD_VALUE", "X-Lineshaft-Run has 1 to %d bytes of UTF-8", RUN_ID_BYTES);
    if (none && strcmp(none, "*") != 0)
        return error_set(err, "BAD_VALUE", "If-None-Match: an upload takes * alone (only if the path is free)");
    if (refuse_partial(v, err) || read_digests(u, err))
        return -1;
    *facts = (struct entry_facts){
        .key = xstrdup(v->key), .run_id = run ? xstrdup(run) : events_run_of(v->key), .replace = !none,
        .content_type = type && is_plain(type, CONTENT_TYPE_BYTES) ? xstrdup(type) : NULL,
        .traceparent = trace ? xstrdup(trace) : NULL, .user_id = user ? xstrdup(user) : NULL};
    return 0;
}

/* ---- the answer ---- */

static void be_stored(struct upload *u)
{
    objstore_cancel(&u->look);
    if (u->entry && !u->entry->released)
        store_go(u->visit.a, u->entry);
}

void upload_stored(struct upload *u, const struct objstore_object *object, bool already_there)
{
    node_timer_unset(u->visit.a->node, &u->patience);
    u->entry = NULL;
    if (u->visit.mlflow)
        visit_answer(&u->visit, 200, json_object());
    else
        visit_answer(&u->visit, already_there || u->existed ? 200 : 201, door_object(u->visit.a, object));
}

void upload_failed(struct upload *u, const struct ls_error *err)
{
    node_timer_unset(u->visit.a->node, &u->patience);
    u->entry = NULL;
    visit_fail(&u->visit, err);
}

static void answer_spooled(struct upload *u)
{
    u->entry->upload = NULL;
    be_stored(u);
    u->entry = NULL;
    node_timer_unset(u->visit.a->node, &u->patience);
    visit_answer(&u->visit, 202, json_pack("{s:s, s:s}", "path", u->visit.key, "state", "spooled"));
}

static void on_patience(void *arg, struct timer *timer)
{
    (void) arg;
    answer_spooled((struct upload *) (void *) ((char *) timer - offsetof(struct upload, patience)));
}

void upload_leave(struct visit *visit)
{
    struct upload *u = (struct upload *) visit;
    if (visit->code == &upload_code && u->entry && u->entry->state == ENTRY_READY)
        answer_spooled(u);
}

/* ---- content ---- */

/* It will not be: the entry goes, the client is told. */
static void refuse(struct upload *u, const struct ls_error *err)
{
    struct artifacts *a = u->visit.a;
    if (strcmp(err->name, "FULL") == 0) {
        artifacts_count(a, METRIC_REFUSED, 1);
        a->refused_ms = clock_mono_ms();
        events_pressure(a);
    }
    if (u->entry) {
        store_leave(a, u->entry);
        spool_drop(&u->entry);
    }
    visit_fail(&u->visit, err);
}

void upload_begin(struct visit *visit)
{
    struct upload *u = (struct upload *) visit;
    struct artifacts *a = visit->a;
    struct entry_facts facts;
    struct ls_error err;
    http_body_limit(visit->x, (uint64_t) a->options->spool_limit);
    http_body_stream(visit->x);
    if (read_facts(u, &facts, &err) || !(u->entry = spool_begin(a->spool, NULL, &facts, http_body_length(visit->x), &err)))
        refuse(u, &err);
}

static void on_body(struct visit *visit, struct ls_slice bytes)
{
    struct upload *u = (struct upload *) visit;
    struct ls_error err;
    if (u->entry && spool_write(u->entry, bytes, &err))
        refuse(u, &err);
}

static int check_digests(const struct upload *u, struct ls_error *err)
{
    const struct entry *entry = u->entry;
    if (u->has_sha256 && strcmp(u->sha256, entry->sha256) != 0)
        return error_set(err, "BAD_DIGEST", "%.200s: the sha256 of what came is %s, not %s; nothing was stored", entry->facts.key,
                         entry->sha256, u->sha256);
    if (u->has_md5 && memcmp(u->md5, entry->md5, sizeof u->md5) != 0)
        return error_set(err, "BAD_DIGEST", "%.200s: what came does not have the MD5 that Content-MD5 tells; nothing was stored",
                         entry->facts.key);
    return 0;
}

static void on_looked(void *arg, const struct ls_error *err)
{
    struct upload *u = arg;
    u->look = NULL;
    u->existed = err == NULL;
    be_stored(u);
}

static void on_request(struct visit *visit)
{
    struct upload *u = (struct upload *) visit;
    struct artifacts *a = visit->a;
    struct entry *entry = u->entry;
    struct ls_error err;
    spool_digest(entry);
    if (check_digests(u, &err) || spool_keep(entry, &err)) {
        refuse(u, &err);
        return;
    }
    entry->upload = u;
    store_line_up(a, entry);
    u->patience.fire = on_patience;
    node_timer_set(a->node, &u->patience, a->options->answer_after);
    const struct objstore_get look = {.key = visit->key, .length = 0, .arg = u, .end = on_looked};
    if (entry->facts.replace && !visit->mlflow) /* 200 or 201? */
        u->look = objstore_get(a->store, &look, &err);
    if (!u->look)
        be_stored(u);
}

static void on_end(struct visit *visit, bool complete)
{
    struct upload *u = (struct upload *) visit;
    (void) complete;
    node_timer_unset(visit->a->node, &u->patience);
    if (u->entry && u->entry->state == ENTRY_RECEIVING) {
        spool_drop(&u->entry);
    } else if (u->entry) {
        u->entry->upload = NULL;
        be_stored(u);
    }
    objstore_cancel(&u->look);
    free(visit->key);
    free(u);
}

const struct visit_code upload_code = {.body = on_body, .request = on_request, .end = on_end};

struct visit *upload_new(void)
{
    struct upload *u = xcalloc(1, sizeof *u);
    u->visit.code = &upload_code;
    return &u->visit;
}
