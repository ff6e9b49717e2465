/*
 * A batch of background tasks: filled while a request is worked on, published at its end.
 * Enters: what an endpoint asks for. Leaves: one publication in the ring, all or nothing.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client.h"
#include "durable.h"
#include "id.h"
#include "record.h"
#include "shared/clock.h"
#include "spool.h"

#define FIRST_BUFFER_BYTES 4096

/* A task's file, or its arguments, that waits, nameless, for its batch to be published. */
struct spooled {
	struct spooled *next;
	enum spool_kind kind;
	int fd;
	bool was_named; /* and lost its name again: the file cannot get another */
	struct tr_id id;
};

struct background_tasks {
	struct taskring *client;
	struct id_source ids;
	uint32_t lane_hint;
	bool concurrent;
	enum tr_durability durability;
	uint16_t count;
	int64_t now_ns;  /* of the first task: the time that all of the batch carry */
	struct tr_id first;
	char *buffer;
	size_t bytes, capacity;
	size_t last; /* where in the buffer the task begins that was added last; with count */
	struct spooled *spooled;
	struct tr_error error;
};

static enum tr_result refuse(struct background_tasks *background, enum tr_result result, const char *text)
{
	snprintf(background->error.text, sizeof background->error.text, "%s", text ? text : tr_result_text(result));
	return result;
}

enum tr_result background_tasks_new(struct background_tasks **background, struct taskring *ring)
{
	*background = NULL;
	if (ring->magic != CLIENT_MAGIC)
		return TR_FORKED;
	if (!atomic_load(&ring->ring))
		return TR_NO_RING;
	struct background_tasks *made = calloc(1, sizeof *made);
	if (!made)
		return TR_NO_MEMORY;
	made->client = ring;
	made->capacity = FIRST_BUFFER_BYTES;
	made->buffer = malloc(made->capacity);
	if (!made->buffer || !id_source_open(&made->ids)) {
		free(made->buffer);
		free(made);
		return TR_NO_MEMORY;
	}
	*background = made;
	return TR_OK;
}

void background_tasks_free(struct background_tasks **background)
{
	struct background_tasks *gone = *background;

	*background = NULL;
	if (!gone)
		return;
	background_tasks_clear(gone);
	free(gone->buffer);
	free(gone);
}

void background_tasks_concurrent(struct background_tasks *background, bool concurrent)
{
	background->concurrent = concurrent;
}

void background_tasks_durability(struct background_tasks *background, enum tr_durability durability)
{
	background->durability = durability;
}

size_t background_tasks_count(const struct background_tasks *background)
{
	return background->count;
}

struct tr_id background_tasks_id(const struct background_tasks *background, size_t index)
{
	return id_step(&background->first, (int)index);
}

const char *background_tasks_error(const struct background_tasks *background)
{
	return background->error.text;
}

void background_tasks_clear(struct background_tasks *background)
{
	for (struct spooled *each = background->spooled, *next; each; each = next) {
		next = each->next;
		close(each->fd);
		free(each);
	}
	background->spooled = NULL;
	background->count = 0;
	background->bytes = 0;
}

/* ---- adding ------------------------------------------------------------------------------ */

static struct record_text text_of(const char *text)
{
	size_t bytes = text ? strlen(text) : 0;

	return (struct record_text){ text, bytes > UINT32_MAX ? UINT32_MAX : (uint32_t)bytes };
}

/* A record knows points in time only, so these two are checked here; all else by record_check(). */
static bool delay_ok(struct background_tasks *background, const char *field, int64_t delay_ms)
{
	if (delay_ms >= 0 && delay_ms <= TR_DELAY_MS_MAX)
		return true;
	snprintf(background->error.text, sizeof background->error.text, "%s: %lld; allowed is 0 to %lld", field,
	    (long long)delay_ms, (long long)TR_DELAY_MS_MAX);
	return false;
}

/* Later of the two. */
static int64_t run_at(const struct task_options *options, int64_t now_ms)
{
	int64_t delayed_ms = options->delay_ms ? now_ms + options->delay_ms : 0;

	return options->run_at_ms >= 0 && delayed_ms > options->run_at_ms ? delayed_ms : options->run_at_ms;
}

static struct record compose(const struct background_tasks *background, const char *handler,
    struct record_text args, const struct task_options *options)
{
	int64_t now_ms = background->now_ns / 1000000;
	struct record record = {
		.id = id_step(&background->first, background->count),
		.kind = RECORD_TASK,
		.place = background->count,
		.places = (uint16_t)(background->count + 1),
		.max_attempts = options->max_attempts,
		.backoff_base_ms = options->backoff_base_ms,
		.backoff_cap_ms = options->backoff_cap_ms,
		.soft_timeout_ms = options->soft_timeout_ms,
		.hard_timeout_ms = options->hard_timeout_ms,
		.created_ns = background->now_ns,
		.run_at_ms = run_at(options, now_ms),
		.expires_at_ms = options->expires_after_ms ? now_ms + options->expires_after_ms : 0,
		.handler = text_of(handler),
		.queue = text_of(options->queue),
		.on_failure = text_of(options->on_failure),
		.trace = text_of(options->trace),
		.args = args,
		.args_bytes = args.bytes,
	};

	if (args.bytes > TR_ARGS_INLINE_MAX) {
		record.flags = RECORD_SPOOLED;
		record.args = (struct record_text){ NULL, 0 };
	}
	record_defaults(&record);
	return record;
}

/* Room for `more` bytes in the buffer, within what one batch may hold. */
static enum tr_result make_room(struct background_tasks *background, size_t more)
{
	size_t needed = background->bytes + more;
	size_t most = ring_batch_max(atomic_load_explicit(&background->client->ring, memory_order_acquire));

	if (needed <= background->capacity && needed <= most)
		return TR_OK;
	if (needed > most) {
		snprintf(background->error.text, sizeof background->error.text,
		    "the batch would have %zu bytes; allowed are %zu", needed, most);
		return TR_TOO_LARGE;
	}
	size_t capacity = background->capacity;
	while (capacity < needed)
		capacity *= 2;
	char *larger = realloc(background->buffer, capacity);
	if (!larger)
		return refuse(background, TR_NO_MEMORY, NULL);
	background->buffer = larger;
	background->capacity = capacity;
	return TR_OK;
}

/* The file `fd`, which is the batch's from now on, belongs to that task. */
static enum tr_result keep_spooled(struct background_tasks *background, const struct tr_id *id, enum spool_kind kind,
    int fd)
{
	struct spooled *added = malloc(sizeof *added);

	if (!added) {
		close(fd);
		return refuse(background, TR_NO_MEMORY, NULL);
	}
	*added = (struct spooled){ .next = background->spooled, .kind = kind, .fd = fd, .id = *id };
	background->spooled = added;
	return TR_OK;
}

static enum tr_result spool_args(struct background_tasks *background, const struct tr_id *id, const char *args, size_t bytes)
{
	enum tr_result result;

	if (!background->client->spool_dir)
		return refuse(background, TR_TOO_LARGE, "args: larger than 16384 bytes, and no spool directory was given");
	int fd = spool_write(background->client->spool_dir, args, bytes, &result, &background->error);
	return fd < 0 ? result : keep_spooled(background, id, SPOOL_ARGS, fd);
}

static void begin(struct background_tasks *background)
{
	ring_prepare(atomic_load_explicit(&background->client->ring, memory_order_acquire), background->lane_hint);
	background->now_ns = clock_ns(CLOCK_REALTIME);
	background->first = id_make(&background->ids, background->now_ns);
}

enum tr_result background_tasks_add(struct background_tasks *background, const char *handler,
    const char *args, const struct task_options *options)
{
	static const struct task_options none;

	if (background->client->magic != CLIENT_MAGIC)
		return refuse(background, TR_FORKED, NULL);
	if (background->count == TR_BATCH_MAX)
		return refuse(background, TR_TOO_LARGE, "a batch holds at most 256 tasks");
	if (!options)
		options = &none;
	if (!delay_ok(background, "delay_ms", options->delay_ms) ||
	    !delay_ok(background, "expires_after_ms", options->expires_after_ms))
		return TR_INVALID;
	if (background->count == 0)
		begin(background);
	struct record record = compose(background, handler, text_of(args), options);
	if (record.args_bytes > TR_ARGS_MAX)
		return refuse(background, TR_TOO_LARGE, "args: larger than 16777216 bytes");
	if (record_check(&record, &background->error))
		return TR_INVALID;
	size_t size = record_size(&record);
	enum tr_result result = make_room(background, size);
	if (result == TR_OK && record.flags & RECORD_SPOOLED)
		result = spool_args(background, &record.id, args, record.args_bytes);
	if (result != TR_OK)
		return result;
	record_encode(&record, background->buffer + background->bytes);
	background->last = background->bytes;
	background->bytes += size;
	background->count++;
	return TR_OK;
}

int tr_spool_file(struct taskring *ring, struct tr_error *error)
{
	struct tr_error ignored;
	enum tr_result result;

	if (!error)
		error = &ignored;
	error->text[0] = '\0';
	if (ring->magic == CLIENT_MAGIC && ring->spool_dir)
		return spool_make(ring->spool_dir, &result, error);
	snprintf(error->text, sizeof error->text, "%s", ring->magic == CLIENT_MAGIC ?
	    "no spool directory was given to tr_open()" : tr_result_text(TR_FORKED));
	return -1;
}

/* NULL, or why the task that was added last cannot own the file. */
static const char *cannot_own(const struct background_tasks *background, const struct tr_id *id, int fd)
{
	struct stat status;

	if (!background->count)
		return "file: no task was added that could own it";
	for (const struct spooled *each = background->spooled; each; each = each->next)
		if (each->kind == SPOOL_FILE && id_equal(&each->id, id))
			return "file: the task owns one already";
	if (!background->client->spool_dir || fstat(fd, &status) != 0 || !S_ISREG(status.st_mode) || status.st_nlink != 0)
		return "file: not one that tr_spool_file() made";
	return NULL;
}

enum tr_result background_tasks_attach(struct background_tasks *background, int fd)
{
	if (background->client->magic != CLIENT_MAGIC) {
		close(fd);
		return refuse(background, TR_FORKED, NULL);
	}
	const struct tr_id id = id_step(&background->first, background->count - 1);
	const char *fault = cannot_own(background, &id, fd);
	if (fault) {
		close(fd);
		return refuse(background, TR_INVALID, fault);
	}
	enum tr_result result = keep_spooled(background, &id, SPOOL_FILE, fd);
	if (result == TR_OK)
		record_own_file(background->buffer + background->last);
	return result;
}

/* ---- publishing -------------------------------------------------------------------------- */

static void unname_spooled(const struct background_tasks *background)
{
	for (const struct spooled *each = background->spooled; each; each = each->next)
		if (each->was_named)
			spool_remove(background->client->spool_dir, &each->id, each->kind);
}

/* A nameless copy takes the place of a file that had its name already. */
static enum tr_result renew_spooled(struct background_tasks *background, struct spooled *spooled)
{
	enum tr_result result;
	int fd = spool_copy(background->client->spool_dir, spooled->fd, &result, &background->error);

	if (fd < 0)
		return result;
	close(spooled->fd);
	spooled->fd = fd;
	spooled->was_named = false;
	return TR_OK;
}

static enum tr_result name_one(struct background_tasks *background, struct spooled *spooled)
{
	enum tr_result result = spooled->was_named ? renew_spooled(background, spooled) : TR_OK;

	if (result == TR_OK) {
		result = spool_link(spooled->fd, background->client->spool_dir, &spooled->id, spooled->kind,
		    background->durability == TR_DISK, &background->error);
		spooled->was_named = true; /* or as good as: it did not work once */
	}
	return result;
}

static enum tr_result name_spooled(struct background_tasks *background)
{
	for (struct spooled *each = background->spooled; each; each = each->next) {
		enum tr_result result = name_one(background, each);
		if (result != TR_OK) {
			unname_spooled(background);
			return result;
		}
	}
	return TR_OK;
}

static void seal(struct background_tasks *background)
{
	uint8_t flags = (uint8_t)((background->concurrent ? 0 : RECORD_SEQUENTIAL) |
	    (background->durability == TR_DISK ? RECORD_DISK : 0));

	for (size_t at = 0; at < background->bytes; at += record_encoded_size(background->buffer + at))
		record_seal(background->buffer + at, background->count, flags);
}

enum tr_result batch_publish(struct background_tasks *background, struct durable_wish *wish)
{
	struct taskring *client = background->client;

	*wish = (struct durable_wish){ .wanted = false };
	if (client->magic != CLIENT_MAGIC)
		return refuse(background, TR_FORKED, NULL);
	if (!background->count)
		return TR_OK;
	seal(background);
	enum tr_result result = background->spooled ? name_spooled(background) : TR_OK;
	if (result != TR_OK)
		return result;
	background->error.text[0] = '\0';
	result = client_publish(client, &background->lane_hint, background->buffer, background->bytes,
	    client->room_wait_ms, &wish->position, &background->error);
	if (result != TR_OK) {
		unname_spooled(background);
		return background->error.text[0] ? result : refuse(background, result, NULL);
	}
	wish->wanted = background->durability == TR_DISK;
	background_tasks_clear(background);
	return TR_OK;
}

enum tr_result background_tasks_publish(struct background_tasks *background, uint32_t durable_timeout_ms)
{
	struct durable_wish wish;
	enum tr_result result = batch_publish(background, &wish);

	if (result != TR_OK || !wish.wanted)
		return result;
	result = durable_wait(background->client, wish.position, durable_timeout_ms);
	return result == TR_OK ? TR_OK : refuse(background, result, NULL);
}
