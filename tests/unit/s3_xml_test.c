/* SPDX-License-Identifier: Apache-2.0 */
/* Answers of S3 as they are read: each element once, with its path; nothing that could grow on the way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "nodes/kit/s3_xml.h"

static void on_element(void *arg, const char *path, const char *text)
{
    buf_addf(arg, "%s=%s;", path, text);
}

static void assert_reads(const char *document, const char *told)
{
    struct buf seen = {0};
    struct ls_error err;
    assert_int_equal(s3_xml_read(ls_str(document), on_element, &seen, &err), 0);
    assert_string_equal(buf_text(&seen), told);
    buf_fini(&seen);
}

static void assert_refused(const char *document, const char *why)
{
    struct buf seen = {0};
    struct ls_error err;
    assert_int_equal(s3_xml_read(ls_str(document), on_element, &seen, &err), -1);
    assert_string_equal(err.name, "PROTOCOL");
    assert_non_null(strstr(err.text, why));
    buf_fini(&seen);
}

static void each_element_is_told_when_it_ends(void **state)
{
    (void) state;
    assert_reads("<?xml version=\"1.0\"?>\n<R xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\n <P><K>a &amp; "
                 "b</K><E/></P><T>true</T>\n</R>",
                 "R/P/K=a & b;R/P/E=;R/P=;R/T=true;R=;");
}

static void names_lose_their_namespace_and_text_is_whole(void **state)
{
    (void) state;
    assert_reads("<s3:R xmlns:s3=\"x\"><s3:K>&quot;a<![CDATA[<b>]]>&#x20AC;&quot;</s3:K></s3:R>", "R/K=\"a<b>€\";R=;");
}

static void white_space_may_stand_before_a_late_error(void **state)
{
    (void) state;
    assert_reads("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n  \n \n<Error><Code>InternalError</Code></Error>",
                 "Error/Code=InternalError;Error=;");
}

static void what_is_no_xml_is_refused(void **state)
{
    (void) state;
    assert_refused("", "no XML that can be read");
    assert_refused("502 Bad Gateway", "no XML that can be read");
    assert_refused("<a><b></a>", "no XML that can be read");
    assert_refused("<!DOCTYPE a [<!ENTITY x \"xxxx\">]><a>&x;</a>", "a document type is not allowed");
    assert_refused("<a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a></a>", "too deeply nested");
}

static void what_is_written_can_be_read_again(void **state)
{
    struct buf document = {0}, told = {0};
    (void) state;
    buf_addf(&document, "<K>");
    s3_xml_escape(&document, "\"<&>'\001]]>ü\t");
    buf_addf(&document, "</K>");
    buf_addf(&told, "K=\"<&>']]>ü\t;");
    assert_reads(buf_text(&document), buf_text(&told));
    buf_fini(&document);
    buf_fini(&told);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_element_is_told_when_it_ends),
        cmocka_unit_test(names_lose_their_namespace_and_text_is_whole),
        cmocka_unit_test(white_space_may_stand_before_a_late_error),
        cmocka_unit_test(what_is_no_xml_is_refused),
        cmocka_unit_test(what_is_written_can_be_read_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
