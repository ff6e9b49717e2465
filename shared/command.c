/*
 * Commands about a task, on their way to taskd. Enters: a task's id. Leaves: one record in the ring,
 * which taskd takes in its turn (taskd/wanted.c).
 */
#include <assert.h>

#include "client.h"
#include "record.h"

static enum tr_result publish_command(struct taskring *ring, enum record_kind kind, const struct tr_id *id)
{
	const struct record record = { .kind = (uint8_t)kind, .id = *id, .places = 1, .created_ns = client_now_ns() };
	char encoded[128];
	struct tr_error error;
	uint32_t hint = 0;
	uint64_t position;

	assert(record_size(&record) <= sizeof encoded);
	record_encode(&record, encoded);
	return client_publish(ring, &hint, encoded, record_size(&record), &position, &error);
}

enum tr_result tr_task_cancel(struct taskring *ring, const struct tr_id *id)
{
	return ring->magic == CLIENT_MAGIC ? publish_command(ring, RECORD_CANCEL, id) : TR_FORKED;
}

enum tr_result tr_task_retry(struct taskring *ring, const struct tr_id *id)
{
	struct tr_task_status status;
	enum tr_result result = tr_task_status(ring, id, &status);

	if (result != TR_OK)
		return result;
	bool is_dead = status.state == TR_DEAD;
	tr_task_status_clear(&status);
	return is_dead ? publish_command(ring, RECORD_RETRY, id) : TR_INVALID;
}
