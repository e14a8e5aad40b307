/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_UP_STATUS_H
#define CLI_UP_STATUS_H
#include "cli/up/child.h"
#include "cli/up/warden.h"
#include "lib/lineshaft.h"

/* The request up.status.ID, by which `up` tells what runs (docs/protocol.md, "What runs"; docs/decisions/041). Nothing is measured
 * until somebody asks. */

#define UP_ID_LEN 8
struct up_story { /* what does not change while `up` runs; borrowed */
    const char *id;          /* UP_ID_LEN hexadecimal digits: the ID of the topic */
    const char *name, *file; /* of the topology */
    const char *nodes;       /* its wiring: a JSON array */
};

struct up_status;

/* up_status_new: children, their array, and the warden are looked at when somebody asks. Free with up_status_destroy, after the
 * client. */
struct up_status *up_status_new(const struct up_story *story, const struct child *children, size_t count, const struct warden *warden);
void up_status_destroy(struct up_status **status);

/* up_status_serve offers the request on this client; answers are made in its steps, and take some ms. */
void up_status_serve(struct up_status *status, struct ls_client *client);

#endif
