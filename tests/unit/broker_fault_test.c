/* SPDX-License-Identifier: Apache-2.0 */
/* What the broker promises when a disk refuses one file and takes another: the data directory is copied at that moment, as a
 * power cut would leave it, and a broker starts on the copy. */
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "tests/unit/broker_rig.h"

static _Atomic(const char *) refused; /* writes to files whose path holds this fail; NULL: none do */

ssize_t pwrite(int fd, const void *data, size_t len, off_t offset)
{
    char link[64], path[256];
    const char *part = refused;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t got = part ? readlink(link, path, sizeof path - 1) : 0;
    path[got > 0 ? got : 0] = 0;
    if (part && strstr(path, part)) {
        errno = EIO;
        return -1;
    }
    return syscall(SYS_pwrite64, fd, data, len, offset);
}

/* ---- a copy of the data directory ---- */

static const char *copied_from;
static char copy_dir[80];

static int copy_one(const char *path, const struct stat *st, int type, struct FTW *where)
{
    char to[256], block[65536];
    (void) where;
    snprintf(to, sizeof to, "%s%s", copy_dir, path + strlen(copied_from));
    if (type == FTW_D)
        return mkdir(to, 0755);
    int in = open(path, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_EXCL, st->st_mode & 0777);
    ssize_t got;
    while ((got = read(in, block, sizeof block)) > 0)
        if (write(out, block, (size_t) got) != got)
            return -1;
    close(in);
    close(out);
    return got < 0 ? -1 : 0;
}

static void take_copy(struct rig *r)
{
    copied_from = r->dir;
    snprintf(copy_dir, sizeof copy_dir, "%s-copy", r->dir);
    assert_int_equal(nftw(r->dir, copy_one, 8, FTW_PHYS), 0);
}

static void start_on_the_copy(struct rig *r)
{
    close_peers(r);
    broker_close(&r->broker);
    r->config.data_dir = copy_dir;
    open_broker(r);
}

static int teardown_copy(void **state)
{
    refused = NULL;
    int result = teardown(state);
    nftw(copy_dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    return result;
}

/* ---- dead letters ---- */

static void give_up(struct peer *by, struct peer *publisher, const char *id, int seq)
{
    publish(publisher, id);
    expect(by, "MSG");
    say(by, "TERM", "u:cid", 1, "a:seqs", seq, "u:tag", 0);
    expect(by, "OK");
}

/* How many dead letters are pending, and the first one's number. */
static uint32_t pending(struct peer *p, uint64_t *first)
{
    uint32_t count = 0;
    say(p, "ADM", "s:op", "dlq");
    expect(p, "OK");
    struct mp list = heard(p, "seqs");
    assert_true(mp_array(&list, &count));
    assert_true(!count || mp_uint(&list, first));
    return count;
}

static void wait_letters(struct peer *p, uint32_t count)
{
    uint64_t first;
    int64_t until = clock_mono_ms() + PATIENCE_MS;
    while (pending(p, &first) < count)
        assert_true(clock_mono_ms() < until);
}

static void a_letter_is_settled_only_when_its_replay_is_on_disk(void **state)
{
    struct rig *r = *state;
    struct peer *p = peer(r, "operator"), *q = peer(r, "consumer");
    uint64_t first = 0;
    join(q, "patient");
    give_up(q, p, "e1", 1);
    give_up(q, p, "e2", 2);
    wait_letters(p, 2);
    refused = "/events/consumers";
    say(p, "ADM", "s:op", "dlq.replay", "u:seq", 1, "s:tag", "replay");
    expect_attempt(q, 1);
    say(p, "ADM", "s:op", "dlq.drop", "u:seq", 2, "s:tag", "drop");
    expect(p, "OK"); /* the state of $sys is on disk */
    assert_heard(p, "tag", "drop");
    take_copy(r);
    expect_nothing(p);
    refused = NULL;
    at(r, 3000); /* the state that could not be written is written anew */
    expect(p, "OK");
    assert_heard(p, "tag", "replay");
    assert_int_equal(pending(p, &first), 0);
    start_on_the_copy(r);
    assert_int_equal(pending(peer(r, "operator"), &first), 1);
    assert_int_equal(first, 1);
}

static void a_replay_under_way_is_not_begun_again(void **state)
{
    struct rig *r = *state;
    struct peer *p = peer(r, "operator"), *q = peer(r, "consumer");
    uint64_t first = 0;
    join(q, "patient");
    give_up(q, p, "e1", 1);
    wait_letters(p, 1);
    refused = "/events/consumers";
    say(p, "ADM", "s:op", "dlq.replay", "u:seq", 1, "s:tag", "replay");
    expect(q, "MSG");
    assert_int_equal(pending(p, &first), 0);
    say(p, "ADM", "s:op", "dlq.replay", "u:seq", 1);
    expect(p, "ERR");
    assert_heard(p, "name", "NOT_FOUND");
    say(p, "ADM", "s:op", "dlq.drop", "u:seq", 1);
    expect(p, "ERR");
    say(q, "TERM", "u:cid", 1, "a:seqs", 1, "u:tag", 0); /* it dies once more: that is a letter of its own */
    expect(q, "OK");
    wait_letters(p, 1);
    assert_int_equal(pending(p, &first), 1);
    assert_int_equal(first, 2);
    refused = NULL;
    at(r, 3000);
    expect(p, "OK");
    assert_heard(p, "tag", "replay");
    assert_int_equal(pending(p, &first), 1);
    assert_int_equal(first, 2);
    take_copy(r);
    start_on_the_copy(r);
    assert_int_equal(pending(peer(r, "operator"), &first), 1);
    assert_int_equal(first, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_letter_is_settled_only_when_its_replay_is_on_disk, setup, teardown_copy),
        cmocka_unit_test_setup_teardown(a_replay_under_way_is_not_begun_again, setup, teardown_copy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
