/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256 by OpenSSL, and how it is written. */
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/artifact/artifact.h"
#include "lib/json.h"
#include "lib/xmem.h"

struct hash {
    EVP_MD_CTX *context;
};

/* What fails here fails for want of memory, or of the algorithm itself. */
static void must(int good)
{
    if (good == 1)
        return;
    fputs("lineshaft artifact: OpenSSL cannot compute SHA-256\n", stderr);
    abort();
}

struct hash *hash_new(void)
{
    struct hash *hash = xcalloc(1, sizeof *hash);
    hash->context = EVP_MD_CTX_new();
    must(hash->context && EVP_DigestInit_ex(hash->context, EVP_sha256(), NULL) == 1);
    return hash;
}

void hash_add(struct hash *hash, const void *data, size_t len)
{
    must(EVP_DigestUpdate(hash->context, data, len));
}

void hash_end(struct hash **hash, uint8_t sum[HASH_SIZE])
{
    if (!*hash)
        return;
    if (sum)
        must(EVP_DigestFinal_ex((*hash)->context, sum, NULL));
    EVP_MD_CTX_free((*hash)->context);
    free(*hash);
    *hash = NULL;
}

void hash_text(const uint8_t sum[HASH_SIZE], char text[HASH_TEXT_SIZE])
{
    for (size_t i = 0; i < HASH_SIZE; i++)
        snprintf(text + 2 * i, 3, "%02x", sum[i]);
}

void hash_digest(const uint8_t sum[HASH_SIZE], char text[64])
{
    struct buf base64 = {0};
    json_put_base64(&base64, sum, HASH_SIZE);
    snprintf(text, 64, "sha-256=:%s:", buf_text(&base64));
    buf_fini(&base64);
}

bool hash_fits(const uint8_t sum[HASH_SIZE], const char *digest)
{
    char ours[64];
    hash_digest(sum, ours);
    return !strstr(digest, "sha-256=") || strstr(digest, ours);
}
