/*
 * POST /tasks/retry|cancel|discard|run?FILTER: the same of all tasks that match; of all there are only with all=true, so that
 * a filter that was forgotten does nothing. One call does one bounded
 * step, the newest tasks first, and says where to go on; a client repeats it until `next` is null. Tasks that come or
 * change meanwhile shift nothing, since steps are cut by id; a step that is repeated does no harm.
 */
#include <stdio.h>
#include <stdlib.h>

#include "app/endpoints.h"
#include "app/task_filter.h"

#define STEP TR_LIST_MAX /* tasks */

const struct schema_field steer_query[] = {
	TASK_FILTER_FIELDS,
	{ "all", OPTIONAL, { .types = SCHEMA_BOOLEAN, .default_json = "false",
		.description = "Without any of the above: true, or nothing is done" } },
	{ "dry_run", OPTIONAL, { .types = SCHEMA_BOOLEAN, .default_json = "false", .description = "Only counts: nothing is changed" } },
	{ "cursor", OPTIONAL, { .types = SCHEMA_STRING, .format = FORMAT_UUID, .description = "`next` of the step before" } },
	{ 0 },
};

const struct schema steer_many_schema = {
	.types = SCHEMA_OBJECT,
	.title = "Step",
	.fields = (const struct schema_field[]){
		{ "matched", REQUIRED, { .types = SCHEMA_INTEGER, .description = "Tasks of this step that match and are in a state for it" } },
		{ "asked", REQUIRED, { .types = SCHEMA_INTEGER, .description = "Of so many of them taskd was asked; which it does if they still are" } },
		{ "next", REQUIRED, { .types = SCHEMA_STRING | SCHEMA_NULL, .format = FORMAT_UUID,
			.description = "The cursor of the next step; null: this was the last one" } },
		{ 0 },
	},
};

#define IS(state) (1u << (state))
static const unsigned fitting_states[] = {
	[TR_CANCEL] = IS(TR_SCHEDULED) | IS(TR_QUEUED) | IS(TR_RUNNING) | IS(TR_RETRYING),
	[TR_RETRY] = IS(TR_DEAD),
	[TR_DISCARD] = IS(TR_SCHEDULED) | IS(TR_QUEUED) | IS(TR_RETRYING) | IS(TR_DEAD),
	[TR_RUN] = IS(TR_SCHEDULED) | IS(TR_RETRYING),
};

struct step {
	struct tr_task_status rows[STEP];
	struct tr_id ids[STEP], next;
	size_t matched, asked;
};

static struct web_answer answer_step(const struct step *step, bool dry)
{
	char id[TR_ID_TEXT_SIZE];
	struct web_answer answer = answer_json(dry ? 200 : 202, json_pack("{s:I, s:I, s:s?}", "matched", (json_int_t)step->matched,
	    "asked", (json_int_t)step->asked, "next", id_is_zero(&step->next) ? NULL : tr_id_format(&step->next, id)));
	snprintf(answer.note, sizeof(answer.note), "matched=%zu asked=%zu", step->matched, step->asked);
	return answer;
}

static struct web_answer take_step(const struct web_request *request, const struct tr_task_filter *filter,
    enum tr_command command, struct step *step)
{
	struct tr_id before = web_id(request, "cursor");
	bool dry = web_boolean(request, "dry_run");
	enum tr_result result = tr_tasks_list(request->ring, filter, web_given(request, "cursor") ? &before : NULL, STEP,
	    step->rows, &step->matched, &step->next);
	if (result != TR_OK)
		return task_filter_refused(result);
	for (size_t i = 0; i < step->matched; i++) {
		step->ids[i] = step->rows[i].id;
		tr_task_status_clear(&step->rows[i]);
	}
	if (!dry)
		result = tr_tasks_command(request->ring, command, step->ids, step->matched, &step->asked);
	if (result == TR_OK)
		return answer_step(step, dry);
	struct web_answer answer = answer_result(result, NULL);
	snprintf(answer.note, sizeof(answer.note), "matched=%zu asked=%zu", step->matched, step->asked);
	return answer;
}

static struct web_answer steer(const struct web_request *request, enum tr_command command)
{
	struct task_filter filter;
	struct web_answer answer;
	if (!task_filter_read(request, &filter, &answer))
		return answer;
	if (!web_boolean(request, "all") && !task_filter_selects(&filter.filter))
		return answer_fault("query", "all", "value_error", "Which tasks? A filter is wanted, or all=true");
	unsigned fitting = fitting_states[command];
	filter.filter.states = filter.filter.states != 0 ? filter.filter.states & fitting : fitting;
	if (filter.filter.states == 0)
		return answer_fault("query", "state", "value_error", "No task in such a state can be asked to do this");
	struct step *step = calloc(1, sizeof(*step));
	if (step == NULL)
		return answer_result(TR_NO_MEMORY, NULL);
	answer = take_step(request, &filter.filter, command, step);
	free(step);
	return answer;
}

struct web_answer post_cancel_many(const struct web_request *request, struct background_tasks *background)
{
	(void)background;
	return steer(request, TR_CANCEL);
}

struct web_answer post_retry_many(const struct web_request *request, struct background_tasks *background)
{
	(void)background;
	return steer(request, TR_RETRY);
}

struct web_answer post_discard_many(const struct web_request *request, struct background_tasks *background)
{
	(void)background;
	return steer(request, TR_DISCARD);
}

struct web_answer post_run_many(const struct web_request *request, struct background_tasks *background)
{
	(void)background;
	return steer(request, TR_RUN);
}
