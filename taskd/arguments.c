/* Whether arguments are JSON. Called by attempt.c before a handler runs, and by task.c for JSON that handlers give. */
#include "taskd/arguments.h"

#include <stdio.h>
#include <string.h>

#include <jansson.h>

bool arguments_are_json(const char *text, size_t bytes, struct tr_error *error)
{
	json_error_t fault;

	if (bytes == 2 && memcmp(text, "{}", 2) == 0) /* what tasks without arguments have */
		return true;
	/* What is JSON but not what jansson can hold is the handler's affair: zeros in strings, long integers. */
	json_t *parsed = json_loadb(text, bytes, JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &fault);
	if (!parsed)
		snprintf(error->text, sizeof error->text, "not JSON: %s, at byte %d of %zu", fault.text, fault.position, bytes);
	json_decref(parsed);
	return parsed != NULL;
}
