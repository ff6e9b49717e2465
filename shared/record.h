/*
 * The record: one task, or one command about a task or a queue, as bytes. The same bytes travel through the
 * ring, lie in the dispatcher's memory and go to the worker, so there is one encoder, one decoder
 * and one check. Callers: client.c (producers), taskd's ring intake, journal reload, worker.
 *
 * Layout, little-endian as the machine (the ring never leaves it), size a multiple of 8:
 *   struct record_head, handler, queue, on_failure, trace, args; each text without a zero but
 *   args, which is followed by one, so that a worker can hand it out as a C string.
 */
#ifndef TR_RECORD_H
#define TR_RECORD_H

#include "taskring/taskring.h"

enum record_kind {
	RECORD_TASK = 1,
	RECORD_CANCEL = 2,
	RECORD_RETRY = 3, /* of a dead task; created_ns is when it was asked for, here and below */
	RECORD_DISCARD = 4, /* of a task that waits or is dead */
	RECORD_RUN = 5,     /* of a scheduled or retrying task: now */
	RECORD_PAUSE = 6,   /* of the queue that `queue` names; no id */
	RECORD_RESUME = 7,
	RECORD_PURGE = 8,   /* of an ended task: it is forgotten */
};

enum record_flag {
	RECORD_SEQUENTIAL = 1, /* starts after the task before it in its batch has ended */
	RECORD_DISK = 2,       /* its commit is to be fsynced at once */
	RECORD_SPOOLED = 4,    /* args are in <spool_dir>/<id>, args_bytes is that file's size */
	RECORD_FILE = 8,       /* the task owns <spool_dir>/<id>.file */
};

struct record_text {
	const char *at; /* not zero-terminated, but args */
	uint32_t bytes;
};

/* A record, decoded. The texts are views into the encoded bytes, or into the caller's strings. */
struct record {
	struct tr_id id; /* of a command: the task that it is about; of one about a queue: zero */
	uint8_t kind;    /* enum record_kind */
	uint8_t flags;   /* enum record_flag */
	uint16_t place, places; /* in its batch: 0..places-1 */
	uint32_t max_attempts;
	uint32_t backoff_base_ms, backoff_cap_ms;
	uint32_t soft_timeout_ms, hard_timeout_ms;
	int64_t created_ns;    /* ns since 1970 */
	int64_t run_at_ms;     /* ms since 1970; 0: at once */
	int64_t expires_at_ms; /* ms since 1970; 0: never */
	uint32_t args_bytes;   /* of args, also where they are spooled */
	struct record_text handler, queue, on_failure, trace;
	struct record_text args; /* bytes == 0 where they are spooled */
};

/* The one place where a task's fields are checked: NULL when all is allowed, else a sentence that
 * names the field, what it holds and what is allowed, written into *error. */
const char *record_check(const struct record *record, struct tr_error *error);

/* Fills what is 0 or empty with its default (queue "default", 5 attempts, backoff, args "{}"). */
void record_defaults(struct record *record);

/* Bytes that record_encode() writes; a multiple of 8. The record has passed record_check(). */
size_t record_size(const struct record *record);
void record_encode(const struct record *record, void *to);

/*
 * Sets what is known only when the batch is complete: how many tasks it has, and the flags but
 * SPOOLED and FILE. It may be called again.
 */
void record_seal(void *encoded, uint16_t places, uint8_t flags);

/* Joins RECORD_FILE to the flags of an encoded record. */
void record_own_file(void *encoded);

/* The next record's distance from an encoded one of our own making. */
size_t record_encoded_size(const void *encoded);

/* The fields of an encoded record of our own making, which was checked before; its texts are views of `encoded`. */
void record_view(const void *encoded, struct record *record);

/*
 * Decodes and checks hostile bytes; `bytes` is how much may be read. *used is the record's size.
 * NULL when well, else the sentence. Never reads outside, whatever the bytes are, provided that
 * nobody changes them meanwhile (take them out of shared memory first).
 */
const char *record_decode(const void *from, size_t bytes, struct record *record, size_t *used,
    struct tr_error *error);

/* A name of handler, queue, callback or instance: 1..TR_NAME_MAX of [A-Za-z0-9._-], no leading dot. */
bool record_name_ok(const char *name, size_t bytes);

#endif
