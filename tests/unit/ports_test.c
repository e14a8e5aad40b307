/* SPDX-License-Identifier: Apache-2.0 */
/* Port 0: the broker finds five free ports in a row, also where the first free one is no good. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <ftw.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "broker/broker.h"
#include "broker/core.h"

#define FIRST_FREE_FROM 0xc000 /* where CZMQ begins to look */

/* A descriptor that holds the port, or -1 if somebody else does. */
static int hold(int port)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t) port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    if (bind(fd, (const struct sockaddr *) &address, sizeof address) == 0 && listen(fd, 1) == 0)
        return fd;
    close(fd);
    return -1;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *where)
{
    (void) st, (void) type, (void) where;
    return remove(path);
}

static void a_taken_neighbour_is_no_obstacle(void **state)
{
    static const char *const TOPICS[] = {"$dlq.>", "$sys.rejected", NULL};
    static const struct stream_config STREAM = {.name = "$sys", .topics = TOPICS, .segment_bytes = 65536};
    char dir[] = "/tmp/ports-test-XXXXXX";
    struct ls_error err;
    (void) state;
    assert_non_null(mkdtemp(dir));
    logger_init("test", LEVEL_ERROR);
    struct broker_config config = {.name = "t", .host = "127.0.0.1", .data_dir = dir, .header_bytes_max = 1024, .body_bytes_max = 1024,
                                   .batch_bytes_max = 4096, .batch_count_max = 8, .connections_max = 10, .stats_every_ms = 1000,
                                   .memory_bytes_max = 1 << 20, .streams = &STREAM, .stream_count = 1};
    int port = FIRST_FREE_FROM, probe, taken;
    while ((probe = hold(port)) < 0)
        port++;
    taken = hold(port + 1);
    close(probe);
    struct broker *b = broker_open(&config, &err);
    if (!b)
        fail_msg("%s", err.text);
    assert_true(broker_port(b) > port + 1 || broker_port(b) < port);
    broker_close(&b);
    if (taken >= 0)
        close(taken);
    nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_taken_neighbour_is_no_obstacle)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
