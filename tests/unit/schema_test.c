/* SPDX-License-Identifier: Apache-2.0 */
/* lib/schema.h: what a schema text may say, what a body must be, and where and how a refusal is told. Run from the root. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "lib/buf.h"
#include "lib/builtin_schemas.h"
#include "lib/schema.h"
#include "lib/xmem.h"

static struct ls_error err;
static char path[64];

static struct schema *parse(const char *text)
{
    struct schema *schema = schema_parse(text, strlen(text), "s.yaml", &err);
    if (!schema)
        fail_msg("%s", err.text);
    return schema;
}

static int check_bytes(const char *text, const void *body, size_t len)
{
    struct schema *schema = parse(text);
    /* A copy of exactly this size: AddressSanitizer then sees any read behind the end. */
    uint8_t *copy = xcalloc(len, 1);
    if (len)
        memcpy(copy, body, len);
    int result = schema_check(schema, copy, len, path, sizeof path, &err);
    free(copy);
    schema_destroy(&schema);
    return result;
}

static bool fits(const char *text, const char *body)
{
    return check_bytes(text, body, strlen(body)) == 0;
}

static bool fits_buf(const char *text, struct buf *body)
{
    int result = check_bytes(text, body->data, body->len);
    buf_fini(body);
    return result == 0;
}

static void refused(const char *text, const char *body, const char *pointer, const char *why)
{
    assert_false(fits(text, body));
    assert_string_equal(path, pointer);
    assert_string_equal(err.text, why);
    assert_string_equal(err.name, "SCHEMA");
    assert_int_equal(err.number, 422);
}

static void types_are_told_apart(void **state)
{
    (void) state;
    static const char *const NAMES[] = {"null", "boolean", "integer", "number", "string", "array", "object"};
    static const char *const VALUES[] = {"null", "true", "7", "7.5", "\"x\"", "[]", "{}"};
    for (int t = 0; t < 7; t++) {
        for (int v = 0; v < 7; v++) {
            char text[64], body[32];
            snprintf(text, sizeof text, "items: { type: %s }", NAMES[t]);
            snprintf(body, sizeof body, "[%s]", VALUES[v]);
            assert_int_equal(fits(text, body), t == v || (t == 3 && v == 2));
        }
    }
    assert_true(fits("items: { type: [string, 'null'] }", "[null, \"a\"]"));
    refused("items: { type: [string, 'null', array] }", "[1]", "/0", "data[0]: expected null, string or array, got number 1");
}

static void an_integral_number_is_an_integer(void **state)
{
    (void) state;
    assert_true(fits("items: { type: integer }", "[1.0, -0, 1e3, -2.50e1, 9223372036854775807, 18446744073709551615, 1e300]"));
    assert_false(fits("items: { type: integer }", "[1.5]"));
    struct buf b = {0};
    buf_pack_double(&b, 3.0);
    assert_true(fits_buf("type: integer", &b));
    buf_pack_double(&b, 3.5);
    assert_false(fits_buf("type: integer", &b));
    buf_pack_int(&b, -3);
    assert_true(fits_buf("{ type: integer, minimum: -3, maximum: -3 }", &b));
}

static void nan_is_a_number_within_no_bound(void **state)
{
    (void) state;
    const double odd[] = {0.0 / 0.0, 1.0 / 0.0, -1.0 / 0.0};
    for (int i = 0; i < 3; i++) {
        struct buf b = {0};
        buf_pack_double(&b, odd[i]);
        assert_true(fits_buf("type: number", &b));
        buf_pack_double(&b, odd[i]);
        assert_false(fits_buf("type: integer", &b));
        buf_pack_double(&b, odd[i]);
        assert_int_equal(fits_buf("minimum: 0", &b), i == 1);
    }
    assert_false(fits("true", "[NaN]"));
    assert_false(fits("true", "[1e999]"));
}

static void bounds_are_exact(void **state)
{
    (void) state;
    assert_true(fits("items: { minimum: 3, maximum: 5 }", "[3, 4, 5, 3.0, \"not a number\"]"));
    refused("items: { minimum: 3 }", "[2.5]", "/0", "data[0]: 2.5 is not at least 3");
    refused("items: { maximum: 3 }", "[4]", "/0", "data[0]: 4 is not at most 3");
    refused("items: { exclusiveMinimum: 3 }", "[3]", "/0", "data[0]: 3 is not more than 3");
    refused("items: { exclusiveMaximum: 0.1 }", "[0.1]", "/0", "data[0]: 0.1 is not less than 0.1");
    assert_true(fits("items: { maximum: 0.1, minimum: 0.1, const: 0.1 }", "[0.1]"));
    /* Neighbours that a double cannot tell apart. */
    assert_true(fits("items: { maximum: 9007199254740993 }", "[9007199254740993]"));
    assert_false(fits("items: { maximum: 9007199254740992 }", "[9007199254740993]"));
    assert_false(fits("items: { const: 18446744073709551614 }", "[18446744073709551615]"));
    assert_true(fits("items: { minimum: -9223372036854775808 }", "[-9223372036854775808]"));
    assert_false(fits("items: { minimum: -9223372036854775807 }", "[-9223372036854775808]"));
}

static void lengths_are_counted_in_code_points(void **state)
{
    (void) state;
    assert_true(fits("items: { minLength: 3, maxLength: 3 }", "[\"abc\", \"äöü\", \"\\u00e4\\n\\\"\", \"\\ud83d\\ude00ab\", \"😀ab\"]"));
    refused("items: { minLength: 3 }", "[\"äö\"]", "/0", "data[0]: has 2 characters, fewer than the needed 3");
    refused("items: { maxLength: 12 }", "[\"abcdefghijklm\"]", "/0", "data[0]: has 13 characters, more than the allowed 12");
    struct buf b = {0};
    buf_pack_bin(&b, "\xff\xfe\x00", 3);
    assert_true(fits_buf("{ type: string, minLength: 3, maxLength: 3 }", &b));
    buf_pack_strn(&b, "\xff\xfe", 2);
    assert_false(fits_buf("type: string", &b));
    assert_non_null(strstr(err.text, "not UTF-8"));
}

static void objects_know_their_fields(void **state)
{
    (void) state;
    static const char S[] = "{ required: [b, c], properties: { a: { type: integer }, b: true }, additionalProperties: false }";
    refused(S, "{\"a\": 1}", "", "data: the required field \"b\" is missing");
    refused(S, "{\"b\": 1, \"a\": \"x\"}", "/a", "data.a: expected integer, got string \"x\"");
    refused(S, "{\"b\": 1, \"z\": []}", "/z", "data.z: nothing is allowed here");
    refused(S, "{\"b\": 1, \"c\": 1}", "/c", "data.c: nothing is allowed here"); /* required, yet not declared */
    assert_true(fits("{ properties: { run_id: { type: string } }, additionalProperties: { type: integer } }",
                     "{\"ru\\u006e_id\": \"x\", \"n\": 1}"));
    refused("{ additionalProperties: { type: integer } }", "{\"a/~b\": 1.5}", "/a~1~0b", "data.a/~b: expected integer, got number 1.5");
    refused("{ minProperties: 2 }", "{\"a\": 1}", "", "data: has 1 fields, fewer than the needed 2");
    assert_false(fits("{ maxProperties: 0 }", "{\"a\": 1}"));
    assert_true(fits("{ required: [a] }", "[]")); /* keywords for objects say nothing about others */
}

static void arrays_know_their_items(void **state)
{
    (void) state;
    assert_true(fits("{ minItems: 1, maxItems: 2, items: { type: string } }", "[\"a\", \"b\"]"));
    refused("{ maxItems: 1 }", "[1, [2]]", "", "data: has 2 items, more than the allowed 1");
    refused("{ minItems: 1 }", "[]", "", "data: has 0 items, fewer than the needed 1");
    refused("{ properties: { m: { items: { required: [role] } } } }", "{\"m\": [{\"role\": 1}, {}]}", "/m/1",
            "data.m[1]: the required field \"role\" is missing");
    assert_true(fits("items: false", "[]"));
    assert_false(fits("items: false", "[1]"));
}

static void choices_compare_by_value(void **state)
{
    (void) state;
    assert_true(fits("items: { enum: [up, 1, true, null, yes, '2'] }", "[\"up\", 1.0, true, null, \"yes\", \"2\", \"\\u0075p\"]"));
    assert_false(fits("items: { enum: [1] }", "[true]"));
    assert_false(fits("items: { enum: [true] }", "[1]"));
    assert_false(fits("items: { const: '1' }", "[1]"));
    refused("items: { enum: [up, down] }", "[\"sideways\"]", "/0", "data[0]: string \"sideways\" is not one of \"up\", \"down\"");
    refused("items: { const: 2 }", "[{}]", "/0", "data[0]: an object is not 2");
}

static void formats_are_enforced(void **state)
{
    (void) state;
    assert_true(fits("items: { format: date-time }", "[\"2026-11-23T03:43:00Z\", \"2026-11-23T03:43:00.5+01:00\", 5]"));
    refused("items: { format: date-time }", "[\"2026-11-23\"]", "/0",
            "data[0]: string \"2026-11-23\" is not an RFC 3339 time such as 2026-11-23T03:43:00Z");
    assert_true(fits("items: { format: uuid }", "[\"01890a5d-ac96-774b-bcce-b302099a8057\"]"));
    assert_false(fits("items: { format: uuid }", "[\"01890a5dac96774bbcceb302099a8057\"]"));
    assert_true(fits("items: { format: topic }", "[\"run.metric\", \"run\\u002emetric\"]"));
    assert_false(fits("items: { format: topic }", "[\"Run metric\"]"));
}

static void an_empty_body_is_nil(void **state)
{
    (void) state;
    assert_int_equal(check_bytes("type: 'null'", "", 0), 0);
    assert_int_equal(check_bytes("type: object", "", 0), -1);
    assert_string_equal(err.text, "data: expected object, got null");
}

static void malformed_json_is_refused(void **state)
{
    (void) state;
    static const char *const BAD[] = {
        "[", "{", "[1", "[1,", "[1,]", "[,1]", "[1 2]", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{a:1}", "{1:1}", "[]]", "{}{}", "[] x",
        "[01]", "[+1]", "[1.]", "[.5]", "[1e]", "[-]", "[0x1]", "[tru]", "[nul", "[NaN]", "[Infinity]", "['a']", "[\"a]", "[\"a\nb\"]",
        "[\"\\x\"]", "[\"\\u12\"]", "[\"\\ud800\"]", "[\"\\udc00\"]", "[\"\\ud800\\u0041\"]", "[\"\xff\"]", "[\"\xc0\x80\"]",
        "[\"\xed\xa0\x80\"]", "[\"\xf4\x90\x80\x80\"]", "[\"\xe2\x82\"]", "{\"\xff\":1}", "[1]\xef\xbb\xbf", "[/**/]", "[\"12345678\\",
    };
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        assert_false(fits("true", BAD[i]));
        assert_false(fits("{ items: { minimum: 0 }, properties: { a: true } }", BAD[i]));
        assert_non_null(strstr(err.text, "malformed JSON at byte "));
    }
    refused("true", "[1, 2", "", "data: malformed JSON at byte 5: truncated");
    assert_true(fits("true", " [ ]" + 1));
    assert_true(fits("true", "{\"a\" :\t[ 1 ,\r\n-0.5e+3 ] , \"a\":null } \n"));
}

static void malformed_msgpack_is_refused(void **state)
{
    (void) state;
    static const struct {
        const char *bytes;
        size_t len;
    } BAD[] = {
        {"\xc1", 1}, {"\x81", 1}, {"\x81\xa1", 2}, {"\x81\xa1""a", 3}, {"\x81\x01\x01", 3}, {"\x92\x01", 2}, {"\xdd\xff\xff\xff\xff", 5},
        {"\xdf\xff\xff\xff\xff\xa0", 6}, {"\xd9\x05""abc", 5}, {"\xc0\xc0", 2}, {"\x91\xa1\xff", 3}, {"\xcb\x00", 2}, {"\xc7\x09\x01", 3},
    };
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        assert_int_equal(check_bytes("true", BAD[i].bytes, BAD[i].len), -1);
        assert_int_equal(check_bytes("{ items: { minimum: 0 }, properties: { a: true } }", BAD[i].bytes, BAD[i].len), -1);
    }
    assert_int_equal(check_bytes("true", "\x81\x01\x01", 3), -1);
    assert_string_equal(err.text, "data: malformed msgpack at byte 2: a map key that is not a string");
    assert_int_equal(check_bytes("true", "\x81\xc4\x01""a\x01", 5), 0);       /* a bin key is a string */
    assert_int_equal(check_bytes("true", "\xd4\x01\x00", 3), 0);              /* ext where nothing is asked */
    assert_int_equal(check_bytes("type: [string, object]", "\xd4\x01\x00", 3), -1);
    assert_string_equal(err.text, "data: expected string or object, got a msgpack extension");
}

/* `levels` arrays inside each other, in both forms. */
static bool nested_fits(const char *text, int levels, bool json)
{
    struct buf b = {0};
    for (int i = 0; i < levels; i++)
        buf_add_byte(&b, json ? '[' : i + 1 < levels ? 0x91 : 0x90);
    for (int i = 0; json && i < levels; i++)
        buf_add_byte(&b, ']');
    return fits_buf(text, &b);
}

static void nesting_ends_at_32(void **state)
{
    (void) state;
    char deep[400] = "true"; /* a schema that goes along all the way */
    for (int i = 0; i < 31; i++) {
        char more[400];
        snprintf(more, sizeof more, "{items: %.380s}", deep);
        memcpy(deep, more, sizeof deep);
    }
    const char *texts[] = {"true", "{ items: { type: array } }", deep};
    for (int i = 0; i < 3; i++) {
        for (int json = 0; json < 2; json++) {
            assert_true(nested_fits(texts[i], 32, json));
            assert_false(nested_fits(texts[i], 33, json));
            assert_non_null(strstr(err.text, "nested more than 32 deep"));
            assert_false(nested_fits(texts[i], 100000, json));
        }
    }
}

static void a_bad_schema_is_told_with_its_place(void **state)
{
    (void) state;
    static const struct {
        const char *text, *why;
    } BAD[] = {
        {"", "s.yaml:1:1: no schema here, the text is empty"},
        {"[1]", "s.yaml:1:1: a schema is a map of keywords, true or false"},
        {"type: object\nproperties:\n  a: { type: sting }",
         "s.yaml:3:14: unknown type: use null, boolean, integer, number, string, array or object"},
        {"type: []", "s.yaml:1:7: an empty list of types allows nothing: name one, or leave `type` out"},
        {"minimum: 1\nminimum: 2", "s.yaml:2:1: the keyword \"minimum\" stands here twice"},
        {"properties:\n  a: true\n  a: true", "s.yaml:3:3: the field \"a\" is declared twice"},
        {"properties: [a]", "s.yaml:1:13: `properties` is a map from field name to schema"},
        {"required: a", "s.yaml:1:11: `required` is a list of field names"},
        {"required: [a, a]", "s.yaml:1:15: \"a\" is required twice"},
        {"enum: []", "s.yaml:1:7: `enum` is a list of at least one value"},
        {"enum: [a, [b]]", "s.yaml:1:11: only text, numbers, true, false and null can stand here"},
        {"const: {}", "s.yaml:1:8: only text, numbers, true, false and null can stand here"},
        {"minimum: '3'", "s.yaml:1:10: this keyword takes a number"},
        {"minimum: .nan", "s.yaml:1:10: this keyword takes a number"},
        {"maxLength: -1", "s.yaml:1:12: this keyword takes a whole number from 0 to 4294967295"},
        {"maxLength: 1.5", "s.yaml:1:12: this keyword takes a whole number from 0 to 4294967295"},
        {"format: email", "s.yaml:1:9: unknown format: use date-time, uuid or topic"},
        {"true\n---\ntrue", "s.yaml:3:1: a second document; one file holds one schema"},
        {"{ type: string", "s.yaml:1:1: not YAML: did not find expected ',' or '}'"},
    };
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        assert_null(schema_parse(BAD[i].text, strlen(BAD[i].text), "s.yaml", &err));
        assert_string_equal(err.text, BAD[i].why);
        assert_string_equal(err.name, "CONFIG");
    }
    assert_null(schema_parse("type: string\npattern: a+", 23, "s.yaml", &err));
    assert_non_null(strstr(err.text, "s.yaml:2:1: unsupported keyword \"pattern\"; there are type, properties, required"));
    assert_null(schema_parse("items: &a { items: *a }", 23, "s.yaml", &err));
    assert_non_null(strstr(err.text, "the schema nests more than 32 deep or is too large"));
}

static void notes_have_no_effect(void **state)
{
    (void) state;
    assert_true(fits("{ $schema: 'https://json-schema.org/draft/2020-12/schema', $id: x, title: t, description: d, $comment: c,"
                     " default: { a: [1] }, examples: [[1], { b: 2 }] }", "[1]"));
}

static void a_long_name_is_cut_between_characters(void **state)
{
    (void) state;
    char small[8];
    struct schema *schema = parse("additionalProperties: false");
    static const char BODY[] = "{\"aääää\": 1}";
    assert_int_equal(schema_check(schema, BODY, strlen(BODY), small, sizeof small, &err), -1);
    assert_string_equal(small, "/aää");
    assert_string_equal(err.text, "data.aääää: nothing is allowed here");
    assert_int_equal(schema_check(schema, BODY, strlen(BODY), NULL, 0, NULL), -1);
    schema_destroy(&schema);
}

static void add(struct schema_set *set, const char *topic, const char *text)
{
    struct schema *schema = parse(text);
    assert_int_equal(schema_set_add(set, topic, &schema, &err), 0);
    assert_null(schema);
}

static int verdict(const struct schema_set *set, const char *topic, const char *body)
{
    return schema_check(schema_set_find(set, topic, strlen(topic)), body, strlen(body), path, sizeof path, &err);
}

static void an_exact_topic_comes_before_a_pattern(void **state)
{
    (void) state;
    struct schema_set *set = schema_set_new();
    add(set, "orders.*", "items: { const: pattern }");
    add(set, "orders.new", "items: { const: exact }");
    assert_int_equal(verdict(set, "orders.new", "[\"exact\"]"), 0);
    assert_int_equal(verdict(set, "orders.old", "[\"pattern\"]"), 0);
    assert_null(schema_set_find(set, "orders", 6));
    add(set, "orders.new", "items: { const: later }");
    assert_int_equal(verdict(set, "orders.new", "[\"later\"]"), 0);
    for (int i = 0; i < 300; i++) {
        char topic[32];
        snprintf(topic, sizeof topic, "many.t%d", i);
        add(set, topic, "true");
    }
    assert_non_null(schema_set_find(set, "many.t299", 9));
    assert_int_equal(verdict(set, "orders.new", "[\"later\"]"), 0);
    struct schema *schema = parse("true");
    assert_int_equal(schema_set_add(set, "Not a topic", &schema, &err), -1);
    assert_non_null(schema);
    schema_destroy(&schema);
    schema_set_destroy(&set);
}

static void write_file(const char *folder, const char *name, const char *text)
{
    char *file = xasprintf("%s/%s", folder, name);
    FILE *out = fopen(file, "we");
    assert_non_null(out);
    fputs(text, out);
    fclose(out);
    free(file);
}

static void remove_file(const char *folder, const char *name)
{
    char *file = xasprintf("%s/%s", folder, name);
    unlink(file);
    free(file);
}

static void a_folder_gives_one_schema_a_file(void **state)
{
    (void) state;
    char folder[] = "/tmp/schema-test-XXXXXX";
    assert_non_null(mkdtemp(folder));
    struct schema_set *set = schema_set_new();
    write_file(folder, "orders.new.yaml", "type: array\n");
    write_file(folder, "notes.txt", "no schema");
    assert_int_equal(schema_set_add_folder(set, folder, &err), 0);
    assert_int_equal(verdict(set, "orders.new", "{}"), -1);
    assert_null(schema_set_find(set, "notes", 5));
    write_file(folder, "orders.bad.yaml", "type: array\nitem: true\n");
    assert_int_equal(schema_set_add_folder(set, folder, &err), -1);
    assert_non_null(strstr(err.text, "/orders.bad.yaml:2:1: unsupported keyword \"item\""));
    write_file(folder, "orders.bad.yaml", "true");
    write_file(folder, "Orders.yaml", "true");
    assert_int_equal(schema_set_add_folder(set, folder, &err), -1);
    assert_non_null(strstr(err.text, "/Orders.yaml: \"Orders\" is not a topic"));
    remove_file(folder, "orders.new.yaml");
    remove_file(folder, "orders.bad.yaml");
    remove_file(folder, "Orders.yaml");
    remove_file(folder, "notes.txt");
    rmdir(folder);
    assert_int_equal(schema_set_add_folder(set, folder, &err), -1);
    schema_set_destroy(&set);
}

static void the_two_line_example_is_valid(void **state)
{
    (void) state;
    struct schema_set *set = schema_set_new();
    assert_int_equal(schema_set_add_builtin(set, &err), 0);
    struct buf b = {0};
    buf_pack_map(&b, 4);
    buf_pack_str(&b, "run_id");
    buf_pack_str(&b, "r1");
    buf_pack_str(&b, "key");
    buf_pack_str(&b, "loss");
    buf_pack_str(&b, "value");
    size_t value_at = b.len;
    buf_pack_double(&b, 0.7);
    buf_pack_str(&b, "step");
    buf_pack_uint(&b, 3);
    const struct schema *metric = schema_set_find(set, "run.metric", 10);
    assert_int_equal(schema_check(metric, b.data, b.len, NULL, 0, &err), 0);
    memcpy(b.data + value_at, "\xa8""12345678", 9); /* the same, with text for the value */
    assert_int_equal(schema_check(metric, b.data, b.len, path, sizeof path, &err), -1);
    assert_string_equal(path, "/value");
    assert_string_equal(err.text, "data.value: expected number, got string \"12345678\"");
    buf_fini(&b);
    schema_set_destroy(&set);
}

/* Every line of schema_cases/invalid.txt is refused where it says; every built-in topic has a line. */
static void invalid_bodies_are_refused_where_they_are_wrong(void **state)
{
    (void) state;
    struct schema_set *set = schema_set_new();
    assert_int_equal(schema_set_add_builtin(set, &err), 0);
    FILE *cases = fopen("tests/unit/schema_cases/invalid.txt", "re");
    assert_non_null(cases);
    char line[512], seen[4096] = " ";
    while (fgets(line, sizeof line, cases)) {
        char *rest = line, *topic = strsep(&rest, " "), *pointer = strsep(&rest, " ");
        if (*topic == '#')
            continue;
        if (!verdict(set, topic, rest) || strcmp(path, strcmp(pointer, "-") ? pointer : ""))
            fail_msg("%s %s: path %s, %s", topic, rest, path, err.text);
        snprintf(seen + strlen(seen), sizeof seen - strlen(seen), "%s ", topic);
    }
    fclose(cases);
    for (const struct builtin_schema *b = BUILTIN_SCHEMAS; b->topic; b++) {
        char name[210];
        snprintf(name, sizeof name, " %s ", b->topic);
        if (!strstr(seen, name))
            fail_msg("%s has no line in schema_cases/invalid.txt", b->topic);
    }
    schema_set_destroy(&set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types_are_told_apart),
        cmocka_unit_test(an_integral_number_is_an_integer),
        cmocka_unit_test(nan_is_a_number_within_no_bound),
        cmocka_unit_test(bounds_are_exact),
        cmocka_unit_test(lengths_are_counted_in_code_points),
        cmocka_unit_test(objects_know_their_fields),
        cmocka_unit_test(arrays_know_their_items),
        cmocka_unit_test(choices_compare_by_value),
        cmocka_unit_test(formats_are_enforced),
        cmocka_unit_test(an_empty_body_is_nil),
        cmocka_unit_test(malformed_json_is_refused),
        cmocka_unit_test(malformed_msgpack_is_refused),
        cmocka_unit_test(nesting_ends_at_32),
        cmocka_unit_test(a_bad_schema_is_told_with_its_place),
        cmocka_unit_test(notes_have_no_effect),
        cmocka_unit_test(a_long_name_is_cut_between_characters),
        cmocka_unit_test(an_exact_topic_comes_before_a_pattern),
        cmocka_unit_test(a_folder_gives_one_schema_a_file),
        cmocka_unit_test(the_two_line_example_is_valid),
        cmocka_unit_test(invalid_bodies_are_refused_where_they_are_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
