/* SPDX-License-Identifier: Apache-2.0 */
/* lineshaft dlq: the dead letters that wait for a decision. They are events of the stream $sys; ADM knows which are pending. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/bus.h"
#include "cli/event_view.h"
#include "cli/info.h"
#include "cli/table.h"
#include "lib/error.h"
#include "lib/json.h"
#include "lib/topic.h"
#include "lib/xmem.h"

#define PAGE_LETTERS 1000

struct dlq {
    struct bus bus;
    struct options_broker broker;
    bool json, all;
    const char *verb;
    const char *consumer; /* NULL: any */
    uint64_t *seqs;       /* what it is about */
    size_t count, room;
    uint64_t sought;      /* the one that is being read */
    bool found;
    struct table table;
};

/* ---- which ---- */

static void add_seq(struct dlq *d, uint64_t seq)
{
    d->seqs = xgrow(d->seqs, &d->room, d->count + 1, sizeof *d->seqs);
    d->seqs[d->count++] = seq;
}

/* One page of ADM dlq, from sequence number `from` on; *got tells how many. */
static int add_page(struct dlq *d, uint64_t from, uint32_t *got)
{
    struct buf request = {0};
    struct ls_error err = {0};
    char *reply = NULL;
    size_t len = 0;
    buf_pack_map(&request, d->consumer ? 4 : 3);
    buf_pack_str(&request, "op");
    buf_pack_str(&request, "dlq");
    buf_pack_str(&request, "n");
    buf_pack_uint(&request, PAGE_LETTERS);
    buf_pack_str(&request, "from");
    buf_pack_uint(&request, from);
    if (d->consumer) {
        buf_pack_str(&request, "consumer");
        buf_pack_str(&request, d->consumer);
    }
    int result = ls_adm_wait(d->bus.client, ls_bytes(request.data, request.len), d->bus.timeout_ms, &reply, &len, &err);
    buf_fini(&request);
    if (result < 0)
        return bus_failed(&CMD_DLQ, &err);
    struct mp seqs = bus_list(mp_over(reply, len), "seqs", got);
    uint64_t seq;
    for (uint32_t i = 0; i < *got && mp_uint(&seqs, &seq); i++)
        add_seq(d, seq);
    free(reply);
    return CLI_OK;
}

/* No letters may mean a wrong name. (A consumer that was dropped may have left letters, so this is not asked first.) */
static int check_consumer(struct dlq *d)
{
    char *reply = NULL;
    size_t len;
    struct bus_adm adm = {.op = "consumers", .key = "consumer", .text = d->consumer};
    int status = bus_adm(&d->bus, &adm, &reply, &len);
    free(reply);
    return status;
}

static int find_pending(struct dlq *d)
{
    uint32_t got = PAGE_LETTERS;
    int status = CLI_OK;
    while (status == CLI_OK && got == PAGE_LETTERS)
        status = add_page(d, d->count ? d->seqs[d->count - 1] + 1 : 0, &got);
    return status == CLI_OK && d->count == 0 && d->consumer ? check_consumer(d) : status;
}

/* ---- showing ---- */

static void add_row(struct dlq *d, const struct ls_event *letter, struct mp body)
{
    uint32_t attempts;
    struct buf when = {0};
    struct mp_slice consumer = bus_text(body, "consumer"), topic = bus_text(body, "topic");
    struct mp_slice stream = bus_text(body, "stream"), reason = bus_text(body, "reason");
    struct mp_slice error = bus_text(body, "error");
    bus_list(body, "attempts", &attempts);
    event_clock(letter->ts_us, &when);
    table_addf(&d->table, "%llu", (unsigned long long) letter->seq);
    table_add(&d->table, when.data, when.len);
    table_add(&d->table, consumer.data, consumer.len);
    table_add(&d->table, topic.data, topic.len);
    table_addf(&d->table, "%.*s:%llu", (int) stream.len, stream.data, (unsigned long long) bus_number(body, "seq"));
    table_addf(&d->table, "%u", attempts);
    table_add(&d->table, reason.data, reason.len);
    table_add(&d->table, error.data, error.len);
    buf_fini(&when);
}

static void put_attempts(struct mp body)
{
    const char *label = "attempts";
    struct mp_maps attempts = mp_maps(body, "attempts");
    for (struct mp attempt; mp_maps_next(&attempts, &attempt); label = "") {
        struct buf when = {0};
        struct mp_slice member = bus_text(attempt, "member"), error = bus_text(attempt, "error");
        event_clock((int64_t) bus_number(attempt, "at_us"), &when);
        info_line(label, "%llu  %s  %.*s  %.*s", (unsigned long long) bus_number(attempt, "attempt"), buf_text(&when),
                  (int) member.len, member.data, (int) error.len, error.data);
        buf_fini(&when);
    }
}

static void put_letter(const struct ls_event *letter, struct mp body)
{
    struct buf text = {0};
    struct mp header;
    struct mp_slice stream = bus_text(body, "stream"), original = bus_text(body, "body");
    event_clock(letter->ts_us, &text);
    info_line("dead letter", "%llu, %s", (unsigned long long) letter->seq, buf_text(&text));
    info_text("consumer", body, "consumer");
    info_text("reason", body, "reason");
    info_text("error", body, "error");
    put_attempts(body);
    info_line("event", "%.*s:%llu", (int) stream.len, stream.data, (unsigned long long) bus_number(body, "seq"));
    info_text("topic", body, "topic");
    buf_clear(&text);
    if (mp_find(body, "header", &header))
        json_put_value(&text, &header, SIZE_MAX);
    info_put("header", text.data, text.len);
    buf_clear(&text);
    render_body(&text, original.data, original.len, SIZE_MAX);
    info_put("body", text.data, text.len);
    buf_fini(&text);
}

/* The letter as JSON, its original's body readable. */
static void put_json(const struct ls_event *letter, struct mp body)
{
    static const char *const KEYS[] = {"consumer", "reason", "error", "attempts", "stream", "seq", "topic", "header"};
    struct buf out = {0};
    struct mp value;
    struct mp_slice original = bus_text(body, "body");
    buf_addf(&out, "{\"letter\":%llu,\"at_us\":%lld", (unsigned long long) letter->seq, (long long) letter->ts_us);
    for (size_t i = 0; i < sizeof KEYS / sizeof KEYS[0]; i++)
        if (mp_find(body, KEYS[i], &value)) {
            buf_addf(&out, ",\"%s\":", KEYS[i]);
            json_put_value(&out, &value, SIZE_MAX);
        }
    if (original.len) {
        buf_add_byte(&out, ',');
        json_put_body(&out, ls_bytes(original.data, original.len));
    }
    printf("%s}\n", buf_text(&out));
    buf_fini(&out);
}

static enum ls_verdict on_letter(void *arg, const struct ls_event *letter, struct ls_error *err)
{
    struct dlq *d = arg;
    struct mp body = mp_over(letter->body.data, letter->body.len);
    (void) err;
    if (letter->seq != d->sought || !topic_match("$dlq.>", 6, letter->topic.data, letter->topic.len))
        return LS_DONE; /* what comes after it in $sys, or was refused there */
    d->found = true;
    if (d->json)
        put_json(letter, body);
    else if (strcmp(d->verb, "show") == 0)
        put_letter(letter, body);
    else
        add_row(d, letter, body);
    return LS_DONE;
}

static int show(struct dlq *d)
{
    static const char *const HEADINGS[] = {">LETTER", "WHEN", "CONSUMER", "TOPIC", "EVENT", ">ATTEMPTS", "REASON", "ERROR", NULL};
    struct ls_error err = {0};
    int status = CLI_OK;
    table_init(&d->table, HEADINGS);
    for (size_t i = 0; i < d->count; i++) {
        struct ls_range range = {.stream = "$sys", .from = {LS_FROM_SEQ, d->seqs[i]}, .count = 1};
        d->sought = d->seqs[i];
        d->found = false;
        if (i && !d->json && strcmp(d->verb, "show") == 0)
            puts("");
        if (ls_get_wait(d->bus.client, &range, on_letter, d, NULL, d->bus.timeout_ms, &err) < 0)
            return bus_failed(&CMD_DLQ, &err);
        if (!d->found && strcmp(d->verb, "show") == 0) {
            error_set(&err, "NOT_FOUND", "there is no dead letter %llu: `lineshaft dlq ls` lists those that are pending",
                      (unsigned long long) d->sought);
            status = bus_failed(&CMD_DLQ, &err);
        }
    }
    if (!d->json && strcmp(d->verb, "show") != 0)
        table_print(&d->table, "No dead letter is pending.");
    return status;
}

/* ---- settling ---- */

static int settle(struct dlq *d)
{
    bool replay = strcmp(d->verb, "replay") == 0;
    unsigned long long done = 0, failed = 0;
    int status = CLI_OK;
    for (size_t i = 0; i < d->count && status != CLI_UNREACHABLE; i++) {
        char *reply = NULL;
        size_t len;
        struct bus_adm adm = {.op = replay ? "dlq.replay" : "dlq.drop", .key = "seq", .number = d->seqs[i]};
        int one = bus_adm(&d->bus, &adm, &reply, &len);
        free(reply);
        if (one == CLI_OK) {
            done++;
            continue;
        }
        status = one;
        failed++;
        if (one != CLI_FAILED || d->count > 1)
            fprintf(stderr, "  that was letter %llu\n", (unsigned long long) d->seqs[i]);
    }
    if (d->json)
        printf("{\"%s\":%llu,\"failed\":%llu}\n", replay ? "replayed" : "dropped", done, failed);
    else if (done || !failed)
        printf("ok %llu %s\n", done, replay ? "replayed" : "dropped");
    return status;
}

/* ---- the command ---- */

static int take_arguments(struct dlq *d, int argc, char **argv)
{
    static const struct option LONGS[] = {OPTIONS_BROKER, {"json", no_argument, NULL, 'j'}, {"all", no_argument, NULL, 'A'},
                                          {"consumer", required_argument, NULL, 'c'}, {0}};
    int option;
    bool ok;
    uint64_t seq;
    while ((option = options_next(&CMD_DLQ, argc, argv, "jc:", LONGS)) != OPTIONS_END) {
        if (option == 'j')
            d->json = true;
        else if (option == 'A')
            d->all = true;
        else if (option == 'c')
            d->consumer = optarg;
        else if (!options_broker_take(&CMD_DLQ, &d->broker, option, &ok) || !ok)
            return CLI_USAGE;
    }
    d->verb = optind < argc ? argv[optind++] : "ls";
    const char *const verbs[] = {"ls", "show", "replay", "drop"};
    bool known = false;
    for (size_t i = 0; i < 4; i++)
        known = known || strcmp(d->verb, verbs[i]) == 0;
    if (!known)
        return options_usage(&CMD_DLQ, "\"%s\" is none of ls, show, replay, drop", d->verb);
    for (; optind < argc; optind++) {
        if (!isdigit((unsigned char) argv[optind][0]))
            d->consumer = argv[optind];
        else if (!options_number(&CMD_DLQ, d->verb, argv[optind], UINT64_MAX, &seq))
            return CLI_USAGE;
        else
            add_seq(d, seq);
    }
    if (strcmp(d->verb, "ls") == 0)
        return d->count ? options_usage(&CMD_DLQ, "ls takes a consumer; `show NUMBER` shows one letter") : CLI_OK;
    if ((d->count > 0) + (d->consumer != NULL) + d->all != 1)
        return options_usage(&CMD_DLQ, "%s takes numbers of letters, or a consumer, or --all", d->verb);
    return CLI_OK;
}

static int run(int argc, char **argv)
{
    struct dlq d = {.json = false};
    options_broker_init(&d.broker);
    int status = take_arguments(&d, argc, argv);
    if (status == CLI_OK)
        status = bus_open(&d.bus, &CMD_DLQ, &d.broker, NULL);
    if (status == CLI_OK && d.count == 0)
        status = find_pending(&d);
    if (status == CLI_OK)
        status = strcmp(d.verb, "ls") == 0 || strcmp(d.verb, "show") == 0 ? show(&d) : settle(&d);
    bus_close(&d.bus);
    free(d.seqs);
    return status;
}

const struct cli_command CMD_DLQ = {
    .name = "dlq",
    .run = run,
    .summary = "list, show, replay and drop dead letters",
    .usage =
        "lineshaft dlq - list, show, replay and drop dead letters\n"
        "\n"
        "SYNOPSIS\n"
        "  lineshaft dlq ls [CONSUMER]\n"
        "  lineshaft dlq show NUMBER ... | CONSUMER | --all\n"
        "  lineshaft dlq replay NUMBER ... | CONSUMER | --all\n"
        "  lineshaft dlq drop NUMBER ... | CONSUMER | --all\n"
        "\n"
        "DESCRIPTION\n"
        "  An event that a durable consumer failed too often, or refused for good, becomes a dead letter: with the\n"
        "  reason, each attempt, its error and who made it, and the event itself. It stays pending until it is\n"
        "  replayed (delivered to the same consumer again, as if new) or dropped. NUMBER is the letter's own.\n"
        "\n"
        "OPTIONS\n"
        "  --all            All that are pending.\n"
        "  -c, --consumer NAME\n"
        "                   All of a consumer whose name begins with a digit.\n"
        "  -j, --json       One JSON object for each letter; for replay and drop, one with the counts.\n"
        OPTIONS_BROKER_USAGE
        "\n"
        "EXAMPLES\n"
        "  lineshaft dlq ls\n"
        "  lineshaft dlq show 12\n"
        "  lineshaft dlq replay tracking\n"
        "\n"
        OPTIONS_EXIT_USAGE,
};
