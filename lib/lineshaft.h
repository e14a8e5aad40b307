/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LINESHAFT_H
#define LINESHAFT_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* An error: `name` and `number` are those of docs/protocol.md ("Errors"); `again` says that the same call may
 * succeed later and is safe to repeat; retry_ms is the broker's advice, 0 for none. */
struct ls_error {
    char name[24];
    int number;
    bool again;
    int retry_ms;
    char text[480];
};

#ifdef __cplusplus
}
#endif
#endif
