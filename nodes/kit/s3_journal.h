/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_KIT_S3_JOURNAL_H
#define NODES_KIT_S3_JOURNAL_H
#include "lib/lineshaft.h"

/* The journal of a multipart upload, text that a person can read, synced line by line:
 *
 *   lineshaft-upload 1 SIZE SHA256 PART_BYTES KEY      KEY and UPLOAD are percent-encoded
 *   creating MS                                        since 1970, our clock: from here on the store may have an upload
 *   upload UPLOAD
 *   part NUMBER ETAG                                   in the order in which they were answered
 *   complete                                           from here on the object may be there
 *
 * A last line without its end was never written. With a NULL path all of it is in memory only. */
struct s3_journal {
    char *path; /* NULL: none */
    int fd;     /* -1: not begun */
    char *key;
    uint64_t size;
    char sha256[65];
    uint64_t part_bytes;
    int64_t creating_ms; /* 0: no */
    char *upload;        /* NULL: its id is not known */
    bool completing;
};

/* s3_journal_load: 0, with what it holds: `creating_ms` and `upload` say how far it came; -1: SYSTEM. Opens for appending. What it says of
 * parts is not read: the store is asked (it may have lost some). */
int s3_journal_load(struct s3_journal *journal, const char *path, struct ls_error *err);
/* s3_journal_begin writes the first two lines from the members, and syncs file and folder. */
int s3_journal_begin(struct s3_journal *journal, struct ls_error *err);
int s3_journal_upload(struct s3_journal *journal, struct ls_error *err);
int s3_journal_part(struct s3_journal *journal, unsigned number, const char *etag, struct ls_error *err);
int s3_journal_complete(struct s3_journal *journal, struct ls_error *err);
void s3_journal_remove(struct s3_journal *journal); /* the upload is over */
void s3_journal_fini(struct s3_journal *journal);   /* the file stays */

#endif
