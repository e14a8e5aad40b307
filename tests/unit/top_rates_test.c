/* SPDX-License-Identifier: Apache-2.0 */
/* lineshaft top, apart from its screen: rates and nodes out of samples, rows in order, what fits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "cli/top/top.h"
#include "lib/xmem.h"

#define PANEL(number) (&TOP_PANEL[number])
enum { STREAMS, TOPICS, CONSUMERS, SERVICES, NODES };

/* JSON, with ' in place of ". */
static json_t *parse(const char *text)
{
    char *copy = xstrdup(text);
    for (char *quote = copy; (quote = strchr(quote, '\'')) != NULL;)
        *quote = '"';
    json_t *json = json_loads(copy, 0, NULL);
    free(copy);
    assert_non_null(json);
    return json;
}

/* A digested sample. */
static json_t *digest(const char *text, const json_t *before)
{
    json_t *sample = parse(text);
    top_digest(sample, before);
    return sample;
}

static const json_t *row(const json_t *sample, const char *list, const char *key, const char *name)
{
    size_t i;
    const json_t *one;
    json_array_foreach(json_object_get(sample, list), i, one)
        if (strcmp(top_text(one, key), name) == 0)
            return one;
    fail_msg("%s has no %s", list, name);
    return NULL;
}

static void assert_rate(const json_t *object, const char *key, double rate)
{
    double got;
    assert_true(top_number(object, key, &got));
    assert_true(got > rate - 0.001 && got < rate + 0.001);
}

#define BROKER(uptime, boot, in)                                                                                       \
    "'broker':{'boot':'" boot "','now_us':9,'uptime_ms':" uptime ",'counters':{'events_in':" in ",'delivered':2,'live_out':1}}"

static void a_rate_is_the_difference_of_totals_over_the_time_between(void **state)
{
    (void) state;
    json_t *one = digest("{" BROKER("1000", "a", "10") ",'streams':[{'name':'s','published':5}],"
                         "'topics':[{'topic':'t','stream':'s','events':1,'bytes':100},"
                         "{'topic':'u','stream':'s','events':7,'bytes':9}]}",
                         NULL);
    assert_true(json_is_null(json_object_get(json_object_get(one, "broker"), "events_in_rate")));
    assert_true(json_is_null(json_object_get(row(one, "topics", "topic", "t"), "rate")));
    json_t *two = digest("{" BROKER("3000", "a", "16") ",'streams':[{'name':'s','published':9}],"
                         "'topics':[{'topic':'t','stream':'s','events':4,'bytes':300},"
                         "{'topic':'u','stream':'s','events':2,'bytes':1},"
                         "{'topic':'new','events':2,'bytes':1}]}",
                         one);
    assert_rate(json_object_get(two, "broker"), "events_in_rate", 3);
    assert_rate(json_object_get(two, "broker"), "events_out_rate", 0);
    assert_rate(row(two, "streams", "name", "s"), "rate", 2);
    assert_rate(row(two, "streams", "name", "s"), "bytes_rate", 100);
    assert_rate(row(two, "topics", "topic", "t"), "rate", 1.5);
    assert_true(json_is_null(json_object_get(row(two, "topics", "topic", "u"), "rate")));   /* began anew */
    assert_true(json_is_null(json_object_get(row(two, "topics", "topic", "new"), "rate"))); /* since when? */
    json_t *other = digest("{" BROKER("5000", "b", "99") ",'streams':[{'name':'s','published':99}]}", two);
    assert_true(json_is_null(json_object_get(row(other, "streams", "name", "s"), "rate"))); /* another broker */
    assert_true(json_is_null(json_object_get(row(other, "streams", "name", "s"), "bytes_rate")));
    json_decref(one);
    json_decref(two);
    json_decref(other);
}

#define UP(now, pid, cpu)                                                                                              \
    "{" BROKER(now, "a", "1") ",'sessions':[{'client':'model','member':'model.1','published':" now "},"               \
    "{'client':'tail','member':'x7','since_us':3},{'client':'lineshaft-up','member':'q','served':4}],"                 \
    "'services':[{'topic':'up.status.1','workers':[{'member':'q'}]}],'supervisors':[{'topic':'up.status.1',"           \
    "'host':'h','pid':1,'started_us':1,'now_us':" now "000,'processes':[{'name':'up','kind':'up','pid':1,'cpu_ms':5}," \
    "{'name':'model.1','pid':" pid ",'cpu_ms':" cpu "}]}]}"

static void nodes_are_processes_joined_with_sessions(void **state)
{
    (void) state;
    json_t *one = digest(UP("1000", "7", "100"), NULL), *two = digest(UP("2000", "7", "350"), one);
    assert_int_equal(json_array_size(json_object_get(two, "nodes")), 3);
    const json_t *model = row(two, "nodes", "name", "model.1");
    assert_rate(model, "cpu_percent", 25);
    assert_rate(model, "published_rate", 1000);
    assert_string_equal(top_text(model, "host"), "h");
    assert_int_equal(top_count(row(two, "nodes", "name", "up"), "served"), 4);
    assert_int_equal(top_count(row(two, "nodes", "name", "tail"), "since_us"), 3);
    json_t *same = digest(UP("2000", "7", "350"), two); /* the same measurement: what it said still holds */
    assert_rate(row(same, "nodes", "name", "model.1"), "cpu_percent", 25);
    json_t *restarted = digest(UP("3000", "8", "400"), same);
    assert_true(json_is_null(json_object_get(row(restarted, "nodes", "name", "model.1"), "cpu_percent")));
    json_decref(one);
    json_decref(two);
    json_decref(same);
    json_decref(restarted);
}

static void what_makes_no_sense_is_borne(void **state)
{
    static const char *const CASES[] = {"{}", "{'broker':null,'supervisors':[7,null,{},{'processes':[1,{},null]},{'processes':{}}]}",
                                        "{'broker':{'uptime_ms':'x'},'topics':[null,[],{'topic':4,'events':'e'}],'sessions':{'a':1}}"};
    const struct top_want want = {.filter = "", .width = 80};
    struct top_grid grid;
    (void) state;
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        json_t *one = digest(CASES[i], NULL), *two = digest(CASES[i], one);
        for (size_t p = 0; p < TOP_PANELS; p++) {
            top_grid_fill(&grid, PANEL(p), two, &want);
            top_grid_fini(&grid);
        }
        json_decref(one);
        json_decref(two);
    }
}

/* The names of the rows, with commas. */
static const char *names(const struct top_panel *panel, const json_t *sample, struct top_order order, const char *filter)
{
    static char text[200];
    struct top_grid grid;
    size_t len = 0;
    top_grid_fill(&grid, panel, sample, &(struct top_want){order, filter, 0});
    text[0] = '\0';
    for (size_t r = 0; r < grid.rows && len < sizeof text; r++)
        len += (size_t) snprintf(text + len, sizeof text - len, "%s%s", r ? "," : "", grid.cells[r * top_columns(panel)].text);
    top_grid_fini(&grid);
    return text;
}

static void rows_go_by_a_column_and_what_is_unknown_comes_last(void **state)
{
    (void) state;
    json_t *sample = parse("{'topics':[{'topic':'c','rate':null,'events':1},{'topic':'b','rate':5,'events':1},"
                           "{'topic':'a','rate':5,'events':3},{'topic':'d','rate':7,'events':2,'stream':'Kept'}]}");
    assert_string_equal(names(PANEL(TOPICS), sample, (struct top_order){1, false}, ""), "d,a,b,c");
    assert_string_equal(names(PANEL(TOPICS), sample, (struct top_order){1, true}, ""), "a,b,d,c");
    assert_string_equal(names(PANEL(TOPICS), sample, (struct top_order){3, false}, ""), "a,d,b,c");
    assert_string_equal(names(PANEL(TOPICS), sample, (struct top_order){0, true}, ""), "d,c,b,a");
    assert_string_equal(names(PANEL(TOPICS), sample, (struct top_order){0, false}, "kep"), "d"); /* any text of the row */
    assert_string_equal(names(PANEL(TOPICS), sample, (struct top_order){0, false}, "nowhere"), "");
    json_decref(sample);
}

static void columns_go_where_the_screen_is_narrow_and_the_name_is_cut_last(void **state)
{
    (void) state;
    json_t *sample = parse("{'streams':[{'name':'a-stream-with-a-long-name','rate':1.5,'events':12,'bytes':2048,"
                           "'health':'healthy','problem':'',"
                           "'retain':{'age_ms':604800000,'bytes':1024,'count':5}}]}");
    size_t ends[TOP_COLUMNS_MAX];
    for (size_t width = 1; width < 140; width++) {
        struct top_grid grid;
        struct buf line = {0};
        top_grid_fill(&grid, PANEL(STREAMS), sample, &(struct top_want){.filter = "", .width = width});
        top_grid_line(&grid, 0, &line, ends);
        assert_true(render_columns(buf_text(&line), line.len) <= width);
        if (width == 30)
            assert_string_equal(buf_text(&line), "a-stream-with-a-lon\xe2\x80\xa6       1.5");
        if (width == 139)
            assert_string_equal(buf_text(&line), "a-stream-with-a-long-name       1.5         -      12   2.0 KiB  "
                                                "7 d, 1.0 KiB, 5 events  healthy");
        buf_fini(&line);
        top_grid_fini(&grid);
    }
    json_decref(sample);
}

static void numbers_have_few_digits(void **state)
{
    static const struct {
        const char *number, *text;
    } CASES[] = {{"0", "0"}, {"999999", "999999"}, {"1000000", "1.00 M"}, {"12345678", "12.3 M"}, {"999999999", "1.00 G"}, {"-1", "-"},
                 {"1e300", "-"}, {"null", "-"}};
    (void) state;
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        char *text = xasprintf("{'consumers':[{'name':'c','pending':%s}]}", CASES[i].number);
        json_t *sample = parse(text);
        struct top_grid grid;
        top_grid_fill(&grid, PANEL(CONSUMERS), sample, &(struct top_want){.filter = ""});
        assert_string_equal(grid.cells[1].text, CASES[i].text);
        top_grid_fini(&grid);
        json_decref(sample);
        free(text);
    }
}

static void lines_are_shared_so_that_none_starves(void **state)
{
    size_t needs[] = {2, 9, 4}, shares[3];
    (void) state;
    top_share_lines(needs, shares, 3, 12);
    assert_true(shares[0] == 2 && shares[1] == 6 && shares[2] == 4);
    top_share_lines(needs, shares, 3, 4);
    assert_true(shares[0] == 2 && shares[1] == 1 && shares[2] == 1);
    top_share_lines(needs, shares, 3, 50);
    assert_true(shares[0] == 2 && shares[1] == 9 && shares[2] == 4);
}

static void any_msgpack_becomes_json(void **state)
{
    struct buf map = {0};
    (void) state;
    buf_pack_map(&map, 5);
    buf_pair_uint(&map, "big", UINT64_MAX);
    buf_pack_strn(&map, "a\0b", 3);
    buf_pack_strn(&map, "\xff\0\x1b", 3);
    buf_pair_str(&map, "about", "not for us");
    buf_pack_str(&map, "list");
    buf_pack_array(&map, 2);
    buf_pack_bool(&map, true);
    buf_pack_double(&map, 1.0 / 3);
    buf_pack_str(&map, "deep");
    for (int i = 0; i < 100; i++)
        buf_pack_array(&map, 1);
    for (size_t len = 0; len <= map.len; len++) { /* and so does what is cut off */
        uint8_t *copy = xcalloc(len + 1, 1); /* of its own, so that a sanitizer sees a step too far */
        memcpy(copy, map.data, len);
        json_decref(top_json(mp_over(copy, len)));
        free(copy);
    }
    json_t *json = top_json(mp_over(map.data, map.len));
    assert_true(json_is_real(json_object_get(json, "big")));
    assert_int_equal(json_string_length(json_object_get(json, "a")), 3);
    assert_null(json_object_get(json, "about"));
    assert_int_equal(json_array_size(json_object_get(json, "list")), 2);
    json_decref(json);
    buf_fini(&map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rate_is_the_difference_of_totals_over_the_time_between),
        cmocka_unit_test(nodes_are_processes_joined_with_sessions),
        cmocka_unit_test(what_makes_no_sense_is_borne),
        cmocka_unit_test(rows_go_by_a_column_and_what_is_unknown_comes_last),
        cmocka_unit_test(columns_go_where_the_screen_is_narrow_and_the_name_is_cut_last),
        cmocka_unit_test(numbers_have_few_digits),
        cmocka_unit_test(lines_are_shared_so_that_none_starves),
        cmocka_unit_test(any_msgpack_becomes_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
