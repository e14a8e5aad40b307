/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_RUNNER_RUNNER_H
#define NODES_RUNNER_RUNNER_H
#include <jansson.h>
#include <sys/queue.h>
#include <sys/wait.h>

#include "lib/buf.h"
#include "lib/clock.h"
#include "lib/node.h"
#include "nodes/runner/keeper.h"
#include "nodes/runner/log.h"
#include "nodes/runner/options.h"

/* The kind `runner`, from docs/nodes/task-run.md. runner.c: the node. claim.c: the scheduler's word. try.c: a try's life.
 * hands.c: the keepers, from this side. report.c: events. log.c, outputs.c, plan.c: a command's output, results and start.
 * record.c, leftovers.c: what a former process left. retain.c: old logs go. log_ask.c: logs for those elsewhere. */

struct runner;
struct try;

/* A slot: a keeper and the try that it has. */
struct hand {
    struct runner *runner;
    pid_t pid;
    int fd;          /* -1: its keeper was killed, what it had is being ended */
    struct try *try; /* NULL: free */
};

enum try_state {
    TRY_CLAIMING, /* its event is ours, its claim is not granted yet */
    TRY_RUNNING,  /* granted; a keeper has it */
    TRY_OVER,     /* nothing of it runs; its report is to be stored */
};

/* How a try ended, as task.ended tells it. */
struct ending {
    const char *reason; /* static */
    char *error;        /* owned; NULL: none */
    json_t *outputs;    /* owned; NULL: none */
    struct word word;   /* status and usage; pid 0: there was no command */
};

/* What the events of a try have in common with the one that queued it; owned texts, NULL where absent. */
struct cause {
    char *id, *subject, *traceparent, *tracestate, *correlationid;
};

struct
try {
    LIST_ENTRY(try) link;
    struct runner *runner;
    enum try_state state;
    const char *id; /* in task */
    json_t *task;   /* the body of task.queued; of a former process's try: what its record kept of it */
    struct cause cause;
    uint32_t subscription;
    uint64_t seq;

    /* claiming */
    bool asking;
    int64_t asked_at; /* boot_ms */
    int pause_ms;
    struct timer again;

    /* running */
    struct hand *hand;
    int64_t lease_end;       /* boot_ms */
    bool in_renewal;         /* the renewal under way names it */
    const char *stop_reason; /* static; NULL: it may go on */
    struct timer timeout;
    int output_fd;         /* -1: nothing more comes */
    struct record *record; /* NULL: none yet */
    char *outputs;         /* path of the file LINESHAFT_OUTPUTS; NULL: none yet */
    struct try_log log;

    /* what is still to be told */
    bool tell_started, telling_end, former; /* former: of a former process of this runner */
    struct word started;
    struct ending ending;
};
LIST_HEAD(try_list, try);

struct record {
    LIST_ENTRY(record) link; /* while it is free */
    int fd;                  /* -1: a former process's */
    char *path;
};
LIST_HEAD(record_list, record);

struct question;
LIST_HEAD(question_list, question);

struct runner {
    struct node *node;
    const struct runner_options *options;
    enum log_events log_events;
    int64_t log_rate;
    char boot[UUID_TEXT_SIZE], host[256], *url, *bin;
    char *records, *logs; /* folders */
    struct record_list free_records;
    int64_t record_number;
    struct try_list tries;
    struct hand *hands; /* options->slots of them */
    struct timer sweep; /* while there are hands whose keeper is gone */
    struct question_list questions;

    int64_t lease_ms;          /* as the scheduler said last; 0: never */
    struct timer renew, hello; /* hello: the first renewal, which tells the new boot */
    bool renewing, introduced;
    int hello_pause_ms;        /* before the next attempt; 0: there was none */
    int64_t renewal_sent_at; /* boot_ms */
    json_t *former_tries;    /* ids of former tries whose end is stored; until the introduction */

    struct buf waiting; /* paths of records whose keepers still live */
    struct timer look;  /* ... looks again */
    bool ready;         /* nothing of a former process is left */
    struct timer drain, retain;
    int64_t window; /* as the broker was told */
    uint8_t *chunk; /* READ_BYTES, for output */
};

#define READ_BYTES ((size_t) 64 << 10)

static inline void runner_count(struct runner *r, enum runner_metric metric, int64_t more)
{
    *node_metric(r->node, metric) += more;
}

/* runner_window offers as many places as there are free slots. runner_free_slots counts them. */
void runner_window(struct runner *r);
int64_t runner_free_slots(const struct runner *r);

/* claim.c */

/* claim_ask asks for a try now; claim_all for every one that waits. claim_renew renews all leases now (nothing if a renewal is
 * under way); claim_introduce sends the first renewal, when it is known what a former process left: it
 * carries the new boot, and as `ended` the tries of former ones that are reported by us. */
void claim_ask(struct try *try);
void claim_all(struct runner *r);
void claim_renew(struct runner *r);
void claim_introduce(struct runner *r);
void claim_on_again(void *self, struct timer *timer);
void claim_on_renew(void *self, struct timer *timer);
void claim_on_hello(void *self, struct timer *timer);

/* ask.c */

/* ask_send asks over the bus, with an object as body (taken over); `fn` gets the whole answer, or err. The answer is
 * borrowed. ask_free drops what is open, without calls. */
typedef void ask_fn(void *arg, const json_t *answer, const struct ls_error *err);
void ask_send(struct runner *r, const char *topic, json_t *body, int timeout_ms, ask_fn *fn, void *arg);
void ask_free(struct runner *r);

/* try.c */

struct try *try_new(struct runner *r, json_t *task); /* takes the body over; in no state yet */
struct try *try_find(const struct runner *r, const char *id);
void try_start(struct try *try); /* granted: start the command */
void try_stop(struct try *try, const char *reason, int64_t kill_after);
void try_lease(struct try *try, int64_t end_at);
void try_fail(struct try *try, const char *reason,
              const char *error); /* it is over without, or with an unknown, result */
void try_on_started(struct try *try, const struct word *started);
void try_on_ended(struct try *try, const struct word *ended);
/* try_judge fills what follows from how the command ended; reads the outputs. */
void try_judge(struct try *try, const struct word *ended);
void try_free(struct try *try);

/* hands.c */

int hands_open(struct runner *r, struct ls_error *err);
void hands_close(struct runner *r); /* the keepers end what they have */
struct hand *hands_find_free(struct runner *r);
int hand_order(struct hand *hand, const struct order *order, const int *fds); /* fds NULL: none; -1 with errno */
void hand_kill(struct hand *hand);                                            /* a keeper that does not answer */

/* report.c */

/* report_turn publishes what is due: starts and ends. report_progress publishes a piece of the log (may be empty) and
 * progress; false: there is no room now, it was not sent. */
void report_turn(struct runner *r);
bool report_progress(struct try *try, struct ls_slice log, int64_t offset);

/* record.c: a file per try, locked as long as its keeper has it */

/* record_open writes the try's record; the descriptor, which stays the record's. record_clear: its end is stored, so record and
 * outputs go. record_forget leaves it to a later process. record_read: a try with its ending, made from what a former
 * process left, and how; *is_free: the record describes none. NULL if it is unreadable. */
int record_open(struct try *try, struct ls_error *err);
void record_clear(struct try *try);
void record_forget(struct try *try);
struct try *record_read(struct runner *r, const char *path, bool *is_free);
void records_close(struct runner *r);

/* leftovers.c */

/* leftovers_find begins to wait for the keepers of a former process; calls leftovers_done ... runner.c when all are gone. */
void leftovers_find(struct runner *r);
void leftovers_on_look(void *self, struct timer *timer);
void runner_on_ready(struct runner *r);

/* retain.c */
void retain_sweep(struct runner *r);

/* log_ask.c: log_serve offers the request task.log.MEMBER */
int log_serve(struct runner *r, struct ls_error *err);

#endif
