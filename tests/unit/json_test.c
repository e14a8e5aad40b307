/* SPDX-License-Identifier: Apache-2.0 */
/* JSON out of text, msgpack, bodies and events: it is well-formed and harmless, whatever comes in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include <jansson.h>
#include <math.h>
#include <string.h>

#include "lib/json.h"

#define BYTES(text) text, sizeof(text) - 1
#define SLICE(text) ls_bytes(text, sizeof(text) - 1)

/* What is in the buffer must be `expected`; frees it. */
static void assert_text(struct buf *out, const char *expected)
{
    assert_string_equal(buf_text(out), expected);
    buf_fini(out);
}

static void assert_reads_back(struct buf *out)
{
    json_t *json = json_loadb((const char *) out->data, out->len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    assert_non_null(json);
    json_decref(json);
}

/* ---- strings and numbers ---- */

static void assert_string(const char *bytes, size_t len, const char *expected)
{
    struct buf out = {0};
    json_put_string(&out, bytes, len);
    assert_reads_back(&out);
    assert_text(&out, expected);
}

static void quotes_and_controls_are_escaped(void **state)
{
    (void) state;
    assert_string(BYTES(""), "\"\"");
    assert_string(BYTES("say \"hi\" \\o/"), "\"say \\\"hi\\\" \\\\o/\"");
    assert_string(BYTES("a\nb\tc\rd\be\0f\x7fg"), "\"a\\nb\\tc\\u000dd\\u0008e\\u0000f\\u007fg\"");
    assert_string(BYTES("Gr\xc3\xbc\xc3\x9f" "e \xe2\x82\xac \xf0\x9f\x8e\x89"),
                  "\"Gr\xc3\xbc\xc3\x9f" "e \xe2\x82\xac \xf0\x9f\x8e\x89\"");
}

static void what_hides_or_reorders_text_is_escaped(void **state)
{
    (void) state;
    assert_string(BYTES("\xe2\x80\xae" "exe.txt"), "\"\\u202eexe.txt\"");                      /* right-to-left override */
    assert_string(BYTES("a\xe2\x80\x8b\xef\xbb\xbf" "b\xe2\x80\xa8"), "\"a\\u200b\\ufeffb\\u2028\"");
    assert_string(BYTES("\xc2\x9b" "31m"), "\"\\u009b31m\"");                                  /* an escape sequence in one character */
    assert_string(BYTES("\xf3\xa0\x81\x81"), "\"\\udb40\\udc41\"");                            /* a tag character: a surrogate pair */
}

static void every_invalid_byte_becomes_a_replacement_character(void **state)
{
    (void) state;
    assert_string(BYTES("a\xff" "b\x80"), "\"a\xef\xbf\xbd" "b\xef\xbf\xbd\"");
    assert_string(BYTES("\xc0\xaf"), "\"\xef\xbf\xbd\xef\xbf\xbd\"");
    assert_string(BYTES("\xed\xa0\x80"), "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
    assert_string(BYTES("\xe2\x82"), "\"\xef\xbf\xbd\xef\xbf\xbd\"");
    assert_string(BYTES("\xf0\x9f\""), "\"\xef\xbf\xbd\xef\xbf\xbd\\\"\"");                    /* the quote is not swallowed */
}

static void escaped_text_is_not_escaped_again(void **state)
{
    struct buf out = {0};
    (void) state;
    json_put_chars(&out, BYTES("\\\"\\u00e4\xe2\x80\xae"), true);
    assert_text(&out, "\\\"\\u00e4\\u202e");
}

static void no_text_is_null_and_pairs_get_their_commas(void **state)
{
    struct buf out = {0};
    (void) state;
    json_put_text(&out, NULL);
    json_put_text(&out, "x");
    assert_text(&out, "null\"x\"");
    buf_add_byte(&out, '{');
    json_put_pair(&out, "a", SLICE("{"));
    json_put_pair(&out, "b", SLICE("2\n"));
    json_put_pair(&out, "c", (struct ls_slice){0});
    assert_text(&out, "{\"a\":\"{\",\"b\":\"2\\n\",\"c\":\"\"");
}

static void a_double_is_short_and_reads_back_the_same(void **state)
{
    static const struct {
        double number;
        const char *text;
    } CASES[] = {{0, "0.0"}, {-0.0, "-0.0"}, {0.1, "0.1"}, {-2, "-2.0"}, {1e15 + 0.5, "1000000000000000.5"}, {1e300, "1e+300"},
                 {5e-324, "4.94065645841247e-324"}, {0.1 + 0.2, "0.30000000000000004"}, {NAN, "null"}, {INFINITY, "null"},
                 {-INFINITY, "null"}};
    (void) state;
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct buf out = {0};
        json_put_double(&out, CASES[i].number);
        assert_true(!isfinite(CASES[i].number) || strtod(buf_text(&out), NULL) == CASES[i].number);
        assert_text(&out, CASES[i].text);
    }
}

static void base64_is_padded(void **state)
{
    static const char *const TEXTS[] = {"", "f", "fo", "foo", "foob", "fooba", "foobar"}; /* RFC 4648, section 10 */
    static const char *const CODED[] = {"", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"};
    struct buf out = {0};
    (void) state;
    for (size_t i = 0; i < sizeof TEXTS / sizeof *TEXTS; i++) {
        json_put_base64(&out, TEXTS[i], strlen(TEXTS[i]));
        assert_text(&out, CODED[i]);
    }
    json_put_base64(&out, BYTES("\xfb\xff\xfe\0"));
    assert_text(&out, "+//+AA==");
}

/* ---- msgpack ---- */

static bool put(struct buf *out, const char *bytes, size_t len, size_t max)
{
    struct mp value = mp_over(bytes, len);
    return json_put_value(out, &value, max);
}

static void assert_value(const char *bytes, size_t len, const char *expected)
{
    struct buf out = {0};
    assert_true(put(&out, bytes, len, SIZE_MAX));
    assert_reads_back(&out);
    assert_text(&out, expected);
}

static void msgpack_values_become_json(void **state)
{
    (void) state;
    assert_value(BYTES("\xc0"), "null");
    assert_value(BYTES("\xc2"), "false");
    assert_value(BYTES("\xc3"), "true");
    assert_value(BYTES("\x7f"), "127");
    assert_value(BYTES("\xe0"), "-32");
    assert_value(BYTES("\xcf\x7f\xff\xff\xff\xff\xff\xff\xff"), "9223372036854775807");
    assert_value(BYTES("\xd3\x80\0\0\0\0\0\0\0"), "-9223372036854775808");
    assert_value(BYTES("\xcb\x3f\xe0\0\0\0\0\0\0"), "0.5");
    assert_value(BYTES("\xca\x40\x40\0\0"), "3.0");
    assert_value(BYTES("\xa3h\"i"), "\"h\\\"i\"");
    assert_value(BYTES("\x90"), "[]");
    assert_value(BYTES("\x80"), "{}");
    assert_value(BYTES("\x82\xa1" "a\x92\x01\x80\xa1" "b\xc0"), "{\"a\":[1,{}],\"b\":null}");
}

static void the_largest_number_is_written_whole(void **state)
{
    struct buf out = {0};
    (void) state;
    assert_true(put(&out, BYTES("\xcf\xff\xff\xff\xff\xff\xff\xff\xff"), SIZE_MAX));
    assert_text(&out, "18446744073709551615");
}

static void what_json_does_not_have_is_null_or_base64(void **state)
{
    (void) state;
    assert_value(BYTES("\xcb\x7f\xf8\0\0\0\0\0\0"), "null");         /* not a number */
    assert_value(BYTES("\xcb\xff\xf0\0\0\0\0\0\0"), "null");         /* minus infinity */
    assert_value(BYTES("\xc4\x03\0\1\2"), "\"AAEC\"");               /* binary */
    assert_value(BYTES("\xd6\xff\0\0\0\1"), "null");                 /* an extension: a time stamp */
    assert_value(BYTES("\x92\xc7\x02\x05xy\x07"), "[null,7]");       /* and what follows one is there */
}

static void keys_that_are_no_strings_become_strings(void **state)
{
    (void) state;
    assert_value(BYTES("\x81\x01\x02"), "{\"1\":2}");
    assert_value(BYTES("\x81\xc0\x02"), "{\"null\":2}");
    assert_value(BYTES("\x81\xc4\x01\xff\x02"), "{\"\\\"/w==\\\"\":2}");
    assert_value(BYTES("\x81\x92\x01\xa1x\x02"), "{\"[1,\\\"x\\\"]\":2}");
    assert_value(BYTES("\x81\x81\xa1k\x05\x02"), "{\"{\\\"k\\\":5}\":2}");
}

static void malformed_values_are_refused(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
    } CASES[] = {{BYTES("")}, {BYTES("\xc1")}, {BYTES("\xcd\x01")}, {BYTES("\xa5hi")}, {BYTES("\x92\x01")}, {BYTES("\x81\xa1" "a")},
                 {BYTES("\xdd\xff\xff\xff\xff")}, {BYTES("\xdf\xff\xff\xff\xff\x01")}, {BYTES("\x81\xc1\x01")}};
    (void) state;
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct buf out = {0};
        assert_false(put(&out, CASES[i].bytes, CASES[i].len, SIZE_MAX));
        buf_fini(&out);
    }
}

/* `depth` arrays, one in the other, around a value that takes one byte. */
static void assert_deep(size_t depth, char innermost, bool good)
{
    char nested[MP_DEPTH_MAX + 3];
    struct buf out = {0};
    memset(nested, '\x91', depth);
    nested[depth] = innermost;
    assert_int_equal(put(&out, nested, depth + 1, SIZE_MAX), good);
    assert_int_equal(json_body_kind(ls_bytes(nested, depth + 1)) == LS_BODY_MSGPACK, good);
    if (good)
        assert_reads_back(&out);
    buf_fini(&out);
}

static void what_counts_as_msgpack_is_written_whole_and_deeper_is_refused(void **state)
{
    (void) state;
    for (size_t depth = 0; depth <= MP_DEPTH_MAX + 2; depth++) {
        assert_deep(depth, 7, depth <= MP_DEPTH_MAX);
        assert_deep(depth, '\x90', depth < MP_DEPTH_MAX);
    }
}

static void a_value_stops_near_its_limit(void **state)
{
    struct buf out = {0}, array = {0};
    (void) state;
    buf_pack_array(&array, 1000);
    for (int i = 0; i < 1000; i++)
        buf_pack_str(&array, "0123456789");
    buf_addf(&out, "in front: ");
    assert_false(put(&out, (const char *) array.data, array.len, 100));
    assert_in_range(out.len, 110, 130);
    buf_clear(&out);
    assert_true(put(&out, (const char *) array.data, array.len, SIZE_MAX));
    assert_int_equal(out.len, 2 + 1000 * 12 + 999);
    buf_fini(&array);

    buf_clear(&out);
    buf_pack_strn(&array, (char[1000]){0}, 1000);
    assert_true(put(&out, (const char *) array.data, array.len, 10)); /* one long string is cut, and closed */
    assert_reads_back(&out);
    assert_in_range(out.len, 12, 10 * 6 + 2);
    buf_fini(&array);
    buf_fini(&out);
}

/* ---- bodies and events ---- */

static void a_copy_has_no_white_space_and_nothing_harmful(void **state)
{
    static const char TEXT[] = " { \"a b\" : [ 1 , \"c \\\" \\\\\" ,\r\n\t\"\xe2\x80\xae\x7f\" ] } \n";
    struct buf out = {0};
    (void) state;
    json_put_copy(&out, TEXT, sizeof TEXT - 1, SIZE_MAX);
    assert_text(&out, "{\"a b\":[1,\"c \\\" \\\\\",\"\\u202e\\u007f\"]}");
    buf_addf(&out, "##");
    json_put_copy(&out, BYTES("[1,2,3,4,5,6]"), 4);
    assert_text(&out, "##[1,2");
}

static void a_body_is_what_its_bytes_are(void **state)
{
    static const struct {
        struct ls_slice body;
        enum ls_body kind;
        const char *text;
    } CASES[] = {
        {{BYTES("{\"a\": 1.50}")}, LS_BODY_JSON, "\"data\":{\"a\":1.50}"},
        {{BYTES("[\"\\u0000\"]")}, LS_BODY_JSON, "\"data\":[\"\\u0000\"]"},
        {{BYTES("[123456789012345678901234567890]")}, LS_BODY_JSON, "\"data\":[123456789012345678901234567890]"},
        {{BYTES("\x81\xa1" "a\x01")}, LS_BODY_MSGPACK, "\"data\":{\"a\":1}"},
        {{BYTES("{")}, LS_BODY_MSGPACK, "\"data\":123"},             /* alone, a number */
        {{BYTES("[")}, LS_BODY_MSGPACK, "\"data\":91"},
        {{BYTES("{\"a\":")}, LS_BODY_BYTES, "\"data_base64\":\"eyJhIjo=\""},
        {{BYTES("[\"\xff\"]")}, LS_BODY_BYTES, "\"data_base64\":\"WyL/Il0=\""},
        {{BYTES("[1] x")}, LS_BODY_BYTES, "\"data_base64\":\"WzFdIHg=\""},
        {{BYTES("\x01\x02")}, LS_BODY_BYTES, "\"data_base64\":\"AQI=\""}, /* one value and something behind it */
        {{BYTES("\xc1")}, LS_BODY_BYTES, "\"data_base64\":\"wQ==\""},
    };
    struct buf out = {0};
    (void) state;
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        assert_int_equal(json_body_kind(CASES[i].body), CASES[i].kind);
        assert_true(json_put_body(&out, CASES[i].body));
        assert_text(&out, CASES[i].text);
    }
    assert_int_equal(json_body_kind((struct ls_slice){0}), LS_BODY_EMPTY);
    assert_false(json_put_body(&out, (struct ls_slice){0}));
    assert_int_equal(out.len, 0);
}

static struct ls_slice filled(const struct buf *b)
{
    return ls_bytes(b->data, b->len);
}

static void an_event_is_one_object_with_every_attribute(void **state)
{
    struct buf header = {0}, out = {0};
    (void) state;
    buf_pack_map(&header, 6);
    buf_pair_str(&header, "topic", "run.x");
    buf_pair_str(&header, "id", "i1");
    buf_pair_str(&header, "source", "me");
    buf_pair_str(&header, "time", "2026-11-20T10:00:00Z");
    buf_pair_uint(&header, "depth", 3);
    buf_pair_str(&header, "my \"key\"\n", "v");
    const struct ls_event event = {.header = filled(&header), .stream = ls_str("events"), .seq = 7, .body = SLICE("[1, 2]")};
    json_put_event(&out, &event);
    assert_reads_back(&out);
    assert_text(&out, "{\"stream\":\"events\",\"seq\":7,\"topic\":\"run.x\",\"id\":\"i1\",\"source\":\"me\","
                      "\"time\":\"2026-11-20T10:00:00Z\",\"depth\":3,\"my \\\"key\\\"\\n\":\"v\",\"data\":[1,2]}");
    buf_fini(&header);
}

/* Nobody can pass off an attribute for the place in a stream or for the body. */
static void reserved_attributes_do_not_reach_the_object(void **state)
{
    static const char *const RESERVED[] = {"stream", "seq", "attempt", "data", "data_base64"};
    struct buf header = {0}, out = {0};
    (void) state;
    buf_pack_map(&header, 7);
    buf_pair_str(&header, "topic", "run.x");
    for (size_t i = 0; i < sizeof RESERVED / sizeof *RESERVED; i++)
        buf_pair_str(&header, RESERVED[i], "forged");
    buf_pair_str(&header, "time", "t");
    const struct ls_event event = {.header = filled(&header), .stream = ls_str("s"), .seq = 1, .body = SLICE("\xc3")};
    json_put_event(&out, &event);
    assert_text(&out, "{\"stream\":\"s\",\"seq\":1,\"topic\":\"run.x\",\"time\":\"t\",\"data\":true}");
    const struct ls_event live = {.header = filled(&header)}; /* no stream keeps it, and it has no body */
    json_put_event(&out, &live);
    assert_text(&out, "{\"topic\":\"run.x\",\"time\":\"t\"}");
    buf_fini(&header);
}

static void what_the_broker_filled_in_is_shown_as_attributes(void **state)
{
    struct buf header = {0}, out = {0};
    (void) state;
    buf_pack_map(&header, 1);
    buf_pair_str(&header, "topic", "run.x");
    const struct ls_event event = {.header = filled(&header), .stream = ls_str("s"), .seq = 2, .id = ls_str("i2"),
                                   .source = ls_str("anonymous"), .ts_us = 1500000};
    json_put_event(&out, &event);
    assert_text(&out, "{\"stream\":\"s\",\"seq\":2,\"topic\":\"run.x\",\"id\":\"i2\",\"source\":\"anonymous\","
                      "\"time\":\"1970-01-01T00:00:01.500Z\"}");
    buf_fini(&header);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quotes_and_controls_are_escaped),
        cmocka_unit_test(what_hides_or_reorders_text_is_escaped),
        cmocka_unit_test(every_invalid_byte_becomes_a_replacement_character),
        cmocka_unit_test(escaped_text_is_not_escaped_again),
        cmocka_unit_test(no_text_is_null_and_pairs_get_their_commas),
        cmocka_unit_test(a_double_is_short_and_reads_back_the_same),
        cmocka_unit_test(base64_is_padded),
        cmocka_unit_test(msgpack_values_become_json),
        cmocka_unit_test(the_largest_number_is_written_whole),
        cmocka_unit_test(what_json_does_not_have_is_null_or_base64),
        cmocka_unit_test(keys_that_are_no_strings_become_strings),
        cmocka_unit_test(malformed_values_are_refused),
        cmocka_unit_test(what_counts_as_msgpack_is_written_whole_and_deeper_is_refused),
        cmocka_unit_test(a_value_stops_near_its_limit),
        cmocka_unit_test(a_copy_has_no_white_space_and_nothing_harmful),
        cmocka_unit_test(a_body_is_what_its_bytes_are),
        cmocka_unit_test(an_event_is_one_object_with_every_attribute),
        cmocka_unit_test(reserved_attributes_do_not_reach_the_object),
        cmocka_unit_test(what_the_broker_filled_in_is_shown_as_attributes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
