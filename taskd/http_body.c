/* In: JSON texts that jansson has found valid. Out: parts of them. Called by http_arguments.c and http_answer.c. */
#include "taskd/http_body.h"

#include <stdbool.h>
#include <string.h>

#define BLANKS " \t\r\n"

/* Behind the string that begins at `at`. */
static const char *skip_string(const char *at)
{
	for (at++; *at != '"'; at++)
		at += *at == '\\';
	return at + 1;
}

/* Behind the value that begins at `at`. */
static const char *skip_value(const char *at)
{
	size_t depth = 0;
	do {
		if (*at == '"') {
			at = skip_string(at);
			continue;
		}
		depth += *at == '{' || *at == '[';
		depth -= *at == '}' || *at == ']';
		at++;
	} while (depth > 0 || strchr(BLANKS ",}]", *at) == NULL);
	return at;
}

const char *http_body_member(const char *text, const char *name, size_t *bytes)
{
	const char *at = text + strspn(text, BLANKS) + 1; /* behind the brace */
	for (;;) {
		at += strspn(at, BLANKS ",");
		if (*at == '}')
			return NULL;
		const char *key = at + 1;
		at = skip_string(at);
		size_t key_bytes = (size_t)(at - key) - 1;
		at += strspn(at, BLANKS ":");
		const char *value = at;
		at = skip_value(at);
		if (key_bytes == strlen(name) && memcmp(key, name, key_bytes) == 0) {
			*bytes = (size_t)(at - value);
			return value;
		}
	}
}

size_t http_body_compact(char *to, const char *from, size_t bytes)
{
	size_t used = 0;
	bool in_string = false;
	for (size_t i = 0; i < bytes; i++) {
		if (!in_string && strchr(BLANKS, from[i]) != NULL)
			continue;
		to[used++] = from[i];
		if (in_string && from[i] == '\\')
			to[used++] = from[++i];
		else if (from[i] == '"')
			in_string = !in_string;
	}
	return used;
}
