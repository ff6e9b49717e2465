/*
 * What a dead task was added with, so that one like it can be added. Enters: an id. Leaves: handler, options and
 * arguments as they are, from the journal and the spool. Called by who lets an operator edit a task and try again.
 */
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "record.h"

static void fill(const struct tr_task_status *status, const struct archive_detail *record, struct tr_task_recipe *recipe)
{
	const struct tr_task_detail *shown = &record->shown;

	memcpy(recipe->handler, status->handler, sizeof recipe->handler);
	memcpy(recipe->queue, status->queue, sizeof recipe->queue);
	memcpy(recipe->on_failure, shown->on_failure, sizeof recipe->on_failure);
	recipe->has_file = record->flags & RECORD_FILE;
	recipe->options = (struct task_options){ .queue = recipe->queue, .on_failure = recipe->on_failure[0] ? recipe->on_failure : NULL,
		.max_attempts = status->max_attempts, .backoff_base_ms = shown->backoff_base_ms, .backoff_cap_ms = shown->backoff_cap_ms,
		.soft_timeout_ms = shown->soft_timeout_ms, .hard_timeout_ms = shown->hard_timeout_ms };
}

enum tr_result tr_task_recipe(struct taskring *ring, const struct tr_id *id, struct tr_task_recipe *recipe)
{
	struct tr_task_status status;
	struct archive_detail *record = NULL;

	memset(recipe, 0, sizeof *recipe);
	enum tr_result result = tr_task_status(ring, id, &status);
	if (result != TR_OK)
		return result;
	if (status.state != TR_DEAD)
		result = TR_INVALID;
	else
		record = client_record(ring, id, &result);
	if (record) {
		fill(&status, record, recipe);
		result = client_arguments(ring, id, record, &recipe->args);
	}
	client_record_free(&record);
	tr_task_status_clear(&status);
	if (result != TR_OK)
		tr_task_recipe_clear(recipe);
	return result;
}

void tr_task_recipe_clear(struct tr_task_recipe *recipe)
{
	/* With what nobody else is to see. */
	if (recipe->args)
		explicit_bzero(recipe->args, strlen(recipe->args));
	free(recipe->args);
	memset(recipe, 0, sizeof *recipe);
}
