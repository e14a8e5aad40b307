/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_UP_ORPHAN_H
#define CLI_UP_ORPHAN_H

/* orphans_end ends what an `up` of this user in this folder left, one that was killed a moment ago or together with its warden: it holds
 * ports and the data directory. Processes with an `up` above them are none. Says so if there are any, and blocks until they have ended
 * (SIGTERM, after 20 s SIGKILL). */
void orphans_end(void);

#endif
