/* SPDX-License-Identifier: Apache-2.0 */
/* Writing Prometheus's text format. */
#include "nodes/ingress/exposition.h"

#include <math.h>

/* Backslash and newline are escaped everywhere, quotes in label values. */
static void put_escaped(struct buf *out, struct ls_slice text, bool quoted)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        if (c == '\\' || c == '\n' || (quoted && c == '"'))
            buf_add_byte(out, '\\');
        buf_add_byte(out, c == '\n' ? 'n' : (uint8_t) c);
    }
}

static void put_labels(struct buf *out, const struct labels *labels)
{
    size_t put = 0;
    for (size_t i = 0; i < LABELS_MAX && labels->names[i]; i++) {
        if (!labels->values[i].len)
            continue;
        buf_addf(out, "%s%s=\"", put++ ? "," : "{", labels->names[i]);
        put_escaped(out, labels->values[i], true);
        buf_add_byte(out, '"');
    }
    if (put)
        buf_add_byte(out, '}');
}

static bool is_counter(struct ls_slice name)
{
    return name.len > 6 && memcmp(name.data + name.len - 6, "_total", 6) == 0;
}

void family_begin(struct buf *out, struct ls_slice name, const char *type, const char *help)
{
    buf_addf(out, "# HELP lineshaft_%.*s ", (int) name.len, name.data);
    put_escaped(out, ls_str(help), false);
    buf_addf(out, "\n# TYPE lineshaft_%.*s %s\n", (int) name.len, name.data, type ? type : is_counter(name) ? "counter" : "gauge");
}

void sample_put(struct buf *out, struct ls_slice name, const struct labels *labels, double number)
{
    buf_addf(out, "lineshaft_%.*s", (int) name.len, name.data);
    put_labels(out, labels);
    if (fabs(number) < 1e15 && floor(number) == number)
        buf_addf(out, " %.0f\n", number);
    else
        buf_addf(out, " %.12g\n", number);
}
