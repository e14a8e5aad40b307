/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_TRAIN_RUN_H
#define CLI_TRAIN_RUN_H
#include "cli/run_report.h"
#include "nodes/inference/ngram_train.h"

/* A training as a run of the tracker (`lineshaft train --run`), and as a task of a workflow. */

#define TRAIN_EXPERIMENT "ngram" /* the default */

struct train_run {
    bool wanted;            /* --run; what follows are its options */
    const char *run_id;     /* NULL: a new one */
    const char *experiment; /* NULL: the default */
    struct options_broker broker;
    struct run_report report;
    uint32_t order;
    int64_t started_ms;
    char *path, *source; /* train_run_place: the file among the run's, and its URI */
    char *scratch;       /* not NULL: `path` lies here, on its way to `source` in the artifact store */
    char sha256[65];     /* of the stored model; "" */
    bool bar;            /* a progress bar on the terminal while it is sent */
};

/* What the run's parameters say. */
struct train_settings {
    uint64_t order, held_out, word_min;
    const char *name;
    char **texts; /* NULL-terminated */
};

/* train_run_place finds where the model goes when it is to lie among the run's files: run->path and
 * run->source, folders made. The tracker says where those are: a folder of this machine, or the artifact store, then
 * train_run_end sends the file there. 0, or the exit status after a message; only after train_run_begin.
 *
 * train_run_begin connects and tells that the run began: 0, or the exit status after a message. The rest do
 * nothing but tell the runner how far it is when no run is wanted. train_run_step: an order was counted or
 * measured. train_run_end: `info` NULL: it failed; waits until all of it is durable and, when it went well,
 * known to the tracker. 0, or the exit status. train_run_close: in any case. */
int train_run_begin(struct train_run *run, const struct train_settings *settings);
int train_run_place(struct train_run *run, const char *name);
void train_run_step(struct train_run *run, const struct ngram_step *step);
int train_run_end(struct train_run *run, const struct ngram_info *info, const char *path, uint64_t read_bytes);
void train_run_close(struct train_run *run);

#endif
