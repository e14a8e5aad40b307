/* SPDX-License-Identifier: Apache-2.0 */
/* lineshaft pub: publishes one event, the same one many times, or the lines of standard input. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#include "cli/bus.h"
#include "cli/compose.h"
#include "cli/event_view.h"
#include "cli/render.h"
#include "lib/clock.h"
#include "lib/json.h"
#include "lib/xmem.h"

#define LINE_BYTES_MAX (16u << 20)
#define READ_BYTES 65536
#define PROGRESS_EVERY_MS 500
#define RATE_MAX 1000000
#define SAY_WAITING_MS 1000
#define RETRY_DEFAULT_MS 1000

/* An event that is neither acknowledged nor refused for good: kept, to be sent again after a refusal with `again`. */
struct open_event {
    TAILQ_ENTRY(open_event) link;
    struct pub *pub;
    struct event_copy copy;
};
TAILQ_HEAD(open_events, open_event);

struct pub {
    struct bus bus;
    struct options_broker broker;
    struct compose compose;
    const char *data;     /* the argument; NULL: none */
    const char *base_id;  /* --id */
    bool lines, json, progress, failed;
    uint64_t count, rate; /* rate 0: as fast as it goes */
    uint64_t begun, acknowledged, duplicates, refused;
    struct open_events flight, again; /* with the broker; to be sent again at again_ms */
    int64_t again_ms, progress_ms;    /* progress_ms: the last acknowledgement, or when there was nothing to wait for */
    struct ls_error refusal;          /* the last with `again` since then; name "": none */
    bool said_waiting;
    char level[16];
    int64_t started_ms, shown_ms;
    struct buf input;     /* of standard input, not yet published */
    size_t used;          /* bytes of `input` that are */
    uint64_t line_number;
    bool input_ended;
};

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal)
{
    (void) signal;
    interrupted = 1;
}

/* ---- results ---- */

static void put_json_result(const struct ls_published *r)
{
    struct buf line = {0};
    buf_addf(&line, "{\"ok\":true,\"id\":");
    json_put_string(&line, r->id.data, r->id.len);
    if (r->seq) {
        buf_addf(&line, ",\"stream\":");
        json_put_string(&line, r->stream.data, r->stream.len);
        buf_addf(&line, ",\"seq\":%llu", (unsigned long long) r->seq);
    }
    buf_addf(&line, ",\"level\":");
    json_put_string(&line, r->level.data, r->level.len);
    printf("%s%s}\n", buf_text(&line), r->dup ? ",\"dup\":true" : "");
    buf_fini(&line);
}

static void put_result(const struct pub *p, const struct ls_published *r)
{
    if (p->json)
        put_json_result(r);
    else if (r->seq)
        printf("ok %.*s:%llu %.*s %.*s%s\n", (int) r->stream.len, r->stream.data, (unsigned long long) r->seq,
               (int) r->level.len, r->level.data, (int) r->id.len, r->id.data, r->dup ? " duplicate" : "");
    else
        printf("ok %.*s %.*s (no stream keeps this topic)\n", (int) r->level.len, r->level.data, (int) r->id.len, r->id.data);
    fflush(stdout);
}

static int publish_one(struct pub *p)
{
    struct ls_published result = {0};
    struct ls_error err = {0};
    char id[LS_ID_SIZE];
    if (!p->compose.event.id.len) { /* the same one when it is sent again */
        ls_id(id);
        p->compose.event.id = ls_str(id);
    }
    if (ls_publish_wait(p->bus.client, &p->compose.event, p->bus.timeout_ms, &result, &err) < 0)
        return bus_failed(&CMD_PUB, &err);
    put_result(p, &result);
    return CLI_OK;
}

static void progressed(struct pub *p)
{
    p->progress_ms = clock_mono_ms();
    p->refusal = (struct ls_error){0};
    p->said_waiting = false;
}

static bool none_open(const struct pub *p)
{
    return TAILQ_EMPTY(&p->flight) && TAILQ_EMPTY(&p->again);
}

static void free_open(struct open_events *list, struct open_event *e)
{
    TAILQ_REMOVE(list, e, link);
    event_copy_fini(&e->copy);
    free(e);
}

static void put_refusal(struct pub *p, struct ls_slice id, const struct ls_error *err)
{
    p->refused++;
    fprintf(stderr, "%s%.*s: ", p->progress ? "\r\x1b[K" : "", (int) id.len, id.data);
    bus_failed(&CMD_PUB, err);
}

static void on_published(void *arg, const struct ls_published *result)
{
    struct open_event *e = arg;
    struct pub *p = e->pub;
    if (result->err && result->err->again) {
        if (TAILQ_EMPTY(&p->again))
            p->again_ms = clock_mono_ms() + (result->err->retry_ms > 0 ? result->err->retry_ms : RETRY_DEFAULT_MS);
        p->refusal = *result->err;
        TAILQ_REMOVE(&p->flight, e, link);
        TAILQ_INSERT_TAIL(&p->again, e, link);
        return;
    }
    if (result->err) {
        put_refusal(p, result->id, result->err);
    } else {
        p->acknowledged++;
        p->duplicates += result->dup;
        snprintf(p->level, sizeof p->level, "%.*s", (int) result->level.len, result->level.data);
        progressed(p);
    }
    free_open(&p->flight, e);
}

static void show_progress(struct pub *p)
{
    int64_t now_ms = clock_mono_ms();
    if (!p->progress || now_ms - p->shown_ms < PROGRESS_EVERY_MS)
        return;
    p->shown_ms = now_ms;
    fprintf(stderr, "\r\x1b[K%llu sent, %llu acknowledged, %.0f/s", (unsigned long long) p->begun,
            (unsigned long long) p->acknowledged, (double) p->acknowledged * 1000 / (double) (now_ms - p->started_ms + 1));
}

static void put_summary(const struct pub *p)
{
    char took[RENDER_SHORT_SIZE];
    double seconds = (double) (clock_mono_ms() - p->started_ms + 1) / 1000;
    unsigned long long acknowledged = p->acknowledged, duplicates = p->duplicates, refused = p->refused;
    if (p->progress)
        fputs("\r\x1b[K", stderr);
    if (p->json) {
        printf("{\"acknowledged\":%llu,\"duplicates\":%llu,\"refused\":%llu,\"level\":\"%s\",\"seconds\":%.3f}\n", acknowledged,
               duplicates, refused, p->level, seconds);
        return;
    }
    printf("ok %llu event%s%s%s in %s, %.0f/s", acknowledged, acknowledged == 1 ? "" : "s", *p->level ? " " : "", p->level,
           render_duration((int64_t) (seconds * 1e6), took), (double) acknowledged / seconds);
    if (duplicates)
        printf(", %llu of them duplicates", duplicates);
    if (refused)
        printf(", %llu refused", refused);
    puts("");
}

/* ---- many ---- */

/* Publishes the composed event as number `begun`; false when the window is full. */
static bool publish_next(struct pub *p)
{
    struct ls_error err = {0};
    char id[300];
    if (p->base_id) /* numbered, so that the same import a second time stores nothing twice */
        snprintf(id, sizeof id, "%s-%llu", p->base_id, (unsigned long long) p->begun + 1);
    else
        ls_id(id);
    p->compose.event.id = ls_str(id);
    struct open_event *e = xcalloc(1, sizeof *e);
    e->pub = p;
    event_copy_init(&e->copy, &p->compose.event);
    if (none_open(p))
        progressed(p);
    TAILQ_INSERT_TAIL(&p->flight, e, link);
    if (ls_publish(p->bus.client, &e->copy.event, on_published, e, &err) == 0) {
        p->begun++;
        return true;
    }
    free_open(&p->flight, e);
    if (err.again)
        return false;
    if (p->lines)
        fprintf(stderr, "line %llu: ", (unsigned long long) p->line_number);
    bus_failed(&CMD_PUB, &err);
    p->begun++;
    p->refused++;
    return true;
}

/* What was refused with `again` is sent once more when its time has come, before anything new. */
static void publish_again(struct pub *p)
{
    struct open_event *e;
    while (clock_mono_ms() >= p->again_ms && (e = TAILQ_FIRST(&p->again)) != NULL) {
        struct ls_error err = {0};
        TAILQ_REMOVE(&p->again, e, link);
        TAILQ_INSERT_TAIL(&p->flight, e, link);
        if (ls_publish(p->bus.client, &e->copy.event, on_published, e, &err) == 0)
            continue;
        if (err.again) {
            TAILQ_REMOVE(&p->flight, e, link);
            TAILQ_INSERT_HEAD(&p->again, e, link);
            return;
        }
        put_refusal(p, e->copy.event.id, &err);
        free_open(&p->flight, e);
    }
}

/* The next whole line; false when more input is needed. Empty lines are stepped over. */
static bool next_line(struct pub *p, const char **line, size_t *len)
{
    for (;;) {
        const char *from = (const char *) p->input.data + p->used;
        size_t left = p->input.len - p->used;
        const char *end = left ? memchr(from, '\n', left) : NULL;
        if (!end && !(p->input_ended && left))
            return false;
        *len = end ? (size_t) (end - from) : left;
        *line = from;
        p->used += *len + (end != NULL);
        p->line_number++;
        if (*len && from[*len - 1] == '\r')
            --*len;
        if (*len)
            return true;
    }
}

static void read_input(struct pub *p)
{
    if (p->used)
        memmove(p->input.data, p->input.data + p->used, p->input.len - p->used);
    p->input.len -= p->used;
    p->used = 0;
    if (p->input.len > LINE_BYTES_MAX) {
        fprintf(stderr, "lineshaft pub: line %llu is longer than any event may be\n", (unsigned long long) p->line_number + 1);
        p->failed = p->input_ended = true;
        return;
    }
    buf_reserve(&p->input, READ_BYTES);
    ssize_t got = read(STDIN_FILENO, p->input.data + p->input.len, READ_BYTES);
    if (got > 0)
        p->input.len += (size_t) got;
    else if (got == 0)
        p->input_ended = true;
    else if (errno != EINTR && errno != EAGAIN) {
        fprintf(stderr, "lineshaft pub: cannot read standard input: %s\n", strerror(errno));
        p->failed = p->input_ended = true;
    }
}

/* How many events the rate allows by now. */
static uint64_t allowed(const struct pub *p)
{
    if (!p->rate)
        return UINT64_MAX;
    return 1 + (uint64_t) (clock_mono_ms() - p->started_ms) * p->rate / 1000;
}

/* Publishes what is there; returns whether it waits for input. */
static bool publish_ready(struct pub *p)
{
    uint64_t until = allowed(p);
    publish_again(p);
    while (TAILQ_EMPTY(&p->again) && p->begun < until && p->begun < p->count && !interrupted) {
        if (p->lines) {
            const char *line;
            size_t len, used = p->used, number = p->line_number;
            if (!next_line(p, &line, &len))
                return !p->input_ended;
            if (!compose_body(&CMD_PUB, &p->compose, line, len)) {
                fprintf(stderr, "lineshaft pub: line %llu was left out\n", (unsigned long long) p->line_number);
                p->refused++;
                continue;
            }
            if (!publish_next(p)) {
                p->used = used;
                p->line_number = number;
                return false;
            }
        } else if (!publish_next(p)) {
            return false;
        }
    }
    return false;
}

static bool all_begun(const struct pub *p)
{
    return interrupted || p->begun >= p->count || (p->lines && p->input_ended && p->used == p->input.len);
}

static int64_t sooner(int64_t wait, int64_t at_ms)
{
    int64_t left = at_ms - clock_mono_ms();
    return left < wait ? left : wait;
}

static int wait_ms(struct pub *p)
{
    int64_t wait = ls_client_due(p->bus.client);
    if (p->rate && !all_begun(p)) {
        int64_t next = p->started_ms + (int64_t) (p->begun * 1000 / p->rate) - clock_mono_ms();
        if (next >= 0 && next < wait)
            wait = next + 1;
    }
    if (p->progress && wait > PROGRESS_EVERY_MS)
        wait = PROGRESS_EVERY_MS;
    if (!none_open(p))
        wait = sooner(wait, p->progress_ms + p->bus.timeout_ms);
    if (!TAILQ_EMPTY(&p->again))
        wait = sooner(wait, p->again_ms);
    if (p->refusal.name[0] && !p->said_waiting)
        wait = sooner(wait, p->progress_ms + SAY_WAITING_MS);
    return wait < 0 ? 0 : (int) wait;
}

/* Whether waiting has to end: no acknowledgement for the time-out, or Ctrl-C while the broker refuses. A broker that is away is
 * waited for. After a second without progress it says, once, what it waits for. */
static bool stuck(struct pub *p)
{
    if (!ls_client_connected(p->bus.client))
        p->progress_ms = clock_mono_ms();
    int64_t waited = clock_mono_ms() - p->progress_ms;
    if (none_open(p))
        return false;
    if (waited >= p->bus.timeout_ms)
        return true;
    if (!p->refusal.name[0])
        return false;
    if (waited >= SAY_WAITING_MS && !p->said_waiting) {
        struct ls_error waiting = p->refusal;
        snprintf(waiting.text, sizeof waiting.text, "waiting: %.400s", p->refusal.text);
        fputs(p->progress ? "\r\x1b[K" : "", stderr);
        bus_failed(&CMD_PUB, &waiting);
        p->said_waiting = true;
    }
    return interrupted;
}

static int give_up(struct pub *p)
{
    struct ls_error why = p->refusal.name[0] ? p->refusal : (struct ls_error){.name = "TIMEOUT"};
    unsigned long long acknowledged = p->acknowledged, all = p->lines ? p->begun : p->count;
    if (p->refusal.name[0])
        snprintf(why.text, sizeof why.text, "%llu of %llu events acknowledged; last refusal: %.350s", acknowledged, all,
                 p->refusal.text);
    else
        snprintf(why.text, sizeof why.text, "%llu of %llu events acknowledged; no answer from %.200s within %d ms", acknowledged,
                 all, ls_client_url(p->bus.client), p->bus.timeout_ms);
    fputs(p->progress ? "\r\x1b[K" : "", stderr);
    p->refused = all - p->acknowledged;
    if (p->json)
        put_summary(p);
    bus_failed(&CMD_PUB, &why);
    return CLI_FAILED;
}

static int publish_many(struct pub *p)
{
    struct ls_error err = {0};
    sigaction(SIGINT, &(struct sigaction){.sa_handler = on_interrupt, .sa_flags = (int) SA_RESETHAND}, NULL);
    p->started_ms = clock_mono_ms();
    for (;;) {
        bool wants_input = publish_ready(p);
        show_progress(p);
        if (all_begun(p) && none_open(p))
            break;
        struct pollfd polls[2] = {{.fd = ls_client_fd(p->bus.client), .events = POLLIN},
                                  {.fd = wants_input ? STDIN_FILENO : -1, .events = POLLIN}};
        poll(polls, 2, wait_ms(p));
        if (ls_client_step(p->bus.client, 0, &err) < 0)
            return bus_failed(&CMD_PUB, &err);
        if (stuck(p))
            return give_up(p);
        if (polls[1].revents)
            read_input(p);
    }
    put_summary(p);
    return p->refused || p->failed || interrupted ? CLI_FAILED : CLI_OK;
}

/* Lines typed at a terminal are answered one by one. */
static int publish_typed(struct pub *p)
{
    const char *line;
    size_t len;
    int status = CLI_OK;
    while (!p->input_ended || p->used < p->input.len) {
        if (!next_line(p, &line, &len)) {
            read_input(p);
            continue;
        }
        p->compose.event.id = ls_str(NULL);
        if (!compose_body(&CMD_PUB, &p->compose, line, len) || publish_one(p) != CLI_OK)
            status = CLI_FAILED;
    }
    return status;
}

/* ---- the command ---- */

static bool not_zero(const char *what, uint64_t number)
{
    if (!number)
        options_usage(&CMD_PUB, "%s: 0 would publish nothing: give 1 or more", what);
    return number != 0;
}

static bool take_option(struct pub *p, int option)
{
    bool ok = true;
    if (options_broker_take(&CMD_PUB, &p->broker, option, &ok) || compose_take(&CMD_PUB, &p->compose, option, &ok))
        return ok;
    if (option == 'l')
        p->lines = true;
    else if (option == 'j')
        p->json = true;
    else if (option == 'n')
        ok = options_number(&CMD_PUB, "--count", optarg, UINT64_MAX, &p->count) && not_zero("--count", p->count);
    else if (option == 'r') {
        char *number = xstrndup(optarg, strcspn(optarg, "/"));
        ok = options_number(&CMD_PUB, "--rate", number, RATE_MAX, &p->rate) && not_zero("--rate", p->rate);
        free(number);
    } else {
        ok = false;
    }
    return ok;
}

static int take_arguments(struct pub *p, int argc, char **argv)
{
    static const struct option LONGS[] = {OPTIONS_BROKER, COMPOSE_OPTIONS, {"lines", no_argument, NULL, 'l'},
        {"json", no_argument, NULL, 'j'}, {"count", required_argument, NULL, 'n'}, {"rate", required_argument, NULL, 'r'}, {0}};
    int option;
    while ((option = options_next(&CMD_PUB, argc, argv, "a:jln:", LONGS)) != OPTIONS_END)
        if (!take_option(p, option))
            return CLI_USAGE;
    compose_finish(&p->compose);
    if (optind == argc)
        return options_usage(&CMD_PUB, "give a topic, such as chat.feedback");
    if (argc - optind > 2)
        return options_usage(&CMD_PUB, "too many arguments: put the data into quotes");
    p->compose.event.topic = ls_str(argv[optind]);
    p->data = optind + 1 < argc ? argv[optind + 1] : NULL;
    if (p->data && strcmp(p->data, "-") == 0) {
        p->lines = true;
        p->data = NULL;
    }
    if ((p->data != NULL) + (p->compose.file != NULL) + p->lines > 1)
        return options_usage(&CMD_PUB, "DATA, --file and --lines exclude each other");
    if (p->compose.event.id.len)
        p->base_id = p->compose.event.id.data;
    return CLI_OK;
}

static int publish(struct pub *p)
{
    if (p->compose.file && !compose_file(&CMD_PUB, &p->compose))
        return CLI_FAILED;
    if (p->data && !compose_body(&CMD_PUB, &p->compose, p->data, strlen(p->data)))
        return CLI_FAILED;
    /* Refusals come here at once and not after the library's own attempts, so that people can be told (publish_again). */
    struct ls_client_options options = {.publish_retry_ms = 1};
    int status = bus_open(&p->bus, &CMD_PUB, &p->broker, p->lines || p->count > 1 ? &options : NULL);
    if (status != CLI_OK)
        return status;
    if (p->lines && isatty(STDIN_FILENO) && !p->rate)
        return publish_typed(p);
    if (!p->lines && p->count == 1)
        return publish_one(p);
    p->progress = isatty(STDERR_FILENO);
    return publish_many(p);
}

static int run(int argc, char **argv)
{
    struct pub p = {.count = 0};
    struct open_event *e;
    TAILQ_INIT(&p.flight);
    TAILQ_INIT(&p.again);
    options_broker_init(&p.broker);
    int status = take_arguments(&p, argc, argv);
    if (p.count == 0)
        p.count = p.lines ? UINT64_MAX : 1;
    if (status == CLI_OK)
        status = publish(&p);
    bus_close(&p.bus);
    TAILQ_CONCAT(&p.flight, &p.again, link);
    while ((e = TAILQ_FIRST(&p.flight)) != NULL)
        free_open(&p.flight, e);
    compose_fini(&p.compose);
    buf_fini(&p.input);
    return status;
}

const struct cli_command CMD_PUB = {
    .name = "pub",
    .run = run,
    .summary = "publish events and show their acknowledgements",
    .usage =
        "lineshaft pub - publish events and show their acknowledgements\n"
        "\n"
        "SYNOPSIS\n"
        "  lineshaft pub [OPTION ...] TOPIC [DATA]\n"
        "  lineshaft pub [OPTION ...] TOPIC -            one event for each line of standard input\n"
        "\n"
        "DESCRIPTION\n"
        "  Publishes DATA under TOPIC and waits for the broker's word: `ok events:17 disk ID` means that the event has\n"
        "  number 17 in the stream `events` and is on disk; `memory` that it is in memory, as that stream promises;\n"
        "  `none` that no stream keeps this topic and only those who listen now got it. Without DATA the body is empty.\n"
        "\n"
        "  Many events are sent with up to 1000 unacknowledged, and a summary is printed. If the broker goes away, they\n"
        "  are sent again when it is back, under the same ids, so that nothing is lost and nothing stored twice. What\n"
        "  the broker refuses for now (a full disk) is sent again until nothing was acknowledged for --timeout. Empty\n"
        "  lines are left out. Ctrl-C ends the input and waits for what is under way, unless the broker refuses it; a\n"
        "  second one does not wait.\n"
        "\n"
        "OPTIONS\n"
        "  -l, --lines      One event for each line of standard input; the same as - for DATA.\n"
        "  -n, --count N    Publish N times, or at most N lines.\n"
        "  --rate N         At most N events a second.\n"
        COMPOSE_USAGE
        "                   With --lines or --count, --id gets -1, -2 ... appended.\n"
        "  -j, --json       The acknowledgement or the summary as JSON.\n"
        OPTIONS_BROKER_USAGE
        "\n"
        "EXAMPLES\n"
        "  lineshaft pub chat.feedback '{\"request_id\": \"r1\", \"rating\": \"up\"}'\n"
        "  lineshaft pub notes.line 'plain text' --subject n1 -a priority=low\n"
        "  tail -F app.log | lineshaft pub logs.line -\n"
        "  lineshaft pub load.test x --count 10000 --rate 500\n"
        "\n"
        OPTIONS_EXIT_USAGE,
};
