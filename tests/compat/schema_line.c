/* SPDX-License-Identifier: Apache-2.0 */
/* The schema checker as a filter, for tests in other languages. One command a line, one answer a line:
 *   S <schema in JSON or YAML, one line>  -> ok | bad <why>     the schema of the checks that follow
 *   T <topic>                             -> ok | bad <why>     the same, a built-in one
 *   C <body in hex, may be empty>         -> ok | no <path>|<why> */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/schema.h"
#include "lib/xmem.h"

static bool unhex(const char *text, struct buf *out)
{
    buf_clear(out);
    for (unsigned byte; text[0]; text += 2) {
        if (!text[1] || sscanf(text, "%2x", &byte) != 1)
            return false;
        buf_add_byte(out, (uint8_t) byte);
    }
    return true;
}

static void answer_check(const struct schema *schema, const char *hex)
{
    struct buf body = {0};
    struct ls_error err = {0};
    char path[200];
    uint8_t *copy = NULL;
    if (!unhex(hex, &body)) {
        puts("no |the line is not hex");
        return;
    }
    if (body.len) { /* exactly as large as the body, so that a sanitizer sees every read behind its end */
        copy = xcalloc(body.len, 1);
        memcpy(copy, body.data, body.len);
    }
    if (!schema_check(schema, copy, body.len, path, sizeof path, &err))
        puts("ok");
    else
        printf("no %s|%s\n", path, err.text);
    free(copy);
    buf_fini(&body);
}

int main(void)
{
    struct ls_error err = {0};
    struct schema_set *set = schema_set_new();
    struct schema *own = NULL;
    const struct schema *schema = NULL;
    char *line = NULL;
    size_t room = 0;
    ssize_t len;
    if (schema_set_add_builtin(set, &err)) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    while ((len = getline(&line, &room, stdin)) > 1) {
        line[len - 1] = '\0';
        if (line[0] == 'C') {
            answer_check(schema, line + 2);
        } else {
            schema_destroy(&own);
            own = line[0] == 'S' ? schema_parse(line + 2, strlen(line + 2), "line", &err) : NULL;
            schema = line[0] == 'S' ? own : schema_set_find(set, line + 2, strlen(line + 2));
            if (schema)
                puts("ok");
            else
                printf("bad %s\n", line[0] == 'S' ? err.text : "no such topic");
        }
        fflush(stdout);
    }
    free(line);
    schema_destroy(&own);
    schema_set_destroy(&set);
    return 0;
}
