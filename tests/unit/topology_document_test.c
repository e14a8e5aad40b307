/* SPDX-License-Identifier: Apache-2.0 */
/* docs/topology.md, the tables of docs/nodes/KIND.md and schemas/topology.schema.json say what the option tables say. Run
 * from the root; UPDATE=1 in the environment writes them anew. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "lib/buf.h"
#include "nodes/kinds.h"
#include "topology/topology.h"

static const char GUIDE[] = "docs/topology.md", SCHEMA[] = "schemas/topology.schema.json";
static const char BEGIN[] = "<!-- options begin -->\n", END[] = "<!-- options end -->";
static const char KIND_BEGIN[] = "<!-- options -->\n", KIND_END[] = "<!-- end -->";

static void read_file(const char *path, struct buf *out)
{
    FILE *file = fopen(path, "r");
    for (int c; file && (c = getc(file)) != EOF;)
        buf_add_byte(out, (uint8_t) c);
    if (file)
        fclose(file);
    buf_text(out);
}

static void compare(const char *path, struct buf *expected)
{
    struct buf found = {0};
    if (getenv("UPDATE")) {
        FILE *file = fopen(path, "w");
        assert_non_null(file);
        fwrite(expected->data, 1, expected->len, file);
        fclose(file);
    }
    read_file(path, &found);
    if (strcmp(buf_text(&found), buf_text(expected)))
        fail_msg("%s is not what the option tables say; UPDATE=1 build/tests/unit/topology_document_test writes it",
                 path);
    buf_fini(&found);
    buf_fini(expected);
}

static void the_guide_has_the_tables_of_all_options(void **state)
{
    (void) state;
    struct buf guide = {0}, expected = {0};
    read_file(GUIDE, &guide);
    char *begin = strstr((char *) guide.data, BEGIN), *end = strstr((char *) guide.data, END);
    assert_true(begin && end && begin < end);
    buf_add(&expected, guide.data, (size_t) (begin - (char *) guide.data) + strlen(BEGIN));
    topology_options_markdown(KINDS, &expected);
    buf_addf(&expected, "%s", end);
    buf_fini(&guide);
    compare(GUIDE, &expected);
}

/* The page of a kind, NULL being exec; a page that is not written yet proves nothing. */
static void check_page(const struct kind *kind)
{
    char path[200];
    struct buf page = {0}, expected = {0};
    snprintf(path, sizeof path, "docs/nodes/%s.md", kind ? kind->name : "exec");
    read_file(path, &page);
    char *begin = strstr((char *) page.data, KIND_BEGIN), *end = strstr((char *) page.data, KIND_END);
    if (page.len && !(begin && end && begin < end))
        fail_msg("%s has no place for the tables: a line %s and a line %s", path, "<!-- options -->", KIND_END);
    if (page.len) {
        buf_add(&expected, page.data, (size_t) (begin - (char *) page.data) + strlen(KIND_BEGIN));
        topology_kind_markdown(kind, &expected);
        buf_addf(&expected, "%s", end);
        compare(path, &expected);
    }
    buf_fini(&page);
}

static void the_page_of_each_kind_has_its_tables(void **state)
{
    (void) state;
    check_page(NULL);
    for (size_t i = 0; KINDS[i]; i++)
        check_page(KINDS[i]);
}

static void the_schema_for_editors_is_that_of_the_tables(void **state)
{
    (void) state;
    struct buf expected = {0};
    topology_json_schema(KINDS, &expected);
    compare(SCHEMA, &expected);
}

int main(void)
{
    static const struct CMUnitTest TESTS[] = {
        cmocka_unit_test(the_guide_has_the_tables_of_all_options),
        cmocka_unit_test(the_page_of_each_kind_has_its_tables),
        cmocka_unit_test(the_schema_for_editors_is_that_of_the_tables),
    };
    return cmocka_run_group_tests(TESTS, NULL, NULL);
}
