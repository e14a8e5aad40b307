/* SPDX-License-Identifier: Apache-2.0 */
/* The option tables: every key of a topology file with its type, default, range and help. Nothing else. */
#include "topology/tables.h"

/* clang-format off */
#define KIB(n) ((int64_t) (n) << 10)
#define MIB(n) ((int64_t) (n) << 20)
#define GIB(n) ((int64_t) (n) << 30)
#define TIB(n) ((int64_t) (n) << 40)
#define SECONDS(n) ((n) * INT64_C(1000))
#define HOURS(n) SECONDS((n) * INT64_C(3600))
#define DAYS(n) HOURS((n) * INT64_C(24))

static const char *const DURABILITIES[] = {"disk", "memory", NULL};
static const char *const SHARES[] = {"group", "each", NULL};
static const char *const KINDS[] = {"exec", NULL}; /* node_options adds the built-in ones */

#define AT(member) .offset = offsetof(struct topology, member)
const struct option_def OPTIONS_TOP[] = {
    {"lineshaft", OPTION_INT, OPTION_REQUIRED, AT(version), .min = 1, .max = 1, .unknown = DIAG_VERSION_UNKNOWN,
     .help = "Version of the file format."},
    {"name", OPTION_NAME, AT(name), .fallback = "lineshaft", .help = "Name of the bus, shown in logs and metrics."},
    {"schemas", OPTION_TEXTS, AT(schemas),
     .help = "Folders with further event schemas, one `<topic>.yaml` each, beside the built-in ones."},
    {"broker", OPTION_SECTION, .help = "Settings of the broker, see below."},
    {"streams", OPTION_SECTION, .help = "Streams by name, see below; the order counts."},
    {"nodes", OPTION_SECTION, .help = "Nodes by name, see below."},
    {"consumers", OPTION_SECTION, .help = "Durable consumers by name, see below."},
    {0}};
#undef AT

#define AT(member) .offset = offsetof(struct topology_broker, member)
const struct option_def OPTIONS_BROKER[] = {
    {"listen", OPTION_ADDRESS, AT(listen), .fallback = "tcp://127.0.0.1:7400",
     .help = "Address of the first of five ports in a row: `tcp://HOST:PORT`. Port 0 chooses free ones."},
    {"data", OPTION_TEXT, AT(data), .fallback = "var/bus", .help = "Folder of the durable streams."},
    {"insecure", OPTION_BOOL, AT(insecure), .fallback = "false",
     .help = "Allow to listen off loopback although peers are neither encrypted nor known."},
    {"ipc", OPTION_TEXT, AT(ipc), .help = "Folder for ipc sockets beside the TCP ports; none by default."},
    {"header_max", OPTION_SIZE, AT(header_max), .fallback = "8KiB", .min = 256, .max = KIB(64),
     .help = "Largest header of one event."},
    {"body_max", OPTION_SIZE, AT(body_max), .fallback = "1MiB", .min = KIB(1), .max = MIB(8),
     .help = "Largest body of one event; larger data belongs in an object store."},
    {"batch_max", OPTION_SIZE, AT(batch_max), .fallback = "8MiB", .min = KIB(2), .max = MIB(64),
     .help = "Largest batch of events in one message; never more than fits the smallest segment of a stream."},
    {"batch_count_max", OPTION_INT, AT(batch_count_max), .fallback = "4096", .min = 1, .max = 65536,
     .help = "Most events in one batch."},
    {"connections_max", OPTION_INT, AT(connections_max), .fallback = "10000", .min = 1, .max = 1000000,
     .help = "Most peers at once; further ones are refused."},
    {"subscriptions_max", OPTION_INT, AT(subscriptions_max), .fallback = "20000", .min = 1, .max = 1000000,
     .help = "Most subscriptions of all peers together."},
    {"requests_max", OPTION_INT, AT(requests_max), .fallback = "10000", .min = 1, .max = 1000000,
     .help = "Most requests that wait for their answer at once."},
    {"memory", OPTION_SIZE, AT(memory), .fallback = "512MiB", .min = MIB(16), .max = TIB(1),
     .help = "Budget for events in memory; beyond it publishers are told to slow down."},
    {"connection_memory", OPTION_SIZE, AT(connection_memory), .fallback = "64MiB", .min = MIB(1), .max = TIB(1),
     .help = "Share of the budget that one peer may hold."},
    {"stats_every", OPTION_DURATION, AT(stats_every), .fallback = "10s", .min = 100, .max = HOURS(24),
     .help = "Interval of the `$sys.stats` events."},
    {0}};
#undef AT

#define AT(member) .offset = offsetof(struct topology_stream, member)
static const struct option_def OPTIONS_RETAIN[] = {
    {"age", OPTION_DURATION, AT(retain.age), .min = SECONDS(1), .max = DAYS(36500),
     .help = "Events older than this go; no limit by default."},
    {"size", OPTION_SIZE, AT(retain.size), .min = KIB(64), .max = TIB(1024),
     .help = "When the stream is larger, the oldest segments go; at least two segments; no limit by default."},
    {"count", OPTION_INT, AT(retain.count), .min = 1, .max = INT64_MAX,
     .help = "When the stream holds more events, the oldest segments go; no limit by default."},
    {0}};

static const struct option_def OPTIONS_DEDUP[] = {
    {"window", OPTION_DURATION, AT(dedup.window), .fallback = "10m", .min = 0, .max = DAYS(7),
     .help = "A second event with the same source and id within this time is acknowledged and dropped."},
    {"count", OPTION_INT, AT(dedup.count), .fallback = "262144", .min = 0, .max = 16777216,
     .help = "Most ids that are remembered."},
    {0}};

const struct option_def OPTIONS_STREAM[] = {
    {"topics", OPTION_PATTERNS, OPTION_REQUIRED, AT(topics),
     .help = "Patterns of the topics it keeps. A topic goes to the first stream in the file that matches."},
    {"durability", OPTION_ENUM, AT(durability), .fallback = "disk", .words = DURABILITIES,
     .help = "`disk`: acknowledged when the disk has it. `memory`: when it is written, not synced; survives a crash of the "
             "broker, not of the machine."},
    {"retain", OPTION_GROUP, .table = OPTIONS_RETAIN, .help = "How much is kept."},
    {"segment", OPTION_SIZE, AT(segment), .fallback = "64MiB", .min = KIB(64), .max = GIB(1),
     .help = "Size of one file of the stream; whole segments are dropped at a time. Raised to `header_max` + `body_max` + "
             "64KiB, where it is less: an event must fit."},
    {"dedup", OPTION_GROUP, .table = OPTIONS_DEDUP, .help = "How long repeated events are recognised."},
    {0}};
#undef AT

#define AT(member) .offset = offsetof(struct topology_delivery, member)
const struct option_def OPTIONS_DELIVERY[] = {
    {"from", OPTION_FROM, AT(from), .fallback = "all",
     .help = "Where a new consumer begins: `new`, `all`, `last`, `{last: N}`, `{seq: N}` or `{time: T}`."},
    {"share", OPTION_ENUM, AT(share), .fallback = "group", .words = SHARES,
     .help = "`group`: each event goes to one member. `each`: every member gets every event."},
    {"window", OPTION_INT, AT(window), .fallback = "256", .min = 1, .max = 10000,
     .help = "Most unacknowledged events per member."},
    {"window_bytes", OPTION_SIZE, AT(window_bytes), .fallback = "8MiB", .min = KIB(1), .max = GIB(1),
     .help = "Most unacknowledged bytes per member; at most the broker's `connection_memory`."},
    {"ack_wait", OPTION_DURATION, AT(ack_wait), .fallback = "30s", .min = 100, .max = HOURS(24),
     .help = "An event that is not acknowledged within this time is delivered again."},
    {"backoff", OPTION_DURATIONS, AT(backoff), .fallback = "1s, 5s, 30s", .min = 0, .max = DAYS(7),
     .help = "Delays before the second, third ... delivery; the last one repeats."},
    {"max_deliver", OPTION_INT, AT(max_deliver), .fallback = "5", .min = 0, .max = 1000000,
     .help = "Deliveries before an event becomes a dead letter; 0: no end."},
    {"member_ttl", OPTION_DURATION, AT(member_ttl), .fallback = "1h", .min = SECONDS(1), .max = DAYS(365),
     .help = "With `share: each`: how long the position of an absent member is kept."},
    {0}};
#undef AT

#define AT(member) .offset = offsetof(struct topology_node, member)
static const struct option_def OPTIONS_RESTART[] = {
    {"delay", OPTION_DURATION, AT(restart.delay), .fallback = "200ms", .min = 1, .max = HOURS(1),
     .help = "Delay before the first restart; doubles with every further one."},
    {"delay_max", OPTION_DURATION, AT(restart.delay_max), .fallback = "30s", .min = 1, .max = HOURS(24),
     .help = "Longest delay."},
    {"limit", OPTION_INT, AT(restart.limit), .fallback = "5", .min = 1, .max = 1000,
     .help = "So many ends within `within` are a crash loop, which is reported."},
    {"within", OPTION_DURATION, AT(restart.within), .fallback = "60s", .min = SECONDS(1), .max = HOURS(24),
     .help = "The time in which ends are counted."},
    {0}};

const struct option_def OPTIONS_NODE[] = {
    {"kind", OPTION_ENUM, OPTION_REQUIRED, AT(kind), .words = KINDS, .unknown = DIAG_KIND_UNKNOWN,
     .help = "What it is: a built-in kind, or `exec`, a program of your own. It decides which further options there are."},
    {"directory", OPTION_TEXT, AT(directory), .help = "Folder to start it in; the working directory by default."},
    {"environment", OPTION_TEXT_MAP, OPTION_SECRET, AT(environment), .help = "Further environment variables."},
    {"takes", OPTION_PATTERNS, AT(takes),
     .help = "Topics it consumes, through a durable consumer named `group`; by default those of its kind."},
    {"gives", OPTION_PATTERNS, AT(gives),
     .help = "Topics it publishes, for `check` and `graph`; by default those of its kind."},
    {"serves", OPTION_PATTERNS, AT(serves),
     .help = "Topics of the requests it answers; by default those of its kind."},
    {"asks", OPTION_PATTERNS, AT(asks),
     .help = "Topics of the requests it sends, for `check`, `graph` and the order in which nodes stop; by default those of "
             "its kind."},
    {"slots", OPTION_INT, AT(slots), .min = 1, .max = 1000,
     .help = "Most requests that each of its processes answers at a time; by default that of its kind, else 1."},
    {"group", OPTION_NAME, AT(group), .help = "Name of its consumer; the node's name by default."},
    {"restart", OPTION_GROUP, .table = OPTIONS_RESTART, .help = "What happens when it ends by itself."},
    {"stop_timeout", OPTION_DURATION, AT(stop_timeout), .fallback = "10s", .min = 0, .max = HOURS(1),
     .help = "Time to end after SIGTERM before it is killed. Nodes that ask are stopped first."},
    {"replicas", OPTION_INT, AT(replicas), .fallback = "1", .min = 1, .max = 256,
     .help = "How many processes of it run."},
    {"delivery", OPTION_INLINE, AT(delivery), .table = OPTIONS_DELIVERY},
    {0}};

const struct option_def OPTIONS_EXEC[] = {
    {"command", OPTION_COMMAND, OPTION_SECRET, AT(command),
     .help = "Required. The program and its arguments as a list, or one text for `/bin/sh -c`."},
    {"options", OPTION_FREE, OPTION_SECRET, AT(options),
     .help = "Free map for the program: `options` in the JSON text of `LINESHAFT_OPTIONS`."},
    {0}};
#undef AT

#define AT(member) .offset = offsetof(struct topology_consumer, member)
const struct option_def OPTIONS_CONSUMER[] = {
    {"stream", OPTION_TEXT, AT(stream_name),
     .help = "The stream it reads; by default the one that keeps the topics it takes."},
    {"takes", OPTION_PATTERNS, OPTION_REQUIRED, AT(takes), .help = "Topics it consumes."},
    {"delivery", OPTION_INLINE, AT(delivery), .table = OPTIONS_DELIVERY},
    {0}};
#undef AT

const struct option_section OPTION_SECTIONS[] = {
    {"", "The top level of the file.", OPTIONS_TOP},
    {"broker", "The broker.", OPTIONS_BROKER},
    {"streams.NAME",
     "Streams keep events. The built-in stream `$sys` keeps `$dlq.>` and `$sys.rejected` (segment 4MiB, retain 30d and "
     "256MiB); an entry `$sys` without `topics` tunes it.",
     OPTIONS_STREAM},
    {"nodes.NAME",
     "Programs that `lineshaft up` starts and keeps running. Beside these options stand those of the kind; see \"Node kinds\".",
     OPTIONS_NODE},
    {"consumers.NAME", "Durable consumers for programs that lineshaft does not start.", OPTIONS_CONSUMER},
    {0}};
