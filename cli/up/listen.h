/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_UP_LISTEN_H
#define CLI_UP_LISTEN_H
#include "topology/topology.h"

/* Where the servers of a topology listen, looked at before `up` starts any. */

/* listen_possible: the fixed ports of the broker and of its nodes' own servers are free now. False after a message on standard error
 * that says who has the port and how to choose another. `text` is the topology's file, for the names of variables in it; may be NULL. */
bool listen_possible(const struct topology *t, const char *text);

/* listen_bus_taken: the first port that is taken, of those that a broker with this base needs; 0: none. */
#define LISTEN_BUS_PORTS 5
int listen_bus_taken(const char *host, int base);

/* listen_another appends the command that starts a second copy beside this one, "LINESHAFT_PORT=7500 LINESHAFT_HTTP_PORT=7580 lineshaft up
 * FILE", as far as the file's variables allow, with free ports for those that are taken, and with own_data a data directory of its own. */
void listen_another(const struct topology *t, const char *text, bool own_data, struct buf *out);

/* listen_pages: "chat http://127.0.0.1:7480/, console http://127.0.0.1:7480/console", as a browser on this machine
 * reaches the ingress nodes, semicolon between several; without those that
 * find their port themselves. NULL: none. The caller frees it. */
char *listen_pages(const struct topology *t);

#endif
