/*
 * One task in full: its status, record, attempts and siblings, from board, ring and journal. Called by responders
 * and tools. Enters: an id. Leaves: what may be shown of it; arguments go through redact.c.
 */
#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client.h"
#include "id.h"
#include "record.h"
#include "redact.h"
#include "spool.h"

/* ---- where it is found ------------------------------------------------------------------- */

static enum tr_result from_journal(struct taskring *client, const struct tr_id *id, struct archive_detail *to)
{
	pthread_mutex_lock(&client->lock);
	enum tr_result result = client_archive(client);
	if (result == TR_OK)
		result = archive_detail(client->archive, id, to);
	pthread_mutex_unlock(&client->lock);
	return result;
}

/* A client_take_fn. Without memory for the arguments they are as if they were not here. */
static void take_record(const struct record *record, void *into)
{
	struct archive_detail *to = into;

	to->first = id_step(&record->id, -(int)record->place);
	to->place = record->place;
	to->places = record->places;
	to->flags = record->flags;
	to->backoff_base_ms = record->backoff_base_ms;
	to->backoff_cap_ms = record->backoff_cap_ms;
	to->soft_timeout_ms = record->soft_timeout_ms;
	to->hard_timeout_ms = record->hard_timeout_ms;
	to->run_at_ms = record->run_at_ms;
	to->expires_at_ms = record->expires_at_ms;
	to->args_bytes = record->args_bytes;
	memcpy(to->on_failure, record->on_failure.at, record->on_failure.bytes);
	memcpy(to->trace, record->trace.at, record->trace.bytes);
	to->args = strndup(record->args.at, record->args.bytes);
}

/* Its row, else its record in the ring; it gets the one before it loses the other. NOT_FOUND: neither. */
enum tr_result client_record(struct taskring *client, const struct tr_id *id, struct archive_detail *to)
{
	enum tr_result result = from_journal(client, id, to);

	if (result == TR_NOT_FOUND)
		result = client_from_ring(client, id, take_record, to);
	return result == TR_NOT_FOUND ? from_journal(client, id, to) : result;
}

/* ---- the arguments ----------------------------------------------------------------------- */

/* Those that lie in the spool; NULL: they are not there any more, or cannot be read. */
static char *read_spooled(const struct taskring *client, const struct tr_id *id, size_t bytes)
{
	char path[4200], name[SPOOL_NAME_SIZE];
	char *text = malloc(bytes + 1);
	ssize_t got = -1;

	int length = snprintf(path, sizeof path, "%s/%s", client->spool_dir, spool_name(id, SPOOL_ARGS, name));
	int fd = text && length > 0 && (size_t)length < sizeof path ? open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK) : -1;
	if (fd >= 0) {
		got = read(fd, text, bytes);
		close(fd);
	}
	if (got != (ssize_t)bytes) {
		free(text);
		return NULL;
	}
	text[bytes] = '\0';
	return text;
}

static enum tr_result show_arguments(struct taskring *client, const struct archive_detail *found, struct tr_task_detail *detail)
{
	char *spooled = NULL;
	const char *args = found->args;
	enum tr_result ignored;

	if (found->args_bytes > TR_ARGS_SHOWN_MAX)
		return TR_OK;
	if (found->flags & RECORD_SPOOLED)
		args = spooled = client->spool_dir ? read_spooled(client, &detail->status.id, found->args_bytes) : NULL;
	if (!args)
		return TR_OK;
	struct redactor *redactor = redactor_new(client_board(client, &ignored));
	if (redactor)
		detail->args = redactor_show(redactor, detail->status.handler, args, strlen(args), &detail->redacted);
	redactor_free(&redactor);
	free(spooled);
	return detail->args ? TR_OK : TR_NO_MEMORY;
}

/* ---- attempts and siblings --------------------------------------------------------------- */

static int32_t worker_pid_of(struct taskring *client, const struct tr_id *id)
{
	enum tr_result ignored;
	const struct board *board = client_board(client, &ignored);
	struct board_entry entry;
	struct board_worker worker;

	if (!board || !board_find(board, id, &entry) || !entry.worker || !board_copy_worker(board, entry.worker - 1u, &worker))
		return 0;
	return worker.pid;
}

/* The one that runs has no row yet, or that of an earlier start which the handler put off. */
static void add_running(struct taskring *client, struct tr_task_detail *detail)
{
	assert(detail->attempts); /* TR_ATTEMPTS_SHOWN_MAX of them */
	const struct tr_task_status *status = &detail->status;
	struct tr_attempt *last = detail->attempt_count ? &detail->attempts[detail->attempt_count - 1] : NULL;

	assert(detail->attempts); /* there is room for TR_ATTEMPTS_SHOWN_MAX */
	if (status->state != TR_RUNNING || (last && (last->number > status->attempt ||
	    (last->number == status->attempt && last->started_ms >= status->started_ms))))
		return;
	if (!last || last->number < status->attempt) {
		if (detail->attempt_count == TR_ATTEMPTS_SHOWN_MAX)
			memmove(detail->attempts, detail->attempts + 1, --detail->attempt_count * sizeof *detail->attempts);
		last = &detail->attempts[detail->attempt_count++];
	}
	*last = (struct tr_attempt){ .number = status->attempt, .started_ms = status->started_ms,
		.worker_pid = worker_pid_of(client, &status->id), .outcome = "running" };
}

static enum tr_result list_siblings(const struct archive_detail *found, struct tr_task_detail *detail)
{
	detail->siblings = malloc(found->places * sizeof *detail->siblings);
	if (!detail->siblings)
		return TR_NO_MEMORY;
	for (int i = 0; i < found->places; i++)
		detail->siblings[i] = id_step(&found->first, i);
	detail->sibling_count = found->places;
	detail->place = found->place;
	return TR_OK;
}

/* ---- the call ---------------------------------------------------------------------------- */

static enum tr_result fill(struct taskring *client, struct archive_detail *found, struct tr_task_detail *detail)
{
	detail->args_bytes = found->args_bytes;
	detail->has_file = (found->flags & RECORD_FILE) != 0;
	detail->sequential = (found->flags & RECORD_SEQUENTIAL) != 0;
	detail->backoff_base_ms = found->backoff_base_ms;
	detail->backoff_cap_ms = found->backoff_cap_ms;
	detail->soft_timeout_ms = found->soft_timeout_ms;
	detail->hard_timeout_ms = found->hard_timeout_ms;
	detail->run_at_ms = found->run_at_ms;
	detail->expires_at_ms = found->expires_at_ms;
	memcpy(detail->trace, found->trace, sizeof detail->trace);
	memcpy(detail->on_failure, found->on_failure, sizeof detail->on_failure);
	enum tr_result result = show_arguments(client, found, detail);
	return result == TR_OK ? list_siblings(found, detail) : result;
}

enum tr_result tr_task_detail(struct taskring *ring, const struct tr_id *id, struct tr_task_detail *detail)
{
	*detail = (struct tr_task_detail){ 0 };
	enum tr_result result = tr_task_status(ring, id, &detail->status);
	struct archive_detail *found = calloc(1, sizeof *found);

	if (result == TR_OK && !found)
		result = TR_NO_MEMORY;
	if (result == TR_OK) {
		detail->attempts = found->attempts = calloc(TR_ATTEMPTS_SHOWN_MAX, sizeof *found->attempts);
		result = found->attempts ? client_record(ring, id, found) : TR_NO_MEMORY;
		if (result == TR_OK)
			result = fill(ring, found, detail);
		else if (result == TR_NOT_FOUND)
			result = TR_OK; /* what the board shows is all that is left */
	}
	if (result == TR_OK) {
		detail->attempt_count = found->attempt_count;
		add_running(ring, detail);
	} else {
		tr_task_detail_clear(detail);
	}
	if (found)
		free(found->args);
	free(found);
	return result;
}

void tr_task_detail_clear(struct tr_task_detail *detail)
{
	tr_task_status_clear(&detail->status);
	free(detail->args);
	free(detail->attempts);
	free(detail->siblings);
	*detail = (struct tr_task_detail){ 0 };
}
