/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a topology file: loading, checking, printing and drawing must neither crash, leak nor run away. */
#include <stdlib.h>

#include "nodes/kinds.h"
#include "topology/topology.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void print_all(struct topology *t, struct diag_list *diags)
{
    struct buf out = {0};
    diag_print(diags, (struct diag_style){.verbose = true}, &out);
    diag_print_json(diags, true, &out);
    if (t && !diags->error_count) {
        topology_print(t, &out);
        for (size_t i = 0; TOPOLOGY_GRAPH_FORMATS[i]; i++)
            topology_graph(t, TOPOLOGY_GRAPH_FORMATS[i], &out);
    }
    buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct diag_list diags = {0};
    struct topology *t = topology_load_text(&(struct topology_text){"fuzz.yaml", (const char *) data, size}, KINDS, &diags);
    if (!t && !diags.error_count)
        abort(); /* a refusal without a reason */
    print_all(t, &diags);
    topology_destroy(&t);
    diag_list_fini(&diags);
    return 0;
}
