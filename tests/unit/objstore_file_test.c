/* SPDX-License-Identifier: Apache-2.0 */
/* Objects in a folder: what is put, found, listed and deleted; what must never be replaced; what a crash may leave. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/buf.h"
#include "lib/xmem.h"
#include "nodes/kit/objstore.h"

struct rig {
    char dir[64], source[96];
    struct objstore *store;
    /* What the last operation told. */
    int ends, founds;
    bool failed, already, more;
    struct ls_error err;
    struct objstore_object object;
    struct buf data, keys;
    struct objstore_op *op;
    bool cancel, pause;
    uint64_t progress;
};

static void open_store(struct rig *rig)
{
    char url[80];
    struct ls_error err;
    snprintf(url, sizeof url, "file:%s/store", rig->dir);
    rig->store = objstore_open(&(struct objstore_options){.url = url}, &err);
    if (!rig->store)
        fail_msg("%s", err.text);
}

static int set_up(void **state)
{
    struct rig *rig = xcalloc(1, sizeof *rig);
    snprintf(rig->dir, sizeof rig->dir, "/tmp/objstore-test-XXXXXX");
    assert_non_null(mkdtemp(rig->dir));
    snprintf(rig->source, sizeof rig->source, "%s/source", rig->dir);
    open_store(rig);
    *state = rig;
    return 0;
}

static void remove_all(const char *path)
{
    DIR *dir = opendir(path);
    for (struct dirent *entry; dir && (entry = readdir(dir)) != NULL;) {
        char below[512];
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        snprintf(below, sizeof below, "%.200s/%s", path, entry->d_name);
        if (entry->d_type == DT_DIR)
            remove_all(below);
        else
            unlink(below);
    }
    if (dir)
        closedir(dir);
    rmdir(path);
}

static int tear_down(void **state)
{
    struct rig *rig = *state;
    objstore_close(&rig->store);
    remove_all(rig->dir);
    buf_fini(&rig->data);
    buf_fini(&rig->keys);
    free(rig);
    return 0;
}

/* ---- operations to their end ---- */

static void finish(struct rig *rig)
{
    for (int ends = rig->ends; rig->ends == ends;) {
        struct pollfd fd = {objstore_fd(rig->store), POLLIN, 0};
        assert_int_equal(poll(&fd, 1, 10000), 1); /* else it forgot that there is work */
        objstore_run(rig->store);
    }
}

static void note_end(struct rig *rig, const struct ls_error *err)
{
    rig->ends++;
    rig->failed = err != NULL;
    if (err)
        rig->err = *err;
}

static void on_put(void *arg, const struct objstore_object *object, bool already_there, const struct ls_error *err)
{
    struct rig *rig = arg;
    assert_true((object == NULL) == (err != NULL));
    rig->already = already_there;
    if (object)
        rig->object = *object;
    note_end(rig, err);
}

static void on_progress(void *arg, uint64_t bytes)
{
    struct rig *rig = arg;
    assert_true(bytes >= rig->progress);
    rig->progress = bytes;
}

static void hash(const void *data, size_t len, char hex[65])
{
    unsigned char digest[32];
    EVP_Digest(data, len, digest, NULL, EVP_sha256(), NULL);
    for (int i = 0; i < 32; i++)
        snprintf(hex + (ptrdiff_t) 2 * i, 3, "%02x", digest[i]);
}

static void write_file(const char *path, const void *data, size_t len)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, len, file), len);
    fclose(file);
}

static void begin_put(struct rig *rig, const char *key, const void *data, size_t len, bool replace)
{
    struct ls_error err;
    struct objstore_put put = {.key = key, .file = rig->source, .size = len, .replace = replace, .arg = rig,
                               .progress = on_progress, .end = on_put};
    write_file(rig->source, data, len);
    hash(data, len, put.sha256);
    rig->progress = 0;
    rig->op = objstore_put(rig->store, &put, &err);
    if (!rig->op)
        fail_msg("%s", err.text);
}

static void put_text(struct rig *rig, const char *key, const char *text, bool replace)
{
    begin_put(rig, key, text, strlen(text), replace);
    finish(rig);
}

static void on_found(void *arg, const struct objstore_object *object)
{
    struct rig *rig = arg;
    rig->founds++;
    rig->object = *object;
}

static void on_data(void *arg, struct ls_slice bytes)
{
    struct rig *rig = arg;
    assert_true(bytes.len > 0 && bytes.len <= 256 << 10);
    buf_add(&rig->data, bytes.data, bytes.len);
    if (rig->cancel)
        objstore_cancel(&rig->op);
    else if (rig->pause)
        objstore_pause(rig->op);
}

static void on_end(void *arg, const struct ls_error *err)
{
    note_end(arg, err);
}

static void begin_get(struct rig *rig, const char *key, uint64_t offset, int64_t length)
{
    struct ls_error err;
    const struct objstore_get get = {.key = key, .offset = offset, .length = length, .arg = rig, .found = on_found,
                                     .data = on_data, .end = on_end};
    buf_clear(&rig->data);
    rig->founds = 0;
    rig->op = objstore_get(rig->store, &get, &err);
    assert_non_null(rig->op);
}

static const char *get_text(struct rig *rig, const char *key, uint64_t offset, int64_t length)
{
    begin_get(rig, key, offset, length);
    finish(rig);
    return rig->failed ? rig->err.name : buf_text(&rig->data);
}

static void on_entry(void *arg, const char *key, const struct objstore_object *object)
{
    struct rig *rig = arg;
    assert_true((object == NULL) == (key[strlen(key) - 1] == '/'));
    buf_addf(&rig->keys, "%s ", key);
}

static void on_listed(void *arg, bool more, const struct ls_error *err)
{
    struct rig *rig = arg;
    rig->more = more;
    note_end(rig, err);
}

static const char *list(struct rig *rig, const char *prefix, bool recursive, const char *after, size_t max)
{
    struct ls_error err;
    const struct objstore_list what = {.prefix = prefix, .recursive = recursive, .after = after, .max = max, .arg = rig,
                                       .entry = on_entry, .end = on_listed};
    buf_clear(&rig->keys);
    assert_non_null(objstore_list(rig->store, &what, &err));
    finish(rig);
    return rig->failed ? rig->err.name : buf_text(&rig->keys);
}

static void delete(struct rig *rig, const char *key)
{
    struct ls_error err;
    assert_non_null(objstore_delete(rig->store, key, on_end, rig, &err));
    finish(rig);
    assert_false(rig->failed);
}

static size_t temporary_files(const struct rig *rig)
{
    char path[128];
    size_t count = 0;
    snprintf(path, sizeof path, "%s/store/.lineshaft", rig->dir);
    DIR *dir = opendir(path);
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
        count += entry->d_name[0] != '.';
    closedir(dir);
    return count;
}

/* ---- cases ---- */

static void what_is_put_is_found(void **state)
{
    struct rig *rig = *state;
    char hex[65];
    put_text(rig, "a/b/notes.txt", "hello", false);
    assert_false(rig->failed);
    assert_false(rig->already);
    assert_int_equal(rig->progress, 5);
    hash("hello", 5, hex);
    assert_string_equal(get_text(rig, "a/b/notes.txt", 0, -1), "hello");
    assert_int_equal(rig->founds, 1);
    assert_string_equal(rig->object.sha256, hex);
    assert_string_equal(rig->object.content_type, "text/plain");
    assert_int_equal(rig->object.size, 5);
    assert_string_equal(get_text(rig, "a/b/notes.txt", 1, 3), "ell");
    assert_string_equal(get_text(rig, "a/b/notes.txt", 3, 100), "lo");
    assert_string_equal(get_text(rig, "a/b/notes.txt", 9, 1), "");
    assert_string_equal(get_text(rig, "a/b/notes.txt", 0, 0), "");
    assert_int_equal(rig->founds, 1);
    assert_string_equal(get_text(rig, "a/b", 0, -1), "NOT_FOUND");
    assert_string_equal(get_text(rig, "a/b/notes.txt/c", 0, -1), "NOT_FOUND");
    assert_int_equal(temporary_files(rig), 0);
}

static void many_pieces(void **state)
{
    struct rig *rig = *state;
    size_t len = ((size_t) 5 << 20) + 17;
    char *data = xcalloc(1, len);
    for (size_t i = 0; i < len; i++)
        data[i] = (char) (i * 2654435761u >> 13);
    begin_put(rig, "large", data, len, false);
    finish(rig);
    assert_false(rig->failed);
    begin_get(rig, "large", 0, -1);
    finish(rig);
    assert_int_equal(rig->data.len, len);
    assert_memory_equal(rig->data.data, data, len);
    free(data);
}

static void nothing_is_replaced_unasked(void **state)
{
    struct rig *rig = *state;
    put_text(rig, "k", "one", false);
    put_text(rig, "k", "one", false);
    assert_false(rig->failed);
    assert_true(rig->already);
    put_text(rig, "k", "two", false);
    assert_true(rig->failed);
    assert_string_equal(rig->err.name, "CONFLICT");
    assert_string_equal(get_text(rig, "k", 0, -1), "one");
    put_text(rig, "k", "two", true);
    assert_false(rig->failed || rig->already);
    assert_string_equal(get_text(rig, "k", 0, -1), "two");
    put_text(rig, "k/below", "x", false);
    assert_string_equal(rig->err.name, "CONFLICT");
    put_text(rig, "d/e", "x", false);
    put_text(rig, "d", "x", true);
    assert_true(rig->failed);
    assert_string_equal(rig->err.name, "CONFLICT");
    put_text(rig, "d", "x", false);
    assert_true(rig->failed);
    assert_string_equal(rig->err.name, "CONFLICT");
    assert_int_equal(temporary_files(rig), 0);
}

/* A file that someone else wrote has no hash noted; one that was changed has an old one: neither is believed. */
static void only_bytes_count_for_strange_files(void **state)
{
    struct rig *rig = *state;
    char path[128];
    snprintf(path, sizeof path, "%s/store/strange", rig->dir);
    write_file(path, "bytes", 5);
    put_text(rig, "strange", "bytes", false);
    assert_true(!rig->failed && rig->already);
    put_text(rig, "strange", "other", false);
    assert_string_equal(rig->err.name, "CONFLICT");
    put_text(rig, "mine", "first", false);
    snprintf(path, sizeof path, "%s/store/mine", rig->dir);
    write_file(path, "later", 5);
    assert_string_equal(get_text(rig, "mine", 0, -1), "later");
    assert_string_equal(rig->object.sha256, "");
    put_text(rig, "mine", "later", false);
    assert_true(!rig->failed && rig->already);
}

static void content_that_changed_is_corrupt(void **state)
{
    struct rig *rig = *state;
    begin_put(rig, "k", "hello", 5, false);
    write_file(rig->source, "jello", 5);
    finish(rig);
    assert_true(rig->failed);
    assert_string_equal(rig->err.name, "CORRUPT");
    assert_string_equal(get_text(rig, "k", 0, -1), "NOT_FOUND");
    assert_int_equal(temporary_files(rig), 0);
}

static void keys_in_byte_order_by_pages(void **state)
{
    static const char *const KEYS[] = {"b", "a/2", "a/b/3", "a-b", "a.txt", "a/1", "ä"};
    struct rig *rig = *state;
    for (size_t i = 0; i < sizeof KEYS / sizeof *KEYS; i++)
        put_text(rig, KEYS[i], "x", false);
    assert_string_equal(list(rig, "", true, NULL, 0), "a-b a.txt a/1 a/2 a/b/3 b ä ");
    assert_false(rig->more);
    assert_string_equal(list(rig, "", false, NULL, 0), "a-b a.txt a/ b ä ");
    assert_string_equal(list(rig, "", true, NULL, 3), "a-b a.txt a/1 ");
    assert_true(rig->more);
    assert_string_equal(list(rig, "", true, "a/1", 3), "a/2 a/b/3 b ");
    assert_string_equal(list(rig, "", true, "b", 3), "ä ");
    assert_false(rig->more);
    assert_string_equal(list(rig, "", false, "a/", 1), "b ");
    assert_string_equal(list(rig, "a/", false, NULL, 0), "a/1 a/2 a/b/ ");
    assert_string_equal(list(rig, "a/b", true, NULL, 0), "a/b/3 ");
    assert_string_equal(list(rig, "none/", true, NULL, 0), "");
    assert_string_equal(list(rig, "../", true, NULL, 0), "");
    assert_string_equal(list(rig, "/", true, NULL, 0), "");
    assert_string_equal(list(rig, ".lineshaft/", true, NULL, 0), "");
}

static void deleting_prunes_empty_folders(void **state)
{
    struct rig *rig = *state;
    put_text(rig, "a/b/c", "x", false);
    put_text(rig, "a/d", "x", false);
    delete(rig, "a/b/c");
    delete(rig, "a/b/c");
    delete(rig, "a");
    assert_string_equal(list(rig, "a/", false, NULL, 0), "a/d ");
    delete(rig, "a/d");
    assert_string_equal(list(rig, "", false, NULL, 0), "");
}

static void links_are_no_objects(void **state)
{
    struct rig *rig = *state;
    char path[128];
    snprintf(path, sizeof path, "%s/store/passwd", rig->dir);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    snprintf(path, sizeof path, "%s/store/etc", rig->dir);
    assert_int_equal(symlink("/etc", path), 0);
    assert_string_equal(get_text(rig, "passwd", 0, -1), "NOT_FOUND");
    assert_string_equal(get_text(rig, "etc/passwd", 0, -1), "NOT_FOUND");
    assert_string_equal(list(rig, "", true, NULL, 0), "");
    put_text(rig, "etc/new", "x", true);
    assert_string_equal(rig->err.name, "CONFLICT");
    put_text(rig, "passwd", "x", false);
    assert_string_equal(rig->err.name, "CONFLICT");
    put_text(rig, "passwd", "x", true); /* takes the link's place, not its target's */
    assert_false(rig->failed);
    assert_string_equal(get_text(rig, "passwd", 0, -1), "x");
}

static void what_a_dead_process_was_writing_is_swept(void **state)
{
    struct rig *rig = *state;
    char left[128], held[128];
    snprintf(left, sizeof left, "%s/store/.lineshaft/put-1-1", rig->dir);
    write_file(left, "half", 4);
    size_t len = (size_t) 3 << 20;
    char *data = xcalloc(1, len);
    begin_put(rig, "under/way", data, len, false);
    objstore_run(rig->store); /* looks */
    objstore_run(rig->store); /* the first slice */
    assert_int_equal(temporary_files(rig), 2);
    snprintf(held, sizeof held, "file:%s/store", rig->dir);
    struct ls_error err;
    struct objstore *second = objstore_open(&(struct objstore_options){.url = held}, &err);
    assert_non_null(second);
    assert_int_equal(temporary_files(rig), 1); /* the living one's stays */
    objstore_close(&second);
    finish(rig);
    assert_false(rig->failed);
    free(data);
}

static void cancel_and_pause(void **state)
{
    struct rig *rig = *state;
    size_t len = (size_t) 3 << 20;
    char *data = xcalloc(1, len);
    begin_put(rig, "k", data, len, false);
    objstore_run(rig->store);
    objstore_run(rig->store);
    objstore_cancel(&rig->op);
    assert_null(rig->op);
    assert_int_equal(temporary_files(rig), 0);
    int ends = rig->ends;
    begin_put(rig, "k", data, len, false);
    finish(rig);
    begin_get(rig, "k", 0, -1);
    rig->cancel = true;
    for (int i = 0; i < 5; i++)
        objstore_run(rig->store);
    rig->cancel = false;
    assert_int_equal(rig->ends, ends + 1);
    assert_true(rig->data.len > 0 && rig->data.len <= 256 << 10);

    begin_get(rig, "k", 0, -1);
    rig->pause = true;
    for (int i = 0; i < 5; i++)
        objstore_run(rig->store);
    assert_true(rig->data.len > 0 && rig->data.len <= 256 << 10);
    struct pollfd fd = {objstore_fd(rig->store), POLLIN, 0};
    assert_int_equal(poll(&fd, 1, 0), 0); /* paused: it turns no loop */
    rig->pause = false;
    objstore_resume(rig->op);
    finish(rig);
    assert_int_equal(rig->data.len, len);
    free(data);
}

static void keys_and_urls_are_checked(void **state)
{
    static const char *const BAD[] = {"", "/a", "a/", "a//b", ".", "a/..", "a/./b", "a\nb", "\xff", "a\x7f"};
    static const char *const GOOD[] = {"a", "a b/c+d", ".a", "a..b/...", "ä/日本", "\"quoted\""};
    static const char *const BAD_URLS[] = {"", "file:", "file:/", "ftp://x", "var/x", "FILE:x"};
    struct rig *rig = *state;
    struct ls_error err;
    char longest[1026];
    memset(longest, 'x', 1025);
    longest[1025] = '\0';
    assert_int_equal(objstore_key_check(longest, &err), -1);
    assert_int_equal(objstore_key_check(longest + 1, &err), 0);
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++)
        assert_int_equal(objstore_key_check(BAD[i], &err), -1);
    for (size_t i = 0; i < sizeof GOOD / sizeof *GOOD; i++)
        assert_int_equal(objstore_key_check(GOOD[i], &err), 0);
    for (size_t i = 0; i < sizeof BAD_URLS / sizeof *BAD_URLS; i++)
        assert_int_equal(objstore_check(BAD_URLS[i], &err), -1);
    assert_int_equal(objstore_check("file:x", &err), 0);
    assert_int_equal(objstore_check("s3://bucket/prefix", &err), 0);
    put_text(rig, longest + 1, "x", false);
    assert_string_equal(rig->err.name, "BAD_VALUE");
    put_text(rig, ".lineshaft/x", "x", false);
    assert_string_equal(rig->err.name, "BAD_VALUE");
    char *uri = objstore_uri(rig->store, "a b/ä"), expected[128];
    snprintf(expected, sizeof expected, "file://%s/store/a%%20b/%%C3%%A4", rig->dir);
    assert_string_equal(uri, expected);
    free(uri);
}

static void the_file_itself(void **state)
{
    struct rig *rig = *state;
    struct objstore_object object;
    struct ls_error err;
    char text[6] = "";
    put_text(rig, "a/f.json", "hello", false);
    int fd = objstore_file(rig->store, "a/f.json", &object, &err);
    assert_true(fd >= 0);
    assert_int_equal(read(fd, text, 5), 5);
    close(fd);
    assert_string_equal(text, "hello");
    assert_string_equal(object.content_type, "application/json");
    assert_int_equal(objstore_file(rig->store, "a/none", &object, &err), -1);
    assert_string_equal(err.name, "NOT_FOUND");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_put_is_found, set_up, tear_down),
        cmocka_unit_test_setup_teardown(many_pieces, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nothing_is_replaced_unasked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(only_bytes_count_for_strange_files, set_up, tear_down),
        cmocka_unit_test_setup_teardown(content_that_changed_is_corrupt, set_up, tear_down),
        cmocka_unit_test_setup_teardown(keys_in_byte_order_by_pages, set_up, tear_down),
        cmocka_unit_test_setup_teardown(deleting_prunes_empty_folders, set_up, tear_down),
        cmocka_unit_test_setup_teardown(links_are_no_objects, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_a_dead_process_was_writing_is_swept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(cancel_and_pause, set_up, tear_down),
        cmocka_unit_test_setup_teardown(keys_and_urls_are_checked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_file_itself, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
