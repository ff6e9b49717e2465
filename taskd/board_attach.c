/*
 * Finding or making the board's segment. In: an instance and a geometry. Out: a segment that holds
 * a board of just this version and geometry, with the lock on its first byte. Called by
 * board_writer_open().
 */
#include "taskd/board_attach.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEXT_WORDS_EACH 8     /* room for longer texts: 64 bytes for each event, */
#define TEXT_WORDS_LEAST 1024 /* and for some log lines in any case */

/* What a new board's header says, and an old one's must say to be taken over. */
struct plan {
	const char *instance;
	const struct board_geometry *geometry;
	uint64_t identity;
	uint32_t mode;
	uint64_t entries_at, workers_at, lanes_at, queues_at, handlers_at, events_at, texts_at, size;
	uint32_t text_words;
};

static enum tr_result refuse(struct tr_error *error, enum tr_result result, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static enum tr_result refuse(struct tr_error *error, enum tr_result result, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(error->text, sizeof error->text, format, args);
	va_end(args);
	return result;
}

static uint64_t next_line(uint64_t offset)
{
	return (offset + 63) & ~63ull;
}

static bool make_plan(struct plan *plan, const char *instance, const struct board_geometry *geometry)
{
	assert(geometry->entries >= BOARD_BUCKET && geometry->entries % BOARD_BUCKET == 0);
	assert(geometry->events > 0);
	plan->instance = instance;
	plan->geometry = geometry;
	plan->mode = (geometry->mode & 0444) | 0600; /* to read is all that others ever need */
	plan->entries_at = next_line(sizeof(struct board));
	plan->workers_at = next_line(plan->entries_at + (uint64_t)geometry->entries * sizeof(struct board_entry));
	plan->lanes_at = next_line(plan->workers_at + (uint64_t)geometry->workers * sizeof(struct board_worker));
	plan->queues_at = next_line(plan->lanes_at + (uint64_t)geometry->lanes * sizeof(struct board_lane));
	plan->handlers_at = next_line(plan->queues_at + BOARD_QUEUES * sizeof(struct board_queue));
	plan->events_at = next_line(plan->handlers_at + BOARD_HANDLERS * sizeof(struct board_handler));
	plan->texts_at = next_line(plan->events_at + (uint64_t)geometry->events * sizeof(struct board_event));
	plan->text_words = TEXT_WORDS_LEAST;
	while (plan->text_words < (uint64_t)geometry->events * TEXT_WORDS_EACH)
		plan->text_words *= 2;
	plan->size = plan->texts_at + (uint64_t)plan->text_words * sizeof(uint64_t);
	return getrandom(&plan->identity, sizeof plan->identity, 0) == (ssize_t)sizeof plan->identity;
}

/* A new segment is all zero; only the header is written. */
static void fill(void *memory, const void *context)
{
	const struct plan *plan = context;
	struct board *board = memory;

	board->magic = BOARD_MAGIC;
	board->version = BOARD_VERSION;
	board->tables = board_tables_hash();
	board->size = plan->size;
	board->entries = plan->geometry->entries;
	board->workers = plan->geometry->workers;
	board->lanes = plan->geometry->lanes;
	board->events = plan->geometry->events;
	board->entries_at = plan->entries_at;
	board->workers_at = plan->workers_at;
	board->lanes_at = plan->lanes_at;
	board->queues = BOARD_QUEUES;
	board->handlers = BOARD_HANDLERS;
	board->queues_at = plan->queues_at;
	board->handlers_at = plan->handlers_at;
	board->events_at = plan->events_at;
	board->texts_at = plan->texts_at;
	board->text_words = plan->text_words;
	board->identity = plan->identity;
	snprintf(board->instance, sizeof board->instance, "%s", plan->instance);
}

static bool fits(const struct segment *segment, const struct plan *plan)
{
	const struct board *board = segment->memory;

	return segment->bytes == plan->size && board->magic == BOARD_MAGIC &&
	    board->version == BOARD_VERSION && board->tables == board_tables_hash() &&
	    board->size == plan->size && board->entries == plan->geometry->entries &&
	    board->workers == plan->geometry->workers && board->lanes == plan->geometry->lanes &&
	    board->events == plan->geometry->events && board->entries_at == plan->entries_at &&
	    board->workers_at == plan->workers_at && board->lanes_at == plan->lanes_at &&
	    board->queues == BOARD_QUEUES && board->handlers == BOARD_HANDLERS &&
	    board->queues_at == plan->queues_at && board->handlers_at == plan->handlers_at &&
	    board->events_at == plan->events_at && board->texts_at == plan->texts_at &&
	    board->text_words == plan->text_words;
}

/* Makes the segment behind `fd` ours: of our user, of the wanted mode, held by nobody else. */
static enum tr_result claim(int fd, const char *name, uint32_t mode, struct tr_error *error)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1 };
	struct stat status;

	if (fstat(fd, &status) != 0)
		return refuse(error, TR_SYSTEM, "/dev/shm%s: %s", name, strerror(errno));
	if (status.st_uid != geteuid())
		return refuse(error, TR_SYSTEM, "/dev/shm%s belongs to user %u, taskd runs as user %u: "
		    "remove it", name, status.st_uid, geteuid());
	if (fcntl(fd, F_OFD_SETLK, &lock) != 0) {
		int failed = errno;
		if (failed == EAGAIN || failed == EACCES)
			return refuse(error, TR_SYSTEM, "/dev/shm%s is in use by another dispatcher", name);
		return refuse(error, TR_SYSTEM, "locking /dev/shm%s: %s", name, strerror(failed));
	}
	if (fchmod(fd, (mode_t)mode) != 0)
		return refuse(error, TR_SYSTEM, "setting the mode of /dev/shm%s: %s", name, strerror(errno));
	return TR_OK;
}

/* Opens the board, ours from now on; makes it where there is none that fits. */
static enum tr_result open_or_make(struct segment *segment, const char *name, const struct plan *plan,
    struct tr_error *error)
{
	/* At most: remove a misfit, make a new one, open it; and one more for an unexpected rival. */
	for (int round = 0; round < 4; round++) {
		bool existed;
		enum tr_result result = segment_open(segment, name, true, error);
		if (result == TR_NOT_FOUND) {
			result = segment_create(name, plan->size, plan->mode, fill, plan, &existed, error);
			if (result != TR_OK)
				return result;
			continue;
		}
		if (result == TR_OK) {
			result = claim(segment->fd, name, plan->mode, error);
			if (result == TR_OK && fits(segment, plan))
				return TR_OK;
			segment_close(segment);
		}
		if (result != TR_OK && result != TR_VERSION_MISMATCH)
			return result;
		if (shm_unlink(name) != 0 && errno != ENOENT)
			return refuse(error, TR_SYSTEM, "removing /dev/shm%s: %s", name, strerror(errno));
	}
	return refuse(error, TR_SYSTEM, "/dev/shm%s: somebody else makes it again and again", name);
}

enum tr_result board_attach(struct segment *segment, const char *instance,
    const struct board_geometry *geometry, struct tr_error *error)
{
	char name[SEGMENT_NAME_SIZE];
	struct plan plan;

	if (!record_name_ok(instance, strnlen(instance, TR_NAME_MAX + 1)))
		return refuse(error, TR_INVALID, "instance \"%.80s\" is not a name", instance);
	if (!make_plan(&plan, instance, geometry))
		return refuse(error, TR_SYSTEM, "getrandom: %s", strerror(errno));
	segment_name(name, instance, "board");
	return open_or_make(segment, name, &plan, error);
}
