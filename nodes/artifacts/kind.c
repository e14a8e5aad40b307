/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of the kind `artifacts`. */
#include <string.h>

#include "nodes/artifacts/options.h"

#define AT(member) .offset = offsetof(struct artifacts_options, member)
#define HOUR_MS 3600000
#define TIB ((int64_t) 1 << 40)
#define MIB ((int64_t) 1 << 20)

/* clang-format off */
const char *const ARTIFACTS_ADDRESSING[] = {"auto", "path", "virtual", NULL};

static const struct kind_option OPTIONS[] = {
    {"store", KIND_TEXT, 0, AT(store), .fallback = "file:var/artifacts",
     .help = "Where artifacts are kept: `file:DIR`, or `s3://BUCKET` or `s3://BUCKET/PREFIX` in any store that speaks S3."},
    {"dir", KIND_TEXT, 0, AT(dir), .fallback = "var/artifacts-spool",
     .help = "Folder of the node itself: its spool (what is not stored yet) and its door, the socket `door.sock`. One for each node."},
    {"listen", KIND_ADDRESS, 0, AT(listen),
     .help = "Serve bytes on this private port instead of the socket, for nodes on other machines. Callers send the token "
             "LINESHAFT_TOKEN, which must be set."},
    {"spool_limit", KIND_SIZE, 0, AT(spool_limit), .fallback = "10GiB", .min = 1024, .max = 1024 * TIB,
     .help = "The most that the spool may hold, and so the largest artifact. Beyond it uploads are answered 507, and events wait."},
    {"free_floor", KIND_SIZE, 0, AT(free_floor), .fallback = "1GiB", .min = 0, .max = 1024 * TIB,
     .help = "What the spool leaves free on its disk."},
    {"answer_after", KIND_DURATION, 0, AT(answer_after), .fallback = "1m", .min = 1, .max = HOUR_MS,
     .help = "How long an upload waits for the store, before it is answered 202: it is kept, and will be stored."},
    {"parallel", KIND_INT, 0, AT(parallel), .fallback = "4", .min = 1, .max = 64,
     .help = "Artifacts that are written to the store at a time."},
    {"files_from", KIND_TEXTS, 0, AT(files_from),
     .help = "Folders from which the event artifact.put may name a `file`; absent: the working directory."},
    {"endpoint", KIND_TEXT, 0, AT(endpoint),
     .help = "S3: the server, such as `http://127.0.0.1:9000`; absent: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, "
             "MLFLOW_S3_ENDPOINT_URL, else Amazon's."},
    {"region", KIND_TEXT, 0, AT(region), .help = "S3: absent: AWS_REGION, AWS_DEFAULT_REGION, else us-east-1."},
    {"access_key", KIND_TEXT, KIND_SECRET, AT(access_key),
     .help = "S3: absent: AWS_ACCESS_KEY_ID, else the profile AWS_PROFILE of ~/.aws/credentials."},
    {"secret_key", KIND_TEXT, KIND_SECRET, AT(secret_key), .help = "S3: absent: AWS_SECRET_ACCESS_KEY, else the same profile."},
    {"session_token", KIND_TEXT, KIND_SECRET, AT(session_token), .help = "S3: of temporary keys; absent: AWS_SESSION_TOKEN."},
    {"addressing", KIND_ENUM, 0, AT(addressing), .fallback = "auto", .words = ARTIFACTS_ADDRESSING,
     .help = "S3: `path`: http://HOST/BUCKET/KEY; `virtual`: http://BUCKET.HOST/KEY; `auto`: `path` unless the server is Amazon's."},
    {"ca_file", KIND_TEXT, 0, AT(ca_file), .help = "S3: certificates to trust for https, PEM; absent: the system's."},
    {"encryption", KIND_TEXT, 0, AT(encryption), .help = "S3: encryption at the server, `AES256` or `aws:kms`."},
    {"create_bucket", KIND_BOOL, 0, AT(create_bucket), .fallback = "false", .help = "S3: make the bucket if it is absent."},
    {"part_size", KIND_SIZE, 0, AT(part_size), .fallback = "16MiB", .min = 5 * MIB, .max = 5120 * MIB,
     .help = "S3: what is larger goes up in parts of this size."},
    {0}};

static const struct kind_metric METRICS[] = {
    [METRIC_STORED] = {"stored_total", "artifacts that the store has, verified"},
    [METRIC_STORED_BYTES] = {"stored_bytes_total", "their bytes"},
    [METRIC_FAILED] = {"failed_total", "artifacts that could not be stored, for good"},
    [METRIC_DELETED] = {"deleted_total", "artifacts removed from the store"},
    [METRIC_RETRIES] = {"store_retries_total", "times that the store failed and will be tried again"},
    [METRIC_REFUSED] = {"refused_total", "uploads and events turned away because the spool had no room"},
    [METRIC_DOWNLOADS] = {"downloads_total", "downloads that came to their end"},
    [METRIC_DOWNLOAD_BYTES] = {"download_bytes_total", "bytes of downloads that were begun"},
    [METRIC_SPOOL_ENTRIES] = {"spool_entries", "artifacts in the spool"},
    [METRIC_SPOOL_BYTES] = {"spool_bytes", "bytes in the spool, with those that uploads have announced"},
    [METRIC_SPOOL_FREE_BYTES] = {"spool_free_bytes", "bytes free on the spool's disk"},
    [METRIC_PRESSURE] = {"pressure", "1 while the spool has no room for more"},
    {0}};

/* Answered by the node's own door (docs/decisions/038); the same for MLflow's clients and for MLflow's page in a browser. */
#define MLFLOW_ROUTES(base)                                                                                              \
    {"GET", base "/artifacts", "artifacts.bytes", "list artifacts, as MLflow does", .bytes = true},                      \
    {"PUT", base "/artifacts/{path...}", "artifacts.bytes", "upload an artifact, as MLflow does", .bytes = true},        \
    {"GET", base "/artifacts/{path...}", "artifacts.bytes", "download an artifact, as MLflow does", .bytes = true},      \
    {"HEAD", base "/artifacts/{path...}", "artifacts.bytes", "look at an artifact, as MLflow does", .bytes = true},      \
    {"DELETE", base "/artifacts/{path...}", "artifacts.bytes", "remove artifacts, as MLflow does", .bytes = true}

static const struct kind_route ROUTES[] = {
    {"GET", "/api/artifacts", "artifacts.bytes", "list artifacts", .bytes = true},
    {"PUT", "/api/artifacts/{path...}", "artifacts.bytes", "upload an artifact", .bytes = true},
    {"GET", "/api/artifacts/{path...}", "artifacts.bytes", "download an artifact, or a range of it", .bytes = true},
    {"HEAD", "/api/artifacts/{path...}", "artifacts.bytes", "size, type and hash of an artifact", .bytes = true},
    {"DELETE", "/api/artifacts/{path...}", "artifacts.bytes", "remove an artifact, or all below a path", .bytes = true},
    MLFLOW_ROUTES("/api/2.0/mlflow-artifacts"),
    MLFLOW_ROUTES("/ajax-api/2.0/mlflow-artifacts"),
    {0}};
/* clang-format on */

static const char *const TAKES[] = {"artifact.put", NULL};
static const char *const GIVES[] = {"artifact.stored", "artifact.failed", "artifact.deleted", "artifact.pressure", NULL};
static const char *const SERVES[] = {"artifacts.>", NULL};

/* A name that every store takes, S3's own rule but for a few reserved ones; what ends it is the prefix. */
static bool is_bucket(const char *name)
{
    size_t len = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789.-");
    return len >= 3 && len <= 63 && (!name[len] || name[len] == '/') && !strchr(".-", name[0]) && !strchr(".-", name[len - 1]);
}

/* What follows is looked at by the node (nodes/kit/objstore.h), which this program does not link. */
static bool check(const void *options, struct kind_problem *problem)
{
    const struct artifacts_options *o = options;
    bool folder = kind_begins(o->store, "file:") && o->store[5], s3 = kind_begins(o->store, "s3://") && o->store[5] && o->store[5] != '/';
    if (!folder && !s3)
        return kind_complain(problem, "store", "that is no store", "write file:DIR, s3://BUCKET or s3://BUCKET/PREFIX");
    if (s3 && !is_bucket(o->store + 5))
        return kind_complain(problem, "store", "no bucket can have that name",
                             "3 to 63 of a-z, 0-9, . and -, a letter or digit at both ends: s3://my-bucket/PREFIX");
    if (!o->dir[0])
        return kind_complain(problem, "dir", "the node needs a folder of its own", "dir: var/artifacts-spool");
    if (o->endpoint && !kind_begins(o->endpoint, "http://") && !kind_begins(o->endpoint, "https://"))
        return kind_complain(problem, "endpoint", "the endpoint begins with neither http:// nor https://",
                             "write the server's address, such as http://127.0.0.1:9000");
    if (folder && o->endpoint)
        return kind_complain(problem, "endpoint", "a folder has no server", "leave out endpoint, or say store: s3://BUCKET");
    if (!o->access_key != !o->secret_key)
        return kind_complain(problem, o->access_key ? "access_key" : "secret_key", "one half of a key pair alone is of no use",
                             "give access_key and secret_key, or neither: then they come from the environment");
    return true;
}

const struct kind kind_artifacts = {
    .name = "artifacts",
    .summary = "stores and serves files of any size: in a folder, or in any store that speaks S3",
    .about = "Files come by HTTP through ingress (docs/nodes/artifacts-api.md), as MLflow's clients send them, or by the event "
             "artifact.put. What was taken lies in a spool until the store has it and its SHA-256 was checked; then artifact.stored "
             "says so on the bus, once.",
    .options = OPTIONS,
    .options_size = sizeof(struct artifacts_options),
    .takes = TAKES,
    .gives = GIVES,
    .serves = SERVES,
    .slots = 64,
    .routes = ROUTES,
    .metrics = METRICS,
    .check = check,
};
