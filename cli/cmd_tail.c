/* SPDX-License-Identifier: Apache-2.0 */
/* lineshaft tail: shows events as they come, and those that are stored. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/tail/tail.h"
#include "lib/builtin_schemas.h"
#include "lib/topic.h"
#include "lib/xmem.h"

#define LAST_MAX 100000
#define FLUSH_BYTES 65536
#define FIELDS_MAX 32

/* ---- what is shown ---- */

bool tail_wanted(struct tail *t, const struct ls_event *event)
{
    if (t->subject && !ls_slice_is(event->subject, t->subject))
        return false;
    return !t->trace.asked || tail_belongs(&t->trace, event);
}

static void flush(struct tail *t)
{
    render_put(&t->out, stdout);
    fflush(stdout);
    buf_clear(&t->out);
}

static bool wants_tree(const struct tail *t)
{
    return t->trace.asked && !t->view.fields && !(t->json && t->follow);
}

static void print(struct tail *t, const struct ls_event *event)
{
    if (wants_tree(t))
        tail_tree_more(t, event);
    else if (t->json)
        event_json(event, &t->out);
    else if (t->view.fields)
        event_fields(event, &t->view, &t->out);
    else
        event_line(event, &t->view, &t->out);
    if (t->out.len > FLUSH_BYTES)
        flush(t);
}

/* The events of a trace are kept while the log is searched, and shown when all are there. */
void tail_put(struct tail *t, const struct ls_event *event)
{
    struct trace *trace = &t->trace;
    if (t->finished)
        return;
    if (trace->asked && !t->following) {
        trace->nodes = xgrow(trace->nodes, &trace->room, trace->count + 1, sizeof *trace->nodes);
        trace->nodes[trace->count] = (struct trace_node){0};
        event_copy_init(&trace->nodes[trace->count++].copy, event);
        t->finished = trace->count == TRACE_EVENTS_MAX;
    } else {
        print(t, event);
    }
    t->count++;
    t->finished = t->finished || t->count == t->count_max;
}

/* ---- following ---- */

static enum ls_verdict on_stored(void *arg, const struct ls_event *event, struct ls_error *err)
{
    (void) err;
    if (tail_wanted(arg, event))
        tail_put(arg, event);
    return LS_DONE;
}

static enum ls_verdict on_any(void *arg, const struct ls_event *event, struct ls_error *err)
{
    return event->seq ? LS_DONE : on_stored(arg, event, err);
}

/* A subscription for each stream, from where the history ended, so that a lost connection loses nothing; and one for the topics
 * that no stream keeps. */
static int subscribe(struct tail *t)
{
    struct ls_error err = {0};
    for (size_t i = 0; i <= t->stream_count; i++) {
        struct tail_stream *s = &t->streams[i];
        struct ls_subscription sub = {.topics = t->topics};
        bool rest = i == t->stream_count;
        if (rest && t->stream)
            break;
        if (!rest) {
            sub.stream = s->name;
            sub.from = (struct ls_from){LS_FROM_SEQ, s->end + 1};
            if (t->from.kind == LS_FROM_SEQ && t->from.value > sub.from.value)
                sub.from.value = t->from.value; /* it asks for what is not there yet */
        }
        uint32_t number = ls_subscribe(t->bus.client, &sub, rest ? on_any : on_stored, t, &err);
        if (!number || ls_subscribed_wait(t->bus.client, number, t->bus.timeout_ms, NULL, &err) < 0)
            return bus_failed(&CMD_TAIL, &err);
    }
    return CLI_OK;
}

/* Whether lineshaft's own schemas know a topic that the pattern matches; an unreadable pattern is the broker's to refuse. */
static bool known_to_schemas(const char *pattern)
{
    bool known = false;
    for (const struct builtin_schema *b = BUILTIN_SCHEMAS; b->topic && !known; b++)
        known = topic_overlap(pattern, b->topic);
    return known;
}

/* Nothing on the screen looks like a command that hangs. */
static void say_waiting(const struct tail *t)
{
    if (t->count || !isatty(STDERR_FILENO))
        return;
    fprintf(stderr, "lineshaft tail: waiting for new events (Ctrl-C ends it; --all shows what is stored)\n");
    for (size_t i = 0; t->topics[i]; i++)
        if (*t->topics[i] != '$' && !t->kept[i] && !known_to_schemas(t->topics[i]))
            fprintf(stderr, "  %s: no stream keeps such a topic, and no event of lineshaft has it; is it spelled as it is published?\n",
                    t->topics[i]);
}

static int follow(struct tail *t)
{
    int status = subscribe(t);
    struct ls_error err = {0};
    if (status == CLI_OK)
        say_waiting(t);
    while (status == CLI_OK && !t->finished && !t->bus.ended) {
        if (t->out.len)
            flush(t);
        struct pollfd polls[2] = {{.fd = ls_client_fd(t->bus.client), .events = POLLIN}, {.fd = STDOUT_FILENO}};
        poll(polls, 2, ls_client_due(t->bus.client));
        if (polls[1].revents & POLLERR) /* nobody reads any more */
            return CLI_OK;
        if (ls_client_step(t->bus.client, 0, &err) < 0)
            status = bus_failed(&CMD_TAIL, &err);
    }
    return t->bus.ended ? CLI_FAILED : status;
}

/* ---- the streams ---- */

static bool has_dollar(const struct tail *t)
{
    for (size_t i = 0; t->topics[i]; i++)
        if (t->topics[i][0] == '$')
            return true;
    return false;
}

static bool wanted_stream(const struct tail *t, struct mp_slice name)
{
    if (t->stream)
        return mp_is(name, t->stream);
    return name.len == 0 || name.data[0] != '$' || has_dollar(t);
}

static void mark_kept(struct tail *t, struct mp stream)
{
    uint32_t count;
    struct mp list = bus_list(stream, "topics", &count);
    struct mp_slice text;
    for (uint32_t k = 0; k < count && mp_str(&list, &text); k++) {
        char *pattern = xstrndup(text.data, text.len);
        for (size_t i = 0; t->topics[i]; i++)
            t->kept[i] |= topic_overlap(pattern, t->topics[i]);
        free(pattern);
    }
}

static int find_streams(struct tail *t)
{
    char *reply = NULL;
    size_t len = 0;
    int status = bus_adm(&t->bus, &(struct bus_adm){.op = "streams"}, &reply, &len);
    struct mp_maps streams = mp_maps(mp_over(reply, status == CLI_OK ? len : 0), "streams");
    for (struct mp item; mp_maps_next(&streams, &item);) {
        struct mp_slice name = bus_text(item, "name");
        mark_kept(t, item);
        if (!wanted_stream(t, name))
            continue;
        if (t->stream_count == TAIL_STREAMS_MAX - 1) {
            status = options_usage(&CMD_TAIL, "there are more streams than can be read at once: choose one by --stream");
            break;
        }
        t->streams[t->stream_count++] = (struct tail_stream){.name = xstrndup(name.data, name.len),
            .first = bus_number(item, "first"), .end = bus_number(item, "durable")};
    }
    free(reply);
    if (status == CLI_OK && t->stream && t->stream_count == 0) {
        fprintf(stderr, "lineshaft tail: there is no stream \"%s\"; `lineshaft stream ls` lists them\n", t->stream);
        return CLI_FAILED;
    }
    if (status == CLI_OK && t->from.kind == LS_FROM_SEQ && t->stream_count > 1)
        return options_usage(&CMD_TAIL, "--from-seq needs --stream: each stream counts for itself");
    return status;
}

/* ---- the command ---- */

static bool take_from(struct tail *t, int option)
{
    uint64_t number;
    int64_t time_us;
    if (t->from.kind != LS_FROM_DEFAULT)
        return options_usage(&CMD_TAIL, "--since, --last, --from-seq and --all exclude each other") == CLI_OK;
    if (option == 'A') {
        t->from.kind = LS_FROM_ALL;
    } else if (option == 'S') {
        if (!options_moment(&CMD_TAIL, "--since", optarg, &time_us))
            return false;
        t->from = (struct ls_from){LS_FROM_TIME, time_us > 0 ? (uint64_t) time_us : 0};
    } else {
        bool last = option == 'L';
        if (!options_number(&CMD_TAIL, last ? "--last" : "--from-seq", optarg, last ? LAST_MAX : UINT64_MAX, &number))
            return false;
        t->from = (struct ls_from){last ? LS_FROM_LAST : LS_FROM_SEQ, number};
    }
    return true;
}

static bool take_body(struct tail *t, const char *word)
{
    static const char *const WORDS[] = {"none", "short", "full"};
    for (size_t i = 0; i < 3; i++)
        if (strcmp(word, WORDS[i]) == 0) {
            t->view.body = (enum view_body) i;
            return true;
        }
    return options_usage(&CMD_TAIL, "--body: \"%s\" is none of none, short, full", word) == CLI_OK;
}

static bool take_fields(struct tail *t, const char *list)
{
    const char **fields = xcalloc(FIELDS_MAX + 1, sizeof *fields);
    size_t count = 0;
    for (const char *at = list; *at && count < FIELDS_MAX; at += strspn(at, ",")) {
        size_t len = strcspn(at, ",");
        if (len)
            fields[count++] = xstrndup(at, len);
        at += len;
    }
    t->view.fields = fields;
    return count > 0 || options_usage(&CMD_TAIL, "--fields: name at least one") == CLI_OK;
}

static bool take_option(struct tail *t, int option)
{
    bool ok = true;
    if (options_broker_take(&CMD_TAIL, &t->broker, option, &ok))
        return ok;
    switch (option) {
    case 'A':
    case 'S':
    case 'L':
    case 'N':
        return take_from(t, option);
    case 'B':
        return take_body(t, optarg);
    case 'F':
        return !t->view.fields && take_fields(t, optarg);
    case 'n':
        return options_number(&CMD_TAIL, "-n", optarg, UINT64_MAX, &t->count_max);
    case 's':
        t->stream = optarg;
        return true;
    case 'u':
        t->subject = optarg;
        return true;
    case 't':
        if (t->trace.asked || !*optarg)
            return options_usage(&CMD_TAIL, "--trace: give one id") == CLI_OK;
        tail_ask(&t->trace, optarg);
        return true;
    case 'f':
        return t->follow = true;
    case 'x':
        return t->no_follow = true;
    case 'j':
        return t->json = true;
    default:
        return false;
    }
}

static int take_arguments(struct tail *t, int argc, char **argv)
{
    static const struct option LONGS[] = {OPTIONS_BROKER, {"since", required_argument, NULL, 'S'},
        {"last", required_argument, NULL, 'L'}, {"from-seq", required_argument, NULL, 'N'}, {"all", no_argument, NULL, 'A'},
        {"stream", required_argument, NULL, 's'}, {"follow", no_argument, NULL, 'f'}, {"no-follow", no_argument, NULL, 'x'},
        {"json", no_argument, NULL, 'j'}, {"fields", required_argument, NULL, 'F'}, {"subject", required_argument, NULL, 'u'},
        {"trace", required_argument, NULL, 't'}, {"body", required_argument, NULL, 'B'},
        {"count", required_argument, NULL, 'n'}, {0}};
    int option;
    while ((option = options_next(&CMD_TAIL, argc, argv, "fjn:", LONGS)) != OPTIONS_END)
        if (!take_option(t, option))
            return CLI_USAGE;
    if (t->follow && t->no_follow)
        return options_usage(&CMD_TAIL, "--follow and --no-follow exclude each other");
    if (t->from.kind == LS_FROM_DEFAULT && (t->no_follow || t->trace.asked))
        t->from.kind = LS_FROM_ALL;
    if (t->from.kind == LS_FROM_DEFAULT)
        t->follow = true;
    t->topics = xcalloc((size_t) (argc - optind) + 3, sizeof *t->topics);
    t->kept = xcalloc((size_t) (argc - optind) + 3, sizeof *t->kept);
    for (int i = optind; i < argc; i++)
        t->topics[i - optind] = argv[i];
    if (optind == argc && t->stream && *t->stream == '$') {
        t->topics[0] = "$sys.>";
        t->topics[1] = "$dlq.>";
    } else if (optind == argc) {
        t->topics[0] = ">";
    }
    return CLI_OK;
}

static int show_trace(struct tail *t)
{
    int status = tail_search(t);
    if (status == CLI_OK && t->trace.count == 0 && !t->follow) {
        fprintf(stderr, "lineshaft tail: nothing stored belongs to \"%s\": it is the id of no trace, event, chat, request"
                " or run\n",
                t->trace.asked);
        status = CLI_FAILED;
    }
    if (status == CLI_OK && wants_tree(t))
        tail_tree(t);
    for (size_t i = 0; status == CLI_OK && !wants_tree(t) && i < t->trace.count; i++)
        print(t, &t->trace.nodes[i].copy.event);
    return status;
}

static int show(struct tail *t)
{
    int status = bus_open(&t->bus, &CMD_TAIL, &t->broker, NULL);
    if (status == CLI_OK)
        status = find_streams(t);
    if (status == CLI_OK && t->trace.asked)
        status = show_trace(t);
    else if (status == CLI_OK && t->from.kind != LS_FROM_DEFAULT)
        status = tail_history(t);
    flush(t);
    t->following = true;
    if (status == CLI_OK && t->follow && !t->finished)
        status = follow(t);
    flush(t);
    return status;
}

static void release(struct tail *t)
{
    bus_close(&t->bus);
    for (size_t i = 0; i < t->stream_count; i++)
        free(t->streams[i].name);
    for (size_t i = 0; t->view.fields && t->view.fields[i]; i++)
        free((char *) (uintptr_t) t->view.fields[i]);
    free((void *) (uintptr_t) t->view.fields);
    tail_tree_fini(&t->trace);
    free(t->topics);
    free(t->kept);
    buf_fini(&t->out);
}

static int run(int argc, char **argv)
{
    struct tail t = {.view.body = VIEW_BODY_SHORT};
    options_broker_init(&t.broker);
    int status = take_arguments(&t, argc, argv);
    if (status == CLI_OK) {
        t.view.colours = render_colours(STDOUT_FILENO);
        t.view.width = render_width(STDOUT_FILENO);
        status = show(&t);
    }
    release(&t);
    return status;
}

const struct cli_command CMD_TAIL = {
    .name = "tail",
    .run = run,
    .summary = "show events, as they come and from the log",
    .usage =
        "lineshaft tail - show events, as they come and from the log\n"
        "\n"
        "SYNOPSIS\n"
        "  lineshaft tail [OPTION ...] [PATTERN ...]\n"
        "\n"
        "DESCRIPTION\n"
        "  Shows the events whose topic matches a PATTERN (`run.*`, `chat.>`; default `>`, every topic but those that\n"
        "  begin with $), one a line: time, place in the log (`events:17`, or - when no stream keeps the topic),\n"
        "  topic, subject, body. Bodies in msgpack are shown as JSON. Control characters come out escaped.\n"
        "\n"
        "  Without --since, --last, --from-seq or --all it waits for new events, until Ctrl-C. With one of them it shows\n"
        "  what is stored and ends, unless -f is given too. If the broker goes away it waits for it, and shows what\n"
        "  was stored meanwhile.\n"
        "\n"
        "  With --trace the log is searched for everything that belongs together, and shown as a tree: each event below the\n"
        "  one that caused it (its causationid, else the chat request that it is about, else the first event of its span),\n"
        "  with the time since the trace began, the time since its parent, the node that published it, and what it says.\n"
        "  A chat with several turns has a tree for each. With -f it goes on with events that come later.\n"
        "\n"
        "  The run of a workflow has its tasks below it, each with what it did: the run that it logged, the artifacts and model\n"
        "  versions that it made, the workers that loaded them, the workflows that these started, and what went to W&B.\n"
        "  Values of a run and reports of progress that follow each other stand in one line, with their number; --body full\n"
        "  and --json show them all.\n"
        "\n"
        "OPTIONS\n"
        "  --since WHEN     From then on: so long ago (10m, 2h), or a time (2026-11-23, 2026-11-23T10:00:00Z).\n"
        "  --last N         The last N that match.\n"
        "  --from-seq N     From this number of the stream on.\n"
        "  --all            Everything that is stored.\n"
        "  --stream NAME    Of one stream only.\n"
        "  -f, --follow     Go on with new events.\n"
        "  --no-follow      End with what is stored; alone, the same as --all.\n"
        "  --subject TEXT   Only events with this subject.\n"
        "  --trace ID       The story of one thing, by any id of it: of a trace (or a traceparent), an event, a chat (its\n"
        "                   subject), a request (x-request-id, correlationid), the run of a workflow (WORKFLOW/RUN, or\n"
        "                   RUN alone: the newest of that name), or a run of the tracker or of W&B.\n"
        "  -n, --count N    End after N events.\n"
        "  --body HOW       none, short (cut at the width of the terminal; the default), full (indented, below the line).\n"
        "  --fields LIST    Only these, tabs between them: stream, seq, body, body.KEY, or any attribute (time, id, ...).\n"
        "  -j, --json       One JSON object a line: stream, seq, the attributes, data (or data_base64). With --trace and without\n"
        "                   -f one object in all: events, duration_ms, traces: [{trace, began, tree: [{offset_ms,\n"
        "                   after_parent_ms, story, event, children}]}].\n"
        OPTIONS_BROKER_USAGE
        "\n"
        "EXAMPLES\n"
        "  lineshaft tail 'run.>' --since 10m -f\n"
        "  lineshaft tail chat.completed --last 5 --body full\n"
        "  lineshaft tail run.metric --no-follow --fields time,subject,body.key,body.value\n"
        "  lineshaft tail --trace 4bf92f3577b34da6a3ce929d0e0e4736\n"
        "  lineshaft tail --trace train/r1\n"
        "\n"
        OPTIONS_EXIT_USAGE,
};
