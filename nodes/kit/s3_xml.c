/* SPDX-License-Identifier: Apache-2.0 */
/* Answers of S3 read with expat, one callback per element. Document types are refused: no store sends one, and entities are the way to
 * make a small document large. */
#include "nodes/kit/s3_xml.h"

#include <expat.h>

#include "lib/error.h"

#define DEPTH_MAX 16

struct reading {
    XML_Parser parser;
    s3_xml_fn *element;
    void *arg;
    struct buf path;          /* "A/B/C" */
    size_t starts[DEPTH_MAX]; /* where the path of the element above ends */
    size_t depth;
    struct buf text;
    bool holds_elements;
    const char *why; /* we stopped it */
};

static void stop(struct reading *r, const char *why)
{
    r->why = why;
    XML_StopParser(r->parser, XML_FALSE);
}

static void on_start(void *arg, const char *name, const char **attributes)
{
    struct reading *r = arg;
    const char *colon = strrchr(name, ':');
    (void) attributes;
    if (r->depth == DEPTH_MAX) {
        stop(r, "too deeply nested");
        return;
    }
    r->starts[r->depth++] = r->path.len;
    buf_addf(&r->path, "%s%s", r->path.len ? "/" : "", colon ? colon + 1 : name);
    buf_clear(&r->text);
    r->holds_elements = false;
}

static void on_text(void *arg, const char *text, int len)
{
    struct reading *r = arg;
    buf_add(&r->text, text, (size_t) len);
}

static void on_end(void *arg, const char *name)
{
    struct reading *r = arg;
    (void) name;
    if (!r->depth)
        return; /* stopped */
    r->element(r->arg, buf_text(&r->path), r->holds_elements ? "" : buf_text(&r->text));
    r->path.len = r->starts[--r->depth];
    buf_clear(&r->text);
    r->holds_elements = true;
}

static void on_doctype(void *arg, const char *name, const char *system, const char *public_id, int internal)
{
    (void) name;
    (void) system;
    (void) public_id;
    (void) internal;
    stop(arg, "a document type is not allowed");
}

int s3_xml_read(struct ls_slice document, s3_xml_fn *element, void *arg, struct ls_error *err)
{
    struct reading r = {.parser = XML_ParserCreate("UTF-8"), .element = element, .arg = arg};
    int result = 0;
    if (!r.parser)
        return error_set(err, "SYSTEM", "no memory to read an answer");
    XML_SetUserData(r.parser, &r);
    XML_SetElementHandler(r.parser, on_start, on_end);
    XML_SetCharacterDataHandler(r.parser, on_text);
    XML_SetStartDoctypeDeclHandler(r.parser, on_doctype);
    if (XML_Parse(r.parser, document.data, (int) document.len, 1) != XML_STATUS_OK)
        result = error_set(err, "PROTOCOL", "the answer is no XML that can be read: %s",
                           r.why ? r.why : XML_ErrorString(XML_GetErrorCode(r.parser)));
    XML_ParserFree(r.parser);
    buf_fini(&r.path);
    buf_fini(&r.text);
    return result;
}

void s3_xml_escape(struct buf *out, const char *text)
{
    for (const char *c = text; *c; c++) {
        unsigned char byte = (unsigned char) *c;
        if (*c == '&')
            buf_addf(out, "&amp;");
        else if (*c == '<')
            buf_addf(out, "&lt;");
        else if (*c == '>')
            buf_addf(out, "&gt;");
        else if (*c == '"')
            buf_addf(out, "&quot;");
        else if (byte >= 32 || byte == '\t' || byte == '\n' || byte == '\r')
            buf_add_byte(out, byte);
    }
}
