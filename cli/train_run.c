/* SPDX-License-Identifier: Apache-2.0 */
/* What `lineshaft train` tells the tracker, the tasks behind it, and its runner. */
#include "cli/train_run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/store.h"
#include "lib/clock.h"
#include "lib/error.h"
#include "lib/folder.h"
#include "lib/uri.h"
#include "lib/xmem.h"

#define MODEL_FOLDER "model" /* among the run's files */
#define TAG_SHA256 "lineshaft.model.sha256"

/* The share of the work that is done: reading is little, counting and measuring are each a half of the rest. */
#define FRACTION_READ 0.1
#define FRACTION_HALF 0.4

static json_t *params_of(const struct train_settings *settings)
{
    struct buf texts = {0};
    for (char **text = settings->texts; *text; text++)
        buf_addf(&texts, "%s%s", text == settings->texts ? "" : " ", *text);
    json_t *text =
        json_stringn(texts.len ? (const char *) texts.data : "", texts.len); /* NULL: a name that is not UTF-8 */
    buf_fini(&texts);
    return json_pack("{s:I, s:I, s:I, s:o*, s:s}", "order", (json_int_t) settings->order, "held_out",
                     (json_int_t) settings->held_out, "min_count", (json_int_t) settings->word_min, "text", text,
                     "model", settings->name);
}

int train_run_begin(struct train_run *run, const struct train_settings *settings)
{
    run->order = (uint32_t) settings->order;
    run->started_ms = clock_mono_ms();
    task_progress(0, "reading");
    if (!run->wanted)
        return CLI_OK;
    int status = run_report_open(&run->report, &CMD_TRAIN, &run->broker, run->run_id);
    if (status == CLI_OK)
        run_report_create(&run->report, run->experiment ? run->experiment : TRAIN_EXPERIMENT, settings->name,
                          params_of(settings));
    return status;
}

/* ---- the run's files ---- */

/* Where the files of the run are, as the tracker says; the caller's. NULL with *err. */
static char *files_of(struct train_run *run, struct ls_error *err)
{
    json_auto_t *info = run_report_known(&run->report, false, err);
    const char *root = json_string_value(json_object_get(info, "artifact_uri"));
    if (!info)
        error_wrap(err, "where should the model go? Without -o FILE the tracker says it");
    else if (!root)
        error_set(err, "BAD_VALUE", "the tracker does not say where the files of the run are: say -o FILE");
    return root ? xstrdup(root) : NULL;
}

static int place_in_folder(struct train_run *run, const char *root, const char *name, struct ls_error *err)
{
    char *folder = uri_file_path(root);
    if (!folder)
        return error_set(err, "BAD_VALUE",
                         "the files of the run are neither in a folder of this machine nor in the artifact store (%s): say -o FILE",
                         root);
    run->path = xasprintf("%s/" MODEL_FOLDER "/%s.ngram", folder, name);
    free(folder);
    return folder_make_above(run->path, 0777, err);
}

static int place_on_the_way(struct train_run *run, const char *name)
{
    run->scratch = store_scratch(&CMD_TRAIN);
    if (run->scratch)
        run->path = xasprintf("%s/%s.ngram", run->scratch, name);
    return run->scratch ? CLI_OK : CLI_FAILED;
}

int train_run_place(struct train_run *run, const char *name)
{
    struct ls_error err = {0};
    struct buf source = {0};
    char *root = files_of(run, &err);
    if (!root)
        return bus_failed(&CMD_TRAIN, &err);
    buf_addf(&source, "%s/" MODEL_FOLDER "/", root);
    uri_encode(&source, name, "");
    run->source = xasprintf("%s.ngram", buf_text(&source));
    buf_fini(&source);
    int status = CLI_OK;
    if (strchr(name, '/'))
        error_set(&err, "BAD_VALUE", "the name of a model of a run has no /: give it another with --name");
    else if (store_has(root))
        status = place_on_the_way(run, name);
    else
        place_in_folder(run, root, name, &err);
    free(root);
    return err.name[0] ? bus_failed(&CMD_TRAIN, &err) : status;
}

/* The file goes to the store, and the run has a tag that says which content it was. */
static int send_model(struct train_run *run)
{
    struct store_call call = {&CMD_TRAIN, &run->broker, run->bar};
    json_t *object = NULL;
    task_progress(FRACTION_READ + 2 * FRACTION_HALF, "storing the model");
    int status = store_put(&call, run->path, run->source, run->report.run_id, &object);
    const char *sum = json_string_value(json_object_get(object, "sha256"));
    snprintf(run->sha256, sizeof run->sha256, "%s", sum ? sum : "");
    if (status == CLI_OK)
        run_report_tag(&run->report, TAG_SHA256, run->sha256);
    else
        fprintf(stderr, "lineshaft train: the model was not stored as %s\n", run->source);
    json_decref(object);
    return status;
}

static void report_step(struct train_run *run, const struct ngram_step *step)
{
    switch (step->stage) {
    case NGRAM_VOCABULARY:
        run_report_metric(&run->report, "tokens", (double) step->tokens, 0);
        run_report_metric(&run->report, "vocabulary", step->vocabulary, 0);
        break;
    case NGRAM_COUNTED: run_report_metric(&run->report, "ngrams", (double) step->ngrams, step->order); break;
    case NGRAM_MEASURED:
        run_report_metric(&run->report, "perplexity", step->perplexity, step->order);
        run_report_metric(&run->report, "bits_per_character", step->bits_per_character, step->order);
        break;
    }
}

void train_run_step(struct train_run *run, const struct ngram_step *step)
{
    double share = (double) step->order / run->order;
    if (step->stage == NGRAM_VOCABULARY)
        task_progress(FRACTION_READ, "counting %llu tokens of %u kinds", (unsigned long long) step->tokens,
                      step->vocabulary);
    else if (step->stage == NGRAM_COUNTED)
        task_progress(FRACTION_READ + FRACTION_HALF * share, "order %u: %llu n-grams", step->order,
                      (unsigned long long) step->ngrams);
    else
        task_progress(FRACTION_READ + FRACTION_HALF * (1 + share), "order %u: perplexity %.1f", step->order,
                      step->perplexity);
    if (run->wanted)
        report_step(run, step);
}

static int put_outputs(const struct train_run *run, const struct ngram_info *info, const char *path)
{
    struct ls_error err = {0};
    char *whole = realpath(path, NULL);
    int result = 0;
    if (run->wanted)
        result = task_output("run_id", json_string(run->report.run_id), &err);
    if (result == 0 && info->held_out_tokens)
        result = task_output("perplexity", json_real(info->perplexity[info->order - 1]), &err);
    if (result == 0 && !run->scratch)
        result = task_output("path", json_string(whole ? whole : path), &err);
    if (result == 0 && run->source)
        result = task_output("source", json_string(run->source), &err);
    if (result == 0 && run->sha256[0])
        result = task_output("sha256", json_string(run->sha256), &err);
    if (result == 0)
        result = task_output("name", json_string(info->name), &err);
    free(whole);
    return result == 0 ? CLI_OK : bus_failed(&CMD_TRAIN, &err);
}

/* Whoever comes next asks the tracker for the run: it is to know it. */
static void wait_until_known(struct train_run *run)
{
    struct ls_error err = {0};
    json_auto_t *info = run_report_known(&run->report, true, &err);
    if (!info)
        fprintf(stderr, "lineshaft train: the run %s is in the log, but %s\n", run->report.run_id,
                strcmp(err.name, "NO_RESPONDER") == 0 ? "no tracker serves here" : err.text);
}

int train_run_end(struct train_run *run, const struct ngram_info *info, const char *path, uint64_t read_bytes)
{
    int status = info && run->scratch ? send_model(run) : CLI_OK;
    int stored = status;
    if (status != CLI_OK)
        info = NULL;
    if (run->wanted) {
        run_report_metric(&run->report, "bytes_read", (double) read_bytes, 0);
        run_report_metric(&run->report, "seconds", (double) (clock_mono_ms() - run->started_ms) / 1000, 0);
        run_report_end(&run->report, info ? "FINISHED" : "FAILED");
        status = run_report_flush(&run->report);
        if (status == CLI_OK && info)
            wait_until_known(run);
    }
    if (status == CLI_OK && info)
        status = put_outputs(run, info, path);
    return status != CLI_OK ? status : stored;
}

void train_run_close(struct train_run *run)
{
    run_report_close(&run->report);
    store_scratch_end(&run->scratch);
    free(run->path);
    free(run->source);
}
