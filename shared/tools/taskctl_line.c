/*
 * A line of taskctl push -l: a JSON object comes in, a task with its options goes out, named and bounded as in POST
 * /tasks. What is wrong is said, all of it at once.
 */
#include "shared/tools/taskctl.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

/* The fields of POST /tasks, with its bounds. */
static const struct number_field {
	const char *name;
	json_int_t least, most;
	size_t at; /* in struct task_options; of 64 bits where `most` needs them */
} number_fields[] = {
#define NUMBER(name, least, most) { #name, least, most, offsetof(struct task_options, name) }
	NUMBER(max_attempts, 1, TR_ATTEMPTS_MAX),
	NUMBER(backoff_base_ms, 0, TR_TIMEOUT_MS_MAX), NUMBER(backoff_cap_ms, 0, TR_TIMEOUT_MS_MAX),
	NUMBER(soft_timeout_ms, 0, TR_TIMEOUT_MS_MAX), NUMBER(hard_timeout_ms, 0, TR_TIMEOUT_MS_MAX),
	NUMBER(delay_ms, 0, TR_DELAY_MS_MAX), NUMBER(expires_after_ms, 0, TR_DELAY_MS_MAX),
#undef NUMBER
};
static_assert(TR_TIMEOUT_MS_MAX <= UINT32_MAX && TR_DELAY_MS_MAX > UINT32_MAX, "the width of a field is told by its bound");

/* NULL: it is none. */
static const struct number_field *number_field(const char *name)
{
	for (size_t i = 0; i < sizeof number_fields / sizeof *number_fields; i++)
		if (strcmp(name, number_fields[i].name) == 0)
			return &number_fields[i];
	return NULL;
}

static bool take_number(const struct number_field *field, const json_t *value, struct task_options *options)
{
	json_int_t number = json_integer_value(value);
	char *to = (char *)options + field->at;

	if (!json_is_integer(value) || number < field->least || number > field->most) {
		say("%s: wanted: a whole number from %lld to %lld", field->name, (long long)field->least, (long long)field->most);
		return false;
	}
	if (field->most > UINT32_MAX)
		memcpy(to, &(int64_t){ number }, sizeof(int64_t));
	else
		memcpy(to, &(uint32_t){ (uint32_t)number }, sizeof(uint32_t));
	return true;
}

/* NULL: it is none. */
static const char **text_field(const char *name, struct task_line *line)
{
	return strcmp(name, "handler") == 0 ? &line->handler : strcmp(name, "queue") == 0 ? &line->options.queue :
	    strcmp(name, "on_failure") == 0 ? &line->options.on_failure : strcmp(name, "trace") == 0 ? &line->options.trace : NULL;
}

static bool take_time(const char *text, struct task_line *line)
{
	if (text != NULL && read_time(text, now_ms(), &line->options.run_at_ms))
		return true;
	say("run_at: wanted: e.g. \"2026-01-31T10:00Z\", \"+5m\"");
	return false;
}

static bool take_text(const char *name, const char *text, struct task_line *line)
{
	const char **to = text_field(name, line);

	if (to != NULL && text != NULL) {
		*to = text;
		return true;
	}
	say(to == NULL ? "%s: a task has no such field" : "%s: wanted: a text", name);
	return false;
}

static bool take_field(const char *name, json_t *value, struct task_line *line)
{
	const struct number_field *number = number_field(name);

	if (number != NULL)
		return take_number(number, value, &line->options);
	if (strcmp(name, "run_at") == 0)
		return take_time(json_string_value(value), line);
	if (strcmp(name, "args") != 0)
		return take_text(name, json_string_value(value), line);
	line->args = value;
	return true;
}

bool line_read(json_t *json, const struct task_options *defaults, struct task_line *line)
{
	const char *name;
	json_t *value;
	bool right = true;

	*line = (struct task_line){ .options = *defaults };
	if (!json_is_object(json)) {
		say("a line is an object: {\"handler\": NAME, ...}");
		return false;
	}
	json_object_foreach(json, name, value)
		right = take_field(name, value, line) && right;
	if (right && line->handler == NULL)
		say("handler: it is missing");
	return right && line->handler != NULL;
}
