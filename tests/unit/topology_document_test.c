/* SPDX-License-Identifier: Apache-2.0 */
/* docs/topology.md and schemas/topology.schema.json say what the option tables say. Run from the root;
 * UPDATE=1 in the environment writes both anew. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "lib/buf.h"
#include "topology/topology.h"

static const char GUIDE[] = "docs/topology.md", SCHEMA[] = "schemas/topology.schema.json";
static const char BEGIN[] = "<!-- options begin -->\n", END[] = "<!-- options end -->";

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
    topology_options_markdown(&expected);
    buf_addf(&expected, "%s", end);
    buf_fini(&guide);
    compare(GUIDE, &expected);
}

static void the_schema_for_editors_is_that_of_the_tables(void **state)
{
    (void) state;
    struct buf expected = {0};
    topology_json_schema(&expected);
    compare(SCHEMA, &expected);
}

int main(void)
{
    static const struct CMUnitTest TESTS[] = {
        cmocka_unit_test(the_guide_has_the_tables_of_all_options),
        cmocka_unit_test(the_schema_for_editors_is_that_of_the_tables),
    };
    return cmocka_run_group_tests(TESTS, NULL, NULL);
}
