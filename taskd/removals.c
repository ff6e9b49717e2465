/*
 * Dead tasks that retention has removed. Enters: their ids, on the journal's thread after its commit. Leaves: their files
 * go at once, and within a second what the board shows of them, since nobody could retry what it lists. Called by
 * recorder.c and heartbeat.c; window.c removes the files of all others.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "dispatch.h"
#include "shared/spool.h"

struct removals {
	pthread_mutex_t lock; /* of what follows */
	struct tr_id *ids;
	size_t count, room;
	char spool_dir[]; /* a copy: the configuration may be read again while the journal's thread looks */
};

struct removals *removals_new(const char *spool_dir)
{
	size_t bytes = strlen(spool_dir) + 1;
	struct removals *made = calloc(1, sizeof *made + bytes);

	if (!made)
		return NULL;
	pthread_mutex_init(&made->lock, NULL);
	memcpy(made->spool_dir, spool_dir, bytes);
	return made;
}

void removals_free(struct removals **removals)
{
	if (*removals) {
		pthread_mutex_destroy(&(*removals)->lock);
		free((*removals)->ids);
	}
	free(*removals);
	*removals = NULL;
}

void removals_files(const char *spool_dir, const struct tr_id *id, uint8_t flags)
{
	if (flags & RECORD_SPOOLED)
		spool_remove(spool_dir, id, SPOOL_ARGS);
	if (flags & RECORD_FILE)
		spool_remove(spool_dir, id, SPOOL_FILE);
}

/* Without memory for it the board shows it a while longer. */
void removals_note(void *context, const struct tr_id *id, uint8_t flags)
{
	struct removals *removals = context;

	removals_files(removals->spool_dir, id, flags);
	pthread_mutex_lock(&removals->lock);
	if (removals->count == removals->room) {
		size_t more = removals->room ? removals->room * 2 : 64;
		struct tr_id *moved = realloc(removals->ids, more * sizeof *moved);
		if (moved) {
			removals->ids = moved;
			removals->room = more;
		}
	}
	if (removals->count < removals->room)
		removals->ids[removals->count++] = *id;
	pthread_mutex_unlock(&removals->lock);
}

void removals_tick(struct dispatcher *dispatcher)
{
	struct removals *removals = dispatcher->removals;

	pthread_mutex_lock(&removals->lock);
	struct tr_id *ids = removals->ids;
	size_t count = removals->count;
	removals->ids = NULL;
	removals->count = removals->room = 0;
	pthread_mutex_unlock(&removals->lock);
	for (size_t i = 0; i < count; i++)
		board_forget(dispatcher->writer, &ids[i]); /* not one that is being retried: it is live, and gets a row again */
	free(ids);
}
