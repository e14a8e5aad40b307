/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_TAIL_STORY_H
#define CLI_TAIL_STORY_H
#include <jansson.h>

#include "cli/render.h"

/* What the tellers of cli/story_*.c share: each makes one line for people of the body of an event. All that they append is harmless
 * (render_harmless); what is absent, or of another type than it should be, is left out. */

/* One row of a family's table, which ends with topic NULL. `body` is an object. */
struct teller {
    const char *topic;
    void (*tell)(const json_t *body, struct buf *out);
};
extern const struct teller STORY_CHAT[], STORY_WORK[], STORY_RUN[], STORY_MODEL[];

/* A text that is not empty, else NULL. A number from 0 on, else -1. */
const char *story_text(const json_t *body, const char *key);
double story_number(const json_t *body, const char *key);

/* story_put_text: nothing for NULL. story_put_more: `before` and the text, or nothing at all. */
void story_put_text(struct buf *out, const char *text);
void story_put_more(struct buf *out, const char *before, const char *text);
/* "340 ms"; story_put_after: ", after 340 ms" if the body has a duration_ms, story_put_took: ", took 340 ms". */
void story_put_ms(struct buf *out, double ms);
void story_put_after(const json_t *body, struct buf *out);
void story_put_took(const json_t *body, struct buf *out);
/* The beginning of a text in quotes, white space made single. */
void story_put_words(struct buf *out, const struct buf *text);
/* A value of any type, short. story_put_pairs: `before`, then "a=1, b=x, c={…}" of an object; nothing if that is
 * empty. */
void story_put_value(struct buf *out, const json_t *value);
void story_put_pairs(struct buf *out, const char *before, const json_t *object);
/* `before` and a version, number or text; nothing if it is neither. */
void story_put_version(struct buf *out, const char *before, const json_t *version);

/* ---- many of one kind as one line: `bodies` is an array of objects, in the order of time ---- */

void story_fold_metrics(const json_t *bodies, struct buf *out);
void story_fold_params(const json_t *bodies, struct buf *out);
void story_fold_progress(const json_t *bodies, struct buf *out); /* the last of each that was said */

#endif
