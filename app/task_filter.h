/* Which tasks a query means: the same for GET /tasks and for all that steers many. */
#ifndef APP_TASK_FILTER_H
#define APP_TASK_FILTER_H

#include "app/task_json.h"
#include "app/web.h"

struct task_filter {
	struct tr_task_filter filter; /* its texts live as long as the request, and as this struct */
	char paths[TR_FILTER_ARGS_MAX][TR_FILTER_TEXT_MAX + 1];
};

#define NAME_FIELD(text) { .types = SCHEMA_STRING, .max_length = TR_NAME_MAX, .description = (text), \
	.pattern = PATTERN("^[A-Za-z0-9_-][A-Za-z0-9._-]*$") }

/* Rows of a route's query. */
#define TASK_FILTER_FIELDS \
	{ "state", OPTIONAL, { .types = SCHEMA_ARRAY, .max_count = TR_STATES, .description = "Only tasks in one of these", \
		.items = &(const struct schema){ .types = SCHEMA_STRING, .choices = task_states } } }, \
	{ "handler", OPTIONAL, NAME_FIELD("Only this handler's") }, \
	{ "queue", OPTIONAL, NAME_FIELD("Only this queue's") }, \
	{ "text", OPTIONAL, { .types = SCHEMA_STRING, .min_length = 1, .max_length = TR_FILTER_TEXT_MAX, \
		.description = "Only those with this in id, handler, queue, error or arguments" } }, \
	{ "from", OPTIONAL, { .types = SCHEMA_STRING, .format = FORMAT_DATE_TIME, .description = "Only those made then or later" } }, \
	{ "to", OPTIONAL, { .types = SCHEMA_STRING, .format = FORMAT_DATE_TIME, .description = "Only those made before" } }, \
	{ "arg", OPTIONAL, { .types = SCHEMA_ARRAY, .max_count = TR_FILTER_ARGS_MAX, \
		.description = "PATH=VALUE: only those whose arguments have it, as email=ada@example.org or user.id=7", \
		.items = &(const struct schema){ .types = SCHEMA_STRING, .max_length = 2 * TR_FILTER_TEXT_MAX, \
			.pattern = PATTERN("^[^=]+=.*$") } } }

/* False: *answer is the refusal. */
bool task_filter_read(const struct web_request *request, struct task_filter *filter, struct web_answer *answer);

/* Whether it leaves anything out. */
bool task_filter_selects(const struct tr_task_filter *filter);

/* What tr_tasks_list() has answered with a filter of a query. */
struct web_answer task_filter_refused(enum tr_result result);

/* The query that the request came with, as "limit=50&state=dead", with another cursor. malloc()ed; NULL: out of memory. */
char *task_filter_next(const struct web_request *request, const struct tr_id *cursor);

/* Whether it is all zero: there is no next page. */
bool id_is_zero(const struct tr_id *id);

#endif
