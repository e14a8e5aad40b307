/* SPDX-License-Identifier: Apache-2.0 */
/* The event stream parser: the same records come out wherever a stream is cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include <string.h>

#include "nodes/kit/sse.h"

/* Records as text: event|data|id, one after the other. */
static bool write_down(void *arg, const struct sse_record *r)
{
    struct buf *out = arg;
    buf_addf(out, "%.*s|%.*s|%.*s;", (int) r->event.len, r->event.data ? r->event.data : "", (int) r->data.len,
             r->data.data ? r->data.data : "", (int) r->id.len, r->id.data ? r->id.data : "");
    return true;
}

static void feed(struct sse *s, const char *text, size_t len, struct buf *out)
{
    struct ls_error err;
    assert_int_equal(sse_feed(s, ls_bytes(text, len), write_down, out, &err), 0);
}

/* The stream in one piece, in two at every place, and byte by byte. */
static void assert_records_of(const char *text, size_t len, const char *records)
{
    for (size_t cut = 0; cut <= len + 1; cut++) {
        struct sse s = {0};
        struct buf out = {0};
        sse_init(&s, 1 << 20);
        if (cut <= len) {
            feed(&s, text, cut, &out);
            feed(&s, text + cut, len - cut, &out);
        }
        for (size_t i = 0; cut > len && i < len; i++)
            feed(&s, text + i, 1, &out);
        assert_string_equal(buf_text(&out), records);
        buf_fini(&out);
        sse_fini(&s);
    }
}
#define ASSERT_RECORDS(text, records) assert_records_of(text, sizeof(text) - 1, records)

static void a_recorded_stream(void **state)
{
    (void) state;
    ASSERT_RECORDS("data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n"
                   ": ka\n\n"
                   "data: {\"choices\":[{\"delta\":{\"content\":\"Gr\xc3\xbc\xc3\x9f\"}}]}\n\n"
                   "data: [DONE]\n\n",
                   "|{\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}|;"
                   "|{\"choices\":[{\"delta\":{\"content\":\"Gr\xc3\xbc\xc3\x9f\"}}]}|;|[DONE]|;");
}

static void every_kind_of_line_end(void **state)
{
    (void) state;
    ASSERT_RECORDS("data: a\r\n\r\ndata: b\r\rdata: c\n\ndata: d\r\n\ndata: e\n\r\ndata: f\r\n\r",
                   "|a|;|b|;|c|;|d|;|e|;|f|;");
}

static void fields(void **state)
{
    (void) state;
    ASSERT_RECORDS("event: add\ndata: 1\ndata:2\ndata\ndata:  3\nid: x\nother: y\n\ndata: 4\n\nid\ndata: 5\n\n",
                   "add|1\n2\n\n 3|x;|4|x;|5|;");
    ASSERT_RECORDS("data: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
                   "|first event|1;|second event|;| third event|;");
    ASSERT_RECORDS("data\n\ndata\ndata\n\ndata:\n", "||;|\n|;");
}

static void what_is_no_record(void **state)
{
    (void) state;
    ASSERT_RECORDS("event: ping\n\n:\n\nid: 7\n\nretry: 10\n\n\n\ndata: x\n\n", "|x|7;");
    ASSERT_RECORDS("data: cut off", "");
    ASSERT_RECORDS("data: cut off\n", "");
    ASSERT_RECORDS("id: a\0b\ndata: x\n\n", "|x|;");
}

static void a_byte_order_mark_only_at_the_beginning(void **state)
{
    (void) state;
    ASSERT_RECORDS("\xef\xbb\xbf"
                   "data: x\n\n",
                   "|x|;");
    ASSERT_RECORDS("\xef\xbb\xbf\xef\xbb\xbf"
                   "data: x\n\ndata: y\n\n",
                   "|y|;");
    ASSERT_RECORDS("\xef\xbb"
                   "data: x\n\ndata: y\n\n",
                   "|y|;");
    ASSERT_RECORDS("data: x\n\n\xef\xbb\xbf"
                   "data: y\n\n",
                   "|x|;");
}

static void the_pause_before_a_new_try(void **state)
{
    static const char TEXT[] = "retry: 1500\nretry: x\nretry: 12s\nretry:\nretry: 99999999999999999999\n";
    struct sse s = {0};
    struct buf out = {0};
    (void) state;
    sse_init(&s, 100);
    assert_true(s.retry_ms < 0);
    feed(&s, TEXT, sizeof TEXT - 1, &out);
    assert_int_equal(s.retry_ms, 1500);
    buf_fini(&out);
    sse_fini(&s);
}

static void a_record_over_the_limit_is_an_error(void **state)
{
    static const char *const LINES[] = {"data: 0123456789\n", "event: 0123456789\n", "0123456789"};
    (void) state;
    for (size_t i = 0; i < 3; i++) {
        struct sse s = {0};
        struct ls_error err = {0};
        int result = 0, fed = 0;
        sse_init(&s, 100);
        for (; result == 0 && fed < 50; fed++)
            result = sse_feed(&s, ls_str(LINES[i]), write_down, NULL, &err);
        assert_int_equal(result, i == 1 ? 0 : -1); /* an event's name is replaced, it does not grow */
        assert_string_equal(err.name, i == 1 ? "" : "TOO_BIG");
        sse_fini(&s);
    }
}

static bool stop_at_once(void *arg, const struct sse_record *record)
{
    (void) record;
    ++*(int *) arg;
    return false;
}

static void a_callback_may_stop(void **state)
{
    struct sse s = {0};
    int calls = 0;
    (void) state;
    sse_init(&s, 100);
    assert_int_equal(sse_feed(&s, ls_str("data: a\n\ndata: b\n\n"), stop_at_once, &calls, NULL), 0);
    assert_int_equal(calls, 1);
    sse_init(&s, 100);
    struct buf out = {0};
    feed(&s, "data: c\n\n", 9, &out);
    assert_string_equal(buf_text(&out), "|c|;");
    buf_fini(&out);
    sse_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_recorded_stream),
        cmocka_unit_test(every_kind_of_line_end),
        cmocka_unit_test(fields),
        cmocka_unit_test(what_is_no_record),
        cmocka_unit_test(a_byte_order_mark_only_at_the_beginning),
        cmocka_unit_test(the_pause_before_a_new_try),
        cmocka_unit_test(a_record_over_the_limit_is_an_error),
        cmocka_unit_test(a_callback_may_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
