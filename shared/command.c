/*
 * Commands about a task or a queue, on their way to taskd. Enters: a task's id, a queue's name. Leaves: one
 * record in the ring, which taskd takes in its turn (taskd/wanted.c, taskd/queues.c).
 */
#include <assert.h>
#include <string.h>

#include "client.h"
#include "clock.h"
#include "record.h"

static enum tr_result publish_command(struct taskring *ring, const struct record *command, uint32_t room_wait_ms)
{
	char encoded[256];
	struct tr_error error;
	uint32_t hint = 0;
	uint64_t position;
	size_t bytes = record_size(command);

	assert(bytes <= sizeof encoded);
	record_encode(command, encoded);
	return client_publish(ring, &hint, encoded, bytes, room_wait_ms, &position, &error);
}

/* ---- about a task ------------------------------------------------------------------------ */

static enum tr_result command_task(struct taskring *ring, enum record_kind kind, const struct tr_id *id, uint32_t room_wait_ms)
{
	const struct record command = { .kind = (uint8_t)kind, .id = *id, .places = 1, .created_ns = clock_ns(CLOCK_REALTIME) };

	return publish_command(ring, &command, room_wait_ms);
}

/* Published when the task is in one of `states` (1u << enum tr_state), as far as can be seen here. */
static enum tr_result command_if(struct taskring *ring, enum record_kind kind, const struct tr_id *id, unsigned states)
{
	struct tr_task_status status;
	enum tr_result result = tr_task_status(ring, id, &status);

	if (result != TR_OK)
		return result;
	bool fits = states >> status.state & 1;
	tr_task_status_clear(&status);
	return fits ? command_task(ring, kind, id, ring->room_wait_ms) : TR_INVALID;
}

enum tr_result tr_task_cancel(struct taskring *ring, const struct tr_id *id)
{
	return ring->magic == CLIENT_MAGIC ? command_task(ring, RECORD_CANCEL, id, ring->room_wait_ms) : TR_FORKED;
}

enum tr_result tr_task_retry(struct taskring *ring, const struct tr_id *id)
{
	return command_if(ring, RECORD_RETRY, id, 1u << TR_DEAD);
}

enum tr_result tr_task_discard(struct taskring *ring, const struct tr_id *id)
{
	return command_if(ring, RECORD_DISCARD, id, 1u << TR_QUEUED | 1u << TR_SCHEDULED | 1u << TR_RETRYING | 1u << TR_DEAD);
}

enum tr_result tr_task_run(struct taskring *ring, const struct tr_id *id)
{
	return command_if(ring, RECORD_RUN, id, 1u << TR_SCHEDULED | 1u << TR_RETRYING);
}

enum tr_result tr_task_purge(struct taskring *ring, const struct tr_id *id)
{
	return command_if(ring, RECORD_PURGE, id, 1u << TR_SUCCEEDED | 1u << TR_DEAD | 1u << TR_CANCELLED | 1u << TR_EXPIRED);
}

/*
 * Each is published by itself, since taskd strikes what has no effect out of the ring, and strikes only whole
 * publications. All of them together wait for room no longer than one would.
 */
enum tr_result tr_tasks_command(struct taskring *ring, enum tr_command command, const struct tr_id *ids, size_t count, size_t *asked)
{
	static const enum record_kind kinds[] = { [TR_CANCEL] = RECORD_CANCEL, [TR_RETRY] = RECORD_RETRY,
		[TR_DISCARD] = RECORD_DISCARD, [TR_RUN] = RECORD_RUN };
	enum tr_result result = ring->magic == CLIENT_MAGIC ? TR_OK : TR_FORKED;
	int64_t until_ms = clock_ms(CLOCK_MONOTONIC) + ring->room_wait_ms;

	*asked = 0;
	while (result == TR_OK && *asked < count) {
		int64_t left_ms = until_ms - clock_ms(CLOCK_MONOTONIC);
		result = command_task(ring, kinds[command], &ids[*asked], left_ms > 0 ? (uint32_t)left_ms : 0);
		*asked += result == TR_OK;
	}
	return result;
}

/* ---- about a queue ----------------------------------------------------------------------- */

static enum tr_result command_queue(struct taskring *ring, enum record_kind kind, const char *queue)
{
	const struct record command = { .kind = (uint8_t)kind, .places = 1, .created_ns = clock_ns(CLOCK_REALTIME),
		.queue = { queue, (uint32_t)strnlen(queue, TR_NAME_MAX + 1) } };

	if (ring->magic != CLIENT_MAGIC)
		return TR_FORKED;
	return record_name_ok(queue, command.queue.bytes) ? publish_command(ring, &command, ring->room_wait_ms) : TR_INVALID;
}

enum tr_result tr_queue_pause(struct taskring *ring, const char *queue)
{
	return command_queue(ring, RECORD_PAUSE, queue);
}

enum tr_result tr_queue_resume(struct taskring *ring, const char *queue)
{
	return command_queue(ring, RECORD_RESUME, queue);
}
