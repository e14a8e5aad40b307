/* SPDX-License-Identifier: Apache-2.0 */
/* lineshaft log: looks at a log's files without a broker. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/log/log.h"
#include "cli/event_view.h"
#include "cli/options.h"
#include "lib/clock.h"
#include "lib/json.h"
#include "lib/wire.h"
#include "lib/xmem.h"
#include "nodes/kinds.h"
#include "topology/topology.h"

/* docs/log-format.md, "Events": an entry with this flag begins with its publisher's name, for events that lack `source`. */
#define ENTRY_BATCH 1

struct log_command {
    const char *stream;
    bool json, progress, stopped;
    uint64_t from, count_max, count;
    struct buf line;
};

static bool is_directory(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

/* A stream's directory holds segment files; a broker's holds streams' directories. */
static bool holds_directories(const char *path)
{
    DIR *dir = opendir(path);
    bool found = false;
    for (struct dirent *entry = dir ? readdir(dir) : NULL; entry && !found; entry = readdir(dir)) {
        char *inner = xasprintf("%s/%s", path, entry->d_name);
        found = entry->d_name[0] != '.' && is_directory(inner);
        free(inner);
    }
    if (dir)
        closedir(dir);
    return found;
}

/* ---- check ---- */

static void clear_progress(const struct log_command *c)
{
    if (c->progress)
        fputs("\r\x1b[K", stderr);
}

static void on_found(void *arg, const char *severity, const char *file, uint64_t offset, const char *text)
{
    struct log_command *c = arg;
    struct buf *line = &c->line;
    clear_progress(c);
    buf_clear(line);
    if (c->json) {
        buf_addf(line, "{\"severity\":\"%s\",\"file\":", severity);
        json_put_text(line, file);
        buf_addf(line, ",\"offset\":%llu,\"text\":", (unsigned long long) offset);
        json_put_text(line, text);
        buf_add_byte(line, '}');
    } else {
        render_harmless(line, file, strlen(file));
        buf_addf(line, ":%llu: %s: ", (unsigned long long) offset, severity);
        render_harmless(line, text, strlen(text));
    }
    puts(buf_text(line));
}

static void on_progress(void *arg, uint64_t done, uint64_t all)
{
    const struct log_command *c = arg;
    if (c->progress && all)
        fprintf(stderr, "\r\x1b[K%llu %% read", (unsigned long long) (done * 100 / all));
}

static int check_stream(struct log_command *c, const char *path)
{
    struct ls_error err = {0};
    int errors = log_check(path, on_found, on_progress, c, &err);
    clear_progress(c);
    if (errors < 0)
        fprintf(stderr, "lineshaft log: %s: %s\n", path, err.text);
    else if (!c->json)
        printf("%s: %s%d error%s\n", path, errors ? "" : "fine, ", errors, errors == 1 ? "" : "s");
    return errors == 0 ? CLI_OK : CLI_FAILED;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int check(struct log_command *c, const char *path)
{
    struct dirent **entries = NULL;
    int status = CLI_OK, count;
    if (!holds_directories(path))
        return check_stream(c, path);
    count = scandir(path, &entries, NULL, by_name);
    for (int i = 0; i < count; i++) {
        char *inner = xasprintf("%s/%s", path, entries[i]->d_name);
        bool wanted = entries[i]->d_name[0] != '.' && is_directory(inner);
        if (wanted && (!c->stream || strcmp(c->stream, entries[i]->d_name) == 0) && check_stream(c, inner) != CLI_OK)
            status = CLI_FAILED;
        free(inner);
        free(entries[i]);
    }
    free(entries);
    return status;
}

/* ---- dump ---- */

static struct ls_slice attribute(struct ls_slice header, const char *name)
{
    struct ls_slice text = ls_bytes("", 0);
    wire_str(wire_map(header), name, &text);
    return text;
}

static void put_event(struct log_command *c, const struct ls_event *event)
{
    struct view view = {.colours = render_colours(STDOUT_FILENO), .width = render_width(STDOUT_FILENO),
                        .body = VIEW_BODY_SHORT};
    buf_clear(&c->line);
    if (c->json)
        event_json(event, &c->line);
    else
        event_line(event, &view, &c->line);
    render_put(&c->line, stdout);
    c->count++;
    c->stopped = c->count == c->count_max;
}

static bool on_entry(void *arg, const struct log_entry *entry, const char *file, uint64_t offset)
{
    struct log_command *c = arg;
    struct ls_slice rest = ls_bytes(entry->data, entry->len), source = {0}, header, body;
    if (entry->flags & ENTRY_BATCH && rest.len && (size_t) 1 + entry->data[0] <= rest.len) {
        source = ls_bytes(rest.data + 1, entry->data[0]);
        rest = ls_bytes(rest.data + 1 + source.len, rest.len - 1 - source.len);
    }
    for (uint64_t seq = entry->seq; seq < entry->seq + entry->count && !c->stopped; seq++) {
        if (!wire_packed_next(&rest, &header, &body)) {
            fprintf(stderr, "%s:%llu: event %llu cannot be taken apart\n", file, (unsigned long long) offset,
                    (unsigned long long) seq);
            break;
        }
        struct ls_event event = {.topic = attribute(header, "topic"), .source = attribute(header, "source"),
                                 .subject = attribute(header, "subject"), .header = header, .body = body,
                                 .stream = ls_str(c->stream), .seq = seq, .ts_us = entry->ts_us};
        if (!event.source.len)
            event.source = source;
        if (seq >= c->from)
            put_event(c, &event);
    }
    return !c->stopped;
}

static int dump(struct log_command *c, const char *path)
{
    struct ls_error err = {0};
    char *inner = c->stream ? xasprintf("%s/%s", path, c->stream) : xstrdup(path);
    if (holds_directories(inner)) {
        fprintf(stderr, "lineshaft log: %s holds the directories of streams: choose one by --stream\n", inner);
        free(inner);
        return CLI_USAGE;
    }
    size_t len = strlen(inner);
    while (len > 1 && inner[len - 1] == '/')
        inner[--len] = '\0';
    if (!c->stream)
        c->stream = strrchr(inner, '/') ? strrchr(inner, '/') + 1 : inner;
    int result = log_dump(inner, c->from, on_entry, c, &err);
    if (result < 0)
        fprintf(stderr, "lineshaft log: %s: %s\n", inner, err.text);
    free(inner);
    return result < 0 ? CLI_FAILED : CLI_OK;
}

/* ---- the command ---- */

/* The directory itself, or the data directory of a topology file; the caller frees it. NULL after a message. */
static char *find_directory(const char *path)
{
    if (is_directory(path))
        return xstrdup(path);
    if (access(path, R_OK) != 0) {
        fprintf(stderr, "lineshaft log: %s: %s\n", path, strerror(errno));
        return NULL;
    }
    struct diag_list diags = {0};
    struct topology *t = topology_load(path, KINDS, &diags);
    char *found = t && diags.error_count == 0 ? xstrdup(t->broker.data) : NULL;
    if (!found) {
        struct buf problems = {0};
        diag_print(&diags, (struct diag_style){.colour = render_colours(STDERR_FILENO), .max = 20}, &problems);
        render_put(&problems, stderr);
        buf_fini(&problems);
    }
    topology_destroy(&t);
    diag_list_fini(&diags);
    return found;
}

static int run(int argc, char **argv)
{
    static const struct option LONGS[] = {{"stream", required_argument, NULL, 's'}, {"from", required_argument, NULL, 'f'},
        {"count", required_argument, NULL, 'n'}, {"json", no_argument, NULL, 'j'}, {0}};
    struct log_command c = {.progress = isatty(STDERR_FILENO)};
    int option, status = CLI_FAILED;
    while ((option = options_next(&CMD_LOG, argc, argv, "jn:", LONGS)) != OPTIONS_END) {
        if (option == 'j')
            c.json = true;
        else if (option == 's')
            c.stream = optarg;
        else if (option == OPTIONS_BAD || !options_number(&CMD_LOG, option == 'f' ? "--from" : "--count", optarg, UINT64_MAX,
                                                          option == 'f' ? &c.from : &c.count_max))
            return CLI_USAGE;
    }
    const char *verb = optind < argc ? argv[optind] : "";
    bool is_check = strcmp(verb, "check") == 0;
    if (!is_check && strcmp(verb, "dump") != 0)
        return options_usage(&CMD_LOG, "say what to do: check or dump");
    if (argc - optind != 2)
        return options_usage(&CMD_LOG, "%s takes one directory or topology file", verb);
    char *directory = find_directory(argv[optind + 1]);
    if (directory)
        status = is_check ? check(&c, directory) : dump(&c, directory);
    free(directory);
    buf_fini(&c.line);
    return status;
}

const struct cli_command CMD_LOG = {
    .name = "log",
    .run = run,
    .summary = "check and dump the files of a log, without a broker",
    .usage =
        "lineshaft log - check and dump the files of a log, without a broker\n"
        "\n"
        "SYNOPSIS\n"
        "  lineshaft log check [OPTION ...] DIRECTORY | TOPOLOGY\n"
        "  lineshaft log dump [OPTION ...] DIRECTORY | TOPOLOGY\n"
        "\n"
        "DESCRIPTION\n"
        "  check reads every record of a stream's directory, or of all streams of a data directory (a topology names it\n"
        "  in broker.data), and reports damage with file and offset. dump prints the events that can be read. Both\n"
        "  change nothing and may be used while the broker is running: what it is just writing is then not seen.\n"
        "\n"
        "OPTIONS\n"
        "  --stream NAME    Of a data directory, this stream only. dump needs it unless DIRECTORY is a stream's own.\n"
        "  --from N         dump: from this sequence number on.\n"
        "  -n, --count N    dump: at most N events.\n"
        "  -j, --json       One JSON object a line: a problem (severity, file, offset, text), or an event.\n"
        "\n"
        "EXAMPLES\n"
        "  lineshaft log check config/hello.yaml\n"
        "  lineshaft log dump var/bus/events --from 1000 -n 10\n"
        "\n"
        "EXIT STATUS\n"
        "  0  fine\n"
        "  1  there are errors, or the directory cannot be read\n"
        "  2  wrong usage\n",
};
