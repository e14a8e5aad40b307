/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of docs/workflows.md say what the option tables say. Run from the root; UPDATE=1 in the environment
 * writes them anew. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "workflow/workflow.h"

static const char GUIDE[] = "docs/workflows.md", BEGIN[] = "<!-- options -->\n", END[] = "<!-- end -->";

static void read_guide(struct buf *out)
{
    FILE *file = fopen(GUIDE, "r");
    assert_non_null(file);
    for (int c; (c = getc(file)) != EOF;)
        buf_add_byte(out, (uint8_t) c);
    fclose(file);
    buf_text(out);
}

static void the_guide_has_the_tables_of_all_options(void **state)
{
    (void) state;
    struct buf guide = {0}, expected = {0};
    read_guide(&guide);
    char *begin = strstr((char *) guide.data, BEGIN), *end = strstr((char *) guide.data, END);
    assert_true(begin && end && begin < end);
    buf_add(&expected, guide.data, (size_t) (begin - (char *) guide.data) + strlen(BEGIN));
    for (const struct workflow_section *s = WORKFLOW_SECTIONS; s->title; s++) {
        buf_addf(&expected, "### %s\n\n", s->title);
        options_markdown(s->table, &expected);
        buf_addf(&expected, "\n");
    }
    buf_addf(&expected, "%s", end);
    if (getenv("UPDATE")) {
        FILE *file = fopen(GUIDE, "w");
        assert_non_null(file);
        fwrite(expected.data, 1, expected.len, file);
        fclose(file);
        buf_clear(&guide);
        read_guide(&guide);
    }
    if (strcmp(buf_text(&guide), buf_text(&expected)))
        fail_msg("%s is not what the option tables say; UPDATE=1 build/tests/unit/workflow_document_test writes it",
                 GUIDE);
    buf_fini(&guide);
    buf_fini(&expected);
}

/* The pieces of YAML that are whole workflows. */
static void the_examples_of_the_guide_are_without_mistakes(void **state)
{
    (void) state;
    static const char OPEN[] = "```yaml\n", CLOSE[] = "```\n";
    struct buf guide = {0};
    size_t count = 0;
    read_guide(&guide);
    for (char *at = strstr((char *) guide.data, OPEN); at; at = strstr(at, OPEN)) {
        at += strlen(OPEN);
        size_t len = (size_t) (strstr(at, CLOSE) - at);
        if (!memmem(at, len, "\ntasks:", 7))
            continue;
        struct diag_list diags = {0};
        struct workflow_file *file = workflow_load_text(GUIDE, at, len, &diags);
        assert_int_equal(diags.error_count + diags.warning_count, 0);
        workflow_file_free(&file);
        diag_list_fini(&diags);
        count++;
    }
    assert_true(count);
    buf_fini(&guide);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_guide_has_the_tables_of_all_options),
                                       cmocka_unit_test(the_examples_of_the_guide_are_without_mistakes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
