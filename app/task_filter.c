/* A request's query comes in, a filter for tr_tasks_list() goes out; and back, for the next page. */
#include "app/task_filter.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/time_text.h"

static unsigned states_wanted(const struct web_request *request)
{
	const json_t *list = web_list(request, "state");
	unsigned wanted = 0;
	for (size_t i = 0; i < json_array_size(list); i++)
		wanted |= 1u << tr_state_by_name(json_string_value(json_array_get(list, i)));
	return wanted;
}

/* "user.id=7": the pattern has seen to the '='. False: a part is too long. */
static bool read_args(const struct web_request *request, struct task_filter *filter)
{
	const json_t *list = web_list(request, "arg");
	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *text = json_string_value(json_array_get(list, i));
		size_t bytes = strcspn(text, "=");
		if (bytes > TR_FILTER_TEXT_MAX || strlen(text + bytes + 1) > TR_FILTER_TEXT_MAX)
			return false;
		memcpy(filter->paths[i], text, bytes);
		filter->paths[i][bytes] = '\0';
		filter->filter.args[i].path = filter->paths[i];
		filter->filter.args[i].value = text + bytes + 1;
	}
	return true;
}

bool task_filter_read(const struct web_request *request, struct task_filter *filter, struct web_answer *answer)
{
	const char *from = web_text(request, "from"), *to = web_text(request, "to"), *text = web_text(request, "text");
	*filter = (struct task_filter){ .filter = { .states = states_wanted(request), .handler = web_text(request, "handler"),
		.queue = web_text(request, "queue"), .text = text, .from_ms = from != NULL ? time_ms(from) : 0,
		.to_ms = to != NULL ? time_ms(to) : 0 } };
	if (text != NULL && strlen(text) > TR_FILTER_TEXT_MAX)
		*answer = answer_fault("query", "text", "string_too_long", "String should have at most 255 bytes");
	else if (!read_args(request, filter))
		*answer = answer_fault("query", "arg", "string_too_long", "Path and value should have at most 255 bytes each");
	else
		return true;
	return false;
}

bool task_filter_selects(const struct tr_task_filter *filter)
{
	return filter->states != 0 || filter->handler != NULL || filter->queue != NULL || filter->text != NULL ||
	    filter->from_ms != 0 || filter->to_ms != 0 || filter->args[0].path != NULL;
}

struct web_answer task_filter_refused(enum tr_result result)
{
	/* All else has been checked already. */
	if (result == TR_INVALID)
		return answer_fault("query", "arg", "value_error", "Path should be one of SQLite's, without \"$.\"");
	return answer_result(result, NULL);
}

bool id_is_zero(const struct tr_id *id)
{
	static const struct tr_id zero;
	return memcmp(id, &zero, sizeof(zero)) == 0;
}

/* ---- the next page ----------------------------------------------------------------------- */

static void write_pair(FILE *to, const char *name, const json_t *value)
{
	fprintf(to, "%s=", name);
	if (json_is_integer(value))
		fprintf(to, "%lld", (long long)json_integer_value(value));
	else if (json_is_boolean(value))
		fputs(json_is_true(value) ? "true" : "false", to);
	for (const char *at = json_is_string(value) ? json_string_value(value) : ""; *at != '\0'; at++)
		fprintf(to, isalnum((unsigned char)*at) || strchr("-._~", *at) != NULL ? "%c" : "%%%02X", (unsigned char)*at);
	fputc('&', to);
}

char *task_filter_next(const struct web_request *request, const struct tr_id *cursor)
{
	char *query = NULL, id[TR_ID_TEXT_SIZE];
	size_t bytes, i;
	FILE *to = open_memstream(&query, &bytes);
	const char *name;
	json_t *value, *each;
	if (to == NULL)
		return NULL;
	json_object_foreach (request->parameters, name, value) {
		if (strcmp(name, "cursor") == 0)
			continue;
		if (json_is_array(value))
			json_array_foreach (value, i, each)
				write_pair(to, name, each);
		else
			write_pair(to, name, value);
	}
	fprintf(to, "cursor=%s", tr_id_format(cursor, id));
	if (fclose(to) == 0)
		return query;
	free(query);
	return NULL;
}
