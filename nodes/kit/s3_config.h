/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_KIT_S3_CONFIG_H
#define NODES_KIT_S3_CONFIG_H
#include "nodes/kit/objstore.h"

/* Where an S3 store is and who we are there: from struct objstore_options, then from the environment and the credentials file, as users of
 * AWS tools expect it (objstore.h lists the names). */
struct s3_config {
    char *bucket;
    char *prefix;                                           /* "" or "a/b/" */
    char *endpoint;                                         /* "https://HOST[:PORT]", without the bucket */
    bool from_region;                                       /* Amazon's own endpoint, made from the region */
    bool virtual_host;                                      /* the bucket is part of the host's name */
    char *region, *access_key, *secret_key, *session_token; /* token: NULL: none */
    char *ca_file, *encryption;                             /* NULL: none */
    bool create_bucket;
    int64_t part_bytes; /* 0: chosen by size */
    int parallel;
    /* Made from the above. */
    bool tls;
    char *base; /* "https://bucket.host": what a path is put behind */
    char *host; /* the Host header: with the port unless it is the scheme's own */
};

int s3_config_check(const char *url, struct ls_error *err); /* as objstore_check, for "s3://..." */
/* s3_config_load: -1 with BAD_VALUE: a malformed URL, endpoint or addressing; no credentials anywhere. Reads the credentials file. */
int s3_config_load(struct s3_config *config, const struct objstore_options *options, struct ls_error *err);
void s3_config_fini(struct s3_config *config);
/* s3_config_set_region: the store said that the bucket is elsewhere. */
void s3_config_set_region(struct s3_config *config, const char *region);

/* s3_config_path: the encoded path of `key` (the prefix is put before it; NULL: the bucket itself). The caller's to free. */
char *s3_config_path(const struct s3_config *config, const char *key);

#endif
