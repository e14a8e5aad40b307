/* SPDX-License-Identifier: Apache-2.0 */
/* Folders with those above them. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/folder.h"

static mode_t mode_of(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode) ? st.st_mode & 07777 : 0;
}

static void those_above_are_made_open_and_the_last_as_asked(void **state)
{
    (void) state;
    assert_int_equal(folder_make("a/b/c", 0700, NULL), 0);
    assert_int_equal(mode_of("a"), 0755);
    assert_int_equal(mode_of("a/b"), 0755);
    assert_int_equal(mode_of("a/b/c"), 0700);
    assert_int_equal(folder_make("a/b/c/", 0700, NULL), 0); /* what is there is well */
    assert_int_equal(folder_make("/", 0755, NULL), 0);
}

static void above_a_file_only_what_it_lies_in(void **state)
{
    (void) state;
    assert_int_equal(folder_make_above("d/e/file", 0755, NULL), 0);
    assert_int_equal(mode_of("d/e"), 0755);
    assert_int_equal(access("d/e/file", F_OK), -1);
    assert_int_equal(folder_make_above("file", 0755, NULL), 0);
}

static void what_cannot_be_made_is_named(void **state)
{
    struct ls_error err;
    (void) state;
    fclose(fopen("plain", "w"));
    assert_int_equal(folder_make("plain/x/y", 0755, &err), -1);
    assert_int_equal(errno, ENOTDIR);
    assert_string_equal(err.name, "SYSTEM");
    assert_string_equal(err.text, "cannot make the folder plain/x: Not a directory");
    assert_int_equal(folder_make("", 0755, &err), -1);
}

static char dir[] = "/tmp/folder-test-XXXXXX";

static int enter(void **state)
{
    (void) state;
    umask(022);
    return mkdtemp(dir) && chdir(dir) == 0 ? 0 : -1;
}

static int leave(void **state)
{
    (void) state;
    static const char *const MADE[] = {"plain", "a/b/c", "a/b", "a", "d/e", "d"};
    for (size_t i = 0; i < sizeof MADE / sizeof *MADE; i++)
        remove(MADE[i]);
    return chdir("/") || rmdir(dir) ? -1 : 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(those_above_are_made_open_and_the_last_as_asked),
        cmocka_unit_test(above_a_file_only_what_it_lies_in),
        cmocka_unit_test(what_cannot_be_made_is_named),
    };
    return cmocka_run_group_tests(tests, enter, leave);
}
