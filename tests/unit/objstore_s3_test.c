/* SPDX-License-Identifier: Apache-2.0 */
/* nodes/kit/objstore on S3: what goes wrong before anything is sent (the rest is in tests/nodes/objstore_test.py). */
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "nodes/kit/objstore.h"

static char folder[] = "/tmp/objstore-s3-XXXXXX";
static char content[64], journal[96];
static struct objstore *store;
static int ended;
static char name[24];

static void on_end(void *arg, const struct objstore_object *object, bool already_there, const struct ls_error *err)
{
    (void) arg;
    (void) already_there;
    assert_null(object);
    ended++;
    snprintf(name, sizeof name, "%s", err->name);
}

static struct objstore_op *put(struct ls_error *err)
{
    struct objstore_put p = {.key = "k", .file = content, .size = 6 << 20, .replace = true, .journal = journal, .end = on_end};
    memset(p.sha256, '0', 64);
    return objstore_put(store, &p, err);
}

static int open_store(void **state)
{
    struct ls_error err;
    const struct objstore_options o = {.url = "s3://bucket", .endpoint = "http://127.0.0.1:1", .access_key = "a", .secret_key = "b",
                                       .part_bytes = 5 << 20};
    (void) state;
    assert_non_null(mkdtemp(folder));
    snprintf(content, sizeof content, "%s/content", folder);
    int fd = open(content, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    assert_int_equal(ftruncate(fd, 6 << 20), 0);
    close(fd);
    store = objstore_open(&o, &err);
    return store ? 0 : -1;
}

static int close_store(void **state)
{
    (void) state;
    objstore_close(&store);
    unlink(content);
    return rmdir(folder);
}

static void a_journal_that_cannot_be_made_is_told_by_end_inside_run(void **state)
{
    struct ls_error err;
    (void) state;
    snprintf(journal, sizeof journal, "%s/absent/journal", folder);
    ended = 0;
    assert_non_null(put(&err));
    assert_int_equal(ended, 0);
    for (int i = 0; i < 10 && !ended; i++)
        objstore_run(store);
    assert_int_equal(ended, 1);
    assert_string_equal(name, "SYSTEM");
}

static void without_descriptors_it_is_to_be_tried_again(void **state)
{
    struct ls_error err = {0};
    struct rlimit before, none;
    (void) state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = 3;
    snprintf(journal, sizeof journal, "%s/journal", folder);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    struct objstore_op *op = put(&err);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_null(op);
    assert_true(err.again);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_journal_that_cannot_be_made_is_told_by_end_inside_run),
        cmocka_unit_test(without_descriptors_it_is_to_be_tried_again),
    };
    return cmocka_run_group_tests(tests, open_store, close_store);
}
