/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_KIT_S3_XML_H
#define NODES_KIT_S3_XML_H
#include "lib/buf.h"
#include "lib/lineshaft.h"

/* The XML of S3's answers, read with expat: what an element holds, told when it ends. `path` is "ListBucketResult/Contents/Key" (names
 * without their namespace); `text` is its own text, "" for one that holds elements. Both are borrowed. */
typedef void s3_xml_fn(void *arg, const char *path, const char *text);

/* s3_xml_read: -1 with PROTOCOL if it is not well-formed, nested deeper than 16, or has a document type. */
int s3_xml_read(struct ls_slice document, s3_xml_fn *element, void *arg, struct ls_error *err);

/* s3_xml_escape adds text with & < > " as entities, and characters that XML 1.0 cannot hold left out. */
void s3_xml_escape(struct buf *out, const char *text);

#endif
