/* SPDX-License-Identifier: Apache-2.0 */
/* `.wandb` files: what is in them, told by a reader of the test's own; torn at every byte; records at the edges of blocks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/buf.h"
#include "lib/xmem.h"
#include "nodes/wandb/offline.h"

#define STARTED_MS 1790000000250 /* 2026-09-21 14:13:20 UTC */
static char folder[32];

/* ---- the reader: format and checksum written down anew ---- */

static uint32_t crc_of(const uint8_t *data, size_t len)
{
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < len * 8; i++) {
        if (i % 8 == 0)
            crc ^= data[i / 8];
        crc = crc & 1 ? crc >> 1 ^ 0xedb88320 : crc >> 1;
    }
    return ~crc;
}

static struct buf read_file(const char *path)
{
    struct buf bytes = {0};
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    for (int c; (c = fgetc(file)) != EOF;)
        buf_add_byte(&bytes, (uint8_t) c);
    fclose(file);
    return bytes;
}

static void write_file(const char *path, const void *data, size_t len)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_true(len == 0 || fwrite(data, 1, len, file) == len);
    assert_int_equal(fclose(file), 0);
}

/* The record that begins at *at, chunk by chunk; false at the end of the file. All that is there must be right. */
static bool take_record(const struct buf *file, size_t *at, struct buf *record)
{
    static const uint8_t zeros[7];
    buf_clear(record);
    for (uint8_t type = 0; type != 1 && type != 4;) {
        size_t left = 32768 - *at % 32768;
        if (*at == file->len)
            return false;
        if (left < 7) {
            assert_memory_equal(file->data + *at, zeros, left);
            *at += left;
        }
        const uint8_t *head = file->data + *at;
        assert_true(*at + 7 <= file->len);
        size_t len = head[4] + 256u * head[5];
        assert_true(*at % 32768 + 7 + len <= 32768 && *at + 7 + len <= file->len);
        assert_int_equal(head[0] | head[1] << 8 | head[2] << 16 | (uint32_t) head[3] << 24, crc_of(head + 6, len + 1));
        assert_true(type == 0 ? head[6] == 1 || head[6] == 2 : head[6] == 3 || head[6] == 4);
        type = head[6];
        buf_add(record, head + 7, len);
        *at += 7 + len;
    }
    return true;
}

static uint64_t take_varint(const uint8_t **at)
{
    uint64_t value = 0;
    for (unsigned shift = 0;; shift += 7) {
        uint8_t byte = *(*at)++;
        value |= (uint64_t) (byte & 127) << shift;
        if (byte < 128)
            return value;
    }
}

/* A message as text, `field:number`, `field:"text"`, `field{...}`; which fields are messages is W&B's schema. */
static void tell(struct buf *out, const char *path, const uint8_t *at, const uint8_t *end)
{
    static const char *const messages[] = {".21", ".21.1", ".17", ".17.4", ".17.4.1", ".17.17", ".2", ".2.1", ".2.2",
                                           ".3", ".3.1", ".5", ".5.1", ".18"};
    for (bool first = true; at < end; first = false) {
        uint64_t tag = take_varint(&at), value = take_varint(&at);
        char here[64];
        bool message = false;
        snprintf(here, sizeof here, "%s.%d", path, (int) (tag >> 3));
        for (size_t i = 0; i < sizeof messages / sizeof messages[0]; i++)
            message |= strcmp(messages[i], here) == 0;
        buf_addf(out, "%s%d", first ? "" : " ", (int) (tag >> 3));
        if ((tag & 7) == 0) {
            buf_addf(out, ":%lld", (long long) value);
            continue;
        }
        assert_true((tag & 7) == 2 && value <= (uint64_t) (end - at));
        buf_addf(out, message ? "{" : ":'");
        if (message)
            tell(out, here, at, at + value);
        else
            buf_add(out, at, value);
        buf_addf(out, message ? "}" : "'");
        at += value;
    }
    assert_true(at == end);
}

/* The whole file, a record a line. The caller's. */
static char *told(const char *path)
{
    struct buf file = read_file(path), record = {0}, out = {0};
    size_t at = 7;
    assert_true(file.len >= 7);
    assert_memory_equal(file.data, "\x3a\x57\x26\x42\xe1\xbe\x00", 7);
    while (take_record(&file, &at, &record)) {
        tell(&out, "", record.data, record.data + record.len);
        buf_add_byte(&out, '\n');
    }
    char *text = xstrdup(buf_text(&out));
    buf_fini(&file);
    buf_fini(&record);
    buf_fini(&out);
    return text;
}

/* ---- the writer ---- */

static struct offline *must_open(const char *id, uint64_t *rows)
{
    struct wandb_run run = {.id = id, .project = "demo", .started_ms = STARTED_MS};
    struct ls_error err;
    struct offline *file = offline_open(folder, &run, rows, &err);
    if (!file)
        fail_msg("%s", err.text);
    return file;
}

static void must_add(struct offline *file, const char *row)
{
    struct ls_error err;
    if (offline_history(file, row, &err))
        fail_msg("%s", err.text);
}

static void a_file_tells_its_run_and_rows(void **state)
{
    json_auto_t *config = json_pack("{s:f, s:s, s:{s:[i]}}", "lr", 0.1, "name", "a\"b", "deep", "x", 1);
    json_auto_t *changed = json_pack("{s:i}", "epochs", 3);
    struct wandb_run run = {.id = "ls3k9x2a", .entity = "acme", .project = "demo", .display_name = "nightly", .group = "eval",
                            .job_type = "train", .notes = "", .tags = (const char *const[]){"bus", "ü", NULL}, .config = config,
                            .started_ms = STARTED_MS};
    struct ls_error err;
    uint64_t rows = 99;
    (void) state;
    struct offline *file = offline_open(folder, &run, &rows, &err);
    assert_non_null(file);
    assert_int_equal(rows, 0);
    must_add(file, "{\"_step\":0,\"loss\":NaN,\"t\":\"NaN\",\"_timestamp\":1790000000.25,\"_runtime\":0.5}");
    must_add(file, " { \"a\\\"/b\" : {\"x\":[1,{\"y\":\"}\\\"]\"}]} , \"_step\" : 300 , \"e\":-Infinity } ");
    assert_int_equal(offline_config(file, changed, &err), 0);
    assert_int_equal(offline_summary(file, "{\"loss\":0.7,\"_wandb\":{\"runtime\":2}}", &err), 0);
    assert_false(offline_ended(file));
    assert_int_equal(offline_exit(file, 1, 2.5, &err), 0);
    assert_int_equal(offline_sync(file, &err), 0);
    assert_true(offline_ended(file));

    char *text = told(offline_path(file)), *path = xasprintf("%s/offline-run-20260921_141320-ls3k9x2a/run-ls3k9x2a.wandb", folder);
    assert_string_equal(offline_path(file), path);
    assert_string_equal(text,
                        "1:1 21{1{1:'lineshaft " LINESHAFT_VERSION "' 2:'0.1.0'}}\n"
                        "1:2 17{1:'ls3k9x2a' 2:'acme' 3:'demo' 4{1{1:'lr' 16:'0.1'} 1{1:'name' 16:'\"a\\\"b\"'} "
                        "1{1:'deep' 16:'{\"x\":[1]}'}} 6:'eval' 7:'train' 8:'nightly' 10:'bus' 10:'ü' 17{1:1790000000 2:250000000}}\n"
                        "1:3 2{1{1:'_step' 16:'0'} 1{1:'loss' 16:'NaN'} 1{1:'t' 16:'\"NaN\"'} 1{1:'_timestamp' 16:'1790000000.25'} "
                        "1{1:'_runtime' 16:'0.5'} 2{1:0}}\n"
                        "1:4 2{1{1:'a\"/b' 16:'{\"x\":[1,{\"y\":\"}\\\"]\"}]}'} 1{1:'_step' 16:'300'} 1{1:'e' 16:'-Infinity'} 2{1:300}}\n"
                        "1:5 5{1{1:'epochs' 16:'3'}}\n"
                        "1:6 3{1{1:'loss' 16:'0.7'} 1{1:'_wandb' 16:'{\"runtime\":2}'}}\n"
                        "1:7 18{1:1 2:2}\n");
    free(text);
    free(path);
    offline_close(&file);
    assert_null(file);
}

/* Opens what is at `path`, which must have `rows` rows, and writes what is missing of three rows and an exit. */
static void complete(const char *id, uint64_t rows, bool ended)
{
    uint64_t found;
    struct ls_error err;
    struct offline *file = must_open(id, &found);
    assert_int_equal(found, rows);
    assert_int_equal(offline_ended(file), ended);
    for (; found < 3; found++) {
        char *row = xasprintf("{\"loss\":%d,\"_step\":%d}", (int) found * 7, (int) found);
        must_add(file, row);
        free(row);
    }
    if (!ended)
        assert_int_equal(offline_exit(file, 0, 1, &err), 0);
    offline_close(&file);
}

static void a_file_torn_at_any_byte_goes_on_behind_its_last_record(void **state)
{
    char *path = xasprintf("%s/offline-run-20260921_141320-torn/run-torn.wandb", folder);
    size_t ends[8] = {0}, count = 0;
    struct buf record = {0};
    (void) state;
    complete("torn", 0, false);
    struct buf whole = read_file(path);
    for (size_t at = 7; take_record(&whole, &at, &record);)
        ends[count++] = at;
    assert_int_equal(count, 6);
    for (size_t len = 0; len <= whole.len; len++) {
        for (int tail = 0; tail < 3; tail++) { /* behind the tear: nothing, zeros, noise, as file systems leave it */
            struct buf torn = {0};
            size_t records = 0;
            buf_add(&torn, whole.data, len);
            for (int i = 0; i < 20 && tail > 0 && len >= 7; i++)
                buf_add_byte(&torn, tail == 1 ? 0 : (uint8_t) (i * 37 + 1));
            write_file(path, torn.data, torn.len);
            while (records < count && ends[records] <= torn.len && memcmp(torn.data, whole.data, ends[records]) == 0)
                records++;
            buf_fini(&torn);
            complete("torn", records < 2 ? 0 : records - 2 < 3 ? records - 2 : 3, records == count);
            struct buf now = read_file(path);
            assert_int_equal(now.len, whole.len);
            assert_memory_equal(now.data, whole.data, now.len);
            buf_fini(&now);
        }
    }
    buf_fini(&whole);
    buf_fini(&record);
    free(path);
}

/* A row of `size` bytes of text. The caller's. */
static char *big_row(size_t size, int step)
{
    char *text = xcalloc(size + 1, 1), *row;
    memset(text, 'x', size);
    row = xasprintf("{\"_step\":%d,\"t\":\"%s\"}", step, text);
    free(text);
    return row;
}

/* A file of three rows, the first of `size` bytes of text, is read back whole, and gone on with. */
static void check_size(size_t size)
{
    char *id = xasprintf("size%zu", size), *row = big_row(size, 0), *again;
    uint64_t rows;
    struct offline *file = must_open(id, &rows);
    must_add(file, row);
    must_add(file, "{\"_step\":1}");
    offline_close(&file);
    file = must_open(id, &rows);
    assert_int_equal(rows, 2);
    must_add(file, "{\"_step\":2}");
    char *text = told(offline_path(file));
    again = strstr(text, "1:3 2{1{1:'_step' 16:'0'} 1{1:'t' 16:'\"x");
    assert_non_null(again);
    assert_int_equal(strspn(strchr(again, 'x'), "x"), size);
    assert_non_null(strstr(again, "\n1:4 2{1{1:'_step' 16:'1'} 2{1:1}}\n1:5 2{1{1:'_step' 16:'2'} 2{1:2}}\n"));
    offline_close(&file);
    free(text);
    free(row);
    free(id);
}

static void records_meet_the_ends_of_blocks_in_every_way(void **state)
{
    (void) state;
    for (size_t size = 32600; size <= 32775; size++)
        check_size(size);
    check_size(100 * 1000);
    check_size(5 << 20);
}

static void the_exit_stays_last(void **state)
{
    json_auto_t *config = json_pack("{s:i}", "epochs", 3);
    struct ls_error err;
    uint64_t rows;
    (void) state;
    for (int open_again = 0; open_again < 2; open_again++) {
        const char *id = open_again ? "exit2" : "exit1";
        struct offline *file = must_open(id, &rows);
        must_add(file, "{\"_step\":0}");
        assert_int_equal(offline_exit(file, -1, 70000, &err), 0);
        if (open_again) {
            offline_close(&file);
            file = must_open(id, &rows);
            assert_true(offline_ended(file));
        }
        must_add(file, "{\"_step\":1}");
        assert_int_equal(offline_config(file, config, &err), 0);
        char *text = told(offline_path(file));
        assert_non_null(strstr(text, "\n1:3 2{1{1:'_step' 16:'0'} 2{1:0}}\n1:4 2{1{1:'_step' 16:'1'} 2{1:1}}\n"
                                     "1:5 5{1{1:'epochs' 16:'3'}}\n1:6 18{1:-1 2:70000}\n"));
        free(text);
        assert_int_equal(offline_exit(file, 0, 2, &err), 0); /* shorter */
        text = told(offline_path(file));
        assert_non_null(strstr(text, "\n1:5 5{1{1:'epochs' 16:'3'}}\n1:6 18{1:0 2:2}\n"));
        free(text);
        offline_close(&file);
        file = must_open(id, &rows);
        assert_true(rows == 2 && offline_ended(file));
        offline_close(&file);
    }
}

static void a_file_of_another_is_left_alone(void **state)
{
    static const char *const others[] = {"not at all", ":W&C\xe1\xbe"};
    struct wandb_run run = {.id = "other", .project = "demo", .started_ms = STARTED_MS};
    struct ls_error err;
    uint64_t rows;
    (void) state;
    struct offline *file = must_open("other", &rows);
    char *path = xstrdup(offline_path(file));
    offline_close(&file);
    for (size_t i = 0; i < 2; i++) {
        write_file(path, others[i], strlen(others[i]));
        assert_null(offline_open(folder, &run, &rows, &err));
        assert_string_equal(err.name, "CORRUPT");
        struct buf now = read_file(path);
        assert_int_equal(now.len, strlen(others[i]));
        buf_fini(&now);
    }
    free(path);
}

static void records_of_another_program_are_left_alone(void **state)
{
    struct wandb_run run = {.id = "mixed", .project = "demo", .started_ms = STARTED_MS};
    struct ls_error err;
    uint64_t rows;
    (void) state;
    struct offline *file = must_open("mixed", &rows);
    char *path = xstrdup(offline_path(file));
    offline_close(&file);
    struct buf bytes = read_file(path);
    struct buf moved = {0}; /* without its first record the numbers do not begin with 1 */
    size_t at = 7;
    struct buf record = {0};
    take_record(&bytes, &at, &record);
    buf_add(&moved, bytes.data, 7);
    buf_add(&moved, bytes.data + at, bytes.len - at);
    write_file(path, moved.data, moved.len);
    assert_null(offline_open(folder, &run, &rows, &err));
    assert_string_equal(err.name, "CORRUPT");
    struct buf now = read_file(path);
    assert_int_equal(now.len, moved.len);
    buf_fini(&now);
    buf_fini(&moved);
    buf_fini(&bytes);
    buf_fini(&record);
    free(path);
}

static void what_is_no_object_is_refused_and_not_written(void **state)
{
    static const char *const rows[] = {"", "[]", "1", "{", "{\"a\"}", "{\"a\":}", "{\"a\":1", "{\"a\":[1}", "{\"a\":\"x}", "{a:1}",
                                       "{\"\\u0000\":1}"};
    (void) state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct ls_error err = {0};
        uint64_t found;
        struct offline *file = must_open("bad", &found);
        assert_int_equal(found, 0);
        if (offline_history(file, rows[i], &err) == 0)
            fail_msg("taken: %s", rows[i]);
        assert_string_equal(err.name, "BAD_VALUE");
        offline_close(&file);
    }
    struct wandb_run run = {.id = "../x", .started_ms = STARTED_MS};
    struct ls_error err;
    assert_null(offline_open(folder, &run, &(uint64_t){0}, &err));
    assert_string_equal(err.name, "BAD_VALUE");
}

static int make_folder(void **state)
{
    (void) state;
    snprintf(folder, sizeof folder, "/tmp/lineshaft-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *place)
{
    (void) status, (void) type, (void) place;
    return remove(path);
}

static int remove_folder(void **state)
{
    (void) state;
    return nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_tells_its_run_and_rows),
        cmocka_unit_test(a_file_torn_at_any_byte_goes_on_behind_its_last_record),
        cmocka_unit_test(records_meet_the_ends_of_blocks_in_every_way),
        cmocka_unit_test(the_exit_stays_last),
        cmocka_unit_test(a_file_of_another_is_left_alone),
        cmocka_unit_test(records_of_another_program_are_left_alone),
        cmocka_unit_test(what_is_no_object_is_refused_and_not_written),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
