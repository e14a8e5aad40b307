/* SPDX-License-Identifier: Apache-2.0 */
/* The pages and what they are made of: files of nodes/ingress/pages and libraries from npm, as bytes in the program (embed.sh). */
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>

#include "nodes/ingress/ingress.h"

struct page_file {
    const char *name, *start, *end;
};
extern const struct page_file PAGE_FILES[]; /* ends with name NULL */

/* Everything comes from here, nothing is inline, and what becomes markup has passed the sanitiser. */
static const char POLICY[] = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
                             "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
                             "require-trusted-types-for 'script'; trusted-types dompurify";

static const struct {
    const char *ending, *type;
} TYPES[] = {{".html", "text/html; charset=utf-8"}, {".js", "text/javascript; charset=utf-8"},
             {".mjs", "text/javascript; charset=utf-8"}, {".css", "text/css; charset=utf-8"}, {".svg", "image/svg+xml"}};

static const char *type_of(const char *name)
{
    const char *ending = strrchr(name, '.');
    for (size_t i = 0; ending && i < sizeof TYPES / sizeof TYPES[0]; i++)
        if (strcmp(ending, TYPES[i].ending) == 0)
            return TYPES[i].type;
    return "application/octet-stream";
}

static const struct {
    const char *path, *name;
} PAGES[] = {{"/", "index.html"}, {"/docs", "docs.html"}, {"/console", "console.html"}};

/* "purify.es.mjs" is asked for by that name; the pages by their paths. */
static const struct page_file *find(const struct visit *v)
{
    const char *name = v->params[0];
    for (size_t i = 0; i < sizeof PAGES / sizeof PAGES[0]; i++)
        if (strcmp(http_path(v->x), PAGES[i].path) == 0)
            name = PAGES[i].name;
    for (const struct page_file *f = PAGE_FILES; f->name; f++)
        if (strcmp(f->name, name) == 0)
            return f;
    return NULL;
}

static void make_tag(const struct page_file *f, char tag[36])
{
    unsigned char digest[SHA256_DIGEST_LENGTH];
    SHA256((const unsigned char *) f->start, (size_t) (f->end - f->start), digest);
    snprintf(tag, 36, "\"");
    for (size_t i = 0; i < 16; i++)
        snprintf(tag + 1 + 2 * i, 3, "%02x", digest[i]);
    snprintf(tag + 33, 3, "\"");
}

void handle_page(struct visit *v)
{
    const struct page_file *f = find(v);
    char tag[36];
    if (!f) {
        answer_problem(v, &(struct problem){.status = 404}, "there is no file \"%.200s\"", v->params[0]);
        return;
    }
    make_tag(f, tag);
    const char *known = http_header(v->x, "if-none-match");
    http_answer_header(v->x, "ETag", tag);
    http_answer_header(v->x, "Cache-Control", "no-cache");
    http_answer_header(v->x, "Referrer-Policy", "no-referrer");
    http_answer_header(v->x, "Cross-Origin-Opener-Policy", "same-origin");
    http_answer_header(v->x, "Cross-Origin-Resource-Policy", "same-origin");
    http_answer_header(v->x, "Content-Security-Policy", POLICY);
    if (known && strcmp(known, tag) == 0) {
        http_answer(v->x, 304, (struct ls_slice){0});
        return;
    }
    http_answer_header(v->x, "Content-Type", type_of(f->name));
    http_answer_static(v->x, 200, ls_bytes(f->start, (size_t) (f->end - f->start)));
}
