/* SPDX-License-Identifier: Apache-2.0 */
/* How many entries a second the log takes in and makes durable, without sockets: `log_bench DIR [SECONDS]`. Prints figures,
 * asserts nothing. "append" is the owner's cost alone; "durable" keeps up to `window` entries pending, as a broker with
 * that many outstanding publishes would. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "broker/log/log.h"
#include "lib/clock.h"
#include "lib/logger.h"

struct bench {
    struct log_device *dev;
    struct log *log;
    uint64_t committed;
};

static double seconds(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double) ts.tv_sec + (double) ts.tv_nsec / 1e9;
}

static void committed(void *arg, struct log *log, uint64_t upto)
{
    struct bench *bench = arg;
    (void) log;
    bench->committed = upto;
}

static void turn(struct bench *bench)
{
    struct pollfd ready = {.fd = log_device_fd(bench->dev), .events = POLLIN};
    poll(&ready, 1, 100);
    log_device_poll(bench->dev, clock_mono_ms());
}

static void durable(struct bench *bench, size_t len, uint64_t window, double length)
{
    static uint8_t data[16384];
    struct log_part part = {data, len};
    struct ls_error err;
    struct log_info before, after;
    memset(data, 'x', sizeof data);
    log_info(bench->log, &before);
    double start = seconds(), spent = 0;
    uint64_t first = log_next_seq(bench->log), appended = 0;
    bench->committed = log_durable_seq(bench->log);
    while (seconds() - start < length) {
        double turn_start = seconds();
        while (log_next_seq(bench->log) - 1 - bench->committed < window) {
            if (!log_append(bench->log, 0, 1, clock_wall_us(), &part, 1, &err))
                break;
            appended++;
        }
        spent += seconds() - turn_start;
        log_device_submit(bench->dev);
        turn(bench);
        log_retain(bench->log, clock_wall_us());
    }
    double took = seconds() - start;
    log_info(bench->log, &after);
    double groups = (double) (after.groups - before.groups), done = (double) (bench->committed + 1 - first);
    printf("%6zu B  window %6lu  %9.0f durable/s  %7.1f MB/s  %6.0f groups/s  %7.0f a group  %5.0f ns an append\n", len,
           (unsigned long) window, done / took, done * (double) len / took / 1e6, groups / took, done / groups,
           spent / (double) (appended ? appended : 1) * 1e9);
    log_device_wait(bench->dev);
}

static void append_only(struct bench *bench, size_t len)
{
    static uint8_t data[16384];
    struct log_part part = {data, len};
    struct ls_error err;
    double spent = 0;
    uint64_t appended = 0;
    for (int round = 0; round < 50; round++) {
        double start = seconds();
        for (int i = 0; i < 1000 && log_append(bench->log, 0, 1, 1, &part, 1, &err); i++)
            appended++;
        spent += seconds() - start;
        log_device_wait(bench->dev);
    }
    printf("%6zu B  append alone %9.0f /s\n", len, (double) appended / spent);
}

int main(int argc, char **argv)
{
    struct bench bench = {0};
    struct ls_error err;
    double length = argc > 2 ? strtod(argv[2], NULL) : 2;
    if (argc < 2)
        return fputs("usage: log_bench DIR [SECONDS]\n", stderr), 2;
    logger_init("bench", LEVEL_INFO);
    bench.dev = log_device_open(argv[1], &err);
    struct log_config config = {.name = "bench", .sync = !getenv("LOG_BENCH_MEMORY"), .segment_bytes = 128u << 20,
                                .pending_bytes_max = 64u << 20, .hot_bytes_max = 4u << 20, .retain_bytes = 512u << 20,
                                .committed = committed, .arg = &bench};
    bench.log = bench.dev ? log_open(bench.dev, &config, &err) : NULL;
    if (!bench.log)
        return fprintf(stderr, "%s\n", err.text), 1;
    static const size_t SIZES[] = {128, 1024, 16384};
    for (int i = 0; i < 3; i++)
        append_only(&bench, SIZES[i]);
    for (int i = 0; i < 3; i++)
        durable(&bench, SIZES[i], 1000, length);
    durable(&bench, 128, 10000, length);
    durable(&bench, 128, 1, length);
    log_device_close(&bench.dev);
    return 0;
}
