/*
 * An instance as a producer sees it: opening, closing, and following ring and board when others
 * make them anew. Batches are batch.c's, looking up is status.c's.
 */
#include "client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "clock.h"
#include "segment.h"

#define ROOM_LOOK_NS 2000000 /* so long until it is tried again to publish where there was no room */

static struct taskring *client_allocate(void)
{
	size_t bytes = (sizeof(struct taskring) + 4095) & ~(size_t)4095;
	struct taskring *made = segment_private(bytes);

	if (made == NULL)
		return NULL;
	made->bytes = bytes;
	pthread_mutex_init(&made->lock, NULL);
	return made;
}

static bool copy_path(const char *from, char **to)
{
	return !from || (*to = strdup(from)) != NULL;
}

enum tr_result tr_open(struct taskring **ring, const char *name, const struct tr_open_options *options,
    struct tr_error *error)
{
	static const struct tr_open_options none;
	struct tr_error ignored;
	struct ring *attached;

	if (!error)
		error = &ignored;
	error->text[0] = '\0';
	*ring = NULL;
	if (!options)
		options = &none;
	uint32_t mode = options->look ? RING_NOT_MADE : options->mode;
	enum tr_result result = ring_attach(&attached, name, &options->geometry, mode, error);
	if (result != TR_OK && !(result == TR_NO_RING && options->look))
		return result;
	struct taskring *made = client_allocate();
	if (!made || !copy_path(options->spool_dir, &made->spool_dir) || !copy_path(options->journal, &made->journal)) {
		ring_detach(&attached);
		tr_close(&made);
		return TR_NO_MEMORY;
	}
	snprintf(made->name, sizeof made->name, "%s", name);
	made->geometry = options->geometry;
	made->mode = mode;
	made->room_wait_ms = options->room_wait_ms;
	atomic_store(&made->ring, attached);
	made->magic = CLIENT_MAGIC;
	*ring = made;
	return TR_OK;
}

void tr_close(struct taskring **ring)
{
	struct taskring *gone = *ring;

	*ring = NULL;
	if (!gone || !gone->bytes) /* a forked child: wiped */
		return;
	struct ring *attached = atomic_load(&gone->ring);
	const struct board *board = atomic_load(&gone->board);
	ring_detach(&attached);
	if (board)
		board_close(&board);
	for (struct client_old *each = gone->old, *next; each; each = next) {
		next = each->next;
		ring_detach(&each->ring);
		if (each->board)
			board_close(&each->board);
		free(each);
	}
	archive_close(&gone->archive);
	free(gone->spool_dir);
	free(gone->journal);
	pthread_mutex_destroy(&gone->lock);
	munmap(gone, gone->bytes);
}

/* Keeps what other threads may still use. False: out of memory. Under the lock. */
static bool keep_old(struct taskring *client, struct ring *ring, const struct board *board)
{
	struct client_old *old = malloc(sizeof *old);

	if (!old)
		return false;
	*old = (struct client_old){ .next = client->old, .ring = ring, .board = board };
	client->old = old;
	return true;
}

struct ring *client_new_ring(struct taskring *client, struct ring *stale, enum tr_result *result, struct tr_error *error)
{
	struct ring *attached = NULL;

	pthread_mutex_lock(&client->lock);
	struct ring *now = atomic_load(&client->ring);
	*result = TR_OK;
	if (now == stale) { /* else another thread was faster */
		*result = ring_attach(&attached, client->name, &client->geometry, client->mode, error);
		if (*result == TR_OK && stale && !keep_old(client, stale, NULL)) {
			ring_detach(&attached);
			*result = TR_NO_MEMORY;
		}
		if (*result == TR_OK)
			atomic_store(&client->ring, attached);
		now = attached;
	}
	pthread_mutex_unlock(&client->lock);
	return now;
}

const struct board *client_board(struct taskring *client, enum tr_result *result)
{
	struct tr_error error;
	const struct board *board = atomic_load_explicit(&client->board, memory_order_acquire);

	*result = TR_OK;
	if (board)
		return board;
	pthread_mutex_lock(&client->lock);
	board = atomic_load(&client->board);
	if (!board) {
		*result = board_open(&board, client->name, &error);
		if (*result == TR_OK)
			atomic_store(&client->board, board);
	}
	pthread_mutex_unlock(&client->lock);
	return *result == TR_OK ? board : NULL;
}

const struct board *client_board_again(struct taskring *client, enum tr_result *result)
{
	const struct board *board = client_board(client, result);

	if (!board || !board_replaced(board, client->name))
		return board;
	pthread_mutex_lock(&client->lock);
	if (atomic_load(&client->board) == board && keep_old(client, NULL, board))
		atomic_store(&client->board, NULL);
	pthread_mutex_unlock(&client->lock);
	return client_board(client, result);
}

static enum tr_result publish_once(struct taskring *client, uint32_t *lane_hint, const void *batch, size_t bytes,
    uint64_t *position, struct tr_error *error)
{
	struct ring *ring = atomic_load_explicit(&client->ring, memory_order_acquire);
	enum tr_result result = ring ? ring_publish(ring, lane_hint, batch, bytes, position) : TR_NO_RING;

	if (result == TR_NO_RING && (ring = client_new_ring(client, ring, &result, error)) != NULL)
		result = ring_publish(ring, lane_hint, batch, bytes, position);
	return result;
}

/* What taskd can end: it retires, and recycles the lanes of producers that have ended. */
static bool is_without_room(enum tr_result result)
{
	return result == TR_RING_FULL || result == TR_LANE_FULL || result == TR_NO_LANE;
}

static uint64_t oldest(const struct taskring *client)
{
	const struct ring *ring = atomic_load_explicit(&client->ring, memory_order_acquire);

	return ring ? ring_oldest(ring) : 0;
}

/*
 * A full ring has room again when taskd's next commit is done. While that may be soon, looking again costs less than
 * to refuse, and whoever waits leaves the processor to taskd. Where nothing moves in all that time, taskd is dead or
 * its disk is: those who come then must not be held up as well, one after the other.
 */
static enum tr_result publish_patiently(struct taskring *client, uint32_t *lane_hint, const void *batch, size_t bytes,
    uint32_t room_wait_ms, uint64_t *position, struct tr_error *error)
{
	static const struct timespec nap = { .tv_nsec = ROOM_LOOK_NS };
	int64_t until_ns = clock_ns(CLOCK_MONOTONIC) + room_wait_ms * INT64_C(1000000);
	uint64_t before = oldest(client);
	enum tr_result result;
	bool over;

	do {
		nanosleep(&nap, NULL); /* a signal makes it shorter */
		result = publish_once(client, lane_hint, batch, bytes, position, error);
		over = clock_ns(CLOCK_MONOTONIC) >= until_ns;
	} while (is_without_room(result) && !over && !atomic_load(&client->hopeless));
	/* Who had but a rest of the time, or gave up since others had, has not seen enough to speak for all. */
	if (is_without_room(result) && over && room_wait_ms >= client->room_wait_ms / 2 && oldest(client) == before)
		atomic_store(&client->hopeless, true);
	return result;
}

enum tr_result client_publish(struct taskring *client, uint32_t *lane_hint, const void *batch, size_t bytes,
    uint32_t room_wait_ms, uint64_t *position, struct tr_error *error)
{
	enum tr_result result = publish_once(client, lane_hint, batch, bytes, position, error);
	bool hopeless = atomic_load_explicit(&client->hopeless, memory_order_relaxed);

	if (is_without_room(result) && room_wait_ms && !hopeless)
		result = publish_patiently(client, lane_hint, batch, bytes, room_wait_ms, position, error);
	if (result == TR_OK && hopeless)
		atomic_store(&client->hopeless, false);
	struct ring *ring = atomic_load(&client->ring);
	if (ring && is_without_room(result))
		ring_count_refused(ring);
	return result;
}

enum tr_result client_archive(struct taskring *client)
{
	struct tr_error error;

	if (client->archive)
		return TR_OK;
	return client->journal ? archive_open(&client->archive, client->journal, &error) : TR_NOT_FOUND;
}
