/* SPDX-License-Identifier: Apache-2.0 */
/* Signature Version 4: the worked examples of Amazon's documentation, and what S3 asks of paths, queries and headers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "lib/uri.h"
#include "nodes/kit/sigv4.h"

/* S3 API Reference, "Authenticating Requests: Using the Authorization Header", Examples. */
#define DATE_S 1369353600 /* 2013-05-24T00:00:00Z */

static struct sigv4_signer example(void)
{
    return (struct sigv4_signer){.access_key = "AKIAIOSFODNN7EXAMPLE",
                                 .secret_key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
                                 .region = "us-east-1"};
}

static struct sigv4_request request(const char *method, const char *path, const char *query)
{
    return (struct sigv4_request){method, "examplebucket.s3.amazonaws.com", path, query, SIGV4_EMPTY, DATE_S};
}

static void assert_signature(const struct sigv4_headers *headers, const char *signed_names, const char *signature)
{
    const char *line = headers->lines[headers->count - 1];
    char wanted[300];
    snprintf(wanted, sizeof wanted,
             "Authorization: AWS4-HMAC-SHA256 "
             "Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,SignedHeaders=%s,Signature=%s",
             signed_names, signature);
    assert_string_equal(line, wanted);
}

static void get_object_with_a_range(void **state)
{
    struct sigv4_signer signer = example();
    struct sigv4_request r = request("GET", "/test.txt", "");
    struct sigv4_headers headers = {0};
    (void) state;
    sigv4_headers_add(&headers, "Range", "bytes=0-9");
    sigv4_sign(&signer, &r, &headers);
    assert_signature(&headers, "host;range;x-amz-content-sha256;x-amz-date",
                     "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
    sigv4_headers_fini(&headers);
}

static void put_object(void **state)
{
    struct sigv4_signer signer = example();
    struct sigv4_request r = request("PUT", "/test%24file.text", "");
    struct sigv4_headers headers = {0};
    (void) state;
    r.payload = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072";
    sigv4_headers_add(&headers, "Date", "Fri, 24 May 2013 00:00:00 GMT");
    sigv4_headers_add(&headers, "x-amz-storage-class", "REDUCED_REDUNDANCY");
    sigv4_sign(&signer, &r, &headers);
    assert_signature(&headers, "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
                     "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
    sigv4_headers_fini(&headers);
}

static void a_parameter_without_value(void **state)
{
    struct sigv4_signer signer = example();
    char *query = sigv4_query((const struct sigv4_pair[]){{"lifecycle", ""}, {NULL, NULL}});
    struct sigv4_request r = request("GET", "/", query);
    struct sigv4_headers headers = {0};
    (void) state;
    assert_string_equal(query, "lifecycle=");
    sigv4_sign(&signer, &r, &headers);
    assert_signature(&headers, "host;x-amz-content-sha256;x-amz-date",
                     "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
    sigv4_headers_fini(&headers);
    free(query);
}

static void list_objects(void **state)
{
    struct sigv4_signer signer = example();
    char *query = sigv4_query((const struct sigv4_pair[]){{"prefix", "J"}, {"max-keys", "2"}, {NULL, NULL}});
    struct sigv4_request r = request("GET", "/", query);
    struct sigv4_headers headers = {0};
    (void) state;
    assert_string_equal(query, "max-keys=2&prefix=J");
    sigv4_sign(&signer, &r, &headers);
    assert_signature(&headers, "host;x-amz-content-sha256;x-amz-date",
                     "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
    sigv4_headers_fini(&headers);
    free(query);
}

static void a_query_is_sorted_by_name_then_value(void **state)
{
    char *query = sigv4_query((const struct sigv4_pair[]){
        {"a-b", "1"}, {"a", "2"}, {"a", "10"}, {"a.b", ""}, {"B", "/ +&=~ü"}, {"a0", "x"}, {NULL, NULL}});
    (void) state;
    assert_string_equal(query, "B=%2F%20%2B%26%3D~%C3%BC&a=10&a=2&a-b=1&a.b=&a0=x");
    free(query);
}

static void a_path_is_encoded_once_and_never_tidied(void **state)
{
    static const char *const CASES[][2] = {
        {"/b/~!@$*()',;:[] x", "/b/~%21%40%24%2A%28%29%27%2C%3B%3A%5B%5D%20x"},
        {"/b/ü€/a b+c=d&e?f%2F", "/b/%C3%BC%E2%82%AC/a%20b%2Bc%3Dd%26e%3Ff%252F"},
        {"/b/x//y/../.z", "/b/x//y/../.z"},
        {"/b/\"<>\\^`{|}#", "/b/%22%3C%3E%5C%5E%60%7B%7C%7D%23"},
    };
    (void) state;
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        char *encoded = uri_encoded(CASES[i][0], "/");
        assert_string_equal(encoded, CASES[i][1]);
        free(encoded);
    }
}

/* A name that is the beginning of another stands before it; blanks inside a value count as one. */
static void headers_are_sorted_by_name_and_trimmed(void **state)
{
    struct sigv4_request r = request("PUT", "/k", "");
    struct sigv4_headers headers = {0};
    (void) state;
    sigv4_headers_add(&headers, "X-Amz-Meta-Run-Id", "  a \t b  c ");
    sigv4_headers_add(&headers, "x-amz-meta-run", "1");
    sigv4_headers_add(&headers, "If-None-Match", "*");
    sigv4_headers_add(&headers, "Content-MD5", "abc=");
    char *canonical = sigv4_canonical(&r, &headers);
    assert_string_equal(
        canonical,
        "PUT\n/k\n\ncontent-md5:abc=\nhost:examplebucket.s3.amazonaws.com\nif-none-match:*\nx-amz-meta-run:1\n"
        "x-amz-meta-run-id:a b c\n\ncontent-md5;host;if-none-match;x-amz-meta-run;x-amz-meta-run-id\n" SIGV4_EMPTY);
    free(canonical);
    sigv4_headers_fini(&headers);
}

static void what_a_proxy_may_change_is_not_signed(void **state)
{
    struct sigv4_request r = request("PUT", "/k", "");
    struct sigv4_headers headers = {0};
    (void) state;
    sigv4_headers_add(&headers, "User-Agent", "x");
    sigv4_headers_add(&headers, "Content-Length", "3");
    sigv4_headers_add(&headers, "Expect", "100-continue");
    sigv4_headers_add(&headers, "Transfer-Encoding", "chunked");
    sigv4_headers_add(&headers, "Accept", "*/*");
    char *canonical = sigv4_canonical(&r, &headers);
    assert_non_null(strstr(canonical, "\n\nhost\n"));
    free(canonical);
    sigv4_headers_fini(&headers);
}

static void a_session_token_is_sent_and_signed(void **state)
{
    struct sigv4_signer signer = example();
    struct sigv4_request r = request("GET", "/k", "");
    struct sigv4_headers headers = {0};
    (void) state;
    signer.session_token = "a token/with=signs";
    sigv4_sign(&signer, &r, &headers);
    assert_string_equal(headers.lines[2], "x-amz-security-token: a token/with=signs");
    assert_non_null(
        strstr(headers.lines[3], "SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token,"));
    sigv4_headers_fini(&headers);
}

/* The derived key is kept, but not for another day or region. */
static void the_key_changes_with_day_and_region(void **state)
{
    struct sigv4_signer kept = example();
    const char *const regions[] = {"us-east-1", "eu-central-1", "eu-central-1", "us-east-1"};
    const int64_t times[] = {DATE_S, DATE_S, DATE_S + 86399, DATE_S + 86400};
    (void) state;
    for (size_t i = 0; i < 4; i++) {
        struct sigv4_signer fresh = example();
        struct sigv4_request r = request("GET", "/k", "");
        struct sigv4_headers one = {0}, two = {0};
        r.at_s = times[i];
        kept.region = fresh.region = regions[i];
        sigv4_sign(&kept, &r, &one);
        sigv4_sign(&fresh, &r, &two);
        assert_string_equal(one.lines[2], two.lines[2]);
        sigv4_headers_fini(&one);
        sigv4_headers_fini(&two);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(get_object_with_a_range),
        cmocka_unit_test(put_object),
        cmocka_unit_test(a_parameter_without_value),
        cmocka_unit_test(list_objects),
        cmocka_unit_test(a_query_is_sorted_by_name_then_value),
        cmocka_unit_test(a_path_is_encoded_once_and_never_tidied),
        cmocka_unit_test(headers_are_sorted_by_name_and_trimmed),
        cmocka_unit_test(what_a_proxy_may_change_is_not_signed),
        cmocka_unit_test(a_session_token_is_sent_and_signed),
        cmocka_unit_test(the_key_changes_with_day_and_region),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
