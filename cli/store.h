/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_STORE_H
#define CLI_STORE_H
#include <jansson.h>
#include <stdbool.h>

#include "cli/options.h"

/* Bytes to and from the artifact store, for other commands: by running lineshaft-artifact (`lineshaft artifact put`, `get`). */

#define STORE_PROGRAM "lineshaft-artifact"
#define STORE_MISSING                                                                                                  \
    "lineshaft %s: cannot run %s: %s\n"                                                                                \
    "  It belongs into the same folder as lineshaft: `make` builds both, `make install` installs both.\n"

/* Of an artifact that is not in the store yet; its key. */
#define STORE_SPOOLED "%s: spooled; it will be stored when the store is back (artifact.stored tells)"

/* store_has: is that a URI of the store, mlflow-artifacts:? */
bool store_has(const char *uri);

struct store_call {
    const struct cli_command *command; /* for messages */
    const struct options_broker *broker;
    bool progress; /* a bar on the terminal */
};

/* store_put sends `file` to the URI, as a file of the run (NULL: of none), and waits until the store has it. *object is what it says
 * of it ({path, size, sha256 ...}), the caller's. store_get fetches the URI into `file`, verified. 0, or the exit status after
 * messages. What is spooled only is said on standard error. */
int store_put(const struct store_call *call, const char *file, const char *uri, const char *run_id, json_t **object);
int store_get(const struct store_call *call, const char *uri, const char *file);

/* store_scratch: a new folder of ours for files on their way, below $TMPDIR or /tmp; the caller's to free. NULL after a message.
 * store_scratch_end removes it with the files in it (what broke off leaves more than one), frees and NULLs. */
char *store_scratch(const struct cli_command *command);
void store_scratch_end(char **folder);

#endif
