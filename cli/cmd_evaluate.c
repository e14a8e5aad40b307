/* SPDX-License-Identifier: Apache-2.0 */
/* lineshaft evaluate: how well a model file predicts a text. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/render.h"
#include "cli/run_report.h"
#include "cli/store.h"
#include "lib/error.h"
#include "lib/json.h"
#include "lib/uri.h"
#include "lib/xmem.h"
#include "nodes/inference/ngram_corpus.h"
#include "nodes/inference/ngram_measure.h"

#define HELD_OUT_MAX 50

struct evaluate {
    const char *model, *run_id, *prefix;
    uint64_t held_out;
    bool json;
    struct options_broker broker;
    struct run_report report;
    struct ngram_info info;
    struct ngram_measure sum;
};

/* ---- the measure ---- */

static int measure(struct evaluate *e, const struct ngram *model, char **texts, struct ls_error *err)
{
    struct ngram_corpus corpus = {.held_out = (double) e->held_out};
    int result = 0;
    for (; *texts && result == 0; texts++)
        result = ngram_corpus_add(&corpus, *texts, err);
    for (size_t i = 0; i < corpus.count && result == 0; i++)
        if (!e->held_out || corpus.documents[i].held_out)
            ngram_measure_add(&e->sum, &model->view,
                              ls_bytes(corpus.text.data + corpus.documents[i].at, corpus.documents[i].len));
    if (result == 0 && !e->sum.documents && corpus.count)
        result = error_set(err, "BAD_VALUE", "of %zu documents none is among the %llu per cent that training holds out",
                           corpus.count, (unsigned long long) e->held_out);
    else if (result == 0 && !e->sum.documents)
        result = error_set(err, "BAD_VALUE", "there is no text in what was named");
    ngram_corpus_fini(&corpus);
    return result;
}

static int measure_file(struct evaluate *e, const char *path, char **texts, struct ls_error *err)
{
    struct ngram *model = ngram_open(path, err);
    if (!model)
        return error_wrap(err, "model file %.200s", path);
    e->info = *ngram_info(model);
    int result = measure(e, model, texts, err);
    ngram_close(&model);
    return result;
}

/* ---- what comes of it ---- */

static void print(const struct evaluate *e)
{
    struct buf out = {0};
    const struct ngram_measure *sum = &e->sum;
    if (e->json) {
        buf_addf(&out, "{");
        json_put_pair(&out, "name", ls_str(e->info.name));
        json_put_pair(&out, "version", ls_str(e->info.version));
        if (e->run_id)
            json_put_pair(&out, "run_id", ls_str(e->run_id));
        buf_addf(&out,
                 ",\"order\":%u,\"perplexity\":%.4f,\"bits_per_character\":%.4f,\"documents\":%llu,\"tokens\":%llu,"
                 "\"spelled\":%.4f}",
                 e->info.order, ngram_measure_perplexity(sum), ngram_measure_bits_per_character(sum),
                 (unsigned long long) sum->documents, (unsigned long long) sum->tokens, ngram_measure_spelled(sum));
    } else {
        render_harmless(&out, e->info.name, strlen(e->info.name));
        buf_addf(&out,
                 ", version %s, order %u: perplexity %.1f, %.3f bits per character, on %llu documents (%llu tokens, "
                 "%.1f %% spelled)",
                 e->info.version, e->info.order, ngram_measure_perplexity(sum), ngram_measure_bits_per_character(sum),
                 (unsigned long long) sum->documents, (unsigned long long) sum->tokens,
                 100 * ngram_measure_spelled(sum));
    }
    puts(buf_text(&out));
    buf_fini(&out);
}

static void add_metric(struct evaluate *e, const char *key, double value)
{
    char *name = xasprintf("%s%s", e->prefix, key);
    run_report_metric(&e->report, name, value, 0);
    free(name);
}

static int publish(struct evaluate *e)
{
    add_metric(e, "perplexity", ngram_measure_perplexity(&e->sum));
    add_metric(e, "bits_per_character", ngram_measure_bits_per_character(&e->sum));
    add_metric(e, "tokens", (double) e->sum.tokens);
    add_metric(e, "spelled", ngram_measure_spelled(&e->sum));
    return run_report_flush(&e->report);
}

/* `path`: NULL when the file does not stay. */
static int put_outputs(const struct evaluate *e, const char *path)
{
    struct ls_error err = {0};
    char *whole = path ? realpath(path, NULL) : NULL;
    int result = e->run_id ? task_output("run_id", json_string(e->run_id), &err) : 0;
    if (result == 0)
        result = task_output("perplexity", json_real(ngram_measure_perplexity(&e->sum)), &err);
    if (result == 0)
        result = task_output("bits_per_character", json_real(ngram_measure_bits_per_character(&e->sum)), &err);
    if (result == 0 && path)
        result = task_output("path", json_string(whole ? whole : path), &err);
    if (result == 0)
        result = task_output("name", json_string(e->info.name), &err);
    free(whole);
    return result == 0 ? CLI_OK : bus_failed(&CMD_EVALUATE, &err);
}

/* The model in a file of this machine: where it is, or fetched from the store into *scratch. NULL after a message, *status set. */
static char *find_model(const struct evaluate *e, char **scratch, int *status)
{
    struct store_call call = {&CMD_EVALUATE, &e->broker, !e->json && isatty(STDERR_FILENO)};
    char *path = uri_file_path(e->model);
    if (!store_has(e->model))
        return path ? path : xstrdup(e->model);
    *scratch = store_scratch(&CMD_EVALUATE);
    path = *scratch ? xasprintf("%s/model", *scratch) : NULL;
    *status = path ? store_get(&call, e->model, path) : CLI_FAILED;
    if (*status == CLI_OK)
        return path;
    store_scratch_end(scratch);
    free(path);
    return NULL;
}

static int evaluate(struct evaluate *e, char **texts)
{
    struct ls_error err = {0};
    char *scratch = NULL;
    int status = e->run_id ? run_report_open(&e->report, &CMD_EVALUATE, &e->broker, e->run_id) : CLI_OK;
    char *path = status == CLI_OK ? find_model(e, &scratch, &status) : NULL;
    if (path && measure_file(e, path, texts, &err) < 0)
        status = bus_failed(&CMD_EVALUATE, &err);
    if (status == CLI_OK && e->run_id)
        status = publish(e);
    if (status == CLI_OK)
        status = put_outputs(e, scratch ? NULL : path);
    if (status == CLI_OK)
        print(e);
    store_scratch_end(&scratch);
    free(path);
    return status;
}

/* ---- options ---- */

static bool take(struct evaluate *e, int option)
{
    bool ok;
    if (options_broker_take(&CMD_EVALUATE, &e->broker, option, &ok))
        return ok;
    switch (option) {
    case 'j': e->json = true; return true;
    case 'p': e->prefix = optarg; return true;
    case 'H': return options_number(&CMD_EVALUATE, "--held-out", optarg, HELD_OUT_MAX, &e->held_out);
    case 'r':
        e->run_id = optarg;
        if (!run_report_id_good(optarg))
            options_usage(&CMD_EVALUATE, "--run: \"%s\" is not the id of a run: 1 to %d letters, digits, - or _",
                          optarg, RUN_ID_SIZE - 1);
        return run_report_id_good(optarg);
    default: return false;
    }
}

static int run(int argc, char **argv)
{
    static const struct option LONGS[] = {OPTIONS_BROKER,
                                          {"run", required_argument, NULL, 'r'},
                                          {"metric-prefix", required_argument, NULL, 'p'},
                                          {"held-out", required_argument, NULL, 'H'},
                                          {"json", no_argument, NULL, 'j'},
                                          {0}};
    struct evaluate e = {.prefix = "eval/"};
    options_broker_init(&e.broker);
    for (int option; (option = options_next(&CMD_EVALUATE, argc, argv, "j", LONGS)) != OPTIONS_END;)
        if (!take(&e, option))
            return CLI_USAGE;
    if (argc - optind < 2)
        return options_usage(&CMD_EVALUATE, argc == optind ? "which model file?" : "on which text?");
    e.model = argv[optind];
    int status = evaluate(&e, argv + optind + 1);
    run_report_close(&e.report);
    return status;
}

const struct cli_command CMD_EVALUATE = {
    .name = "evaluate",
    .run = run,
    .summary = "measure how well a model predicts a text",
    .usage =
        "lineshaft evaluate - measure how well a model predicts a text\n"
        "\n"
        "SYNOPSIS\n"
        "  lineshaft evaluate [--held-out PERCENT] [--run RUN_ID] [--metric-prefix TEXT] [--json] MODEL TEXT...\n"
        "\n"
        "DESCRIPTION\n"
        "  MODEL is a file that `lineshaft train` made, as a path, a file: URI, or an mlflow-artifacts: URI: then it is fetched\n"
        "  from the store, as `lineshaft artifact get` does. TEXT is read as `train` reads it. Prints\n"
        "  perplexity per token, which compares models of one vocabulary, and bits per character, which compares all;\n"
        "  lower is better. On text that the model was trained on it says little: see --held-out.\n"
        "\n"
        "  With --run the figures become metrics of that run of the tracker. As a task of a workflow it hands on\n"
        "  run_id, perplexity, bits_per_character, path (not of a fetched one) and name.\n"
        "\n"
        "OPTIONS\n"
        "  --held-out PERCENT    Only the documents that `train --held-out PERCENT` does not train on, 1 to 50;\n"
        "                        default: all of TEXT.\n"
        "  --run RUN_ID          Publish the metrics into this run, and wait until they are durable.\n"
        "  --metric-prefix TEXT  In front of the metrics' names; default eval/.\n"
        "  -j, --json            One JSON object.\n" OPTIONS_BROKER_USAGE "\n"
        "EXAMPLES\n"
        "  lineshaft evaluate fortunes.ngram /usr/share/games/fortunes --held-out 5\n"
        "  lineshaft evaluate --json fortunes.ngram notes/ | jq .bits_per_character\n"
        "\n"
        "EXIT STATUS\n"
        "  0  measured; with --run: the metrics are on record\n"
        "  1  failed; the reason is on standard error\n"
        "  2  wrong usage\n"
        "  3  the broker cannot be reached (with --run, or for a model in the store), or the store\n",
};
