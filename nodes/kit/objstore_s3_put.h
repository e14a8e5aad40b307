/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_KIT_OBJSTORE_S3_PUT_H
#define NODES_KIT_OBJSTORE_S3_PUT_H
#include "nodes/kit/objstore_s3.h"

/* The inside of objstore_s3_put.c (what is said once per object), objstore_s3_parts.c (an upload in parts) and
 * objstore_s3_strays.c (uploads of ours whose id was lost). */

/* A part on its way, and the request that carries it. */
struct s3_slot {
    struct s3_request request;
    struct s3_put *put;
    unsigned number; /* from 1; 0: free */
};

struct s3_put {
    struct s3_op op;
    struct s3_store *store;
    struct objstore_put on; /* key, file, content_type, journal: copies */
    int fd;
    struct s3_request request;       /* all but the parts */
    bool finding_out;                /* waits for the probe */
    char etag[128], version_id[256]; /* as the store answered the content */

    /* The file is hashed in order, a piece per objstore_run: wholly, and by what is sent at a time. */
    LIST_ENTRY(s3_put) hash_link;
    bool hashing;
    EVP_MD_CTX *whole, *piece, *md5;
    uint64_t hashed, hash_end;
    char piece_sha256[SIGV4_HEX_SIZE];
    uint8_t piece_md5[16];
    void (*hash_done)(struct s3_put *put);

    /* Of an upload in parts. */
    struct s3_journal journal;
    uint64_t part_bytes;
    unsigned part_count;
    char **etags;          /* [part_count]; NULL: not up yet */
    unsigned up;           /* how many are */
    unsigned next;         /* the part whose hash comes next */
    struct s3_slot *slots; /* [config.parallel] */
    uint64_t reached;      /* bytes at the store */
    unsigned restarts;
    bool doubtful;      /* killed when an upload was being created, and its id is not known */
    unsigned listed_to; /* of ListParts: the part that the page ended with */
    bool list_more;
    struct s3_strays *strays; /* while they are swept up */
};

/* s3_put_hash reads the file up to `end`, then calls done inside objstore_run. */
void s3_put_hash(struct s3_put *put, uint64_t end, void (*done)(struct s3_put *put));
void s3_put_hash_stop(struct s3_put *put);
bool s3_put_whole_is_right(struct s3_put *put); /* all is hashed: is it the content that it should be? Once only */
void s3_put_md5_header(const struct s3_put *put, struct s3_request *request);

/* s3_put_object_headers: what belongs to the object, for a PUT or the start of an upload. */
void s3_put_object_headers(const struct s3_put *put, struct s3_request *request);
/* s3_put_look asks for the object that has the key; `next` reads the answer in put->request. */
void s3_put_look(struct s3_put *put, void (*next)(struct s3_request *request));
/* s3_put_is_same: the object in the answer has our content. */
bool s3_put_is_same(const struct s3_put *put, const struct s3_request *answer);
void s3_put_verify(struct s3_put *put);                       /* the last step: looks whether it is there, then ends */
void s3_put_is_there(struct s3_put *put, bool already_there); /* put->request holds the object: ends */
void s3_put_conflict(struct s3_put *put);                     /* put->request holds another object: ends */
void s3_put_gone(struct s3_put *put);                         /* the object was there a moment ago, and is not now: ends */
void s3_put_fail(struct s3_put *put, const struct ls_error *err); /* ends */
void s3_put_fail_request(struct s3_put *put, const struct s3_request *request);

void s3_parts_begin(struct s3_put *put); /* goes on with the journal's upload, or begins one */
void s3_parts_stop(struct s3_put *put);
/* s3_strays_sweep: the answer to the start of an upload was lost, or its id was not written down before a kill: what the store
 * began for our key since then, has no parts, and is not put->journal.upload, is aborted; then `next`. Failing to is no failure of
 * the put. */
void s3_strays_sweep(struct s3_put *put, void (*next)(struct s3_put *put));
void s3_strays_free(struct s3_put *put);
void s3_parts_forget(struct s3_put *put); /* tells the store to forget the upload, and removes the journal */

#endif
