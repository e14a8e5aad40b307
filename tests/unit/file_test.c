/* SPDX-License-Identifier: Apache-2.0 */
/* Whole files into memory, never more than was asked for; and processes by their environment. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/file.h"
#include "lib/proc.h"

static char dir[] = "/tmp/file-test-XXXXXX";

static void write_file(const char *path, size_t len)
{
    FILE *file = fopen(path, "w");
    for (size_t i = 0; i < len; i++)
        fputc('a' + (int) (i % 26), file);
    fclose(file);
}

static void a_file_is_read_whole_up_to_the_limit(void **state)
{
    struct buf text = {0};
    (void) state;
    write_file("big", 200000);
    assert_int_equal(file_load("big", 200000, &text), 0);
    assert_int_equal(text.len, 200000);
    assert_int_equal(text.data[199999], 'a' + 199999 % 26);
    buf_clear(&text);
    assert_int_equal(file_load("big", 199999, &text), -1);
    assert_int_equal(errno, EFBIG);
    assert_int_equal(text.len, 200000); /* one more than may be */
    assert_string_equal(file_problem(EFBIG), "it is too large");
    buf_clear(&text);
    assert_int_equal(file_load("/dev/zero", 10, &text), -1); /* has no end */
    assert_int_equal(text.len, 11);
    buf_fini(&text);
}

static void it_is_appended_to_what_is_there(void **state)
{
    struct buf text = {0};
    (void) state;
    write_file("three", 3);
    write_file("none", 0);
    buf_addf(&text, "> ");
    assert_int_equal(file_load_regular("three", 3, &text), 0);
    assert_int_equal(file_load_regular("none", 0, &text), 0);
    assert_string_equal(buf_text(&text), "> abc");
    buf_fini(&text);
}

static void what_is_no_file_is_told_and_not_waited_for(void **state)
{
    struct buf text = {0};
    (void) state;
    assert_int_equal(mkfifo("pipe", 0600), 0);
    assert_int_equal(file_load_regular("pipe", 10, &text), -1);
    assert_string_equal(file_problem(errno), "it is not a regular file");
    assert_int_equal(file_load(".", 10, &text), -1);
    assert_string_equal(file_problem(errno), "it is a folder");
    assert_int_equal(file_load("absent", 10, &text), -1);
    assert_string_equal(file_problem(errno), "No such file or directory");
    assert_int_equal(text.len, 0);
    buf_fini(&text);
}

static void a_process_is_found_by_what_its_environment_begins_with(void **state)
{
    char mark[64], byte;
    int ready[2];
    (void) state;
    snprintf(mark, sizeof mark, "FILE_TEST_MARK=%d.1", (int) getpid());
    assert_int_equal(pipe2(ready, O_CLOEXEC), 0); /* its end tells that the child became another program */
    pid_t child = fork();
    if (child == 0) {
        char first[] = "A=1", *const environment[] = {first, mark, NULL};
        execle("/bin/cat", "cat", "pipe", NULL, environment);
        _exit(1);
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 0);
    close(ready[0]);
    assert_int_equal(proc_signal_marked(mark, strlen(mark), 0), 1);
    assert_int_equal(proc_signal_marked(mark, strlen(mark) + 1, 0), 1);     /* the whole entry */
    assert_int_equal(proc_signal_marked(mark, strlen(mark) - 1, 0), 1);     /* its beginning */
    mark[strlen(mark) - 1] = '\0';
    assert_int_equal(proc_signal_marked(mark, strlen(mark) + 1, 0), 0);     /* the beginning is not the whole */
    assert_int_equal(proc_signal_marked(mark + 1, strlen(mark) - 1, 0), 0); /* nor what stands within */
    assert_int_equal(proc_signal_marked(mark, strlen(mark), SIGKILL), 1);
    assert_int_equal(waitpid(child, NULL, 0), child);
}

static int enter(void **state)
{
    (void) state;
    return mkdtemp(dir) ? chdir(dir) : -1;
}

static int leave(void **state)
{
    static const char *const NAMES[] = {"big", "three", "none", "pipe"};
    (void) state;
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++)
        unlink(NAMES[i]);
    return chdir("/") || rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_is_read_whole_up_to_the_limit),
        cmocka_unit_test(it_is_appended_to_what_is_there),
        cmocka_unit_test(what_is_no_file_is_told_and_not_waited_for),
        cmocka_unit_test(a_process_is_found_by_what_its_environment_begins_with),
    };
    return cmocka_run_group_tests(tests, enter, leave);
}
