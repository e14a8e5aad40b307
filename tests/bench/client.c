/* SPDX-License-Identifier: Apache-2.0 */
/* The benchmark client's common part: arguments, the three measuring loops (durable, ack1, live), clocks, the JSON line.
 * What differs between peers is behind struct peer (bench.h). */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/xmem.h"
#include "tests/bench/bench.h"

#define SILENCE_MS 5000 /* no event for so long: what is missing is lost */

struct result {
    double started, seconds;     /* CLOCK_MONOTONIC; seconds of the timed part */
    double server_cpu, client_cpu; /* seconds; while running, the value at the start */
    uint64_t received, lost;     /* live only */
    double *samples;             /* ack1 only: seconds each */
    size_t sample_count;
};

/* What the subscriber process tells the publisher process when it is done. */
struct report {
    double ended, cpu;
    uint64_t received, lost;
};

void die(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    fputs("bench client: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}

static double clock_seconds(clockid_t id)
{
    struct timespec ts;

    if (clock_gettime(id, &ts))
        die("cannot read a clock: %s", strerror(errno));
    return (double) ts.tv_sec + (double) ts.tv_nsec / 1e9;
}

/* The processor time of all threads of a process, also of those that ended; 0 if there is no server. */
static double process_cpu(pid_t pid)
{
    clockid_t id;

    if (!pid)
        return 0;
    int rc = clock_getcpuclockid(pid, &id);
    if (rc)
        die("cannot read the processor time of the server, process %d: %s", (int) pid, strerror(rc));
    return clock_seconds(id);
}

static void timing_start(struct result *r, pid_t server)
{
    r->server_cpu = process_cpu(server);
    r->client_cpu = clock_seconds(CLOCK_PROCESS_CPUTIME_ID);
    r->started = clock_seconds(CLOCK_MONOTONIC);
}

static void timing_stop(struct result *r, pid_t server)
{
    r->seconds = clock_seconds(CLOCK_MONOTONIC) - r->started;
    r->client_cpu = clock_seconds(CLOCK_PROCESS_CPUTIME_ID) - r->client_cpu;
    r->server_cpu = process_cpu(server) - r->server_cpu;
}

uint8_t *body_new(const struct cell *cell)
{
    uint8_t *body = xcalloc(1, cell->size);
    uint32_t state = 2463534242u;

    for (size_t i = 0; i < cell->size; i++) {
        state ^= state << 13; /* xorshift32 */
        state ^= state >> 17;
        state ^= state << 5;
        body[i] = (uint8_t) state;
    }
    uint32_t bytes = (uint32_t) cell->size - 5;
    const uint8_t head[] = {0xc6, (uint8_t) (bytes >> 24), (uint8_t) (bytes >> 16), (uint8_t) (bytes >> 8), (uint8_t) bytes};
    memcpy(body, head, sizeof head); /* msgpack bin 32 */
    return body;
}

void body_set_number(uint8_t *body, uint64_t value)
{
    memcpy(body + BODY_NUMBER_AT, &value, sizeof value);
}

uint64_t body_number(const void *body, size_t len)
{
    uint64_t value;

    if (len < BODY_NUMBER_AT + sizeof value)
        die("an event of %zu bytes came, too short to be ours", len);
    memcpy(&value, (const uint8_t *) body + BODY_NUMBER_AT, sizeof value);
    return value;
}

static void run_durable(const struct peer *peer, const struct cell *cell, pid_t server, struct result *r)
{
    void *self = peer->open(cell, ROLE_DURABLE);
    uint64_t sent = 0, acked = 0;

    timing_start(r, server);
    while (acked < cell->count) {
        while (sent < cell->count && sent + cell->batch <= acked + cell->window) {
            peer->publish(self, sent);
            sent += cell->batch;
        }
        acked = peer->settle(self, acked + 1);
    }
    timing_stop(r, server);
    peer->close(self);
}

static void run_ack1(const struct peer *peer, const struct cell *cell, pid_t server, struct result *r)
{
    void *self = peer->open(cell, ROLE_DURABLE);

    r->samples = xcalloc(cell->count, sizeof *r->samples);
    timing_start(r, server);
    for (uint64_t n = 0; n < cell->count; n++) {
        double before = clock_seconds(CLOCK_MONOTONIC);
        peer->publish(self, n);
        peer->settle(self, n + 1);
        r->samples[r->sample_count++] = clock_seconds(CLOCK_MONOTONIC) - before;
    }
    timing_stop(r, server);
    peer->close(self);
}

static void write_all(int fd, const void *data, size_t len)
{
    if (write(fd, data, len) != (ssize_t) len) /* at most PIPE_BUF bytes: never split */
        die("cannot write to the other half of the client: %s", strerror(errno));
}

/* The subscriber process. It writes to `credit_fd` how far it has come, an eighth of the window at a time, so that the
 * publisher never has more than the window on its way and no server has a reason to drop. */
static void subscriber_run(const struct peer *peer, const struct cell *cell, int credit_fd, int report_fd)
{
    void *self = peer->open(cell, ROLE_SUBSCRIBER);
    struct report report = {0};
    uint64_t numbers[BATCH_MAX], next = 0, told = 0;
    bool probed = false;
    double cpu = 0;

    while (next < cell->count) {
        size_t got = peer->receive(self, SILENCE_MS, numbers);
        if (!got)
            break;
        if (!probed) {
            probed = true;
            cpu = clock_seconds(CLOCK_PROCESS_CPUTIME_ID);
            write_all(report_fd, "!", 1);
        }
        for (size_t i = 0; i < got; i++) {
            if (numbers[i] == PROBE)
                continue;
            if (numbers[i] < next || numbers[i] >= cell->count)
                die("event %" PRIu64 " came when %" PRIu64 " was due", numbers[i], next);
            report.lost += numbers[i] - next;
            next = numbers[i] + 1;
            report.received++;
        }
        if (next >= told + (cell->window + 7) / 8) {
            told = next;
            write_all(credit_fd, &told, sizeof told);
        }
    }
    report.ended = clock_seconds(CLOCK_MONOTONIC);
    report.lost += cell->count - next;
    report.cpu = clock_seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    write_all(report_fd, &report, sizeof report);
    peer->close(self);
}

/* Publishes probes until the subscriber has seen one. */
static void probe(const struct peer *peer, void *self, int report_fd)
{
    struct pollfd wait = {.fd = report_fd, .events = POLLIN};
    char mark;

    for (int tries = 0; tries < 500; tries++) {
        peer->publish(self, PROBE);
        peer->settle(self, 0);
        if (poll(&wait, 1, 20) == 1) {
            if (read(report_fd, &mark, 1) != 1)
                die("the subscriber ended before its first event");
            return;
        }
    }
    die("the subscriber saw nothing for 10 seconds");
}

/* Waits for credit and returns how far the subscriber has come; `seen` again if it has fallen silent. */
static uint64_t credit_wait(int credit_fd, uint64_t seen)
{
    struct pollfd wait = {.fd = credit_fd, .events = POLLIN};
    uint64_t marks[64];

    if (poll(&wait, 1, 2 * SILENCE_MS) != 1)
        return seen;
    ssize_t got = read(credit_fd, marks, sizeof marks);
    if (got <= 0)
        return seen;
    return marks[(size_t) got / sizeof marks[0] - 1];
}

static void publisher_run(const struct peer *peer, const struct cell *cell, pid_t server, int credit_fd, int report_fd,
                          struct result *r)
{
    void *self = peer->open(cell, ROLE_PUBLISHER);
    struct report report;
    uint64_t sent = 0, seen = 0;

    probe(peer, self, report_fd);
    timing_start(r, server);
    while (sent < cell->count) {
        if (sent + cell->batch <= seen + cell->window) {
            peer->publish(self, sent);
            sent += cell->batch;
            continue;
        }
        peer->settle(self, 0);
        uint64_t now = credit_wait(credit_fd, seen);
        if (now == seen)
            break; /* the end of the window was lost; the subscriber reports it */
        seen = now;
    }
    peer->settle(self, 0);
    if (read(report_fd, &report, sizeof report) != sizeof report)
        die("the subscriber ended without a report");
    timing_stop(r, server);
    r->seconds = report.ended - r->started;
    r->client_cpu += report.cpu;
    r->received = report.received;
    r->lost = report.lost;
    peer->close(self);
}

static void run_live(const struct peer *peer, const struct cell *cell, pid_t server, struct result *r)
{
    int credit[2], report[2];

    if (pipe(credit) || pipe(report))
        die("cannot make a pipe: %s", strerror(errno));
    pid_t child = fork(); /* before any socket exists: neither libzmq nor libnats survive a fork */
    if (child < 0)
        die("cannot fork: %s", strerror(errno));
    if (!child) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(credit[0]);
        close(report[0]);
        subscriber_run(peer, cell, credit[1], report[1]);
        exit(0);
    }
    close(credit[1]);
    close(report[1]);
    publisher_run(peer, cell, server, credit[0], report[0], r);
    waitpid(child, NULL, 0);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *) a, y = *(const double *) b;

    return (x > y) - (x < y);
}

static void print_result(const char *what, const char *name, const struct cell *cell, struct result *r)
{
    bool live = !strcmp(what, "live");
    double events = live ? (double) r->received : (double) cell->count;

    printf("{\"peer\": \"%s\", \"case\": \"%s\", \"size\": %zu, \"count\": %" PRIu64 ", \"window\": %u, \"batch\": %u, ",
           name, what, cell->size, cell->count, cell->window, cell->batch);
    printf("\"seconds\": %.6f, \"rate\": %.1f, \"server_us\": %.3f, \"client_us\": %.3f, \"lost\": %" PRIu64, r->seconds,
           events / r->seconds, r->server_cpu / events * 1e6, r->client_cpu / events * 1e6, r->lost);
    if (r->sample_count) {
        qsort(r->samples, r->sample_count, sizeof *r->samples, compare);
        printf(", \"p50_us\": %.1f, \"p99_us\": %.1f", r->samples[r->sample_count / 2] * 1e6,
               r->samples[r->sample_count * 99 / 100] * 1e6);
    }
    puts("}");
}

static uint64_t number(const char *text, const char *name, uint64_t least, uint64_t most)
{
    char *end;

    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno || end == text || *end || value < least || value > most)
        die("%s must be a number from %" PRIu64 " to %" PRIu64 ", not \"%s\"", name, least, most, text);
    return value;
}

static const struct peer *peer_find(const char *name)
{
    for (size_t i = 0; PEERS[i]; i++)
        if (!strcmp(PEERS[i]->name, name))
            return PEERS[i];
    die("this client knows no peer \"%s\"", name);
}

int main(int argc, char **argv)
{
    if (argc < 7) {
        fprintf(stderr, "usage: %s PEER durable|ack1|live SIZE COUNT WINDOW HOST:PORT [BATCH [SERVER-PID]]\n", argv[0]);
        return 2;
    }
    const struct peer *peer = peer_find(argv[1]);
    char *host = xstrdup(argv[6]), *colon = strrchr(host, ':');
    struct cell cell = {.host = host};
    cell.size = number(argv[3], "SIZE", 16, 1 << 20);
    cell.count = number(argv[4], "COUNT", 1, 1000000000);
    cell.window = (uint32_t) number(argv[5], "WINDOW", 1, 1000000);
    cell.batch = argc > 7 ? (uint32_t) number(argv[7], "BATCH", 1, BATCH_MAX) : 1;
    pid_t server = argc > 8 ? (pid_t) number(argv[8], "SERVER-PID", 0, INT32_MAX) : 0;
    if (colon) {
        *colon = '\0';
        cell.port = (int) number(colon + 1, "PORT", 1, 65535);
    }
    cell.count -= cell.count % cell.batch;
    if (!cell.count || cell.window < cell.batch)
        die("COUNT and WINDOW must not be smaller than BATCH");

    struct result r = {0};
    if (!strcmp(argv[2], "durable"))
        run_durable(peer, &cell, server, &r);
    else if (!strcmp(argv[2], "ack1"))
        run_ack1(peer, &cell, server, &r);
    else if (!strcmp(argv[2], "live"))
        run_live(peer, &cell, server, &r);
    else
        die("there is no case \"%s\"", argv[2]);
    print_result(argv[2], peer->name, &cell, &r);
    free(r.samples);
    free(host);
    return 0;
}
