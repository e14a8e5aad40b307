/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BROKER_BROKER_H
#define BROKER_BROKER_H
#include "broker/config.h"
#include "lib/lineshaft.h"

/* The broker as its caller sees it: one process, one thread that owns every socket and all state (broker/core.h), one commit
 * thread below it (broker/log). */
struct broker;

/* broker_open recovers the data directory, binds the sockets and starts nothing else. Signals must be blocked before (the
 * I/O threads inherit the mask). `config` stays the caller's and must live as long as the broker. NULL with *err: CONFIG (not
 * loopback), CONFLICT (directory or port in use), SYSTEM, CORRUPT. */
struct broker *broker_open(const struct broker_config *config, struct ls_error *err);

int broker_port(const struct broker *b); /* the base port that was bound */

/* broker_step waits at most wait_ms (-1: until something is due) and handles what is ready. */
void broker_step(struct broker *b, int64_t wait_ms);

/* broker_run steps until SIGTERM or SIGINT (which the caller has blocked) arrives. */
void broker_run(struct broker *b);

/* broker_close commits and answers what is pending, says GOODBYE, closes. Blocks for the last sync and up to a second of
 * lingering. Nulls *b. */
void broker_close(struct broker **b);

#endif
