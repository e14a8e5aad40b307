/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_ARTIFACTS_SPOOL_H
#define NODES_ARTIFACTS_SPOOL_H
#include <jansson.h>
#include <openssl/evp.h>
#include <sys/queue.h>

#include "lib/heap.h"
#include "lib/lineshaft.h"

/* The spool: what was taken and is not stored, or not told, yet. A folder with, for each entry, the files
 *   ID.part     content that is still coming; nothing of it counts after a crash
 *   ID.data     the content, whole and synced
 *   ID.json     what is to become of it; the entry exists for good from the moment this file is there (written beside, synced, renamed)
 *   ID.journal  of a multipart upload, written by the store's driver
 * receiving (part) -> ready (data, json) -> done (json has `outcome`) -> gone. All functions block as the disk does. */

enum entry_state { ENTRY_RECEIVING, ENTRY_READY, ENTRY_DONE };

struct spool;

/* Texts are owned; NULL: unknown. */
struct entry_facts {
    char *key, *run_id, *content_type, *traceparent, *correlationid, *causationid;
    char *user_id;
    bool replace;
};

struct entry {
    TAILQ_ENTRY(entry) link;      /* all of the spool, by order */
    struct spool *spool;
    char id[40];
    enum entry_state state;
    uint64_t order;               /* of arrival; the entries of a key are stored in this order */
    struct entry_facts facts;
    uint64_t size;                /* received so far */
    uint64_t held;                /* of it on the disk now */
    uint64_t reserved;            /* counted against the limit: the announced size, or what came if that is more */
    char sha256[65];              /* when ready */
    unsigned char md5[16];
    int64_t began_ms;             /* since 1970 */
    json_t *outcome;              /* done: {"topic": ..., "body": {...}} */
    /* Receiving. */
    int fd;
    EVP_MD_CTX *sha_context, *md5_context;

    /* The rest is store.c's and of whoever waits. */
    struct artifacts *owner;
    TAILQ_ENTRY(entry) queue_link;
    TAILQ_ENTRY(entry) lane_link;
    struct lane *lane;            /* NULL: it is in none */
    bool released;                /* it may be written when it is the first of its lane */
    bool queued;                  /* in the list of those that may be written now, or told now */
    struct objstore_op *op;       /* it is being written */
    unsigned attempts;
    int64_t pause_ms;             /* the last try came to nothing: so long until the next; 0: it did not */
    struct timer resume;
    int trouble;                  /* why it waits: enum store_trouble */
    struct upload *upload;        /* the upload that waits for it; NULL: none, or it went away */
    uint32_t subscription;        /* of the event that it came by; seq 0: it came by none, or before a crash */
    uint64_t seq;
};
TAILQ_HEAD(entry_list, entry);

struct spool_options {
    const char *dir;
    uint64_t limit_bytes, floor_bytes;
};

struct spool_use {
    uint64_t bytes, limit_bytes, free_bytes, floor_bytes, entries;
};

/* spool_open makes the folder (mode 0700), locks it, removes what was never whole, reads the rest into the list, oldest first. NULL
 * with SYSTEM (another process has the lock; what to do is said) or CORRUPT. */
struct spool *spool_open(const struct spool_options *options, struct ls_error *err);
void spool_close(struct spool **spool); /* frees the entries; the files stay, but for those that are still coming */
struct entry_list *spool_entries(struct spool *spool);
void spool_use(const struct spool *spool, struct spool_use *use);
/* spool_room: may `bytes` more come? -1 with FULL (again), or TOO_BIG when they could never. */
int spool_room(const struct spool *spool, uint64_t bytes, struct ls_error *err);

/* spool_begin makes an entry for content of `bytes` (-1: not known) under an id (NULL: a new one). The facts are taken over, also on
 * failure. NULL as spool_room, or SYSTEM. */
struct entry *spool_begin(struct spool *spool, const char *id, struct entry_facts *facts, int64_t bytes, struct ls_error *err);
/* spool_write adds content. -1 with FULL or SYSTEM (both again), or TOO_BIG; the entry must then be dropped. */
int spool_write(struct entry *entry, struct ls_slice bytes, struct ls_error *err);
/* spool_digest: size, sha256 and md5 of what came are final. spool_keep: from its return the entry is ready, whatever happens. -1 with
 * SYSTEM or FULL. */
void spool_digest(struct entry *entry);
int spool_keep(struct entry *entry, struct ls_error *err);
/* spool_outcome notes what became of it (taken over), and lets go of the content. If that cannot be written it is only logged: after a
 * crash it is done again. */
void spool_outcome(struct entry *entry, json_t *outcome);
/* spool_drop removes entry and files, frees, NULLs. Its operation must have ended. */
void spool_drop(struct entry **entry);

char *spool_path(const struct entry *entry, const char *suffix); /* absolute: of ".data", ".journal"; the caller's */
const char *spool_dir(const struct spool *spool);                /* absolute */
void entry_facts_free(struct entry_facts *facts);

#endif
