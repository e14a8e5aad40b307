/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LIB_URI_H
#define LIB_URI_H
#include <stdbool.h>
#include <stddef.h>

#include "lib/buf.h"

/* Percent-escapes of URIs (RFC 3986, 2.1 to 2.3). Pure functions. */

/* uri_encode appends `text`, every byte but A-Z a-z 0-9 - . _ ~ and those in `kept` as %XX. For a path, `kept` is "/"; for a part of
 * one and for a value in a query, "". uri_encoded returns the same; the caller's to free. */
void uri_encode(struct buf *out, const char *text, const char *kept);
char *uri_encoded(const char *text, const char *kept);

/* What uri_decode met that a careful reader refuses: a % that begins no escape (it stays as it is); a NUL, escaped or not. */
enum uri_flaw { URI_MALFORMED = 1, URI_NUL = 2 };

/* uri_decode takes the escapes out of the `len` bytes at `text`, once, in place, and writes a NUL behind the rest: there is room for
 * len + 1. `plus`: a + is a blank, as in queries. Returns the length that is left; *flaws, unless NULL, is a set of enum uri_flaw. */
size_t uri_decode(char *text, size_t len, bool plus, unsigned *flaws);

/* uri_decoded: a copy of `text` without its escapes, + and what is malformed as they are; it ends at a NUL. The caller's to free. */
char *uri_decoded(const char *text);

/* uri_file_path: the path in a file: URI of this machine (RFC 8089), the caller's to free; NULL: it is none. */
char *uri_file_path(const char *uri);

#endif
