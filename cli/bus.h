/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_BUS_H
#define CLI_BUS_H
#include "cli/options.h"
#include "lib/buf.h"
#include "lib/lineshaft.h"
#include "lib/mp.h"

/* What the commands that talk to a broker share; on the public client library. */

struct bus {
    const struct cli_command *command;
    struct ls_client *client;
    int timeout_ms;
    bool refused; /* the first connection could not be made */
    bool quiet; /* says nothing about a lost broker */
    bool ended; /* sent away for good */
};

/* bus_open connects and waits for the broker's HELLO; 0, or the exit status after a message. `options` may preset members of
 * struct ls_client_options (NULL: none); url, name, notice and arg are set here. Free with bus_close, in any case. */
int bus_open(struct bus *bus, const struct cli_command *command, const struct options_broker *broker,
             const struct ls_client_options *options);
void bus_close(struct bus *bus);

/* bus_failed prints the error and returns the exit status for it. */
int bus_failed(const struct cli_command *command, const struct ls_error *err);

/* bus_adm sends ADM {op, key: text or number, from}: `key` NULL for none, `text` NULL for the number; `from` NULL for none, digits are a
 * number. *reply is the caller's to free. 0, or the exit status after a message. */
struct bus_adm {
    const char *op, *key, *text;
    uint64_t number;
    const char *from;
};
int bus_adm(struct bus *bus, const struct bus_adm *adm, char **reply, size_t *len);

/* Readers for maps in replies: the value at `key`, or "", 0, an empty list when it is absent or of another type. */
struct mp_slice bus_text(struct mp map, const char *key);
uint64_t bus_number(struct mp map, const char *key);
/* bus_list stands the reader at the first of *count items. */
struct mp bus_list(struct mp map, const char *key, uint32_t *count);

#endif
