/*
 * An opened instance, as the library's own files see it: client.c, batch.c, command.c, status.c,
 * list.c, task_log.c, detail.c, explain.c.
 */
#ifndef TR_CLIENT_H
#define TR_CLIENT_H

#include <pthread.h>
#include <stdatomic.h>

#include "archive.h"
#include "board.h"
#include "record.h"
#include "ring.h"

#define CLIENT_MAGIC 0x746e65696c637274ull /* "trclient" */

/*
 * In memory that a forked child finds zeroed. Ring and board can be made anew by others; then new
 * ones are attached, and the old ones kept until the end, since threads may still look at them.
 */
struct client_old {
	struct client_old *next;
	struct ring *ring;
	const struct board *board;
};

struct taskring {
	uint64_t magic;
	size_t bytes; /* of this mapping */
	char name[TR_NAME_MAX + 1];
	struct tr_geometry geometry;
	uint32_t mode, room_wait_ms;
	char *spool_dir, *journal; /* or NULL */
	_Atomic(struct ring *) ring;         /* NULL: not there, and not to be made (`look`) */
	_Atomic(const struct board *) board; /* NULL: not there yet */
	_Atomic bool hopeless;               /* who waited for room saw nothing move: nobody waits until there is some */
	pthread_mutex_t lock;                /* guards replacing, `old` and the archive */
	struct client_old *old;
	struct archive *archive;
};

/* The ring to use instead of `stale`, or NULL and the result. */
struct ring *client_new_ring(struct taskring *client, struct ring *stale, enum tr_result *result, struct tr_error *error);
/* The board, opened when it was not there or has been replaced; NULL: there is none, or *result. */
const struct board *client_board(struct taskring *client, enum tr_result *result);
/* As client_board(), after looking whether the name now stands for another segment. */
const struct board *client_board_again(struct taskring *client, enum tr_result *result);

/*
 * Publishes an encoded batch, in the ring made anew if the attached one is gone. Where that is full, waits up to
 * room_wait_ms for room, which is client->room_wait_ms or what is left of it. *error: of the attaching.
 */
enum tr_result client_publish(struct taskring *client, uint32_t *lane_hint, const void *batch, size_t bytes,
    uint32_t room_wait_ms, uint64_t *position, struct tr_error *error);

/* The archive, opened when it was not. Under the lock. NOT_FOUND: there is no journal, or none was named. */
enum tr_result client_archive(struct taskring *client);

/* status.c: what is to be known of a task's record that was found in the ring. */
typedef void client_take_fn(const struct record *record, void *into);
/* Of tasks that taskd has not taken, or taken and not yet retired. Errors: NOT_FOUND, NO_MEMORY. */
enum tr_result client_from_ring(struct taskring *client, const struct tr_id *id, client_take_fn *take, void *into);

/* detail.c: the task's row, else its record in the ring. NULL: *result says why; NOT_FOUND: neither. */
struct archive_detail *client_record(struct taskring *client, const struct tr_id *id, enum tr_result *result);
void client_record_free(struct archive_detail **record);
/* Its arguments, as they are, malloc()ed; out of the spool, where they lie there. NOT_FOUND: the file was removed. */
enum tr_result client_arguments(const struct taskring *client, const struct tr_id *id, const struct archive_detail *record, char **args);

/* status.c: what the board shows of a task. TOO_LARGE: all but its result, which client_add_result() fetches. */
enum tr_result client_status_of_entry(const struct board_entry *entry, struct tr_task_status *status);
/* The result out of the journal; NULL stays where it cannot be read. Takes the lock. */
void client_add_result(struct taskring *client, struct tr_task_status *status);

#endif
