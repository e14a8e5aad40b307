/* SPDX-License-Identifier: Apache-2.0 */
/* topology/: nodes of built-in kinds, with kinds made for the purpose, and what all real ones must keep to. Messages that
 * the real kinds can show are proved by tests/check. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "lib/xmem.h"
#include "nodes/kinds.h"
#include "topology/tables.h"

struct press_options {
    const char *paper, *address, *ink;
    bool quick;
    int64_t copies, room, rest;
    double weight;
    int side;
    struct kind_texts words;
    struct kind_text_map colours;
};

#define AT(member) .offset = offsetof(struct press_options, member)
static const char *const SIDES[] = {"left", "right", NULL};
static const struct kind_option PRESS_OPTIONS[] = {
    {"paper", KIND_TEXT, KIND_REQUIRED, AT(paper), .help = "Paper."},
    {"address", KIND_ADDRESS, 0, AT(address), .fallback = "127.0.0.1:1", .help = "Address."},
    {"ink", KIND_TEXT, KIND_SECRET, AT(ink), .help = "Ink."},
    {"quick", KIND_BOOL, 0, AT(quick), .fallback = "true", .help = "Quick."},
    {"copies", KIND_INT, 0, AT(copies), .fallback = "3", .min = 1, .max = 9, .help = "Copies."},
    {"room", KIND_SIZE, 0, AT(room), .fallback = "64KiB", .min = 1, .max = 1 << 20, .help = "Room."},
    {"rest", KIND_DURATION, 0, AT(rest), .fallback = "30s", .min = 1, .max = 60000, .help = "Rest."},
    {"weight", KIND_NUMBER, 0, AT(weight), .fallback = "0.5", .help = "Weight."},
    {"side", KIND_ENUM, 0, AT(side), .fallback = "right", .words = SIDES, .help = "Left|right."},
    {"words", KIND_TEXTS, 0, AT(words), .help = "Words."},
    {"colours", KIND_TEXT_MAP, KIND_SECRET, AT(colours), .help = "Colours."},
    {0}};
#undef AT

static bool check_press(const void *options, struct kind_problem *problem)
{
    const struct press_options *o = options;
    if (o->copies != 7)
        return true;
    problem->option = "copies";
    snprintf(problem->text, sizeof problem->text, "seven copies of %s are too many", o->paper);
    snprintf(problem->hint, sizeof problem->hint, "six");
    return false;
}

static const char *const PRESS_TAKES[] = {"page.*", NULL}, *const PRESS_GIVES[] = {"book.done", NULL},
                         *const PRESS_SERVES[] = {"book.print", NULL};
static const struct kind_route PRESS_ROUTES[] = {{"GET", "/books/{name}", "book.print", "One | two.", false},
                                                 {"PUT", "/books/{name}/pages", "book.print", "Pages.", true},
                                                 {0}};
static const struct kind_route SHOP_ROUTES[] = {{"POST", "/books/{isbn}", "shop.sell", "Sells.", false},
                                                {"GET", "/books/{rest...}", "shop.sell", "Lists.", false},
                                                {"PUT", "/books/{isbn}/pages", "shop.sell", "Clashes.", false},
                                                {0}};
static const struct kind_metric PRESS_METRICS[] = {{"pages_total", "pages"}, {0}};

static const struct kind PRESS = {.name = "press", .summary = "prints", .about = "Prints books.", .options = PRESS_OPTIONS,
                                  .options_size = sizeof(struct press_options), .takes = PRESS_TAKES, .gives = PRESS_GIVES,
                                  .serves = PRESS_SERVES, .slots = 5, .routes = PRESS_ROUTES, .metrics = PRESS_METRICS,
                                  .check = check_press};
static const struct kind SHOP = {.name = "shop", .summary = "sells", .asks = PRESS_SERVES, .routes = SHOP_ROUTES};
static const struct kind *const TEST_KINDS[] = {&PRESS, &SHOP, NULL};

static struct diag_list diags;
static struct topology *t;

static int teardown(void **state)
{
    (void) state;
    topology_destroy(&t);
    diag_list_fini(&diags);
    return 0;
}

/* The nodes of a topology that keeps every event. */
static void load(const char *nodes)
{
    teardown(NULL);
    char *file = xasprintf("lineshaft: 1\nstreams: { events: { topics: [\">\"] } }\nnodes:\n%s", nodes);
    t = topology_load_text(&(struct topology_text){"test.yaml", file, strlen(file)}, TEST_KINDS, &diags);
    free(file);
}

static const struct topology_node *load_good(const char *nodes)
{
    load(nodes);
    if (diags.error_count)
        fail_msg("%s", diags.items[0].sentence);
    assert_non_null(t);
    return &t->nodes[0];
}

static const struct diag *found(const char *code)
{
    for (size_t i = 0; i < diags.count; i++)
        if (!strcmp(DIAG_KINDS[diags.items[i].code].name, code))
            return &diags.items[i];
    return NULL;
}

static char *printed(void)
{
    struct buf out = {0};
    topology_print(t, &out);
    return (char *) (buf_text(&out), out.data);
}

static void options_of_a_kind_stand_beside_the_common_ones_and_become_json(void **state)
{
    (void) state;
    const struct topology_node *n = load_good(
        "  a: { kind: press, replicas: 2, paper: \"7\", address: \"[::1]:0\", ink: black, quick: false, copies: 2, room: 1KiB,\n"
        "    rest: 1m, weight: 1e-3, side: left, words: [a, b], colours: { red: x } }");
    assert_int_equal(n->replicas, 2);
    assert_ptr_equal(n->builtin, &PRESS);
    assert_string_equal(n->options, "{\"paper\":\"7\",\"address\":\"[::1]:0\",\"ink\":\"black\",\"quick\":false,\"copies\":2,"
                                    "\"room\":1024,\"rest\":60000,\"weight\":0.001,\"side\":\"left\",\"words\":[\"a\",\"b\"],"
                                    "\"colours\":{\"red\":\"x\"}}");
}

static void the_kind_fills_in_what_the_file_leaves_out(void **state)
{
    (void) state;
    const struct topology_node *n = load_good("  a: { kind: press, paper: x }");
    struct press_options o = {0};
    struct ls_error err = {0};
    assert_string_equal(n->options, "{\"paper\":\"x\"}");
    assert_int_equal(kind_options_read(&PRESS, n->options, &o, &err), 0);
    assert_int_equal(o.rest, 30000);
    assert_int_equal(o.side, 1);
    kind_options_free(&PRESS, &o);
}

static void wiring_is_the_kinds_unless_the_file_says_otherwise(void **state)
{
    (void) state;
    const struct topology_node *n = load_good("  a: { kind: press, paper: x }");
    assert_string_equal(n->takes.items[0], "page.*");
    assert_string_equal(n->gives.items[0], "book.done");
    assert_string_equal(n->serves.items[0], "book.print");
    assert_string_equal(n->consumer->name, "a");
    assert_int_equal(n->slots, 5);
    assert_int_equal(n->serves.places[0].line, 4); /* reported where the node stands */
    n = load_good("  b: { kind: shop }");
    assert_string_equal(n->asks.items[0], "book.print");
    assert_int_equal(n->slots, 0);
    n = load_good("  a: { kind: press, paper: x, takes: [], gives: [], serves: [other.work], slots: 9 }");
    assert_null(n->consumer);
    assert_int_equal(n->gives.count, 0);
    assert_string_equal(n->serves.items[0], "other.work");
    assert_int_equal(n->slots, 9);
}

static void what_a_kind_finds_wrong_is_reported_where_the_option_stands(void **state)
{
    (void) state;
    load("  a: { kind: press, paper: foil,\n    copies: 7 }");
    const struct diag *d = found("node-option-conflict");
    assert_non_null(d);
    assert_string_equal(d->sentence, "node \"a\": seven copies of foil are too many");
    assert_string_equal(d->hint, "six");
    assert_int_equal(d->at.line, 5);
    assert_int_equal(d->at.column, 13);
}

static void decimal_numbers_are_finite_and_plain(void **state)
{
    (void) state;
    static const char *const WRONG[] = {"nan", "inf", "0x10", "1e999", "1 2", "\"\"", "[1]", "one"};
    for (size_t i = 0; i < sizeof WRONG / sizeof *WRONG; i++) {
        char *text = xasprintf("  a: { kind: press, paper: x, weight: %s }", WRONG[i]);
        load(text);
        assert_non_null(found("type-wrong"));
        free(text);
    }
    load_good("  a: { kind: press, paper: x, weight: -2 }");
    assert_string_equal(t->nodes[0].options, "{\"paper\":\"x\",\"weight\":-2.0}");
}

static void secrets_of_a_kind_are_masked_when_printed(void **state)
{
    (void) state;
    setenv("LINESHAFT_TEST_VALUE", "swordfish", 1);
    load_good("  a: { kind: press, paper: \"p-${env:LINESHAFT_TEST_VALUE}\", ink: \"i-${env:LINESHAFT_TEST_VALUE}\",\n"
              "    colours: { red: \"${env:LINESHAFT_TEST_VALUE}\", blue: plain } }");
    char *text = printed();
    assert_non_null(strstr(text, "paper: p-swordfish\n")); /* not declared a secret */
    assert_non_null(strstr(text, "ink: \"***\"\n"));
    assert_non_null(strstr(text, "colours: {red: \"***\", blue: plain}\n"));
    assert_non_null(strstr(t->nodes[0].options, "i-swordfish"));
    free(text);
}

static void printed_settings_of_a_kind_load_again_to_the_same(void **state)
{
    (void) state;
    load_good("  a: { kind: press, paper: \"12\", words: [\"a, b\", \"true\"], weight: 0.1 }");
    char *once = printed();
    teardown(NULL);
    t = topology_load_text(&(struct topology_text){"again.yaml", once, strlen(once)}, TEST_KINDS, &diags);
    assert_int_equal(diags.error_count, 0);
    char *twice = printed();
    assert_string_equal(once, twice);
    free(once);
    free(twice);
}

static void a_route_has_one_owner_whatever_its_parameters_are_called(void **state)
{
    (void) state;
    load("  a: { kind: press, paper: x }\n  b: { kind: shop }");
    const struct diag *d = found("route-conflict");
    assert_non_null(d);
    assert_string_equal(d->sentence, "node \"b\" answers PUT /books/{isbn}/pages over HTTP, and so does node \"a\"");
    assert_int_equal(d->at.line, 5);
    assert_int_equal(d->other.line, 4);
    load_good("  a: { kind: press, paper: x, replicas: 3 }");
    load("  a: { kind: press, paper: x }\n  b: { kind: press, paper: x }");
    d = found("route-conflict");
    assert_non_null(d);
    assert_non_null(strstr(d->hint, "replicas"));
}

static void one_kind_with_two_settings_that_serve_the_same_is_worth_a_warning(void **state)
{
    (void) state;
    load("  a: { kind: press, paper: x }\n  b: { kind: press, paper: y }");
    assert_non_null(found("serves-overlap"));
    assert_non_null(strstr(found("serves-overlap")->hint, "serves: [book.print.other]"));
    load("  a: { kind: press, paper: x }\n  b: { kind: press, paper: x }");
    assert_null(found("serves-overlap"));
}

static void requests_are_drawn_from_who_asks_to_who_serves(void **state)
{
    (void) state;
    static const struct kind LONE = {.name = "shop", .summary = "sells", .asks = PRESS_SERVES};
    static const struct kind *const KINDS_HERE[] = {&PRESS, &LONE, NULL};
    static const char FILE_TEXT[] = "lineshaft: 1\nstreams: { events: { topics: [\">\"] } }\nnodes:\n"
                                    "  a: { kind: press, paper: x, serves: [book.print, book.bind] }\n"
                                    "  b: { kind: shop }\n  c: { kind: exec, command: [cat], asks: [no.such] }\n";
    struct buf out = {0};
    t = topology_load_text(&(struct topology_text){"test.yaml", FILE_TEXT, sizeof FILE_TEXT - 1}, KINDS_HERE, &diags);
    assert_int_equal(diags.error_count, 0);
    assert_true(topology_graph(t, "text", &out));
    assert_non_null(strstr(buf_text(&out), "  b        ──  book.print  ──▶  a\n"));
    assert_non_null(strstr(buf_text(&out), "  c        ──  no.such     ──▶  (no node)\n"));
    assert_non_null(strstr(buf_text(&out), "  clients  ──  book.bind   ──▶  a\n"));
    buf_fini(&out);
}

static void a_kind_has_a_page_and_tables(void **state)
{
    (void) state;
    struct buf out = {0};
    topology_kind_text(&PRESS, &out);
    assert_non_null(strstr(buf_text(&out), "press - prints\n\n  Prints books.\n"));
    assert_non_null(strstr(buf_text(&out), "\n  paper  text; required\n      Paper.\n"));
    assert_non_null(strstr(buf_text(&out), "\n  rest  duration, 1ms to 1m; default 30s\n"));
    assert_non_null(strstr(buf_text(&out), "  slots   5\n"));
    assert_non_null(strstr(buf_text(&out), "  GET    /books/{name}\n         One | two.\n         request book.print\n"));
    assert_non_null(strstr(buf_text(&out), "         Pages.\n         bytes, past the bus, of the service book.print\n"));
    buf_clear(&out);
    topology_kind_markdown(&PRESS, &out);
    assert_non_null(strstr(buf_text(&out), "| `side` | left or right | `right` | Left\\|right. |\n"));
    assert_non_null(strstr(buf_text(&out), "| `GET` | `/books/{name}` | `book.print` | One \\| two. |\n"));
    assert_non_null(strstr(buf_text(&out), "| `PUT` | `/books/{name}/pages` | `book.print`, bytes | Pages. |\n"));
    assert_non_null(strstr(buf_text(&out), "| `lineshaft_press_pages_total` | pages |\n"));
    buf_fini(&out);
}

/* ---- the real kinds ---- */

static bool has_row(const struct option_def *table, const char *name)
{
    for (; table->name; table++)
        if (!strcmp(table->name, name) || (table->type == OPTION_INLINE && has_row(table->table, name)))
            return true;
    return false;
}

static void no_kind_hides_a_common_option_or_lacks_help(void **state)
{
    (void) state;
    for (size_t k = 0; KINDS[k]; k++) {
        assert_true(KINDS[k]->name && KINDS[k]->summary && strcmp(KINDS[k]->name, "exec"));
        for (const struct kind_option *o = KINDS[k]->options; o && o->name; o++) {
            bool own_sense = !KINDS[k]->serves && strcmp(o->name, "slots") == 0; /* the common one is about requests */
            if (has_row(OPTIONS_NODE, o->name) && !own_sense)
                fail_msg("the option %s of %s hides one that every node has", o->name, KINDS[k]->name);
            if (!o->help || !*o->help || o->offset >= KINDS[k]->options_size)
                fail_msg("the option %s of %s has no help or no place", o->name, KINDS[k]->name);
        }
    }
}

/* A default must be a value that the file could hold. */
static void every_default_of_a_kind_is_valid(void **state)
{
    (void) state;
    for (size_t k = 0; KINDS[k]; k++) {
        struct pool pool = {0};
        void *values;
        const struct option_def *table = kind_options(&pool, KINDS[k], &values);
        struct option_context ctx = {.pool = &pool, .diags = &diags, .what = KINDS[k]->name};
        diag_list_source(&diags, "defaults", "", 0);
        options_read(&ctx, table, NULL, (struct place){0}, values);
        if (diags.error_count)
            fail_msg("%s", diags.items[0].sentence);
        pool_fini(&pool);
    }
}

#define TEST(name) cmocka_unit_test_teardown(name, teardown)

int main(void)
{
    static const struct CMUnitTest TESTS[] = {
        TEST(options_of_a_kind_stand_beside_the_common_ones_and_become_json),
        TEST(the_kind_fills_in_what_the_file_leaves_out),
        TEST(wiring_is_the_kinds_unless_the_file_says_otherwise),
        TEST(what_a_kind_finds_wrong_is_reported_where_the_option_stands),
        TEST(decimal_numbers_are_finite_and_plain),
        TEST(secrets_of_a_kind_are_masked_when_printed),
        TEST(printed_settings_of_a_kind_load_again_to_the_same),
        TEST(a_route_has_one_owner_whatever_its_parameters_are_called),
        TEST(one_kind_with_two_settings_that_serve_the_same_is_worth_a_warning),
        TEST(requests_are_drawn_from_who_asks_to_who_serves),
        TEST(a_kind_has_a_page_and_tables),
        TEST(no_kind_hides_a_common_option_or_lacks_help),
        TEST(every_default_of_a_kind_is_valid),
    };
    return cmocka_run_group_tests(TESTS, NULL, NULL);
}
