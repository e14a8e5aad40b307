/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LIB_JSON_H
#define LIB_JSON_H
#include "lib/buf.h"
#include "lib/lineshaft.h"
#include "lib/mp.h"

/* Writing JSON (RFC 8259) into a buffer, also out of msgpack and of bytes that nobody vouches for. Reading is jansson's. */

/* json_put_string appends a quoted string; json_put_chars the same without the quotes. Invalid UTF-8 becomes U+FFFD; controls, and
 * characters that hide or reorder text, become \u escapes. `escaped`: the text is the inside of a JSON string already. */
void json_put_string(struct buf *out, const void *data, size_t len);
void json_put_chars(struct buf *out, const void *data, size_t len, bool escaped);
/* json_put_text: NUL-terminated; NULL becomes null. */
void json_put_text(struct buf *out, const char *text);
/* json_put_pair appends `"key":"value"`, with a comma in front unless the last byte of `out` opens an object. The key is one
 * of ours and needs no escaping. */
void json_put_pair(struct buf *out, const char *key, struct ls_slice value);

/* json_put_double: the shortest form that reads back the same; null if it is not finite. */
void json_put_double(struct buf *out, double number);
void json_put_base64(struct buf *out, const void *data, size_t len); /* RFC 4648, section 4; without quotes */

/* json_put_value appends one msgpack value: binary as base64, extensions as null. It stops near `max` bytes; false if it did,
 * or if the value is malformed or too deep. */
bool json_put_value(struct buf *out, struct mp *value, size_t max);
/* json_put_copy appends well-formed JSON without white space between tokens, strings as json_put_string writes them; stops at
 * `max` bytes. */
void json_put_copy(struct buf *out, const char *json, size_t len, size_t max);

/* json_body_kind: what a body is, by a full check of its bytes (docs/protocol.md, "Events"). */
enum ls_body json_body_kind(struct ls_slice body);
/* json_put_body appends `"data":VALUE`, or `"data_base64":"..."` when it is neither msgpack nor JSON; false: it is empty. */
bool json_put_body(struct buf *out, struct ls_slice body);
/* json_put_event appends an event as one object, in the JSON form of CloudEvents but for `topic` in place of `type`: stream,
 * seq, every attribute of its header, data or data_base64. */
void json_put_event(struct buf *out, const struct ls_event *event);

#endif
