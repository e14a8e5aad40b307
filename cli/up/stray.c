/* SPDX-License-Identifier: Apache-2.0 */
/* Finding processes by their environment: see stray.h. */
#include "cli/up/stray.h"

#include <string.h>

#include "lib/proc.h"

size_t stray_signal(const char *entry, int signal)
{
    return proc_signal_marked(entry, strlen(entry), signal);
}
