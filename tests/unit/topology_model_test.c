/* SPDX-License-Identifier: Apache-2.0 */
/* topology/: what a file means. The words of its problems are proved by tests/check. Run from the root. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "lib/xmem.h"
#include "nodes/kinds.h"
#include "topology/topology.h"

static struct diag_list diags;
static struct topology *t;

static int teardown(void **state)
{
    (void) state;
    topology_destroy(&t);
    diag_list_fini(&diags);
    return 0;
}

/* Loads "lineshaft: 1" and `text`, whatever problems it has. */
static void load(const char *text)
{
    teardown(NULL);
    char *file = xasprintf("lineshaft: 1\n%s", text);
    t = topology_load_text(&(struct topology_text){"test.yaml", file, strlen(file)}, KINDS, &diags);
    free(file);
}

static void load_good(const char *text)
{
    load(text);
    if (diags.error_count)
        fail_msg("%s", diags.items[0].sentence);
    assert_non_null(t);
}

static const char *first_code(void)
{
    return diags.count ? DIAG_KINDS[diags.items[0].code].name : "";
}

static char *printed(void)
{
    struct buf out = {0};
    topology_print(t, &out);
    return (char *) (buf_text(&out), out.data);
}

static void an_empty_topology_has_all_defaults(void **state)
{
    (void) state;
    load_good("");
    assert_string_equal(t->name, "lineshaft");
    assert_string_equal(t->broker.listen.host, "127.0.0.1");
    assert_int_equal(t->broker.listen.port, 7400);
    assert_string_equal(t->broker.data, "var/bus");
    assert_int_equal(t->broker.body_max, 1 << 20);
    assert_int_equal(t->broker.stats_every, 10000);
    assert_int_equal(t->stream_count, 1);
    assert_string_equal(t->streams[0].name, "$sys");
    assert_int_equal(t->streams[0].segment, 4 << 20);
    assert_int_equal(t->streams[0].retain.size, 256 << 20);
    assert_int_equal(t->streams[0].retain.age, 30LL * 86400000);
}

static void sys_can_be_tuned_and_keeps_its_other_defaults(void **state)
{
    (void) state;
    load_good("streams: { $sys: { retain: { age: 1d }, segment: 1MiB }, events: { topics: [\">\"] } }");
    assert_string_equal(t->streams[1].name, "$sys"); /* always the last */
    assert_int_equal(t->streams[1].retain.age, 86400000);
    assert_int_equal(t->streams[1].retain.size, 256 << 20);
    assert_int_equal(t->streams[1].segment, 1 << 20);
    assert_string_equal(t->streams[1].topics.items[0], "$dlq.>");
}

static void a_topic_goes_to_the_first_stream_that_matches(void **state)
{
    (void) state;
    load_good("streams: { metrics: { topics: [run.metric] }, runs: { topics: [run.>] }, rest: { topics: [chat.*] } }");
    assert_true(topology_stream_takes(t, &t->streams[0], "run.metric"));
    assert_false(topology_stream_takes(t, &t->streams[1], "run.metric"));
    assert_true(topology_stream_takes(t, &t->streams[1], "run.*"));
    assert_true(topology_stream_takes(t, &t->streams[1], ">"));
    assert_false(topology_stream_takes(t, &t->streams[2], "chat.a.b"));
    assert_false(topology_stream_takes(t, &t->streams[2], "$dlq.x"));
    assert_true(topology_stream_takes(t, &t->streams[3], "$dlq.x"));
}

static void what_both_patterns_match_decides_about_a_stream(void **state)
{
    (void) state;
    load_good("streams: { a: { topics: [\"*.metric\"] }, b: { topics: [\"run.>\"] } }");
    assert_false(topology_stream_takes(t, &t->streams[1], "*.metric")); /* only run.metric, which a has */
    assert_true(topology_stream_takes(t, &t->streams[1], "*.created"));
    assert_true(topology_stream_takes(t, &t->streams[1], "*.*.metric"));
}

static void a_node_that_takes_has_a_consumer(void **state)
{
    (void) state;
    load_good("streams: { events: { topics: [\">\"] } }\n"
              "nodes: { worker: { kind: exec, command: [cat], takes: [run.>], window: 7, backoff: [1s, 2m] } }");
    assert_int_equal(t->consumer_count, 1);
    const struct topology_consumer *c = t->nodes[0].consumer;
    assert_string_equal(c->name, "worker");
    assert_string_equal(c->stream_name, "events");
    assert_false(c->declared);
    assert_int_equal(c->delivery.window, 7);
    assert_int_equal(c->delivery.window_bytes, 8 << 20);
    assert_int_equal(c->delivery.backoff.count, 2);
    assert_int_equal(c->delivery.backoff.items[1], 120000);
    assert_int_equal(c->delivery.from.kind, TOPOLOGY_START_ALL);
}

static void a_node_that_takes_nothing_has_none(void **state)
{
    (void) state;
    load_good("nodes: { worker: { kind: exec, command: [cat], takes: [] } }");
    assert_int_equal(t->consumer_count, 0);
    assert_null(t->nodes[0].consumer);
    assert_null(t->nodes[0].group);
}

static void nodes_of_a_group_share_one_consumer(void **state)
{
    (void) state;
    load_good("streams: { events: { topics: [\">\"] } }\n"
              "nodes:\n"
              "  one: { kind: exec, command: [cat], group: team, takes: [run.>], window: 7 }\n"
              "  two: { kind: exec, command: [cat], group: team }\n");
    assert_int_equal(t->consumer_count, 1);
    assert_ptr_equal(t->nodes[0].consumer, t->nodes[1].consumer);
    assert_int_equal(t->nodes[1].delivery.window, 7);
    assert_string_equal(t->nodes[1].takes.items[0], "run.>");
}

static void a_node_uses_the_declared_consumer_of_its_name(void **state)
{
    (void) state;
    load_good("streams: { events: { topics: [\">\"] } }\n"
              "nodes: { report: { kind: exec, command: [cat], takes: [run.>] } }\n"
              "consumers: { report: { takes: [run.>], from: { last: 5 }, share: each } }");
    assert_int_equal(t->consumer_count, 1);
    assert_true(t->nodes[0].consumer->declared);
    assert_int_equal(t->nodes[0].delivery.share, TOPOLOGY_SHARE_EACH);
    assert_int_equal(t->nodes[0].delivery.from.kind, TOPOLOGY_START_LAST);
    assert_int_equal(t->nodes[0].delivery.from.value, 5);
}

static void a_command_of_one_text_is_for_the_shell(void **state)
{
    (void) state;
    load_good(
        "nodes: { worker: { kind: exec, command: \"echo $HOME | cat\", options: { a: [1, \"1\", 0.5, yes, true] } } }");
    assert_int_equal(t->nodes[0].command.count, 3);
    assert_string_equal(t->nodes[0].command.items[0], "/bin/sh");
    assert_string_equal(t->nodes[0].command.items[2], "echo $HOME | cat");
    assert_null(t->nodes[0].command.items[3]);
    assert_string_equal(t->nodes[0].options, "{\"a\":[1,\"1\",0.5,\"yes\",true]}");
}

static void addresses_may_be_ipv6_and_leave_the_port_open(void **state)
{
    (void) state;
    load_good("broker: { listen: \"tcp://[::1]:0\" }");
    assert_string_equal(t->broker.listen.host, "::1");
    assert_int_equal(t->broker.listen.port, 0);
    load_good("broker: { listen: \"tcp://localhost:7500\" }");
    load_good("broker: { listen: \"tcp://0.0.0.0:7500\", insecure: true }");
    load("broker: { listen: \"tcp://[::]:7500\" }");
    assert_string_equal(first_code(), "listen-not-loopback");
}

static void references_are_replaced(void **state)
{
    (void) state;
    char path[] = "/tmp/topology-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "sword\nfish\n", 11), 11);
    close(fd);
    setenv("LINESHAFT_TEST_VALUE", "set", 1);
    setenv("LINESHAFT_TEST_EMPTY", "", 1);
    char *text = xasprintf(
        "nodes: { worker: { kind: exec, command: [\"${env:LINESHAFT_TEST_VALUE}-${env:LINESHAFT_TEST_VALUE:-no}\","
        " \"${env:LINESHAFT_TEST_EMPTY:-default}\", \"$${env:X} ${HOME}\", \"${file:%s}\"] } }",
        path);
    load_good(text);
    free(text);
    unlink(path);
    char **command = t->nodes[0].command.items;
    assert_string_equal(command[0], "set-set");
    assert_string_equal(command[1], "default");
    assert_string_equal(command[2], "${env:X} ${HOME}");
    assert_string_equal(command[3], "sword\nfish"); /* only the last line end goes */
}

static void secrets_are_masked_when_printed_and_whole_in_the_model(void **state)
{
    (void) state;
    setenv("LINESHAFT_TEST_VALUE", "swordfish", 1);
    load_good("nodes: { worker: { kind: exec, command: [cat, \"-${env:LINESHAFT_TEST_VALUE}\"],\n"
              "  environment: { A: \"${env:LINESHAFT_TEST_VALUE}\", B: plain }, options: { k: "
              "[\"${env:LINESHAFT_TEST_VALUE}\"] } } }");
    char *text = printed();
    assert_null(strstr(text, "swordfish"));
    assert_non_null(strstr(text, "command: [\"cat\",\"***\"]"));
    assert_non_null(strstr(text, "B: plain"));
    assert_string_equal(t->nodes[0].environment.values[0], "swordfish");
    assert_non_null(strstr(t->nodes[0].options, "swordfish"));
    free(text);
}

static void printed_settings_load_again_to_the_same(void **state)
{
    (void) state;
    t = topology_load("tests/check/good-lab.yaml", KINDS, &diags);
    assert_int_equal(diags.error_count, 0);
    char *once = printed();
    teardown(NULL);
    t = topology_load_text(&(struct topology_text){"again.yaml", once, strlen(once)}, KINDS, &diags);
    assert_int_equal(diags.error_count, 0);
    char *twice = printed();
    assert_string_equal(once, twice);
    free(once);
    free(twice);
}

static void an_alias_stands_for_the_whole_value(void **state)
{
    (void) state;
    load_good("streams: { a: { topics: [run.>], retain: &keep { age: 1d } }, b: { topics: [chat.>], retain: *keep } }");
    assert_int_equal(t->streams[1].retain.age, 86400000);
}

static void an_alias_inside_its_own_anchor_is_refused(void **state)
{
    (void) state;
    load("streams: &self { a: *self }");
    assert_null(t);
    assert_string_equal(first_code(), "yaml-syntax");
}

static void depth_counts_through_aliases(void **state)
{
    (void) state;
    load(
        "nodes: { n: { options: { a: &a {b: {b: {b: {b: {b: {b: {b: {b: 1}}}}}}}}, c: &c {d: {d: {d: {d: {d: *a}}}}},\n"
        "  e: {f: {f: {f: {f: {f: {f: {f: {f: *c}}}}}}}} } } }");
    assert_string_equal(first_code(), "yaml-too-deep");
}

static void a_small_file_cannot_stand_for_a_huge_tree(void **state)
{
    (void) state;
    struct buf text = {0};
    buf_addf(&text, "a0: &a0 x\n");
    for (int i = 1; i < 200; i++)
        buf_addf(&text, "a%d: &a%d [*a%d, *a%d]\n", i, i, i - 1, i - 1);
    load(buf_text(&text));
    buf_fini(&text);
    assert_null(t);
    assert_string_equal(first_code(), "yaml-too-big");
}

static void a_thousand_problems_are_counted_but_not_kept(void **state)
{
    (void) state;
    struct buf text = {0};
    for (int i = 0; i < 1000; i++)
        buf_addf(&text, "wrong%d: 1\n", i);
    load(buf_text(&text));
    assert_int_equal(diags.error_count, 1000);
    assert_int_equal(diags.count, DIAG_KEPT_MAX);
    buf_clear(&text);
    diag_print(&diags, (struct diag_style){.max = 20}, &text);
    assert_non_null(strstr(buf_text(&text), "\n... and 980 more\n"));
    buf_fini(&text);
}

static void messages_hold_no_control_bytes_of_the_file(void **state)
{
    (void) state;
    load("\"na\\eme\": 1\nname: \"\\e[31m\"\n");
    struct buf text = {0};
    diag_print(&diags, (struct diag_style){0}, &text);
    assert_int_equal(diags.error_count, 2);
    assert_null(memchr(text.data, '\033', text.len));
    buf_fini(&text);
}

static void the_nearest_name_is_close_or_none(void **state)
{
    (void) state;
    static const char *const NAMES[] = {"listen", "data", "memory", "ipc", NULL};
    assert_string_equal(diag_nearest("lsiten", NAMES), "listen");
    assert_string_equal(diag_nearest("date", NAMES), "data");
    assert_string_equal(diag_nearest("memroy", NAMES), "memory");
    assert_null(diag_nearest("colour", NAMES));
    assert_null(diag_nearest("xyz", NAMES));
}

static void every_good_topology_can_be_drawn_in_every_format(void **state)
{
    (void) state;
    struct buf out = {0};
    t = topology_load("tests/check/good-lab.yaml", KINDS, &diags);
    for (size_t i = 0; TOPOLOGY_GRAPH_FORMATS[i]; i++) {
        buf_clear(&out);
        assert_true(topology_graph(t, TOPOLOGY_GRAPH_FORMATS[i], &out));
        assert_non_null(strstr(buf_text(&out), "trainer"));
    }
    assert_false(topology_graph(t, "png", &out));
    buf_fini(&out);
}

#define TEST(name) cmocka_unit_test_teardown(name, teardown)

int main(void)
{
    setenv("LINESHAFT_TEST_SECRET", "***", 1);
    static const struct CMUnitTest TESTS[] = {
        TEST(an_empty_topology_has_all_defaults),
        TEST(sys_can_be_tuned_and_keeps_its_other_defaults),
        TEST(a_topic_goes_to_the_first_stream_that_matches),
        TEST(what_both_patterns_match_decides_about_a_stream),
        TEST(a_node_that_takes_has_a_consumer),
        TEST(a_node_that_takes_nothing_has_none),
        TEST(nodes_of_a_group_share_one_consumer),
        TEST(a_node_uses_the_declared_consumer_of_its_name),
        TEST(a_command_of_one_text_is_for_the_shell),
        TEST(addresses_may_be_ipv6_and_leave_the_port_open),
        TEST(references_are_replaced),
        TEST(secrets_are_masked_when_printed_and_whole_in_the_model),
        TEST(printed_settings_load_again_to_the_same),
        TEST(an_alias_stands_for_the_whole_value),
        TEST(an_alias_inside_its_own_anchor_is_refused),
        TEST(depth_counts_through_aliases),
        TEST(a_small_file_cannot_stand_for_a_huge_tree),
        TEST(a_thousand_problems_are_counted_but_not_kept),
        TEST(messages_hold_no_control_bytes_of_the_file),
        TEST(the_nearest_name_is_close_or_none),
        TEST(every_good_topology_can_be_drawn_in_every_format),
    };
    return cmocka_run_group_tests(TESTS, NULL, NULL);
}
