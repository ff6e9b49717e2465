/*
 * Works that hold no thread: their handler answered TR_PENDING, and ends them later from a callback of
 * the worker's loop. Enters: a lane's oldest work. Leaves: the same work, found by the serial that the
 * worker's messages bear. Called by workforce.c, which keeps their number below the pool's concurrency,
 * and by all who look at what a worker has begun.
 *
 * A running work is told to stop by a word in the mailbox that holds one serial. Of pending ones there
 * are many, so they are told by pieces of work (WORK_STOP); where the mailbox has no room for one, it
 * is tried again, since nobody tells when there is.
 */
#include <stdlib.h>

#include "dispatch.h"
#include "log.h"

/* Serials are consecutive: their low bits spread as well as any hash. */
#undef HASH_FUNCTION
#undef HASH_KEYCMP
#define HASH_FUNCTION(key, length, value) ((value) = (unsigned)*(const uint64_t *)(key))
#define HASH_KEYCMP(a, b, length) (*(const uint64_t *)(a) != *(const uint64_t *)(b))

struct pending_work {
	struct work work; /* first: a struct work of ours is the struct pending_work around it */
	UT_hash_handle hh;
};

/* ---- the table --------------------------------------------------------------------------- */

/*
 * The task runs and nobody would know it: to go on would be to misread all that its worker says. The
 * journal has the task, and whoever starts next runs it again.
 */
static _Noreturn void out_of_memory(const struct work *work)
{
	char id[TR_ID_TEXT_SIZE];

	log_event(LOG_CRIT, "out-of-memory", "id=%s what=%s", tr_id_format(&work->task->id, id), "pending work");
	exit(EXIT_FAILURE);
}

void lane_pending_add(struct dispatcher *dispatcher, struct lane *lane, const struct work *work)
{
	struct pending_work *made = calloc(1, sizeof *made);

	if (!made)
		out_of_memory(work);
	made->work = *work;
	made->work.pending = true;
	HASH_ADD(hh, lane->pending, work.serial, sizeof made->work.serial, made);
	if (!made->hh.tbl)
		out_of_memory(work);
	lane->pending_count++;
	work->task->work = &made->work;
	/* It was told while it ran; who was told so is not known to have looked. */
	if (work->task->cancel_wanted)
		lane_pending_stop(dispatcher, lane, &made->work, STOP_CANCEL);
	else if (dispatcher->draining)
		lane_pending_stop(dispatcher, lane, &made->work, STOP_DRAIN);
}

struct work *lane_pending_find(const struct lane *lane, uint64_t serial)
{
	struct pending_work *found;

	HASH_FIND(hh, lane->pending, &serial, sizeof serial, found);
	return found ? &found->work : NULL;
}

struct work *lane_pending_next(const struct lane *lane, const struct work *after)
{
	struct pending_work *next = after ? ((const struct pending_work *)(const void *)after)->hh.next : lane->pending;

	return next ? &next->work : NULL;
}

void lane_pending_remove(struct lane *lane, struct work *work)
{
	struct pending_work *gone = (struct pending_work *)(void *)work;

	HASH_DEL(lane->pending, gone);
	lane->pending_count--;
	lane->stops -= work->stop != STOP_NONE;
	free(gone);
}

/* ---- telling ----------------------------------------------------------------------------- */

void lane_pending_stop(struct dispatcher *dispatcher, struct lane *lane, struct work *work, enum mailbox_stop stop)
{
	lane->stops += work->stop == STOP_NONE;
	work->stop = (uint8_t)stop;
	dispatcher->stops_wait = true;
}

/* Tells as many as there is room for. */
static void tell_lane(struct lane *lane)
{
	struct mailbox *mailbox = lane->worker->mailbox;
	struct work *work = NULL;
	uint32_t entry;

	while (lane->stops && (work = lane_pending_next(lane, work)) != NULL) {
		const struct work_head head = { .kind = WORK_STOP, .serial = work->serial, .attempt = work->stop };
		if (work->stop == STOP_NONE)
			continue;
		if (!mailbox_push(mailbox, lane->number, &head, "", "", &entry))
			break;
		work->stop = STOP_NONE;
		lane->stops--;
	}
	mailbox_wake(mailbox, lane->number);
}

void lane_pending_tick(struct dispatcher *dispatcher)
{
	if (!dispatcher->stops_wait)
		return;
	dispatcher->stops_wait = false;
	for (uint32_t row = 0; row < dispatcher->worker_rows; row++) {
		struct worker *worker = &dispatcher->workers[row];
		for (uint32_t i = 0; worker->alive && i < worker->lane_count; i++) {
			if (worker->lanes[i].stops)
				tell_lane(&worker->lanes[i]);
			dispatcher->stops_wait |= worker->lanes[i].stops != 0;
		}
	}
}
