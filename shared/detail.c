/*
 * One task in full: its status, record, attempts and siblings, from board, ring and journal. Called by responders
 * and tools. Enters: an id. Leaves: what may be shown of it; arguments go through redact.c.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
	struct tr_task_detail *shown = &to->shown;

	to->first = id_step(&record->id, -(int)record->place);
	to->places = record->places;
	to->flags = record->flags;
	shown->place = record->place;
	shown->backoff_base_ms = record->backoff_base_ms;
	shown->backoff_cap_ms = record->backoff_cap_ms;
	shown->soft_timeout_ms = record->soft_timeout_ms;
	shown->hard_timeout_ms = record->hard_timeout_ms;
	shown->run_at_ms = record->run_at_ms;
	shown->expires_at_ms = record->expires_at_ms;
	shown->args_bytes = record->args_bytes;
	memcpy(shown->on_failure, record->on_failure.at, record->on_failure.bytes);
	memcpy(shown->trace, record->trace.at, record->trace.bytes);
	to->args = strndup(record->args.at, record->args.bytes);
}

/* It gets a row before it leaves the ring. */
static enum tr_result find(struct taskring *client, const struct tr_id *id, struct archive_detail *to)
{
	enum tr_result result = from_journal(client, id, to);

	if (result == TR_NOT_FOUND)
		result = client_from_ring(client, id, take_record, to);
	return result == TR_NOT_FOUND ? from_journal(client, id, to) : result;
}

struct archive_detail *client_record(struct taskring *client, const struct tr_id *id, enum tr_result *result)
{
	struct archive_detail *made = calloc(1, sizeof *made);

	if (made)
		made->shown.attempts = calloc(TR_ATTEMPTS_SHOWN_MAX, sizeof *made->shown.attempts);
	*result = made && made->shown.attempts ? find(client, id, made) : TR_NO_MEMORY;
	if (*result != TR_OK)
		client_record_free(&made);
	return made;
}

void client_record_free(struct archive_detail **record)
{
	struct archive_detail *gone = *record;

	*record = NULL;
	if (!gone)
		return;
	if (gone->args)
		explicit_bzero(gone->args, strlen(gone->args)); /* with what nobody else is to see */
	free(gone->args);
	free(gone->shown.attempts);
	free(gone);
}

/* ---- the arguments ----------------------------------------------------------------------- */

enum tr_result client_arguments(const struct taskring *client, const struct tr_id *id, const struct archive_detail *record, char **args)
{
	struct tr_error ignored;

	*args = NULL;
	if (record->flags & RECORD_SPOOLED)
		return client->spool_dir ? spool_read(client->spool_dir, id, record->shown.args_bytes, args, &ignored) : TR_SYSTEM;
	*args = record->args ? strdup(record->args) : NULL;
	return *args ? TR_OK : TR_NO_MEMORY;
}

/* What cannot be read is not shown. */
static enum tr_result show_arguments(struct taskring *client, const struct archive_detail *found, struct tr_task_detail *detail)
{
	enum tr_result ignored;
	char *args = NULL;

	if (detail->args_bytes > TR_ARGS_SHOWN_MAX || client_arguments(client, &detail->status.id, found, &args) != TR_OK)
		return TR_OK;
	struct redactor *redactor = redactor_new(client_board(client, &ignored));
	if (redactor)
		detail->args = redactor_show(redactor, detail->status.handler, args, strlen(args), &detail->redacted);
	redactor_free(&redactor);
	free(args);
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
	return TR_OK;
}

/* ---- the call ---------------------------------------------------------------------------- */

/* `found` keeps nothing that is shown. */
static enum tr_result fill(struct taskring *client, struct archive_detail *found, struct tr_task_detail *detail)
{
	const struct tr_task_status status = detail->status;

	*detail = found->shown;
	found->shown.attempts = NULL;
	detail->status = status;
	detail->has_file = (found->flags & RECORD_FILE) != 0;
	detail->sequential = (found->flags & RECORD_SEQUENTIAL) != 0;
	add_running(client, detail);
	enum tr_result result = show_arguments(client, found, detail);
	return result == TR_OK ? list_siblings(found, detail) : result;
}

/* What the board shows is all that is left of it. */
static enum tr_result fill_from_board(struct taskring *client, struct tr_task_detail *detail)
{
	detail->attempts = calloc(TR_ATTEMPTS_SHOWN_MAX, sizeof *detail->attempts);
	if (!detail->attempts)
		return TR_NO_MEMORY;
	add_running(client, detail);
	return TR_OK;
}

enum tr_result tr_task_detail(struct taskring *ring, const struct tr_id *id, struct tr_task_detail *detail)
{
	*detail = (struct tr_task_detail){ 0 };
	enum tr_result result = tr_task_status(ring, id, &detail->status);

	if (result != TR_OK) {
		tr_task_detail_clear(detail);
		return result;
	}
	struct archive_detail *found = client_record(ring, id, &result);
	if (found)
		result = fill(ring, found, detail);
	else if (result == TR_NOT_FOUND)
		result = fill_from_board(ring, detail);
	client_record_free(&found);
	if (result != TR_OK)
		tr_task_detail_clear(detail);
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
