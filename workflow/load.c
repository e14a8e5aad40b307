/* SPDX-License-Identifier: Apache-2.0 */
/* From a workflow file to a struct workflow: reads the file and its top level, has the parts read by load_*.c, and
 * keeps or refuses the whole. */
#include "workflow/load.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "lib/file.h"
#include "lib/xmem.h"

#define FILE_MAX ((size_t) 8 << 20)
static const struct value_form FORM = {"workflow", FILE_MAX, 400000};

/* ---- the top level ---- */

/* "config/workflows/train.yaml" -> "train" */
static char *file_stem(struct loader *l)
{
    const char *slash = strrchr(l->file->path, '/'), *name = slash ? slash + 1 : l->file->path,
               *dot = strrchr(name, '.');
    return pool_text(&l->file->pool, name, dot && dot > name ? (size_t) (dot - name) : strlen(name));
}

static void load_name(struct loader *l)
{
    const struct value *given = value_find(l->root, "id");
    if (given) {
        if (l->sheet->id)
            load_id(l, given, "workflow");
        l->w->id = l->sheet->id;
        return;
    }
    struct value stem = {.type = VALUE_TEXT, .at = l->root->at, .text = file_stem(l)};
    size_t errors = l->diags->error_count;
    if (!load_id(l, &stem, "workflow") && l->diags->error_count > errors && l->diags->count < DIAG_KEPT_MAX)
        diag_hint(&l->diags->items[l->diags->count - 1], "that is the name of the file: give the workflow an `id`");
    l->w->id = pool_text(&l->file->pool, stem.text, strlen(stem.text));
}

/* Airflow's words for what to make up: true and false. */
static void own_catchup(struct loader *l, struct value *root)
{
    const struct value *catchup = value_find(root, "catchup");
    bool all;
    if (catchup && value_bool(catchup, &all))
        load_set(l, root, load_text_value(l, value_find_key(root, "catchup")->at, "catchup"),
                 load_text_value(l, catchup->at, all ? "all" : "latest"));
}

static void own_concurrency(struct loader *l)
{
    const struct value *map = value_find(l->root, "concurrency"), *limit = value_find_key(map, "limit"),
                       *other = value_find_key(l->root, "max_active_runs");
    l->w->overlap = (unsigned) l->sheet->concurrency.policy;
    if (!limit)
        return;
    if (!other) {
        l->w->max_active_runs = l->sheet->concurrency.limit;
        return;
    }
    struct diag *d = diag_add(l->diags, DIAG_KEY_DUPLICATE, limit->at,
                              "the \"limit\" of \"concurrency\" says the same as \"max_active_runs\"");
    diag_other(d, other->at, "which stands here");
    diag_hint(d, "leave one of them out");
}

static void load_top(struct loader *l)
{
    struct option_context ctx = load_context(l, "the workflow");
    ctx.elsewhere = ELSEWHERE_WORKFLOW;
    struct value *root = load_own(l, l->root, SYNONYMS_WORKFLOW, OPTIONS_WORKFLOW);
    own_catchup(l, root);
    l->root = root;
    options_parse(&ctx, OPTIONS_WORKFLOW, l->root, (struct place){1, 1, 0}, l->sheet);
    l->w->tags = l->sheet->tags.items ? l->sheet->tags.items : pool_alloc(&l->file->pool, 1, sizeof(*l->w->tags));
    l->w->place = l->root->at;
    own_concurrency(l);
    load_name(l);
    load_schedule(l);
    load_inputs(l);
    load_tasks(l);
    load_triggers(l);
}

/* ---- the whole ---- */

static void set_text(struct loader *l, const char *text, size_t len)
{
    XXH128_hash_t hash = XXH3_128bits(text, len);
    snprintf(l->w->hash, sizeof l->w->hash, "%016llx%016llx", (unsigned long long) hash.high64,
             (unsigned long long) hash.low64);
    l->w->text = pool_text(&l->file->pool, text, len);
}

static void load_document(struct loader *l, const char *text, size_t len)
{
    size_t errors = l->diags->error_count;
    l->root = value_parse_as(&l->tree, (struct ls_slice){text, len}, &FORM, l->diags);
    if (l->root && l->root->type == VALUE_MAP) {
        l->sheet = pool_alloc(&l->file->pool, 1, sizeof *l->sheet);
        l->w = &l->sheet->w;
        set_text(l, text, len);
        load_top(l);
    } else if (l->diags->error_count == errors) {
        struct diag *d = diag_add(l->diags, DIAG_TYPE_WRONG, l->root ? l->root->at : (struct place){0},
                                  l->root ? "the file is not a map" : "the file is empty");
        diag_hint(d, "a workflow begins with its `id` or its `tasks`");
    }
    if (l->diags->error_count == errors)
        l->file->workflow = l->w;
}

static struct workflow_file *new_file(const char *path)
{
    struct workflow_file *file = xcalloc(1, sizeof *file);
    file->kept = xcalloc(1, sizeof *file->kept);
    file->path = pool_text(&file->pool, path, strlen(path));
    return file;
}

struct workflow_file *workflow_load_text(const char *path, const char *text, size_t len, struct diag_list *diags)
{
    struct loader l = {.file = new_file(path), .diags = diags};
    diag_list_source(diags, path, len <= FILE_MAX ? text : "", len <= FILE_MAX ? len : 0);
    load_document(&l, text, len);
    diag_sort(diags);
    if (!l.file->workflow && l.w) {
        zone_close(l.w->zone);
        l.w->zone = NULL;
    }
    map_fini(&l.ids);
    free(l.id_names);
    pool_fini(&l.tree);
    return l.file;
}

/* What is too large is refused by who reads the text. */
static bool read_all(const char *path, struct buf *text, const char **why)
{
    bool ok = file_load_regular(path, FILE_MAX, text) == 0 || errno == EFBIG;
    *why = ok ? NULL : file_problem(errno);
    return ok;
}

struct workflow_file *workflow_load(const char *path, struct diag_list *diags)
{
    struct buf text = {0};
    const char *why = NULL;
    struct workflow_file *file;
    if (read_all(path, &text, &why)) {
        file = workflow_load_text(path, buf_text(&text), text.len, diags);
    } else {
        file = new_file(path);
        diag_list_source(diags, path, "", 0);
        struct diag *d = diag_add(diags, DIAG_FILE_UNREADABLE, (struct place){0}, "the workflow cannot be read");
        diag_hint(d, "%s", why);
    }
    buf_fini(&text);
    return file;
}

void workflow_file_free(struct workflow_file **file)
{
    if (!*file)
        return;
    struct pool pool = (*file)->pool;
    struct workflow_kept *kept = (*file)->kept;
    for (size_t i = 0; i < kept->json_count; i++)
        json_decref(kept->jsons[i]);
    for (size_t i = 0; i < kept->expr_count; i++)
        expr_free(kept->exprs[i]);
    free(kept->jsons);
    free(kept->exprs);
    free(kept);
    if ((*file)->workflow)
        zone_close((*file)->workflow->zone);
    free(*file);
    pool_fini(&pool);
    *file = NULL;
}

/* A key that workflows have; topologies have none of these. */
static bool has_own_key(const struct value *root)
{
    for (const struct option_def *opt = OPTIONS_WORKFLOW; opt->name; opt++)
        if (value_find(root, opt->name))
            return true;
    for (const struct synonym *s = SYNONYMS_WORKFLOW; s->given; s++)
        if (value_find(root, s->given))
            return true;
    return false;
}

bool workflow_is(const char *path)
{
    struct buf text = {0};
    struct pool pool = {0};
    struct diag_list diags = {0};
    const char *why;
    const struct value *root = NULL;
    bool readable = read_all(path, &text, &why);
    diag_list_source(&diags, path, buf_text(&text), text.len);
    if (readable)
        root = value_parse_as(&pool, (struct ls_slice){buf_text(&text), text.len}, &FORM, &diags);
    bool is = has_own_key(root) && !value_find(root, "lineshaft");
    diag_list_fini(&diags);
    pool_fini(&pool);
    buf_fini(&text);
    return is;
}

/* ---- looking up ---- */

static int by_id(const void *key, const void *item)
{
    return strcmp(key, (*(const struct task *const *) item)->id);
}

const struct task *workflow_task(const struct workflow *w, const char *id)
{
    const struct task *const *found =
        w->task_count ? bsearch(id, w->by_id, w->task_count, sizeof(*w->by_id), by_id) : NULL;
    return found ? *found : NULL;
}
