/* SPDX-License-Identifier: Apache-2.0 */
/* What a command hands on: nodes/runner/outputs.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/buf.h"
#include "nodes/runner/outputs.h"

static void expect(const char *text, const char *json)
{
    struct ls_error err = {0};
    json_t *got = outputs_parse(text, strlen(text), &err), *wanted = json_loads(json, 0, NULL);
    assert_string_equal(err.text, "");
    assert_non_null(wanted);
    assert_true(json_equal(got, wanted));
    json_decref(got);
    json_decref(wanted);
}

static void expect_error(const char *text, size_t len, const char *says)
{
    struct ls_error err = {0};
    assert_null(outputs_parse(text, len, &err));
    assert_string_equal(err.name, "OUTPUTS");
    if (!strstr(err.text, says))
        fail_msg("\"%s\" does not say \"%s\"", err.text, says);
}

static void test_lines(void **state)
{
    (void) state;
    expect("", "{}");
    expect("\n\r\n  \n", "{}");
    expect("a=1\nb=text\nc=a=b\nd=\n", "{\"a\": 1, \"b\": \"text\", \"c\": \"a=b\", \"d\": \"\"}");
    expect("a=1\r\nlast=true", "{\"a\": 1, \"last\": true}");
    expect("a=1\na=2\n", "{\"a\": 2}");
}

static void test_values_are_json_where_they_are(void **state)
{
    (void) state;
    expect("a=[1, {\"b\": null}]\nb=\"quoted\"\nc=1.5\nd=007\ne={broken\nf=\"open\ng=1 2\n",
           "{\"a\": [1, {\"b\": null}], \"b\": \"quoted\", \"c\": 1.5, \"d\": \"007\", \"e\": \"{broken\", \"f\": "
           "\"\\\"open\", \"g\": \"1 2\"}");
    expect("big=123456789012345678901234567890\nhuge=1e999\n",
           "{\"big\": \"123456789012345678901234567890\", \"huge\": \"1e999\"}");
}

static void test_objects(void **state)
{
    (void) state;
    expect("{\"a\": 1, \"b\": [2]}\nc=3\n{\n  \"a\": 4,\n  \"d\": \"=\"\n}\n",
           "{\"a\": 4, \"b\": [2], \"c\": 3, \"d\": \"=\"}");
}

static void test_errors_name_the_line(void **state)
{
    (void) state;
    expect_error("a=1\nno equals sign\n", 19, "line 2 ");
    expect_error("=1\n", 3, "line 1 ");
    expect_error("{\"a\": 1}\n{\n\"b\": \n}\n", 19, "line 4 ");
    expect_error("a=\xff\n", 4, "UTF-8");
    expect_error("a=\0b\n", 5, "UTF-8");
    expect_error("{\"a\": \xff}", 8, "broken");
}

static void test_many_lines_are_read_in_one_pass(void **state)
{
    struct buf text = {0};
    struct ls_error err = {0};
    (void) state;
    for (int i = 0; text.len < OUTPUTS_BYTES_MAX - 32; i++)
        buf_addf(&text, "k%d=%d\n", i, i);
    json_t *got = outputs_parse((const char *) text.data, text.len, &err);
    assert_true(json_object_size(got) > 60000);
    json_decref(got);
    buf_fini(&text);
}

static void test_a_file(void **state)
{
    char path[] = "/tmp/outputs-XXXXXX";
    struct ls_error err = {0};
    int fd = mkstemp(path);
    (void) state;
    assert_int_equal(write(fd, "a=1\n", 4), 4);
    json_t *got = outputs_read(path, &err);
    assert_int_equal(json_integer_value(json_object_get(got, "a")), 1);
    json_decref(got);
    assert_int_equal(ftruncate(fd, (off_t) OUTPUTS_BYTES_MAX + 1), 0);
    assert_null(outputs_read(path, &err));
    assert_non_null(strstr(err.text, "larger"));
    close(fd);
    unlink(path);
    got = outputs_read(path, &err); /* there is none: nothing is handed on */
    assert_int_equal(json_object_size(got), 0);
    assert_non_null(got);
    json_decref(got);
    assert_null(outputs_read("/tmp", &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_values_are_json_where_they_are),
        cmocka_unit_test(test_objects),
        cmocka_unit_test(test_errors_name_the_line),
        cmocka_unit_test(test_many_lines_are_read_in_one_pass),
        cmocka_unit_test(test_a_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
