/* See filter.h. */
#include "filter.h"

#include <string.h>

#include "id.h"
#include "record.h"

/* An id is made in the same breath as its task; so far the two times may lie apart, by a clock that is set meanwhile. */
#define APART_MS 60000

static bool name_ok(const char *name)
{
	return !name || record_name_ok(name, strnlen(name, TR_NAME_MAX + 1));
}

static bool text_ok(const char *text)
{
	return strnlen(text, TR_FILTER_TEXT_MAX + 1) <= TR_FILTER_TEXT_MAX;
}

bool filter_is_sound(const struct tr_task_filter *filter)
{
	if (!name_ok(filter->handler) || !name_ok(filter->queue) || (filter->text && !text_ok(filter->text)))
		return false;
	for (size_t i = 0; i < TR_FILTER_ARGS_MAX && filter->args[i].path; i++)
		if (!*filter->args[i].path || !text_ok(filter->args[i].path) || !filter->args[i].value || !text_ok(filter->args[i].value))
			return false;
	return true;
}

bool filter_fits(const struct tr_task_filter *filter, const struct filtered *task)
{
	if (task->state < 0 || task->state >= TR_STATES || (filter->states && !(filter->states & 1u << task->state)))
		return false;
	if ((filter->from_ms && task->created_ms < filter->from_ms) || (filter->to_ms && task->created_ms >= filter->to_ms))
		return false;
	return (!filter->handler || (task->handler && strcmp(filter->handler, task->handler) == 0)) &&
	    (!filter->queue || (task->queue && strcmp(filter->queue, task->queue) == 0));
}

bool filter_text_in(const struct tr_task_filter *filter, const char *text)
{
	return text && strcasestr(text, filter->text) != NULL;
}

bool filter_has_text(const struct tr_task_filter *filter, const struct filtered *task)
{
	char id[TR_ID_TEXT_SIZE];

	return !filter->text || filter_text_in(filter, tr_id_format(task->id, id)) || filter_text_in(filter, task->handler) ||
	    filter_text_in(filter, task->queue) || filter_text_in(filter, task->error);
}

bool filter_asks_arguments(const struct tr_task_filter *filter)
{
	return filter->args[0].path != NULL;
}

void filter_lower(const struct tr_task_filter *filter, struct tr_id *before)
{
	struct tr_id bound = { { 0 } };

	if (filter->to_ms <= 0 || filter->to_ms > INT64_MAX >> 16)
		return;
	uint64_t ms = (uint64_t)filter->to_ms + APART_MS;
	for (int i = 0; i < 6; i++)
		bound.bytes[i] = (uint8_t)(ms >> (40 - 8 * i));
	if (memcmp(bound.bytes, before->bytes, sizeof bound.bytes) < 0)
		*before = bound;
}

bool filter_is_below(const struct tr_task_filter *filter, const struct tr_id *id)
{
	return filter->from_ms && id_time_ms(id) < filter->from_ms - APART_MS;
}
