/* SPDX-License-Identifier: Apache-2.0 */
/* lineshaft consumer: the durable consumers of a broker, how far they are, and forgetting one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/bus.h"
#include "cli/info.h"
#include "cli/render.h"
#include "cli/table.h"
#include "lib/clock.h"

struct look {
    struct bus bus;
    struct options_broker broker;
    bool json;
    const char *verb, *name, *to;
};

struct totals {
    uint64_t in_flight, waiting, pending, oldest_us;
};

static struct totals add_up(struct mp consumer)
{
    struct totals t = {0};
    struct mp_maps positions = mp_maps(consumer, "positions");
    for (struct mp position; mp_maps_next(&positions, &position);) {
        uint64_t oldest_us = bus_number(position, "oldest_us");
        t.in_flight += bus_number(position, "in_flight");
        t.waiting += bus_number(position, "waiting");
        t.pending += bus_number(position, "pending");
        if (oldest_us && (!t.oldest_us || oldest_us < t.oldest_us))
            t.oldest_us = oldest_us;
    }
    return t;
}

static const char *lag(uint64_t oldest_us, char text[RENDER_SHORT_SIZE])
{
    int64_t age_us = clock_wall_us() - (int64_t) oldest_us;
    if (!oldest_us)
        return "-";
    return render_duration(age_us > 0 ? age_us : 0, text);
}

static void add_row(struct table *table, struct mp consumer)
{
    struct buf takes = {0};
    char text[RENDER_SHORT_SIZE];
    struct totals totals = add_up(consumer);
    struct mp_slice name = bus_text(consumer, "name"), stream = bus_text(consumer, "stream");
    struct mp_slice share = bus_text(consumer, "share");
    table_add(table, name.data, name.len);
    table_add(table, stream.data, stream.len);
    table_add(table, share.data, share.len);
    table_addf(table, "%llu", (unsigned long long) bus_number(consumer, "members"));
    table_addf(table, "%llu", (unsigned long long) totals.pending);
    table_addf(table, "%llu", (unsigned long long) totals.in_flight);
    table_addf(table, "%llu", (unsigned long long) totals.waiting);
    table_addf(table, "%s", lag(totals.oldest_us, text));
    table_addf(table, "%llu", (unsigned long long) bus_number(consumer, "dead"));
    info_list(&takes, consumer, "takes");
    table_add(table, takes.data, takes.len);
    buf_fini(&takes);
}

static void put_positions(struct mp consumer)
{
    static const char *const HEADINGS[] = {"MEMBER", ">NEXT", ">PENDING", ">IN FLIGHT", ">WAITING", ">LAG", NULL};
    char text[RENDER_SHORT_SIZE];
    struct table table;
    struct mp_maps positions = mp_maps(consumer, "positions");
    table_init(&table, HEADINGS);
    for (struct mp position; mp_maps_next(&positions, &position);) {
        struct mp_slice member = bus_text(position, "member");
        table_add(&table, member.len ? member.data : "(all)", member.len ? member.len : 5);
        table_addf(&table, "%llu", (unsigned long long) bus_number(position, "next"));
        table_addf(&table, "%llu", (unsigned long long) bus_number(position, "pending"));
        table_addf(&table, "%llu", (unsigned long long) bus_number(position, "in_flight"));
        table_addf(&table, "%llu", (unsigned long long) bus_number(position, "waiting"));
        table_addf(&table, "%s", lag(bus_number(position, "oldest_us"), text));
    }
    puts("");
    table_print(&table, "No member has a position yet.");
}

static void put_info(struct mp consumer)
{
    static const char *const COUNTERS[] = {"delivered", "acked", "naked", "expired", "dead", "late_acks"};
    struct buf takes = {0};
    char text[RENDER_SHORT_SIZE];
    struct mp declared;
    bool is_declared = false;
    if (mp_find(consumer, "declared", &declared))
        mp_bool(&declared, &is_declared);
    info_list(&takes, consumer, "takes");
    info_text("consumer", consumer, "name");
    info_text("stream", consumer, "stream");
    info_put("takes", takes.data, takes.len);
    info_text("share", consumer, "share");
    info_line("declared", "%s", is_declared ? "in the topology" : "by a client");
    info_line("members", "%llu", (unsigned long long) bus_number(consumer, "members"));
    info_line("window", "%llu", (unsigned long long) bus_number(consumer, "window"));
    info_line("ack_wait", "%s", render_duration((int64_t) bus_number(consumer, "ack_wait") * 1000, text));
    info_line("max_deliver", "%llu", (unsigned long long) bus_number(consumer, "max_deliver"));
    for (size_t i = 0; i < sizeof COUNTERS / sizeof COUNTERS[0]; i++)
        info_line(COUNTERS[i], "%llu", (unsigned long long) bus_number(consumer, COUNTERS[i]));
    put_positions(consumer);
    buf_fini(&takes);
}

static void put_table(struct mp_maps consumers)
{
    static const char *const HEADINGS[] = {"CONSUMER", "STREAM", "SHARE", ">MEMBERS", ">PENDING", ">IN FLIGHT", ">WAITING",
                                           ">LAG", ">DEAD", "TAKES", NULL};
    struct table table;
    table_init(&table, HEADINGS);
    for (struct mp consumer; mp_maps_next(&consumers, &consumer);)
        add_row(&table, consumer);
    table_print(&table, "There are no consumers.");
}

static int look_up(struct look *look)
{
    char *reply = NULL;
    size_t len = 0;
    uint32_t count;
    struct bus_adm adm = {.op = "consumers", .key = look->name ? "consumer" : NULL, .text = look->name};
    int status = bus_adm(&look->bus, &adm, &reply, &len);
    if (status != CLI_OK)
        return status;
    struct mp all = mp_over(reply, len), list = bus_list(all, "consumers", &count);
    if (look->name && count == 0) {
        fprintf(stderr, "lineshaft consumer: there is no consumer \"%s\"; `lineshaft consumer ls` lists them\n", look->name);
        status = CLI_FAILED;
    } else if (look->json) {
        if (look->name || mp_find(all, "consumers", &all))
            info_json(look->name ? list : all);
    } else if (look->name) {
        put_info(list);
    } else {
        put_table(mp_maps(mp_over(reply, len), "consumers"));
    }
    free(reply);
    return status;
}

static int drop(struct look *look)
{
    char *reply = NULL;
    size_t len;
    struct bus_adm adm = {.op = "consumer.drop", .key = "consumer", .text = look->name};
    int status = bus_adm(&look->bus, &adm, &reply, &len);
    if (status == CLI_OK && look->json)
        info_json(mp_over(reply, len));
    else if (status == CLI_OK)
        printf("ok dropped %s\n", look->name);
    free(reply);
    return status;
}

static int reset(struct look *look)
{
    char *reply = NULL;
    size_t len;
    struct bus_adm adm = {.op = "consumer.reset", .key = "consumer", .text = look->name, .from = look->to};
    int status = bus_adm(&look->bus, &adm, &reply, &len);
    if (status == CLI_OK && look->json)
        info_json(mp_over(reply, len));
    else if (status == CLI_OK)
        printf("ok %s goes on at %llu\n", look->name, (unsigned long long) bus_number(mp_over(reply, len), "next"));
    free(reply);
    return status;
}

static bool is_place(const char *to)
{
    return strcmp(to, "all") == 0 || strcmp(to, "new") == 0 || (*to && strlen(to) < 20 && to[strspn(to, "0123456789")] == '\0');
}

static int check_words(const struct look *look, int words)
{
    static const char *const VERBS[] = {"ls", "info", "drop", "reset"};
    size_t verb = 0;
    while (verb < 4 && strcmp(look->verb, VERBS[verb]) != 0)
        verb++;
    if (verb == 4)
        return options_usage(&CMD_CONSUMER, "\"%s\" is none of ls, info, drop, reset", look->verb);
    if (words > 2 || (verb == 0) == (look->name != NULL))
        return options_usage(&CMD_CONSUMER, verb == 0 ? "ls takes no name" : "%s takes the name of one consumer", look->verb);
    if ((verb == 3) != (look->to != NULL))
        return options_usage(&CMD_CONSUMER, "reset needs --to all, --to new or --to SEQ; nothing else takes it");
    if (look->to && !is_place(look->to))
        return options_usage(&CMD_CONSUMER, "--to wants all, new or a sequence number, not \"%s\"", look->to);
    return CLI_OK;
}

static int run(int argc, char **argv)
{
    static const struct option LONGS[] = {OPTIONS_BROKER, {"json", no_argument, NULL, 'j'}, {"to", required_argument, NULL, 't'}, {0}};
    struct look look = {.json = false};
    int option;
    bool ok;
    options_broker_init(&look.broker);
    while ((option = options_next(&CMD_CONSUMER, argc, argv, "j", LONGS)) != OPTIONS_END) {
        if (option == 'j')
            look.json = true;
        else if (option == 't')
            look.to = optarg;
        else if (!options_broker_take(&CMD_CONSUMER, &look.broker, option, &ok) || !ok)
            return CLI_USAGE;
    }
    look.verb = optind < argc ? argv[optind] : "ls";
    look.name = optind + 1 < argc ? argv[optind + 1] : NULL;
    int status = check_words(&look, argc - optind);
    if (status == CLI_OK)
        status = bus_open(&look.bus, &CMD_CONSUMER, &look.broker, NULL);
    if (status == CLI_OK)
        status = *look.verb == 'd' ? drop(&look) : *look.verb == 'r' ? reset(&look) : look_up(&look);
    bus_close(&look.bus);
    return status;
}

const struct cli_command CMD_CONSUMER = {
    .name = "consumer",
    .run = run,
    .summary = "list the durable consumers, show, drop or reset one",
    .usage =
        "lineshaft consumer - list the durable consumers, show, drop or reset one\n"
        "\n"
        "SYNOPSIS\n"
        "  lineshaft consumer ls [OPTION ...]\n"
        "  lineshaft consumer info NAME [OPTION ...]\n"
        "  lineshaft consumer drop NAME [OPTION ...]\n"
        "  lineshaft consumer reset NAME --to all|new|SEQ [OPTION ...]\n"
        "\n"
        "DESCRIPTION\n"
        "  A durable consumer is a named position in a stream. PENDING is how many events behind it are not finished;\n"
        "  IN FLIGHT how many of them are with a member; WAITING how many wait for their next attempt; LAG how old\n"
        "  the oldest of them is; DEAD how many became dead letters.\n"
        "\n"
        "  drop forgets a consumer with its position and its counters, for ever. One that the topology declares cannot\n"
        "  be dropped: take it out of the file.\n"
        "\n"
        "  reset lets a consumer go on elsewhere in its stream: at the first event that is kept, behind the last one,\n"
        "  or at a sequence number. It forgets which events were finished, so they are given out again; dead letters\n"
        "  stay. Neither is possible while members are connected: stop them, or run `lineshaft broker FILE` alone.\n"
        "\n"
        "OPTIONS\n"
        "  -j, --json       As the broker tells it: docs/protocol.md, \"Administration\".\n"
        "  --to PLACE       reset: all, new or a sequence number.\n"
        OPTIONS_BROKER_USAGE
        "\n"
        "EXAMPLES\n"
        "  lineshaft consumer ls\n"
        "  lineshaft consumer info my-report\n"
        "  lineshaft consumer reset my-report --to all\n"
        "\n"
        OPTIONS_EXIT_USAGE,
};
