/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LIB_WIRE_H
#define LIB_WIRE_H
#include "lib/buf.h"
#include "lib/lineshaft.h"
#include "lib/mp.h"

/* The form of LWP/1 messages as a client needs it: addresses, header maps, packed events. Source: docs/protocol.md.
 * */

enum wire_port { WIRE_ROUTER, WIRE_PUSH, WIRE_LIVE, WIRE_PUB, WIRE_BATCH }; /* the distance from the base port */

/* wire_url: `url` if given, else $LINESHAFT_URL, else the default address. */
const char *wire_url(const char *url);
/* wire_address makes the address of one of the broker's sockets from the base address ("tcp://HOST:PORT",
 * "ipc://DIR"). The caller frees it. NULL with USAGE. */
char *wire_address(const char *url, enum wire_port port, struct ls_error *err);

static inline struct mp wire_map(struct ls_slice header)
{
    return mp_over(header.data, header.len);
}

/* Values of a header map by key; false and *value untouched if absent or of another type (wire_bool: false). */
bool wire_uint(struct mp header, const char *key, uint64_t *value);
bool wire_int(struct mp header, const char *key, int64_t *value);
bool wire_str(struct mp header, const char *key, struct ls_slice *value);
bool wire_bool(struct mp header, const char *key);

/* wire_copy puts a slice into a fixed field, cut to fit, NUL-terminated. */
void wire_copy(char *field, size_t room, struct ls_slice text);

/* The doors (docs/decisions/038) that `artifacts` nodes say they have, in an answer of ADM `services`: "unix:PATH" or a URL.
 * `struct wire_doors doors = {.services = mp_maps(answer, "services")}`, then wire_doors_next until it is false. */
struct wire_doors {
    struct mp_maps services, workers;
};
bool wire_doors_next(struct wire_doors *doors, struct ls_slice *address);

/* wire_error reads an ERR header. Names that this library does not know are kept as they are. */
void wire_error(struct mp header, struct ls_error *err);

/* wire_map_pairs checks that `map` is one well-formed map and gives its number of pairs and the bytes behind its
 * head. An absent map has no pairs. */
bool wire_map_pairs(struct ls_slice map, uint32_t *pairs, struct ls_slice *rest);

/* Packed events ("Batches"): wire_packed_add writes one; wire_packed_next takes the next one off *packed, false at
 * the end or where the lengths do not fit. */
void wire_packed_add(struct buf *packed, struct ls_slice header, struct ls_slice body);
bool wire_packed_next(struct ls_slice *packed, struct ls_slice *header, struct ls_slice *body);

#endif
