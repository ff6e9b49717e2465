/* Enters: a JSON text of a task. Leaves: its fields, known ones, and headers that nobody can inject anything by. */
#include "taskd/fields.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum tr_result fields_invalid(struct tr_error *error, const char *format, ...)
{
	va_list list;

	va_start(list, format);
	vsnprintf(error->text, sizeof error->text, format, list);
	va_end(list);
	return TR_INVALID;
}

enum tr_result fields_no_memory(struct tr_error *error)
{
	(void)fields_invalid(error, "out of memory");
	return TR_NO_MEMORY;
}

static bool is_known(const char *name, const char *const *known)
{
	while (*known != NULL && strcmp(name, *known) != 0)
		known++;
	return *known != NULL;
}

static enum tr_result check_names(const json_t *root, const char *const *known, const char *of_what, struct tr_error *error)
{
	const char *name;
	json_t *value;

	if (!json_is_object(root))
		return fields_invalid(error, "the arguments must be a JSON object");
	json_object_foreach((json_t *)root, name, value)
	{
		if (!is_known(name, known))
			return fields_invalid(error, "\"%.60s\" is not a field of %s", name, of_what);
	}
	return TR_OK;
}

json_t *fields_load(const char *args, const char *const *known, const char *of_what, enum tr_result *result,
    struct tr_error *error)
{
	json_error_t fault;
	json_t *root = json_loads(args, JSON_REJECT_DUPLICATES, &fault);

	if (root != NULL)
		*result = check_names(root, known, of_what, error);
	else if (json_error_code(&fault) == json_error_out_of_memory)
		*result = fields_no_memory(error);
	else
		*result = fields_invalid(error, "the arguments cannot be read: %s", fault.text);
	if (*result == TR_OK)
		return root;
	json_decref(root);
	return NULL;
}

static enum tr_result check_header(const char *name, const json_t *value, const struct fields_header_rules *rules,
    struct tr_error *error)
{
	size_t bytes = strlen(name);
	const char *text = json_string_value(value);

	if (bytes == 0 || bytes > rules->name_most || strspn(name, rules->name_characters) != bytes)
		return fields_invalid(error, "\"headers\": a name must be 1 to %zu of %s", rules->name_most, rules->name_says);
	if (rules->is_reserved(name))
		return fields_invalid(error, "\"headers\": \"%s\" cannot be set there", name);
	if (text == NULL)
		return fields_invalid(error, "\"headers\": the value of \"%s\" must be a string", name);
	if (!rules->is_value(text))
		return fields_invalid(error, "\"headers\": the value of \"%s\" %s", name, rules->value_says);
	if (strlen(text) > rules->value_most)
		return fields_invalid(error, "\"headers\": the value of \"%s\" is longer than %zu bytes", name, rules->value_most);
	return TR_OK;
}

enum tr_result fields_check_headers(const json_t *headers, const struct fields_header_rules *rules, struct tr_error *error)
{
	const char *name, *other;
	json_t *value, *unused;

	if (headers == NULL)
		return TR_OK;
	if (!json_is_object(headers) || json_object_size(headers) > rules->most)
		return fields_invalid(error, "\"headers\" must be an object of at most %zu names and values", rules->most);
	json_object_foreach((json_t *)headers, name, value)
	{
		enum tr_result result = check_header(name, value, rules, error);
		if (result != TR_OK)
			return result;
		/* JSON knows "a" and "A" apart, who reads headers does not. */
		json_object_foreach((json_t *)headers, other, unused)
		{
			if (other != name && strcasecmp(other, name) == 0)
				return fields_invalid(error, "\"headers\": \"%s\" is given twice", name);
		}
	}
	return TR_OK;
}
