/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_RUN_REPORT_H
#define CLI_RUN_REPORT_H
#include <jansson.h>

#include "cli/bus.h"

/* A run of the tracker, told over the bus by a command: its events are those of docs/events.md, run.>. And what
 * a command says to the runner that started it (docs/nodes/task-run.md). */

#define RUN_ID_SIZE 33

struct run_report {
    struct bus bus;
    char run_id[RUN_ID_SIZE];
    struct ls_error err; /* the first event that was refused, or could not be sent */
    bool failed;
};

/* run_report_open connects. `run_id` (run_report_id_good) NULL: a new one is made. 0, or the exit status after
 * a message. Close in any case. */
bool run_report_id_good(const char *run_id);
int run_report_open(struct run_report *report, const struct cli_command *command, const struct options_broker *broker,
                    const char *run_id);
void run_report_close(struct run_report *report);

/* run_report_create tells that the run began, with its experiment and name; tags say which task of which
 * workflow this is, if it is one. Takes `params` over: an object of texts and whole numbers. */
void run_report_create(struct run_report *report, const char *experiment, const char *name, json_t *params);
void run_report_metric(struct run_report *report, const char *key, double value, int64_t step);
void run_report_tag(struct run_report *report, const char *key, const char *value);
/* run_report_end tells the run's end: status FINISHED or FAILED. */
void run_report_end(struct run_report *report, const char *status);

/* run_report_flush waits until all of it is durable; 0, or the exit status after a message. */
int run_report_flush(struct run_report *report);
/* run_report_known waits until the tracker has the run (`ended`: its end too), so that whoever asks it next
 * finds all of it. The run's `info`, as MLflow's API has it (new reference), or NULL with *err: NO_RESPONDER,
 * TIMEOUT or what the tracker says. */
json_t *run_report_known(struct run_report *report, bool ended, struct ls_error *err);

/* task_output writes `key=value` for the tasks behind this one, to $LINESHAFT_OUTPUTS; nothing if that is not
 * set. Takes `value` over. 0, or -1 with SYSTEM. */
int task_output(const char *key, json_t *value, struct ls_error *err);
/* task_progress tells the runner how far the task is, on standard error; nothing if there is no runner, or a
 * terminal. */
void task_progress(double fraction, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
