/*
 * One command about many tasks, on its way to taskd. Enters: ids, as a listing gave them. Leaves: a few
 * publications in the ring, each with as many commands as fit; taskd judges each when it takes it (taskd/wanted.c).
 */
#include <assert.h>

#include "client.h"
#include "clock.h"
#include "record.h"

#define CHUNK_BYTES 8192 /* of one publication: fits into a lane of every geometry */

static enum record_kind kind_of(enum tr_command command)
{
	static const enum record_kind kinds[] = { [TR_CANCEL] = RECORD_CANCEL, [TR_RETRY] = RECORD_RETRY,
		[TR_DISCARD] = RECORD_DISCARD, [TR_RUN] = RECORD_RUN };

	return kinds[command];
}

enum tr_result tr_tasks_command(struct taskring *ring, enum tr_command command, const struct tr_id *ids, size_t count, size_t *asked)
{
	struct record record = { .kind = (uint8_t)kind_of(command), .places = 1, .created_ns = clock_ns(CLOCK_REALTIME) };
	size_t bytes = record_size(&record), most = CHUNK_BYTES / bytes;
	_Alignas(8) char chunk[CHUNK_BYTES];
	struct tr_error error;
	uint32_t hint = 0;
	uint64_t position;

	*asked = 0;
	if (ring->magic != CLIENT_MAGIC)
		return TR_FORKED;
	assert(most > 0);
	while (*asked < count) {
		size_t here = count - *asked < most ? count - *asked : most;
		for (size_t i = 0; i < here; i++) {
			record.id = ids[*asked + i];
			record_encode(&record, chunk + i * bytes);
		}
		enum tr_result result = client_publish(ring, &hint, chunk, here * bytes, 0, &position, &error);
		if (result != TR_OK)
			return result;
		*asked += here;
	}
	return TR_OK;
}
