/*
 * See header_value.h. The grammar is that of RFC 9110, section 5.6.6, with one leniency: inside
 * quotes a backslash that stands before neither a quote nor a backslash is a letter like others,
 * since some browsers send whole Windows paths.
 */
#include "app/header_value.h"

#include <string.h>
#include <strings.h>

static const char token_letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-.^_`|~";
static const char spaces[] = " \t";

bool header_value_is(const char *value, const char *type)
{
	size_t bytes = strlen(type);
	value += strspn(value, spaces);
	if (strncasecmp(value, type, bytes) != 0)
		return false;
	value += bytes;
	value += strspn(value, spaces);
	return *value == '\0' || *value == ';';
}

/* Where the letters of a parameter's value go; more than fit are counted as too many. */
struct target {
	char *text; /* NULL: nobody wants this one */
	size_t size, used;
	bool too_long;
};

static void put(struct target *target, const char *bytes, size_t count)
{
	if (target->text == NULL)
		return;
	if (count >= target->size - target->used) {
		target->too_long = true;
		return;
	}
	memcpy(target->text + target->used, bytes, count);
	target->used += count;
	target->text[target->used] = '\0';
}

/* `at` stands behind the opening quote. Returns what follows the closing one; NULL: there is none. */
static const char *read_quoted(const char *at, struct target *target)
{
	for (; *at != '"'; at++) {
		if (*at == '\\' && (at[1] == '"' || at[1] == '\\'))
			at++;
		else if (*at == '\0')
			return NULL;
		put(target, at, 1);
	}
	return at + 1;
}

enum header_parameter header_value_parameter(const char *value, const char *name, char *text, size_t size)
{
	bool found = false;
	text[0] = '\0';
	const char *at = value + strcspn(value, ";");
	while (*at == ';') {
		at++;
		at += strspn(at, spaces);
		if (*at == ';' || *at == '\0')
			continue; /* an empty one is allowed */
		size_t letters = strspn(at, token_letters);
		if (letters == 0 || at[letters] != '=')
			goto bad;
		bool wanted = letters == strlen(name) && strncasecmp(at, name, letters) == 0;
		if (wanted && found)
			goto bad;
		found = found || wanted;
		struct target target = { .text = wanted ? text : NULL, .size = size };
		at += letters + 1;
		if (*at == '"') {
			at = read_quoted(at + 1, &target);
		} else {
			letters = strspn(at, token_letters);
			put(&target, at, letters);
			at = letters > 0 ? at + letters : NULL;
		}
		if (at == NULL || target.too_long)
			goto bad;
		at += strspn(at, spaces);
	}
	if (*at == '\0')
		return found ? PARAMETER_FOUND : PARAMETER_ABSENT;
bad:
	text[0] = '\0';
	return PARAMETER_BAD;
}
