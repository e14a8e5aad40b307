/* SPDX-License-Identifier: Apache-2.0 */
/* lineshaft workflow: the workflows of a scheduler. Here: the verbs, their arguments and options. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/workflows/workflow.h"
#include "lib/clock.h"

#define COUNT_MAX 1000
#define COUNT_DEFAULT 5
#define LIMIT_MAX 1000

static int pause_it(struct workflow_command *c, bool paused)
{
    json_t *body = workflow_which(c, NULL);
    json_object_set_new(body, "paused", json_boolean(paused));
    json_auto_t *workflow = workflow_ask(c, "scheduler.pause", body);
    if (!workflow)
        return c->status;
    if (c->json)
        workflow_print_json(workflow);
    else
        printf("ok %s %s\n", c->workflow,
               paused ? "is paused: nothing of it begins until it is unpaused, runs by hand wait too" : "goes on");
    return CLI_OK;
}

static int pause_workflow(struct workflow_command *c)
{
    return pause_it(c, true);
}

static int unpause_workflow(struct workflow_command *c)
{
    return pause_it(c, false);
}

/* The verbs: how many arguments, which options of its own (their letters, see LONGS). */
static const struct verb {
    const char *name, *takes;
    int least, most;
    const char *options;
    int (*run)(struct workflow_command *c);
} VERBS[] = {
    {"ls", "no argument", 0, 0, "", workflow_list},
    {"run", "one WORKFLOW", 1, 1, "iIwfRDn", workflow_run},
    {"show", "WORKFLOW and RUN, or WORKFLOW, or nothing", 0, 2, "ls", workflow_show},
    {"cancel", "WORKFLOW and, if several are under way, RUN", 1, 2, "r", workflow_cancel},
    {"clear", "WORKFLOW and RUN", 2, 2, "tod", workflow_clear},
    {"explain", "WORKFLOW and TASK", 2, 2, "R", workflow_explain},
    {"log", "WORKFLOW and TASK", 2, 2, "RfA", workflow_log},
    {"next", "one WORKFLOW, a file or a cron expression in quotes", 1, 1, "czF", workflow_when},
    {"pause", "one WORKFLOW", 1, 1, "", pause_workflow},
    {"unpause", "one WORKFLOW", 1, 1, "", unpause_workflow},
    {NULL, NULL, 0, 0, NULL, NULL}};

static const struct option LONGS[] = {OPTIONS_BROKER,
                                      {"json", no_argument, NULL, 'j'},
                                      {"input", required_argument, NULL, 'i'},
                                      {"inputs", required_argument, NULL, 'I'},
                                      {"wait", no_argument, NULL, 'w'},
                                      {"follow", no_argument, NULL, 'f'},
                                      {"run", required_argument, NULL, 'R'},
                                      {"attempt", required_argument, NULL, 'A'},
                                      {"date", required_argument, NULL, 'D'},
                                      {"note", required_argument, NULL, 'n'},
                                      {"limit", required_argument, NULL, 'l'},
                                      {"state", required_argument, NULL, 's'},
                                      {"reason", required_argument, NULL, 'r'},
                                      {"task", required_argument, NULL, 't'},
                                      {"only", no_argument, NULL, 'o'},
                                      {"dry-run", no_argument, NULL, 'd'},
                                      {"count", required_argument, NULL, 'c'},
                                      {"zone", required_argument, NULL, 'z'},
                                      {"from", required_argument, NULL, 'F'},
                                      {0}};

/* ---- values ---- */

static bool take_input(struct workflow_command *c, const char *text)
{
    const char *is = strchr(text, '=');
    char name[201];
    if (!is || is == text || (size_t) (is - text) >= sizeof name) {
        options_usage(&CMD_WORKFLOW, "--input: \"%s\" is not NAME=VALUE", text);
        return false;
    }
    snprintf(name, sizeof name, "%.*s", (int) (is - text), text);
    if (!c->inputs)
        c->inputs = json_object();
    json_t *value = json_string(is + 1);
    if (!value) {
        options_usage(&CMD_WORKFLOW, "--input: the value of %s is not UTF-8", name);
        return false;
    }
    json_object_set_new(c->inputs, name, value);
    return true;
}

static bool take_inputs(struct workflow_command *c, const char *text)
{
    json_error_t why;
    json_auto_t *given = json_loads(text, 0, &why);
    if (!given || !json_is_object(given)) {
        options_usage(&CMD_WORKFLOW, "--inputs: %s; write a JSON object such as '{\"order\": 5}'", given ? "that is no object" : why.text);
        return false;
    }
    if (!c->inputs)
        c->inputs = json_object();
    json_object_update_missing(c->inputs, given);
    return true;
}

static bool take_task(struct workflow_command *c, const char *text)
{
    json_t *task = json_string(text);
    if (!task) {
        options_usage(&CMD_WORKFLOW, "--task: the name is not UTF-8");
        return false;
    }
    if (!c->tasks)
        c->tasks = json_array();
    json_array_append_new(c->tasks, task);
    return true;
}

static bool take_date(struct workflow_command *c, const char *text)
{
    int64_t us;
    c->date = text;
    if (clock_parse(text, strlen(text), &us))
        return true;
    options_usage(&CMD_WORKFLOW, "--date: \"%s\" is not a time such as 2026-11-23T02:00:00Z", text);
    return false;
}

static bool take_count(const char *what, const char *text, uint64_t max, uint64_t *value)
{
    if (!options_number(&CMD_WORKFLOW, what, text, max, value))
        return false;
    if (*value)
        return true;
    options_usage(&CMD_WORKFLOW, "%s is at least 1", what);
    return false;
}

static bool take(struct workflow_command *c, int option)
{
    bool ok;
    if (options_broker_take(&CMD_WORKFLOW, &c->broker, option, &ok))
        return ok;
    switch (option) {
    case 'j': c->json = true; return true;
    case 'w': c->wait = true; return true;
    case 'f': c->follow = true; return true;
    case 'o': c->only = true; return true;
    case 'd': c->dry_run = true; return true;
    case 'R': c->run_id = optarg; return true;
    case 'n': c->note = optarg; return true;
    case 's': c->state = optarg; return true;
    case 'r': c->reason = optarg; return true;
    case 'z': c->zone = optarg; return true;
    case 'D': return take_date(c, optarg);
    case 'i': return take_input(c, optarg);
    case 'I': return take_inputs(c, optarg);
    case 't': return take_task(c, optarg);
    case 'l': return take_count("--limit", optarg, LIMIT_MAX, &c->limit);
    case 'c': return take_count("--count", optarg, COUNT_MAX, &c->count);
    case 'A': return take_count("--attempt", optarg, COUNT_MAX, &c->attempt);
    case 'F': c->has_from = true; return options_moment(&CMD_WORKFLOW, "--from", optarg, &c->from_us);
    default: return false;
    }
}

/* ---- the verb ---- */

static const struct verb *verb_find(const char *name)
{
    const struct verb *verb = VERBS;
    while (verb->name && strcmp(verb->name, name) != 0)
        verb++;
    return verb->name ? verb : NULL;
}

/* An option that means nothing to the verb is a mistake. */
static bool check_options(const struct verb *verb, const bool *given)
{
    for (const struct option *o = LONGS; o->name; o++)
        if (o->val < 128 && o->val != 'j' && given[o->val] && !strchr(verb->options, o->val)) {
            options_usage(&CMD_WORKFLOW, "%s takes no --%s", verb->name, o->name);
            return false;
        }
    return true;
}

static int dispatch(struct workflow_command *c, int argc, char **argv)
{
    bool given[128] = {false};
    for (int option; (option = options_next(&CMD_WORKFLOW, argc, argv, "i:jwf", LONGS)) != OPTIONS_END;) {
        if (!take(c, option))
            return CLI_USAGE;
        if (option > 0 && option < 128)
            given[option] = true;
    }
    const char *name = optind < argc ? argv[optind++] : "ls";
    const struct verb *verb = verb_find(name);
    int count = argc - optind;
    if (!verb)
        return options_usage(&CMD_WORKFLOW, "\"%s\" is none of ls, run, show, cancel, clear, explain, log, next, pause, unpause", name);
    if (count < verb->least || count > verb->most)
        return options_usage(&CMD_WORKFLOW, "%s takes %s", name, verb->takes);
    if (!check_options(verb, given))
        return CLI_USAGE;
    c->workflow = count > 0 ? argv[optind] : NULL;
    c->second = count > 1 ? argv[optind + 1] : NULL;
    return verb->run(c);
}

static int run(int argc, char **argv)
{
    struct workflow_command c = {.count = COUNT_DEFAULT};
    options_broker_init(&c.broker);
    int status = dispatch(&c, argc, argv);
    bus_close(&c.bus);
    json_decref(c.inputs);
    json_decref(c.tasks);
    return status;
}

const struct cli_command CMD_WORKFLOW = {
    .name = "workflow",
    .run = run,
    .summary = "run workflows, see how they went and when they run next",
    .usage =
        "lineshaft workflow - run workflows, see how they went and when they run next\n"
        "\n"
        "SYNOPSIS\n"
        "  lineshaft workflow ls\n"
        "  lineshaft workflow run WORKFLOW [--input NAME=VALUE ...] [--inputs JSON] [--wait | --follow]\n"
        "                         [--run RUN] [--date TIME] [--note TEXT]\n"
        "  lineshaft workflow show [WORKFLOW [RUN]] [--limit N] [--state STATE]\n"
        "  lineshaft workflow explain WORKFLOW TASK [--run RUN]\n"
        "  lineshaft workflow log WORKFLOW TASK [--run RUN] [--attempt N] [--follow]\n"
        "  lineshaft workflow next WORKFLOW|FILE|\"CRON\" [--count N] [--zone ZONE] [--from TIME]\n"
        "  lineshaft workflow cancel WORKFLOW [RUN] [--reason TEXT]\n"
        "  lineshaft workflow clear WORKFLOW RUN [--task TASK ...] [--only] [--dry-run]\n"
        "  lineshaft workflow pause|unpause WORKFLOW\n"
        "\n"
        "DESCRIPTION\n"
        "  A workflow is a YAML file with tasks (docs/workflows.md); a node of kind scheduler reads it and runs it, by\n"
        "  the clock, by an event, or by hand. These commands ask that node (docs/nodes/scheduler-requests.md).\n"
        "\n"
        "  ls         The workflows: what starts them, when next, how the last run went; and files with mistakes.\n"
        "  run        Starts a run. It prints the run's id and returns at once, but for --wait and --follow.\n"
        "  show       A run with its tasks: the newest of WORKFLOW, or RUN. Without WORKFLOW, or with --limit or\n"
        "             --state: a list of runs, newest first.\n"
        "  explain    Why a task is as it is: what it waits for, or why it ended so, with all its tries and, when it\n"
        "             failed on this machine, the last lines of its log.\n"
        "  log        What a task printed in its last try, or in attempt N: asked from the runner that has it, wherever\n"
        "             that stands.\n"
        "  next       When it runs next. A cron expression, or a file (something with a / in it, or that ends in\n"
        "             .yaml or .yml), needs no broker.\n"
        "  cancel     Ends a run; RUN may be left out when only one is under way.\n"
        "  clear      Sets tasks of a run back, so that they run again, and all behind them: those named, else all\n"
        "             that failed.\n"
        "  pause      Nothing of it begins until unpause: runs by hand and by events wait as queued; missed times are\n"
        "             made up for as the workflow's `catchup` says.\n"
        "\n"
        "OPTIONS\n"
        "  -i, --input NAME=VALUE  run: an input, read as the type that the workflow declares.\n"
        "  --inputs JSON    run: inputs as one JSON object; --input goes before.\n"
        "  -w, --wait       run: wait until the run is over; exit status 0 if it succeeded, else 1.\n"
        "  -f, --follow     run: the same, and show the tasks' states and logs as they come. Ctrl-C stops looking, not\n"
        "                   the run. log: until the try is over.\n"
        "  --attempt N      log: of this attempt; default: the last.\n"
        "  --run RUN        run: the id that the run gets; one that there is already is not started again. explain,\n"
        "                   log: the run; default: the newest.\n"
        "  --date TIME      run: its logical date, such as 2026-11-23T02:00:00Z.\n"
        "  --note TEXT      run: kept with the run.\n"
        "  --limit N        show: so many runs; default 20.\n"
        "  --state STATE    show: only runs that are queued, running, success or failed.\n"
        "  --reason TEXT    cancel: kept with the run.\n"
        "  --task TASK      clear: this one; may be repeated.\n"
        "  --only           clear: not the tasks behind them.\n"
        "  --dry-run        clear: only say which.\n"
        "  --count N        next: so many times; default 5.\n"
        "  --zone ZONE      next: show times of this zone, such as Europe/Berlin; a cron expression is read in it\n"
        "                   (default UTC), a file has its own.\n"
        "  --from TIME      next: begin there, with a file or a cron expression; default: now.\n"
        "  -j, --json       The scheduler's answer as JSON; run --follow: each event, then the run, one a line.\n"
        OPTIONS_BROKER_USAGE
        "\n"
        "EXAMPLES\n"
        "  lineshaft workflow run train --follow\n"
        "  lineshaft workflow run train -i order=4 --wait && lineshaft workflow show train\n"
        "  lineshaft workflow explain train promote\n"
        "  lineshaft workflow log train train --follow\n"
        "  lineshaft workflow next \"30 2 * * 1-5\" --zone Europe/Berlin\n"
        "  lineshaft workflow next config/workflows/train.yaml --count 3\n"
        "  lineshaft workflow show --state failed --json | jq -r '.runs[].workflow_run_id'\n"
        "\n"
        "EXIT STATUS\n"
        "  0  fine; with --wait or --follow: the run succeeded\n"
        "  1  failed; the reason is on standard error\n"
        "  2  wrong usage\n"
        "  3  the broker cannot be reached\n",
};
