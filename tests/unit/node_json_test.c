/* SPDX-License-Identifier: Apache-2.0 */
/* Bodies for node kinds: what is read from JSON and msgpack, what is written, and errors that name the field. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "lib/node.h"

static void assert_read(struct ls_slice body, const char *expected)
{
    struct ls_error err = {0};
    struct buf out = {0};
    json_auto_t *json = node_json(body, &err);
    assert_string_equal(err.text, "");
    node_write(&out, json);
    assert_string_equal(buf_text(&out), expected);
    buf_fini(&out);
}

static void assert_refused(const char *body, const char *expected)
{
    struct ls_error err = {0};
    json_auto_t *json = node_json(ls_str(body), &err);
    const json_t *a = node_field(json, "a", JSON_STRING, &err);
    const json_t *b = a ? node_field(json, "b", JSON_REAL, &err) : NULL;
    assert_null(b ? node_field(json, "c", JSON_TRUE, &err) : NULL);
    assert_string_equal(err.text, expected);
    assert_string_equal(err.name, "BAD_VALUE");
}

static void bodies_are_json_or_msgpack(void **state)
{
    static const char PACKED[] = "\x85\xa1" "a\xa1\"\xa1" "b\xca\x3f\xc0\0\0\xa1" "c\xc3\xa1" "d\xc4\1x\xa1" "e"
                                 "\xcf\xff\xff\xff\xff\xff\xff\xff\xff";
    (void) state;
    assert_read(ls_str("{\"a\": [0.7, -1, \"\xc3\xa9\", {}, []], \"b\": null, \"c\": false}"),
                "{\"a\":[0.7,-1,\"\xc3\xa9\",{},[]],\"b\":null,\"c\":false}");
    assert_read(ls_bytes(PACKED, sizeof PACKED - 1), "{\"a\":\"\\\"\",\"b\":1.5,\"c\":true,\"d\":\"eA==\",\"e\":1.8446744073709552e+19}");
    assert_read(ls_str("\x07"), "7");
}

static void errors_name_the_field(void **state)
{
    (void) state;
    assert_refused("{\"a\":1}", "\"a\" in the body is a whole number; it must be a string");
    assert_refused("{\"a\":\"x\",\"c\":true}", "the body lacks \"b\", a number");
    assert_refused("{\"a\":\"x\",\"b\":18446744073709551616,\"c\":null}", "\"c\" in the body is null; it must be true or false");
    assert_refused("[]", "the body is an array; it must be an object with \"a\"");
    assert_refused("{", "the body is no valid JSON: string or '}' expected near end of file (line 1, column 1)");
    assert_refused("\xc1", "the body is neither JSON nor msgpack: send JSON or msgpack");
    assert_refused("", "the body is empty: send JSON or msgpack");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bodies_are_json_or_msgpack),
        cmocka_unit_test(errors_name_the_field),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
