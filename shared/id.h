/* Ids: UUID version 7, RFC 9562. Made by producers and, for what a callback enqueues, by taskd. */
#ifndef TR_ID_H
#define TR_ID_H

#include "taskring/taskring.h"

/* A source of ids; one thread at a time. Seeded from getrandom(2), afterwards without system calls. */
struct id_source {
	uint64_t state;
};

/* False: the operating system gave no randomness; errno says why. */
bool id_source_open(struct id_source *source);

/*
 * An id for `now_ns` (ns since 1970) that may be followed by TR_BATCH_MAX consecutive ones: the
 * 62 random bits are drawn so that adding that much never carries.
 */
struct tr_id id_make(struct id_source *source, int64_t now_ns);

/* The id `steps` after (or, negative, before) this one in its batch. */
struct tr_id id_step(const struct tr_id *id, int steps);

int64_t id_time_ms(const struct tr_id *id);
uint64_t id_hash(const struct tr_id *id);
bool id_equal(const struct tr_id *a, const struct tr_id *b);

#endif
