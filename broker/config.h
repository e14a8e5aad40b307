/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BROKER_CONFIG_H
#define BROKER_CONFIG_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the broker is told. The caller (cli/) fills it from a checked topology and keeps it alive while the broker runs.
 * All values are already checked; durations in ms, sizes in bytes, 0 meaning "no limit" where a limit is optional. */

struct stream_config {
    const char *name;
    const char *const *topics; /* patterns; NULL-terminated */
    bool memory;               /* durability: memory */
    int64_t retain_age_ms;
    uint64_t retain_bytes, retain_count;
    uint64_t segment_bytes;
    int64_t dedup_window_ms;
    uint64_t dedup_count;
};

enum consumer_share { SHARE_GROUP, SHARE_EACH };
enum start_kind { START_NEW, START_ALL, START_LAST, START_SEQ, START_TIME };

struct start {
    enum start_kind kind;
    uint64_t value; /* START_LAST: number of events; START_SEQ: sequence number */
    int64_t time_us; /* START_TIME; START_SEQ: when the event before it was stored, 0 if that is not known */
};

struct consumer_config {
    const char *name;
    const char *stream;
    const char *const *takes; /* patterns; NULL-terminated */
    struct start from;
    enum consumer_share share;
    uint32_t window; /* messages, per member */
    uint64_t window_bytes;
    int64_t ack_wait_ms;
    const int64_t *backoff_ms; /* by failed attempt, the last one repeats; NULL: at once */
    size_t backoff_count;
    uint32_t max_deliver;  /* 0: no end */
    int64_t member_ttl_ms; /* share: each */
};

/* What time it is, asked by the loop's thread at opening and once a turn. mono_ms, which every timer follows, never goes back;
 * wall_us, microseconds since 1970, may jump. Tests set the time with it; broker/log keeps the system's clocks for itself. */
struct broker_clock {
    int64_t (*mono_ms)(void *arg);
    int64_t (*wall_us)(void *arg);
    void *arg;
};

struct broker_config {
    const char *name;
    const char *host;    /* "127.0.0.1" */
    int port;            /* base port; 0: five free ports in a row are chosen */
    const char *ipc_dir; /* NULL: no ipc twins */
    const char *data_dir;
    bool insecure; /* allow a listen address off loopback */
    uint32_t header_bytes_max, body_bytes_max, batch_bytes_max, batch_count_max;
    uint32_t connections_max, subscriptions_max, requests_max;
    uint64_t memory_bytes_max; /* all accounts together */
    uint64_t connection_bytes_max;
    int64_t stats_every_ms;
    const struct stream_config *streams;
    size_t stream_count;
    const struct consumer_config *consumers;
    size_t consumer_count;
    const char *const *schema_folders; /* NULL-terminated, besides the built-in schemas; may be NULL */
    const struct broker_clock *clock;  /* NULL: the system's */
};

#endif
