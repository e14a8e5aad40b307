/* SPDX-License-Identifier: Apache-2.0 */
/* lineshaft train: makes an n-gram model out of text, and shows how good it is on text that it has not seen. */
#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/options.h"
#include "cli/render.h"
#include "cli/table.h"
#include "cli/train_run.h"
#include "lib/clock.h"
#include "lib/error.h"
#include "lib/json.h"
#include "lib/utf8.h"
#include "lib/xmem.h"
#include "nodes/inference/ngram_file.h"
#include "nodes/inference/ngram_train.h"

#define ORDER_DEFAULT 5
#define HELD_OUT_DEFAULT 5 /* per cent */
#define HELD_OUT_MAX 50
#define WORD_MIN_DEFAULT 2
#define TOKENS_MIN 1000 /* less text than that makes no model worth the name */

struct train_command {
    uint64_t order, held_out, word_min;
    const char *path;
    char name[NGRAM_NAME_SIZE];
    bool json, progress;
    int64_t started_ms;
    double bits[NGRAM_ORDER_MAX]; /* per character, by order */
    struct buf line;
    struct train_run run;
};

/* ---- what is shown ---- */

static void put_line(struct train_command *c)
{
    puts(buf_text(&c->line));
    fflush(stdout);
    buf_clear(&c->line);
}

static void clear_progress(const struct train_command *c)
{
    if (c->progress)
        fputs("\r\x1b[K", stderr);
}

static void on_read(void *arg, const struct ngram_corpus *corpus)
{
    const struct train_command *c = arg;
    char size[RENDER_SHORT_SIZE];
    if (c->progress)
        fprintf(stderr, "\r\x1b[Kreading: %s in %llu files, %zu documents", render_size(corpus->read_bytes, size),
                (unsigned long long) corpus->files, corpus->count);
}

static void show_step(const struct train_command *c, const struct ngram_step *step)
{
    clear_progress(c);
    if (step->stage == NGRAM_VOCABULARY)
        fprintf(stderr, "counting: %llu tokens of %u kinds", (unsigned long long) step->tokens, step->vocabulary);
    else if (step->stage == NGRAM_COUNTED)
        fprintf(stderr, "order %u: %llu n-grams", step->order, (unsigned long long) step->ngrams);
    else
        fprintf(stderr, "order %u: perplexity %.1f on held-out text\n", step->order, step->perplexity);
}

static void add_step(struct buf *out, const struct ngram_step *step)
{
    if (step->stage == NGRAM_VOCABULARY) {
        buf_addf(out, "{\"step\":\"vocabulary\",\"tokens\":%llu,\"vocabulary\":%u}", (unsigned long long) step->tokens, step->vocabulary);
    } else if (step->stage == NGRAM_COUNTED) {
        buf_addf(out, "{\"step\":\"count\",\"order\":%u,\"ngrams\":%llu}", step->order, (unsigned long long) step->ngrams);
    } else {
        buf_addf(out, "{\"step\":\"measure\",\"order\":%u,\"perplexity\":%.4f,\"bits_per_character\":%.4f,\"tokens\":%llu,"
                 "\"spelled\":%.4f}", step->order, step->perplexity, step->bits_per_character, (unsigned long long) step->tokens,
                 step->spelled);
    }
}

static void on_step(void *arg, const struct ngram_step *step)
{
    struct train_command *c = arg;
    if (step->stage == NGRAM_MEASURED)
        c->bits[step->order - 1] = step->bits_per_character;
    if (c->json) {
        add_step(&c->line, step);
        put_line(c);
    } else if (c->progress) {
        show_step(c, step);
    }
    train_run_step(&c->run, step);
}

static void put_read(struct train_command *c, const struct ngram_corpus *corpus)
{
    buf_addf(&c->line, "{\"step\":\"read\",\"files\":%llu,\"skipped\":%llu,\"bytes\":%llu,\"documents\":%zu,\"held_out_documents\":%zu}",
             (unsigned long long) corpus->files, (unsigned long long) corpus->skipped, (unsigned long long) corpus->read_bytes,
             corpus->count, corpus->held_out_count);
    put_line(c);
}

static uint64_t memory_used(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? (uint64_t) usage.ru_maxrss * 1024 : 0;
}

static void put_summary(struct train_command *c, const struct ngram_info *info)
{
    struct buf *out = &c->line;
    buf_addf(out, "{\"step\":\"done\"");
    if (c->run.scratch)
        json_put_pair(out, "source", ls_str(c->run.source));
    else
        json_put_pair(out, "file", ls_str(c->path));
    json_put_pair(out, "name", ls_str(info->name));
    json_put_pair(out, "version", ls_str(info->version));
    buf_addf(out, ",\"order\":%u,\"vocabulary\":%u,\"ngrams\":[", info->order, info->vocabulary);
    for (uint32_t i = 0; i < info->order; i++)
        buf_addf(out, "%s%llu", i ? "," : "", (unsigned long long) info->ngrams[i]);
    buf_addf(out, "],\"training_tokens\":%llu,\"held_out_tokens\":%llu", (unsigned long long) info->training_tokens,
             (unsigned long long) info->held_out_tokens);
    if (info->held_out_tokens)
        buf_addf(out, ",\"perplexity\":%.4f,\"bits_per_character\":%.4f", info->perplexity[info->order - 1], info->bits_per_character);
    if (c->run.wanted)
        json_put_pair(out, "run_id", ls_str(c->run.report.run_id));
    buf_addf(out, ",\"bytes\":%llu,\"memory_bytes\":%llu,\"seconds\":%.3f}", (unsigned long long) info->bytes,
             (unsigned long long) memory_used(), (double) (clock_mono_ms() - c->started_ms) / 1000);
    put_line(c);
}

static void print_table(const struct train_command *c, const struct ngram_info *info)
{
    static const char *const HEADINGS[] = {">ORDER", ">N-GRAMS", ">PERPLEXITY", ">BITS/CHARACTER", NULL};
    struct table table;
    table_init(&table, HEADINGS);
    for (uint32_t i = 0; i < info->order; i++) {
        table_addf(&table, "%u", i + 1);
        table_addf(&table, "%llu", (unsigned long long) info->ngrams[i]);
        if (info->held_out_tokens) {
            table_addf(&table, "%.1f", info->perplexity[i]);
            table_addf(&table, "%.3f", c->bits[i]);
        } else {
            table_addf(&table, "-");
            table_addf(&table, "-");
        }
    }
    table_print(&table, "");
}

static void print_summary(const struct train_command *c, const struct ngram_corpus *corpus, const struct ngram_info *info)
{
    char size[RENDER_SHORT_SIZE], memory[RENDER_SHORT_SIZE];
    struct buf path = {0};
    const char *place = c->run.scratch ? c->run.source : c->path;
    print_table(c, info);
    render_harmless(&path, place, strlen(place));
    printf("trained on %zu documents (%llu tokens), measured on %zu others (%llu tokens)\n", corpus->count - corpus->held_out_count,
           (unsigned long long) info->training_tokens, corpus->held_out_count, (unsigned long long) info->held_out_tokens);
    printf("%s: model %s, version %s, %s; %.1f s, %s of memory\n", buf_text(&path), info->name, info->version,
           render_size(info->bytes, size), (double) (clock_mono_ms() - c->started_ms) / 1000, render_size(memory_used(), memory));
    if (c->run.wanted)
        printf("run %s of the experiment %s\n", c->run.report.run_id, c->run.experiment ? c->run.experiment : TRAIN_EXPERIMENT);
    buf_fini(&path);
}

/* ---- the work ---- */

static int fail(const struct train_command *c, const char *text)
{
    struct buf line = {0};
    clear_progress(c);
    render_harmless(&line, text, strlen(text));
    fprintf(stderr, "lineshaft train: %s\n", buf_text(&line));
    buf_fini(&line);
    return CLI_FAILED;
}

/* A place that cannot be written is better known before the work than behind it. */
static int check_place(const char *path, struct ls_error *err)
{
    struct stat info;
    char *copy = xstrdup(path);
    const char *folder = dirname(copy);
    int result = 0;
    if (stat(folder, &info) < 0 || !S_ISDIR(info.st_mode))
        result = error_set(err, "SYSTEM", "%s: there is no folder %s: make it first, or name another file", path, folder);
    else if (access(folder, W_OK) < 0)
        result = error_set(err, "SYSTEM", "%s: cannot write into the folder %s: %s", path, folder, strerror(errno));
    else if (stat(path, &info) == 0 && !S_ISREG(info.st_mode))
        result = error_set(err, "SYSTEM", "%s is %s: name a file", path, S_ISDIR(info.st_mode) ? "a folder" : "no file");
    free(copy);
    return result;
}

static int read_text(struct train_command *c, struct ngram_corpus *corpus, char **paths, struct ls_error *err)
{
    for (; *paths; paths++)
        if (ngram_corpus_add(corpus, *paths, err) < 0)
            return -1;
    clear_progress(c);
    if (c->json)
        put_read(c, corpus);
    if (!corpus->count)
        return error_set(err, "BAD_VALUE", "there is no text in what was named (%llu files read, %llu left out because they are not text)",
                         (unsigned long long) corpus->files, (unsigned long long) corpus->skipped);
    if (c->held_out && !corpus->held_out_count)
        return error_set(err, "BAD_VALUE", "there is too little text: of %zu documents none fell to the %llu per cent to measure on; name "
                         "more text, or --held-out 0 to go without the measure", corpus->count, (unsigned long long) c->held_out);
    return 0;
}

/* A model is worth its file only if it knows more than single words and pairs do. */
static int check_worth(const struct ngram_info *info, struct ls_error *err)
{
    double own = info->perplexity[info->order - 1];
    if (info->training_tokens < TOKENS_MIN)
        return error_set(err, "BAD_VALUE", "there is too little text: %llu tokens, at least %d are needed; name more text",
                         (unsigned long long) info->training_tokens, TOKENS_MIN);
    for (uint32_t i = 0; i < 2 && i + 1 < info->order && info->held_out_tokens; i++)
        if (own >= info->perplexity[i])
            return error_set(err, "BAD_VALUE", "the model of order %u is no better than that of order %u on text that it has not seen "
                             "(perplexity %.1f against %.1f): there is too little text for that order, or the held-out text is of "
                             "another kind; name more text, or a lower --order. Nothing was written", info->order, i + 1, own,
                             info->perplexity[i]);
    return 0;
}

/* Reads, trains and writes; NULL with *err. */
static struct ngram_trained *make_model(struct train_command *c, struct ngram_corpus *corpus, char **paths, struct ls_error *err)
{
    struct ngram_train_options options = {.order = (uint32_t) c->order, .word_min = (uint32_t) c->word_min, .name = c->name,
                                          .created = clock_wall_us() / 1000000, .step = on_step, .arg = c};
    if (read_text(c, corpus, paths, err) < 0)
        return NULL;
    struct ngram_trained *trained = ngram_train(corpus, &options, err);
    if (trained && check_worth(&trained->info, err) == 0 && ngram_write(&trained->view, &trained->info, c->path, err) == 0)
        return trained;
    ngram_trained_free(&trained);
    return NULL;
}

static int train(struct train_command *c, char **paths)
{
    struct ls_error err = {0};
    struct ngram_corpus corpus = {.held_out = (double) c->held_out, .progress = on_read, .arg = c};
    struct train_settings settings = {c->order, c->held_out, c->word_min, c->name, paths};
    c->started_ms = clock_mono_ms();
    if (c->path && check_place(c->path, &err) < 0)
        return fail(c, err.text);
    int status = train_run_begin(&c->run, &settings);
    if (status != CLI_OK)
        return status;
    if (!c->path) {
        status = train_run_place(&c->run, c->name);
        c->path = c->run.path;
    }
    struct ngram_trained *trained = status == CLI_OK ? make_model(c, &corpus, paths, &err) : NULL;
    const struct ngram_info *info = trained ? &trained->info : NULL;
    clear_progress(c);
    if (!info && err.text[0])
        fail(c, err.text);
    status = train_run_end(&c->run, info, c->path, corpus.read_bytes);
    bool sent = info && (!c->run.scratch || c->run.sha256[0]);
    if (sent && c->json)
        put_summary(c, info);
    else if (sent)
        print_summary(c, &corpus, info);
    ngram_trained_free(&trained);
    ngram_corpus_fini(&corpus);
    return info ? status : CLI_FAILED;
}

/* ---- options ---- */

/* The name goes into model lists and log lines. Without --name: the file's name, without its ending. */
static bool take_name(struct train_command *c, const char *name)
{
    char *copy = name ? NULL : xstrdup(c->path);
    if (copy) {
        char *file = basename(copy), *dot = strrchr(file, '.');
        if (dot && dot > file)
            *dot = '\0';
        name = file;
    }
    uint32_t code;
    size_t len = strlen(name);
    bool good = len > 0 && len < sizeof c->name;
    for (size_t at = 0, used; good && at < len; at += used) {
        used = utf8_next((const uint8_t *) name + at, len - at, &code);
        good = used && !utf8_is_harmful(code);
    }
    snprintf(c->name, sizeof c->name, "%s", name);
    if (!good)
        options_usage(&CMD_TRAIN, "a model's name has 1 to %d bytes of printable text: give it another with --name", NGRAM_NAME_SIZE - 1);
    free(copy);
    return good;
}

static bool take_run(struct train_command *c, const char *run_id)
{
    c->run.wanted = true;
    c->run.run_id = run_id;
    if (!run_id || run_report_id_good(run_id))
        return true;
    options_usage(&CMD_TRAIN, "--run: \"%s\" is not the id of a run: 1 to %d letters, digits, - or _", run_id, RUN_ID_SIZE - 1);
    return false;
}

static bool take(struct train_command *c, int option, const char **name)
{
    bool ok;
    if (options_broker_take(&CMD_TRAIN, &c->run.broker, option, &ok))
        return ok;
    switch (option) {
    case 'o': c->path = optarg; return true;
    case 'n': *name = optarg; return true;
    case 'j': c->json = true; return true;
    case 'r': return take_run(c, optarg);
    case 'e': c->run.experiment = optarg; return true;
    case 'N': return options_number(&CMD_TRAIN, "--order", optarg, NGRAM_ORDER_MAX, &c->order);
    case 'H': return options_number(&CMD_TRAIN, "--held-out", optarg, HELD_OUT_MAX, &c->held_out);
    case 'm': return options_number(&CMD_TRAIN, "--min-count", optarg, 1000000, &c->word_min);
    default: return false;
    }
}

static int take_arguments(struct train_command *c, int argc, char **argv)
{
    static const struct option LONGS[] = {OPTIONS_BROKER, {"order", required_argument, NULL, 'N'},
                                          {"held-out", required_argument, NULL, 'H'}, {"min-count", required_argument, NULL, 'm'},
                                          {"name", required_argument, NULL, 'n'}, {"output", required_argument, NULL, 'o'},
                                          {"run", optional_argument, NULL, 'r'}, {"experiment", required_argument, NULL, 'e'},
                                          {"json", no_argument, NULL, 'j'}, {0}};
    const char *name = NULL;
    for (int option; (option = options_next(&CMD_TRAIN, argc, argv, "o:", LONGS)) != OPTIONS_END;)
        if (!take(c, option, &name))
            return CLI_USAGE;
    if (c->path ? !*c->path : !c->run.wanted)
        return options_usage(&CMD_TRAIN, "where should the model go? -o FILE");
    if (!c->path && !name)
        return options_usage(&CMD_TRAIN, "how is the model called? --name NAME, or -o FILE");
    if (optind == argc)
        return options_usage(&CMD_TRAIN, "which text?");
    if (c->order < 1 || c->word_min < 1)
        return options_usage(&CMD_TRAIN, "%s is at least 1", c->order < 1 ? "--order" : "--min-count");
    if (c->run.experiment && !c->run.wanted)
        return options_usage(&CMD_TRAIN, "--experiment belongs to --run");
    return take_name(c, name) ? CLI_OK : CLI_USAGE;
}

static int run(int argc, char **argv)
{
    struct train_command c = {.order = ORDER_DEFAULT, .held_out = HELD_OUT_DEFAULT, .word_min = WORD_MIN_DEFAULT};
    options_broker_init(&c.run.broker);
    int status = take_arguments(&c, argc, argv);
    c.progress = !c.json && isatty(STDERR_FILENO);
    c.run.bar = c.progress;
    if (status == CLI_OK)
        status = train(&c, argv + optind);
    train_run_close(&c.run);
    buf_fini(&c.line);
    return status;
}

const struct cli_command CMD_TRAIN = {
    .name = "train",
    .run = run,
    .summary = "make a small language model out of text",
    .usage =
        "lineshaft train - make a small language model out of text\n"
        "\n"
        "SYNOPSIS\n"
        "  lineshaft train [--order N] [--held-out PERCENT] [--min-count N] [--name NAME] [--json]\n"
        "                  [--run[=RUN_ID] [--experiment NAME]] [-o FILE] TEXT...\n"
        "\n"
        "DESCRIPTION\n"
        "  Trains an n-gram model (interpolated modified Kneser-Ney) for the `ngram` backend of inference nodes.\n"
        "  TEXT is a file, or a folder of which all files are read. A file is split into documents at lines of a\n"
        "  lone \"%\", as fortune files have them, else at empty lines. Indexes (NAME.dat beside NAME), files with\n"
        "  NUL bytes and second names of a file are left out. Bytes that are not UTF-8 are kept, but never said.\n"
        "\n"
        "  Some documents, chosen by a hash of their text, are not trained on but held out. At the end a table\n"
        "  shows how well models of order 1, 2 ... N predict them: perplexity per token, and bits per character,\n"
        "  which can be compared between models; lower is better. A model of order N that is not better than\n"
        "  those of order 1 and 2 is not written.\n"
        "\n"
        "  2.5 MB of text take two seconds and 110 MiB of memory; both grow with the text. FILE is replaced in one\n"
        "  step, so that nodes which have it open go on with the old model. What such a model can and cannot do\n"
        "  is in docs/nodes/ngram.md, the file's form in docs/model-format.md.\n"
        "\n"
        "  With --run the training is a run of the tracker: parameters, metrics with the order as their step, and how it\n"
        "  ended go over the bus as run.> events; it waits until they are durable. Without -o the model goes among the\n"
        "  run's files, which the tracker keeps in a folder of this machine or, as mlflow-artifacts:, in the store of an\n"
        "  `artifacts` node: there it can be registered. As a task of a workflow it hands on run_id, perplexity, name,\n"
        "  source (the model's URI among those files), and path or, from the store, sha256, which the run has as the tag\n"
        "  lineshaft.model.sha256 too.\n"
        "\n"
        "OPTIONS\n"
        "  -o, --output FILE   Where the model goes; with --run and --name it may be left out.\n"
        "  --name NAME         The model's name; default: FILE's, without folder and ending.\n"
        "  --order N           Words looked at together, 1 to 6; default 5.\n"
        "  --held-out PERCENT  Documents to measure on, 0 (no measure) to 50; default 5.\n"
        "  --min-count N       Words that the text has less often are spelled byte by byte; default 2.\n"
        "  --run[=RUN_ID]      Publish it as a run; without RUN_ID, a new id is made.\n"
        "  --experiment NAME   The run's experiment; default: ngram.\n"
        OPTIONS_BROKER_USAGE
        "  --json              Print one JSON object a line: {\"step\": \"read\"}, \"vocabulary\", \"count\" and\n"
        "                      \"measure\" for each order, then \"done\".\n"
        "\n"
        "EXAMPLES\n"
        "  lineshaft train -o fortunes.ngram /usr/share/games/fortunes\n"
        "  lineshaft train --order 3 --json -o notes.ngram notes/ | jq -r 'select(.step == \"measure\").perplexity'\n"
        "  lineshaft train --run --experiment sayings --name fortunes /usr/share/games/fortunes\n"
        "\n"
        "EXIT STATUS\n"
        "  0  the model was written, and the run is on record\n"
        "  1  one of them was not: the text cannot be read, is too little, or the model is no better than one of order 2\n"
        "  2  wrong usage\n"
        "  3  the broker cannot be reached (with --run)\n",
};
