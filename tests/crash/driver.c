/* SPDX-License-Identifier: Apache-2.0 */
/* The program whose disk writes are recorded, and which looks at what a power cut left:
 *   driver run DIR SEED STEPS close|exit   random work; says what it appended and what was acknowledged
 *   driver check DIR                       opens, says what is there, appends a little, ends without closing
 * It says so in the recording (if there is one) and on standard output, one line each: see say(). */
#include <dlfcn.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/log/log.h"
#include "lib/clock.h"
#include "lib/crc32c.h"
#include "lib/logger.h"

#define SEGMENT 65536u

struct stream {
    struct log *log;
    const char *name;
    bool sync;
};

struct driver {
    struct log_device *dev;
    struct stream streams[2];
    struct state_file *state;
    uint64_t counter;      /* the consumer state: a number that only grows */
    uint64_t token_of[64]; /* token of counter n, at n % 64 */
    uint64_t told;
    uint64_t random;
};

static void (*note)(const char *text);

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (note)
        note(text);
    puts(text);
}

static uint64_t random_below(struct driver *driver, uint64_t limit)
{
    driver->random ^= driver->random << 13; /* xorshift64 */
    driver->random ^= driver->random >> 7;
    driver->random ^= driver->random << 17;
    return driver->random % limit;
}

static const struct stream *stream_of(struct driver *driver, struct log *log)
{
    return &driver->streams[driver->streams[1].log == log];
}

static void committed(void *arg, struct log *log, uint64_t upto)
{
    say("acked %s %" PRIu64, stream_of(arg, log)->name, upto);
}

static void failed(void *arg, struct log *log, uint64_t from, uint64_t to, const struct ls_error *err)
{
    (void) err;
    say("failed %s %" PRIu64 " %" PRIu64, stream_of(arg, log)->name, from, to);
}

static void append(struct driver *driver, struct stream *stream)
{
    static uint8_t data[30000];
    struct ls_error err;
    uint32_t count = random_below(driver, 10) ? 1 : (uint32_t) random_below(driver, 40) + 1;
    size_t len = (size_t) random_below(driver, random_below(driver, 20) ? 1500 : sizeof data);
    uint64_t word = driver->random;
    for (size_t i = 0; i < len; i++)
        data[i] = (uint8_t) (word >> i % 8 * 8) ^ (uint8_t) (i * 7);
    struct log_part part = {data, len};
    /* Before: once appended it may be on the disk at any time. */
    say("given %s %" PRIu64 " %u %zu %08x", stream->name, log_next_seq(stream->log), count, len, crc32c(0, data, len));
    if (!log_append(stream->log, 0, count, clock_wall_us(), &part, 1, &err))
        say("refused %s %s", stream->name, err.name);
}

static void state_append(struct driver *driver, bool sync)
{
    char text[32];
    int len = snprintf(text, sizeof text, "%" PRIu64, ++driver->counter);
    say("state-given %" PRIu64, driver->counter);
    driver->token_of[driver->counter % 64] = state_file_append(driver->state, text, (size_t) len, sync);
}

static void checkpoint(struct driver *driver)
{
    char text[32];
    int len = snprintf(text, sizeof text, "%" PRIu64, driver->counter);
    state_file_checkpoint_begin(driver->state);
    state_file_append(driver->state, text, (size_t) len, false);
    state_file_checkpoint_end(driver->state);
}

static void tell_state(struct driver *driver)
{
    uint64_t from = driver->counter > 63 ? driver->counter - 63 : 1;
    for (uint64_t n = driver->counter; n >= from && n > driver->told; n--)
        if (driver->token_of[n % 64] && driver->token_of[n % 64] <= state_file_durable(driver->state)) {
            driver->told = n;
            say("state-acked %" PRIu64, n);
        }
}

static void turn(struct driver *driver)
{
    struct pollfd ready = {.fd = log_device_fd(driver->dev), .events = POLLIN};
    log_device_submit(driver->dev);
    poll(&ready, 1, 2);
    log_device_poll(driver->dev, clock_mono_ms() * 20); /* a second's retry after 50 ms */
    tell_state(driver);
}

static void step(struct driver *driver)
{
    struct stream *stream = &driver->streams[random_below(driver, 4) == 0];
    for (uint64_t n = random_below(driver, 6); n > 0; n--)
        append(driver, stream);
    if (random_below(driver, 2))
        state_append(driver, random_below(driver, 3) == 0);
    if (random_below(driver, 60) == 0 || state_file_full(driver->state))
        checkpoint(driver);
    if (random_below(driver, 20) == 0) {
        log_retain(stream->log, clock_wall_us());
        say("retained %s %" PRIu64, stream->name, log_first_seq(stream->log));
    }
    turn(driver);
    if (random_below(driver, 30) == 0)
        log_device_wait(driver->dev);
}

/* ---- opening ---- */

static void state_record(void *arg, const uint8_t *data, size_t len)
{
    struct driver *driver = arg;
    char text[32] = "";
    memcpy(text, data, len < sizeof text ? len : sizeof text - 1);
    driver->counter = strtoull(text, NULL, 10);
    say("state %" PRIu64, driver->counter);
}

static int open_all(struct driver *driver, const char *dir)
{
    struct ls_error err;
    driver->streams[0] = (struct stream){.name = "events", .sync = true};
    driver->streams[1] = (struct stream){.name = "quick"};
    driver->dev = log_device_open(dir, &err);
    for (int i = 0; i < 2 && driver->dev; i++) {
        struct log_config config = {.name = driver->streams[i].name, .sync = driver->streams[i].sync,
                                    .segment_bytes = SEGMENT, .pending_bytes_max = 1u << 20, .hot_bytes_max = 1,
                                    .retain_bytes = 4 * SEGMENT, .committed = committed, .failed = failed, .arg = driver};
        driver->streams[i].log = log_open(driver->dev, &config, &err);
        if (!driver->streams[i].log)
            break;
        say("opened %s %" PRIu64, driver->streams[i].name, log_next_seq(driver->streams[i].log));
    }
    if (driver->streams[1].log)
        driver->state = state_file_open(driver->streams[0].log, "consumers", state_record, driver, &err);
    if (driver->state)
        return 0;
    fprintf(stderr, "%s: %s\n", err.name, err.text);
    return 1;
}

/* ---- looking ---- */

static int show(struct driver *driver, struct stream *stream)
{
    struct log_cursor cursor = {0};
    struct log_entry entry;
    struct ls_error err;
    struct log_info info;
    int rc;
    log_cursor_seek(&cursor, stream->log, 0);
    while ((rc = log_cursor_next(&cursor, &entry, &err)) > 0)
        printf("entry %s %" PRIu64 " %u %zu %08x\n", stream->name, entry.seq, entry.count, entry.len,
               crc32c(0, entry.data, entry.len));
    log_cursor_fini(&cursor);
    log_info(stream->log, &info);
    for (size_t i = 0; i < info.lost_count; i++)
        printf("lost %s %" PRIu64 " %" PRIu64 "\n", stream->name, info.lost[i].from, info.lost[i].to);
    printf("health %s %d\n", stream->name, (int) info.health);
    (void) driver;
    return rc;
}

static int check(struct driver *driver)
{
    for (int i = 0; i < 2; i++)
        if (show(driver, &driver->streams[i]))
            return 1;
    for (int i = 0; i < 2; i++)
        append(driver, &driver->streams[i]);
    state_append(driver, true);
    log_device_wait(driver->dev);
    tell_state(driver);
    return 0;
}

int main(int argc, char **argv)
{
    struct driver driver = {.random = 88172645463325252u};
    if (argc < 3)
        return fputs("usage: driver run DIR SEED STEPS close|exit, or driver check DIR\n", stderr), 2;
    void *symbol = dlsym(RTLD_DEFAULT, "recorder_note");
    memcpy(&note, &symbol, sizeof note);
    logger_init("driver", LEVEL_ERROR);
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc == 6)
        driver.random ^= strtoull(argv[3], NULL, 10) * 0x9e3779b97f4a7c15u;
    if (open_all(&driver, argv[2]))
        return 1;
    int rc = 0;
    if (argc == 6)
        for (long steps = strtol(argv[4], NULL, 10); steps > 0; steps--)
            step(&driver);
    else
        rc = check(&driver);
    if (argc == 6 && !strcmp(argv[5], "close")) {
        log_device_close(&driver.dev);
        say("closed");
    }
    fflush(stdout);
    _exit(rc);
}
