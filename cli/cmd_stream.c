/* SPDX-License-Identifier: Apache-2.0 */
/* lineshaft stream: the streams of a broker, and how they are. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/bus.h"
#include "cli/info.h"
#include "cli/render.h"
#include "cli/table.h"

struct look {
    struct bus bus;
    struct options_broker broker;
    bool json;
    const char *verb, *name;
};

static void add_row(struct table *table, struct mp stream)
{
    struct buf topics = {0};
    char size[RENDER_SHORT_SIZE];
    struct mp_slice name = bus_text(stream, "name"), durability = bus_text(stream, "durability"), health = bus_text(stream, "health");
    table_add(table, name.data, name.len);
    table_addf(table, "%llu", (unsigned long long) bus_number(stream, "events"));
    table_addf(table, "%s", render_size(bus_number(stream, "bytes"), size));
    table_addf(table, "%llu", (unsigned long long) bus_number(stream, "first"));
    table_addf(table, "%llu", (unsigned long long) bus_number(stream, "durable"));
    table_add(table, durability.data, durability.len);
    table_add(table, health.data, health.len);
    info_list(&topics, stream, "topics");
    table_add(table, topics.data, topics.len);
    buf_fini(&topics);
}

static void put_retention(struct mp stream)
{
    struct mp retain;
    char text[RENDER_SHORT_SIZE];
    if (!mp_find(stream, "retain", &retain))
        return;
    uint64_t age_ms = bus_number(retain, "age_ms"), bytes = bus_number(retain, "bytes"), count = bus_number(retain, "count");
    if (!age_ms && !bytes && !count)
        info_line("kept", "for ever");
    if (age_ms)
        info_line("kept for", "%s", render_duration((int64_t) age_ms * 1000, text));
    if (bytes)
        info_line("kept up to", "%s", render_size(bytes, text));
    if (count)
        info_line("kept at most", "%llu events", (unsigned long long) count);
}

static void put_lost(struct mp stream)
{
    uint32_t count, pair;
    struct mp ranges = bus_list(stream, "lost", &count);
    uint64_t from, to;
    for (uint32_t i = 0; i < count; i++)
        if (mp_array(&ranges, &pair) && pair == 2 && mp_uint(&ranges, &from) && mp_uint(&ranges, &to))
            info_line("lost", "%llu to %llu (the disk gave them back damaged)", (unsigned long long) from, (unsigned long long) to);
}

static void put_info(struct mp stream)
{
    struct buf topics = {0};
    char size[RENDER_SHORT_SIZE];
    info_list(&topics, stream, "topics");
    info_text("stream", stream, "name");
    info_put("topics", topics.data, topics.len);
    info_text("durability", stream, "durability");
    info_line("events", "%llu, from %llu to %llu", (unsigned long long) bus_number(stream, "events"),
              (unsigned long long) bus_number(stream, "first"), (unsigned long long) bus_number(stream, "durable"));
    info_line("next", "%llu", (unsigned long long) bus_number(stream, "next"));
    info_line("on disk", "%s in %llu segments", render_size(bus_number(stream, "bytes"), size),
              (unsigned long long) bus_number(stream, "segments"));
    info_line("not yet there", "%s", render_size(bus_number(stream, "pending_bytes"), size));
    put_retention(stream);
    info_text("health", stream, "health");
    if (bus_text(stream, "problem").len)
        info_text("problem", stream, "problem");
    put_lost(stream);
    buf_fini(&topics);
}

static int info(const struct look *look, struct mp_maps streams)
{
    for (struct mp stream; mp_maps_next(&streams, &stream);) {
        if (mp_is(bus_text(stream, "name"), look->name)) {
            if (look->json)
                info_json(stream);
            else
                put_info(stream);
            return CLI_OK;
        }
    }
    fprintf(stderr, "lineshaft stream: there is no stream \"%s\"; `lineshaft stream ls` lists them\n", look->name);
    return CLI_FAILED;
}

static int show(struct look *look)
{
    static const char *const HEADINGS[] = {"STREAM", ">EVENTS", ">SIZE", ">FIRST", ">LAST", "DURABILITY", "HEALTH", "TOPICS", NULL};
    char *reply = NULL;
    size_t len = 0;
    struct table table;
    int status = bus_open(&look->bus, &CMD_STREAM, &look->broker, NULL);
    if (status == CLI_OK)
        status = bus_adm(&look->bus, &(struct bus_adm){.op = "streams"}, &reply, &len);
    if (status != CLI_OK)
        return status;
    struct mp map = mp_over(reply, len), all = map;
    struct mp_maps streams = mp_maps(map, "streams");
    if (look->name) {
        status = info(look, streams);
    } else if (look->json) {
        mp_find(map, "streams", &all);
        info_json(all);
    } else {
        table_init(&table, HEADINGS);
        for (struct mp stream; mp_maps_next(&streams, &stream);)
            add_row(&table, stream);
        table_print(&table, "There are no streams.");
    }
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
    while ((option = options_next(&CMD_STREAM, argc, argv, "j", LONGS)) != OPTIONS_END) {
        if (option == 'j')
            look.json = true;
        else if (!options_broker_take(&CMD_STREAM, &look.broker, option, &ok) || !ok)
            return CLI_USAGE;
    }
    look.verb = optind < argc ? argv[optind] : "ls";
    look.name = optind + 1 < argc ? argv[optind + 1] : NULL;
    bool is_info = strcmp(look.verb, "info") == 0;
    if (!is_info && strcmp(look.verb, "ls") != 0)
        return options_usage(&CMD_STREAM, "\"%s\" is neither ls nor info", look.verb);
    if (argc - optind > 2 || is_info != (look.name != NULL))
        return options_usage(&CMD_STREAM, is_info ? "info takes the name of one stream" : "ls takes no name");
    int status = show(&look);
    bus_close(&look.bus);
    return status;
}

const struct cli_command CMD_STREAM = {
    .name = "stream",
    .run = run,
    .summary = "list the streams, or show one",
    .usage =
        "lineshaft stream - list the streams, or show one\n"
        "\n"
        "SYNOPSIS\n"
        "  lineshaft stream ls [OPTION ...]\n"
        "  lineshaft stream info NAME [OPTION ...]\n"
        "\n"
        "DESCRIPTION\n"
        "  A stream keeps the events of its topics. EVENTS is how many it holds (sequence numbers may have gaps),\n"
        "  FIRST the oldest, LAST the newest that is durable. HEALTH is healthy, full (no room on the disk) or\n"
        "  read-only (the disk refused a write).\n"
        "\n"
        "OPTIONS\n"
        "  -j, --json       As the broker tells it: docs/protocol.md, \"Administration\".\n"
        OPTIONS_BROKER_USAGE
        "\n"
        "EXAMPLES\n"
        "  lineshaft stream ls\n"
        "  lineshaft stream info events --json\n"
        "\n"
        OPTIONS_EXIT_USAGE,
};
