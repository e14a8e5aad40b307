/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_UP_PORT_H
#define CLI_UP_PORT_H
#include <stdbool.h>

#include "lib/buf.h"

/* port_is_free: a server could listen there now. True too when it cannot be told (such as a host name that does not resolve). */
bool port_is_free(const char *host, int port);

/* port_holder appends who listens on the port, as far as /proc shows it: `"lineshaft broker lab.yaml", pid 812, in /home/lab`;
 * returns false when it cannot be found. */
bool port_holder(int port, struct buf *out);

#endif
