/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a workflow file: loading, checking and asking for its next runs must neither crash, leak nor run
 * away. */
#include <stdlib.h>

#include "workflow/workflow.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(const struct workflow *w)
{
    json_t *inputs = workflow_inputs(w, NULL, NULL);
    json_decref(inputs);
    for (size_t i = 0; i < w->task_count; i++)
        if (workflow_task(w, w->tasks[i].id) != &w->tasks[i] || w->tasks[i].index != i)
            abort();
    for (size_t i = 0; i < w->task_count; i++)
        for (size_t k = 0; k < w->tasks[i].upstream_count; k++)
            if (w->tasks[i].upstream[k]->index >= i)
                abort(); /* not in order */
    int64_t after = INT64_C(1767225600000);
    for (int i = 0; i < 5; i++) {
        int64_t next = workflow_next(w, after, after);
        if (next < 0)
            break;
        if (next <= after)
            abort();
        after = next;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct diag_list diags = {0};
    struct buf out = {0};
    struct workflow_file *file = workflow_load_text("fuzz.yaml", (const char *) data, size, &diags);
    if (!file->workflow != (diags.error_count > 0))
        abort(); /* a refusal without a reason, or a reason without a refusal */
    diag_print(&diags, (struct diag_style){.verbose = true}, &out);
    diag_print_json(&diags, true, &out);
    if (file->workflow)
        use(file->workflow);
    workflow_file_free(&file);
    diag_list_fini(&diags);
    buf_fini(&out);
    return 0;
}
