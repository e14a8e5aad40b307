/* SPDX-License-Identifier: Apache-2.0 */
/* An upload that was begun and whose id never came to us: the store would keep it for ever. It is known by its key, by its time (by the
 * store's own clock), and by having no parts, as only who knows the id can send one. */
#include "nodes/kit/objstore_s3_put.h"

#include <stdlib.h>

#include "lib/clock.h"
#include "lib/xmem.h"

#define SLACK_MS 2000 /* stores tell whole seconds */
#define ANSWER_BYTES_MAX (4u << 20)

struct s3_strays {
    void (*next)(struct s3_put *put);
    char *key;        /* with the store's prefix */
    int64_t since_ms; /* of the store's clock */
    char **ids;
    size_t count, room, at;
    /* The one being read. */
    char *its_key, *its_id;
    int64_t its_ms;
    bool has_parts;
};

static void look_at(struct s3_put *put);

void s3_strays_free(struct s3_put *put)
{
    struct s3_strays *s = put->strays;
    if (!s)
        return;
    for (size_t i = 0; i < s->count; i++)
        free(s->ids[i]);
    free(s->ids);
    free(s->its_key);
    free(s->its_id);
    free(s->key);
    free(s);
    put->strays = NULL;
}

static void send(struct s3_put *put, const char *method, const struct sigv4_pair *pairs,
                 void (*end)(struct s3_request *request))
{
    struct s3_request *r = &put->request;
    s3_request_init(r, put->store, method, strcmp(pairs->name, "uploadId") == 0 ? put->on.key : NULL, pairs);
    r->answer_max = ANSWER_BYTES_MAX;
    r->arg = put;
    r->end = end;
    s3_request_send(r);
}

static void on_removed(struct s3_request *r)
{
    struct s3_put *put = r->arg;
    put->strays->at++;
    look_at(put);
}

static void on_part_element(void *arg, const char *path, const char *text)
{
    struct s3_strays *s = arg;
    (void) text;
    if (strcmp(path, "ListPartsResult/Part") == 0)
        s->has_parts = true;
}

static void on_parts(struct s3_request *r)
{
    struct s3_put *put = r->arg;
    struct s3_strays *s = put->strays;
    s->has_parts = false;
    if (s3_request_done(r) && s3_request_read(r, on_part_element, s, NULL) == 0 && !s->has_parts)
        send(put, "DELETE", (const struct sigv4_pair[]){{"uploadId", s->ids[s->at]}, {NULL, NULL}}, on_removed);
    else
        on_removed(r);
}

static void look_at(struct s3_put *put)
{
    struct s3_strays *s = put->strays;
    if (s->at < s->count) {
        send(put, "GET", (const struct sigv4_pair[]){{"uploadId", s->ids[s->at]}, {"max-parts", "1"}, {NULL, NULL}},
             on_parts);
        return;
    }
    void (*next)(struct s3_put *) = s->next;
    s3_strays_free(put);
    next(put);
}

static void take(char **field, const char *text)
{
    free(*field);
    *field = text ? xstrdup(text) : NULL;
}

static void on_upload_element(void *arg, const char *path, const char *text)
{
    struct s3_put *put = arg;
    struct s3_strays *s = put->strays;
    if (strcmp(path, "ListMultipartUploadsResult/Upload/Key") == 0)
        take(&s->its_key, text);
    else if (strcmp(path, "ListMultipartUploadsResult/Upload/UploadId") == 0)
        take(&s->its_id, text);
    else if (strcmp(path, "ListMultipartUploadsResult/Upload/Initiated") == 0)
        s->its_ms = s3_time_ms(text);
    if (strcmp(path, "ListMultipartUploadsResult/Upload") != 0)
        return;
    bool same_key = s->its_key && s->its_id && strcmp(s->its_key, s->key) == 0;
    if (same_key && s->its_ms >= s->since_ms && strcmp(s->its_id, put->journal.upload) != 0) {
        s->ids = xgrow(s->ids, &s->room, s->count + 1, sizeof *s->ids);
        s->ids[s->count++] = xstrdup(s->its_id);
    }
    take(&s->its_key, NULL);
    take(&s->its_id, NULL);
    s->its_ms = 0;
}

static void on_uploads(struct s3_request *r)
{
    struct s3_put *put = r->arg;
    put->strays->since_ms = r->date_ms - (clock_wall_us() / 1000 - put->journal.creating_ms) - SLACK_MS;
    if (s3_request_done(r) && r->date_ms)
        s3_request_read(r, on_upload_element, put, NULL);
    look_at(put);
}

void s3_strays_sweep(struct s3_put *put, void (*next)(struct s3_put *put))
{
    s3_strays_free(put);
    put->strays = xcalloc(1, sizeof *put->strays);
    put->strays->next = next;
    put->strays->key = xasprintf("%s%s", put->store->config.prefix, put->on.key);
    send(put, "GET", (const struct sigv4_pair[]){{"uploads", ""}, {"prefix", put->strays->key}, {NULL, NULL}},
         on_uploads);
}
