/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LIB_CRC32C_H
#define LIB_CRC32C_H
#include <stddef.h>
#include <stdint.h>

/* crc32c: CRC-32C (Castagnoli, RFC 3720 appendix B.4), continued from `crc` (0 to start). SSE4.2 where the processor has it. */
uint32_t crc32c(uint32_t crc, const void *data, size_t len);

#endif
