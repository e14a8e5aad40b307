/* SPDX-License-Identifier: Apache-2.0 */
/* The gate in front of HTTP requests: what passes, and what two servers could read in two ways and therefore does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "nodes/kit/http_gate.h"

/* The verdict on a request whose header lines are written "Name: value", separated by "\n". */
static struct http_gate_verdict judge(const char *method, const char *target, const char *version, const char *lines)
{
    struct http_gate_header headers[HTTP_GATE_HEADERS];
    struct http_gate_request request = {method, target, version, headers, 0, 0};
    while (*lines) {
        size_t len = strcspn(lines, "\n"), name = strcspn(lines, ":");
        const char *value = lines + name + 1 + (lines[name + 1] == ' ');
        headers[request.count++] = (struct http_gate_header){lines, value, name, (size_t) (lines + len - value)};
        lines += len + (lines[len] == '\n');
    }
    struct http_gate_verdict verdict;
    bool passed = http_gate_check(&request, &verdict);
    assert_int_equal(passed, verdict.status == 0);
    assert_int_equal(passed, verdict.text == NULL);
    return verdict;
}

static unsigned post(const char *lines)
{
    return judge("POST", "/", "HTTP/1.1", lines).status;
}

static unsigned get(const char *target)
{
    return judge("GET", target, "HTTP/1.1", "Host: x").status;
}

static void plain_requests_pass(void **state)
{
    (void) state;
    struct http_gate_verdict verdict = judge("POST", "/a", "HTTP/1.1", "host: x.example:80\ncontent-length: 12\nX-Any: \xc3\xa4\t b");
    assert_int_equal(verdict.status, 0);
    assert_int_equal(verdict.length, 12);
    assert_false(verdict.chunked);
    verdict = judge("POST", "/a", "HTTP/1.1", "Host: [::1]:80\nTransfer-Encoding: Chunked\nExpect: 100-Continue");
    assert_int_equal(verdict.status, 0);
    assert_true(verdict.chunked);
    assert_true(verdict.expects);
    assert_int_equal(judge("GET", "/", "HTTP/1.0", "").status, 0);
    assert_int_equal(judge("OPTIONS", "*", "HTTP/1.1", "Host: x").status, 0);
    assert_int_equal(judge("X-OWN.method", "/", "HTTP/1.1", "Host:").status, 0);
}

static void a_body_has_one_length(void **state)
{
    (void) state;
    assert_int_equal(post("Host: x\nContent-Length: 5\nContent-Length: 5"), 400);
    assert_int_equal(post("Host: x\nContent-Length: 5\nContent-Length: 6"), 400);
    assert_int_equal(post("Host: x\nContent-Length: 5\nTransfer-Encoding: chunked"), 400);
    assert_int_equal(post("Host: x\nTransfer-Encoding: chunked\ncontent-LENGTH: 5"), 400);
    assert_int_equal(post("Host: x\nTransfer-Encoding: chunked\nTransfer-Encoding: chunked"), 400);
    assert_int_equal(judge("POST", "/", "HTTP/1.0", "Transfer-Encoding: chunked").status, 400);
}

static void a_length_is_digits(void **state)
{
    (void) state;
    static const char *const BAD[] = {"", "+5", "-5", "0x5", "5 ", "5,5", "5;", "1e3", "0999999999999999999"};
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        char lines[80] = "Host: x\nContent-Length: ";
        strncat(lines, BAD[i], 40);
        assert_int_equal(post(lines), 400);
    }
    assert_int_equal(judge("POST", "/", "HTTP/1.1", "Host: x\nContent-Length: 999999999999999999").length,
                     UINT64_C(999999999999999999));
}

static void an_encoding_is_chunked(void **state)
{
    (void) state;
    static const char *const BAD[] = {"", "xchunked", "chunked, chunked", "gzip, chunked", "identity", "chunked;a=b", "chunked "};
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        char lines[80] = "Host: x\nTransfer-Encoding: ";
        strncat(lines, BAD[i], 40);
        assert_int_equal(post(lines), 400);
    }
}

static void names_and_values_are_clean(void **state)
{
    (void) state;
    assert_int_equal(post("Host: x\nTransfer-Encoding : chunked"), 400);
    assert_int_equal(post("Host: x\nA b: c"), 400);
    assert_int_equal(post("Host: x\n: c"), 400);
    assert_int_equal(post("Host: x\n\xc3\xa4: c"), 400);
    assert_int_equal(post("Host: x\nA: b\rC"), 400);
    assert_int_equal(post("Host: x\nA: b\x01"), 400);
    assert_int_equal(post("Host: x\nA: b\x7f"), 400);
    struct http_gate_header nul[] = {{"Host", "x", 4, 1}, {"A", "b\0c", 1, 3}};
    struct http_gate_request request = {"GET", "/", "HTTP/1.1", nul, 2, 0};
    struct http_gate_verdict verdict;
    assert_false(http_gate_check(&request, &verdict));
}

static void there_is_one_host(void **state)
{
    (void) state;
    assert_int_equal(post(""), 400);
    assert_int_equal(post("Host: x\nHost: x"), 400);
    assert_int_equal(judge("GET", "/", "HTTP/1.0", "Host: x\nHost: y").status, 400);
    assert_int_equal(post("Host: x/y"), 400);
    assert_int_equal(post("Host: user@x"), 400);
    assert_int_equal(post("Host: x y"), 400);
}

static void targets_are_paths(void **state)
{
    (void) state;
    assert_int_equal(get("/a%2Fb?c=%zz"), 0);
    assert_int_equal(get("/%"), 400);
    assert_int_equal(get("/%2"), 400);
    assert_int_equal(get("/%2g"), 400);
    assert_int_equal(get("/%?ab"), 400);
    assert_int_equal(get(""), 400);
    assert_int_equal(get("a"), 400);
    assert_int_equal(get("*"), 400);
    assert_int_equal(get("http://x/"), 400);
    assert_int_equal(get("/a b"), 400);
    assert_int_equal(get("/a\tb"), 400);
    assert_int_equal(get("/\xc3\xa4"), 400);
    assert_int_equal(get("/a#b"), 400);
}

static void the_rest_of_the_line(void **state)
{
    (void) state;
    assert_int_equal(judge("GE(T", "/", "HTTP/1.1", "Host: x").status, 400);
    assert_int_equal(judge("", "/", "HTTP/1.1", "Host: x").status, 400);
    assert_int_equal(judge("AMETHODTHATISLONGERTHANALLMETHODS", "/", "HTTP/1.1", "Host: x").status, 400);
    assert_int_equal(judge("GET", "/", "HTTP/1.2", "Host: x").status, 505);
    assert_int_equal(judge("GET", "/", "HTTP/2.0", "Host: x").status, 505);
    assert_int_equal(judge("GET", "/", "", "Host: x").status, 505);
    assert_int_equal(judge("POST", "/", "HTTP/1.1", "Host: x\nExpect: tea").status, 417);
}

static void headers_have_limits(void **state)
{
    (void) state;
    struct http_gate_header headers[HTTP_GATE_HEADERS];
    for (size_t i = 0; i < HTTP_GATE_HEADERS; i++)
        headers[i] = (struct http_gate_header){i ? "A" : "Host", "x", i ? 1 : 4, 1};
    struct http_gate_request request = {"GET", "/", "HTTP/1.1", headers, HTTP_GATE_HEADERS, HTTP_GATE_HEADER_BYTES};
    struct http_gate_verdict verdict;
    assert_true(http_gate_check(&request, &verdict));
    request.bytes++;
    assert_false(http_gate_check(&request, &verdict));
    assert_int_equal(verdict.status, 431);
    request.bytes--;
    request.count++;
    assert_false(http_gate_check(&request, &verdict));
    assert_int_equal(verdict.status, 431);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_requests_pass),        cmocka_unit_test(a_body_has_one_length),
        cmocka_unit_test(a_length_is_digits),         cmocka_unit_test(an_encoding_is_chunked),
        cmocka_unit_test(names_and_values_are_clean), cmocka_unit_test(there_is_one_host),
        cmocka_unit_test(targets_are_paths),          cmocka_unit_test(the_rest_of_the_line),
        cmocka_unit_test(headers_have_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
