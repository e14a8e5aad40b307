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
    const char *verb, *name;
};

struct totals {
    uint64_t in_flight, waiting, pending, oldest_us;
};

static struct totals add_up(struct mp consumer)
{
    struct totals t = {0};
    uint32_t count;
    struct mp positions = bus_list(consumer, "positions", &count);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t oldest_us = bus_number(positions, "oldest_us");
        t.in_flight += bus_number(positions, "in_flight");
        t.waiting += bus_number(positions, "waiting");
        t.pending += bus_number(positions, "pending");
        if (oldest_us && (!t.oldest_us || oldest_us < t.oldest_us))
            t.oldest_us = oldest_us;
        if (!mp_skip(&positions))
            break;
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
    uint32_t count;
    char text[RENDER_SHORT_SIZE];
    struct table table;
    struct mp positions = bus_list(consumer, "positions", &count);
    table_init(&table, HEADINGS);
    for (uint32_t i = 0; i < count; i++) {
        struct mp_slice member = bus_text(positions, "member");
        table_add(&table, member.len ? member.data : "(all)", member.len ? member.len : 5);
        table_addf(&table, "%llu", (unsigned long long) bus_number(positions, "next"));
        table_addf(&table, "%llu", (unsigned long long) bus_number(positions, "pending"));
        table_addf(&table, "%llu", (unsigned long long) bus_number(positions, "in_flight"));
        table_addf(&table, "%llu", (unsigned long long) bus_number(positions, "waiting"));
        table_addf(&table, "%s", lag(bus_number(positions, "oldest_us"), text));
        if (!mp_skip(&positions))
            break;
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

static void put_table(struct mp list, uint32_t count)
{
    static const char *const HEADINGS[] = {"CONSUMER", "STREAM", "SHARE", ">MEMBERS", ">PENDING", ">IN FLIGHT", ">WAITING",
                                           ">LAG", ">DEAD", "TAKES", NULL};
    struct table table;
    table_init(&table, HEADINGS);
    for (uint32_t i = 0; i < count; i++) {
        add_row(&table, list);
        if (!mp_skip(&list))
            break;
    }
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
        put_table(list, count);
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

static int run(int argc, char **argv)
{
    static const struct option LONGS[] = {OPTIONS_BROKER, {"json", no_argument, NULL, 'j'}, {0}};
    struct look look = {.json = false};
    int option;
    bool ok;
    options_broker_init(&look.broker);
    while ((option = options_next(&CMD_CONSUMER, argc, argv, "j", LONGS)) != OPTIONS_END) {
        if (option == 'j')
            look.json = true;
        else if (!options_broker_take(&CMD_CONSUMER, &look.broker, option, &ok) || !ok)
            return CLI_USAGE;
    }
    look.verb = optind < argc ? argv[optind] : "ls";
    look.name = optind + 1 < argc ? argv[optind + 1] : NULL;
    bool is_ls = strcmp(look.verb, "ls") == 0, is_drop = strcmp(look.verb, "drop") == 0;
    if (!is_ls && !is_drop && strcmp(look.verb, "info") != 0)
        return options_usage(&CMD_CONSUMER, "\"%s\" is none of ls, info, drop", look.verb);
    if (argc - optind > 2 || is_ls == (look.name != NULL))
        return options_usage(&CMD_CONSUMER, is_ls ? "ls takes no name" : "%s takes the name of one consumer", look.verb);
    int status = bus_open(&look.bus, &CMD_CONSUMER, &look.broker, NULL);
    if (status == CLI_OK)
        status = is_drop ? drop(&look) : look_up(&look);
    bus_close(&look.bus);
    return status;
}

const struct cli_command CMD_CONSUMER = {
    .name = "consumer",
    .run = run,
    .summary = "list the durable consumers, show one, drop one",
    .usage =
        "lineshaft consumer - list the durable consumers, show one, drop one\n"
        "\n"
        "SYNOPSIS\n"
        "  lineshaft consumer ls [OPTION ...]\n"
        "  lineshaft consumer info NAME [OPTION ...]\n"
        "  lineshaft consumer drop NAME [OPTION ...]\n"
        "\n"
        "DESCRIPTION\n"
        "  A durable consumer is a named position in a stream. PENDING is how many events behind it are not finished;\n"
        "  IN FLIGHT how many of them are with a member; WAITING how many wait for their next attempt; LAG how old\n"
        "  the oldest of them is; DEAD how many became dead letters.\n"
        "\n"
        "  drop forgets a consumer with its position and its counters, for ever. One that the topology declares cannot\n"
        "  be dropped: take it out of the file.\n"
        "\n"
        "OPTIONS\n"
        "  -j, --json       As the broker tells it: docs/protocol.md, \"Administration\".\n"
        OPTIONS_BROKER_USAGE
        "\n"
        "EXAMPLES\n"
        "  lineshaft consumer ls\n"
        "  lineshaft consumer info my-report\n"
        "\n"
        OPTIONS_EXIT_USAGE,
};
