/* SPDX-License-Identifier: Apache-2.0 */
/* lineshaft check: all problems of a topology and its workflows at once, or of one workflow, without starting anything. */
#include <jansson.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/check_workflows.h"
#include "cli/options.h"
#include "cli/render.h"
#include "nodes/kinds.h"
#include "topology/topology.h"

#define SHOWN_MAX 20 /* problems */

static void put(struct buf *text, FILE *stream)
{
    render_put(text, stream);
    fflush(stream);
    buf_fini(text);
}

static void add_count(struct buf *out, size_t count, const char *what)
{
    buf_addf(out, ", %zu %s%s", count, what, count == 1 ? "" : "s");
}

/* What there is to say about one topology, or one workflow. */
struct report {
    struct diag_list diags;           /* of the topology */
    struct check_workflows workflows;
    size_t errors, warnings;
};

static void report_fini(struct report *r)
{
    check_workflows_fini(&r->workflows);
    diag_list_fini(&r->diags);
}

static void count_problems(struct report *r)
{
    r->errors = r->diags.error_count;
    r->warnings = r->diags.warning_count;
    for (size_t i = 0; i < r->workflows.count; i++) {
        r->errors += r->workflows.items[i]->diags.error_count;
        r->warnings += r->workflows.items[i]->diags.warning_count;
    }
}

/* One array of the problems of all files. */
static void print_json(const struct report *r, bool verbose)
{
    struct buf out = {0};
    json_t *all = json_array();
    for (size_t i = 0; i <= r->workflows.count; i++) {
        struct buf part = {0};
        diag_print_json(i ? &r->workflows.items[i - 1]->diags : &r->diags, verbose, &part);
        json_t *array = json_loadb((const char *) part.data, part.len, 0, NULL);
        json_array_extend(all, array);
        json_decref(array);
        buf_fini(&part);
    }
    char *text = json_dumps(all, JSON_INDENT(2));
    if (text)
        buf_addf(&out, "%s\n", text);
    free(text);
    json_decref(all);
    put(&out, stdout);
}

static void print_problems(const struct report *r, bool verbose)
{
    struct buf out = {0};
    struct diag_style style = {render_colours(STDERR_FILENO), verbose, SHOWN_MAX};
    diag_print(&r->diags, style, &out);
    for (size_t i = 0; i < r->workflows.count; i++)
        diag_print(&r->workflows.items[i]->diags, style, &out);
    put(&out, stderr);
}

/* "config/hello.yaml: ok: 1 stream, 2 nodes, 1 consumer"; with the settings, as a comment above them. */
static void print_ok(const struct topology *t, const struct report *r, bool verbose)
{
    struct buf out = {0};
    size_t streams = t->stream_count - 1; /* $sys is built in */
    buf_addf(&out, "%s%s: ok: %zu stream%s", verbose ? "# " : "", t->file, streams, streams == 1 ? "" : "s");
    add_count(&out, t->node_count, "node");
    add_count(&out, t->consumer_count, "consumer");
    if (r->workflows.count)
        add_count(&out, r->workflows.count, "workflow");
    if (r->warnings)
        add_count(&out, r->warnings, "warning");
    buf_addf(&out, "\n");
    if (verbose)
        topology_print(t, &out);
    put(&out, stdout);
}

static void print_workflow_ok(const struct report *r)
{
    struct buf out = {0};
    const struct workflow *w = r->workflows.items[0]->file->workflow;
    buf_addf(&out, "%s: ok: workflow \"%s\"", r->workflows.items[0]->file->path, w->id);
    add_count(&out, w->task_count, "task");
    if (r->warnings)
        add_count(&out, r->warnings, "warning");
    buf_addf(&out, "\n");
    put(&out, stdout);
}

static int check(const char *path, bool verbose, bool json)
{
    struct report r = {0};
    struct topology *t = NULL;
    bool workflow = workflow_is(path);
    if (workflow)
        check_workflow_load(&r.workflows, path);
    else
        t = topology_load(path, KINDS, &r.diags);
    if (t)
        check_workflows_load(&r.workflows, t, &r.diags);
    count_problems(&r);
    bool ok = (t || workflow) && !r.errors;
    if (json)
        print_json(&r, verbose);
    else
        print_problems(&r, verbose);
    if (ok && !json && workflow)
        print_workflow_ok(&r);
    else if (ok && !json)
        print_ok(t, &r, verbose);
    topology_destroy(&t);
    report_fini(&r);
    return ok ? CLI_OK : CLI_FAILED;
}

static int run(int argc, char **argv)
{
    static const struct option LONGS[] = {{"verbose", no_argument, NULL, 'v'},
                                          {"json", no_argument, NULL, 'j'},
                                          {"json-schema", no_argument, NULL, 's'},
                                          {0}};
    bool verbose = false, json = false;
    for (int option; (option = options_next(&CMD_CHECK, argc, argv, "v", LONGS)) != OPTIONS_END;) {
        struct buf out = {0};
        switch (option) {
        case 'v': verbose = true; break;
        case 'j': json = true; break;
        case 's':
            topology_json_schema(KINDS, &out);
            put(&out, stdout);
            return CLI_OK;
        default: return CLI_USAGE;
        }
    }
    if (argc - optind != 1)
        return options_usage(&CMD_CHECK, argc == optind ? "which topology or workflow?" : "one file at a time");
    return check(argv[optind], verbose, json);
}

const struct cli_command CMD_CHECK = {
    .name = "check",
    .run = run,
    .summary = "find all problems of a topology or a workflow, without starting anything",
    .usage =
        "lineshaft check - find all problems of a topology or a workflow, without starting anything\n"
        "\n"
        "SYNOPSIS\n"
        "  lineshaft check [-v] [--json] TOPOLOGY\n"
        "  lineshaft check [--json] WORKFLOW\n"
        "  lineshaft check --json-schema\n"
        "\n"
        "DESCRIPTION\n"
        "  Reads the file TOPOLOGY and reports every problem with its place, the source line and a hint: syntax,\n"
        "  unknown or missing options, wrong values, and wiring that cannot work, such as a node that takes events\n"
        "  which no stream keeps. The workflow files of its schedulers are checked, too; a file with `tasks:` and\n"
        "  without `lineshaft:` is a workflow, which is checked by itself. Prints one line when all is well. docs/errors.md\n"
        "  explains each code in [brackets].\n"
        "\n"
        "OPTIONS\n"
        "  -v, --verbose    Also print the settings in effect, defaults filled in and secrets masked, and notes about\n"
        "                   events that nobody keeps.\n"
        "  --json           Print the problems as a JSON array.\n"
        "  --json-schema    Print the JSON Schema of topology files, for editors.\n"
        "\n"
        "EXAMPLES\n"
        "  lineshaft check config/hello.yaml\n"
        "  lineshaft check config/workflows/train.yaml\n"
        "  lineshaft check --json config/hello.yaml | jq -r '.[].code'\n"
        "\n"
        "EXIT STATUS\n"
        "  0  no problems; there may be warnings\n"
        "  1  problems were found\n"
        "  2  wrong usage\n",
};
