/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_BENCH_BENCH_H
#define TESTS_BENCH_BENCH_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One measured cell: one client against one running server. Every peer's client is driven by the same loops
 * (client.c), so that cells differ only in what `struct peer` hides. */
struct cell {
    const char *host;  /* for the disk probe: a folder */
    int port;          /* base port; further sockets of a server follow it */
    size_t size;       /* bytes of one event's body; at least 16 */
    uint64_t count;    /* events */
    uint32_t window;   /* events that may be unacknowledged (durable) or on their way (live) */
    uint32_t batch;    /* events in one message; 1 for all peers but lineshaft's batched rows */
};

enum role { ROLE_DURABLE, ROLE_PUBLISHER, ROLE_SUBSCRIBER };

#define BATCH_MAX 64
#define PROBE UINT64_MAX /* number of the events that only find out whether the subscription is in place */

/* A body is the msgpack encoding of a byte string (lineshaft reads bodies as msgpack), with the event's number in it. */
#define BODY_NUMBER_AT 8

/* A peer. Functions end the process with one line on standard error when the server or the network fails (die). */
struct peer {
    const char *name;
    /* open connects and returns the peer's state, freed by close. */
    void *(*open)(const struct cell *cell, enum role role);
    /* publish hands over the events number .. number + batch - 1; may keep them in a buffer until settle. */
    void (*publish)(void *self, uint64_t number);
    /* settle sends what publish kept and takes in acknowledgements until at least `least` events are acknowledged
     * (0: those that are there). Returns how many are. */
    uint64_t (*settle)(void *self, uint64_t least);
    /* receive waits for the next message, writes the numbers of its events (at most BATCH_MAX) and returns how many,
     * 0 if timeout_ms went by first. */
    size_t (*receive)(void *self, int timeout_ms, uint64_t numbers[BATCH_MAX]);
    void (*close)(void *self);
};

/* The peers that this executable knows; ends with NULL. Each client_*.c defines it. */
extern const struct peer *const PEERS[];

void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
/* body_new returns a body of cell->size bytes that no compressor can shorten; free it. */
uint8_t *body_new(const struct cell *cell);
void body_set_number(uint8_t *body, uint64_t number);
uint64_t body_number(const void *body, size_t len);

#endif
