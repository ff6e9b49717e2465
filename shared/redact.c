/*
 * See redact.h. One pass over the text: the top level is read member by member, values are passed over without
 * being understood. Where anything is not as JSON would have it, nobody knows what is what, and
 * nothing is shown. A key is compared as it reads: with its escapes resolved.
 */
#include "redact.h"

#include <stdlib.h>
#include <string.h>

#include "record.h"

#define LEVELS_MAX 256 /* of arrays and objects in a value; deeper ones are not shown */

struct secrets {
	char handler[TR_NAME_MAX + 1];
	char names[TR_SECRETS_MAX + 1]; /* commas between them */
};

struct redactor {
	size_t count;
	struct secrets rows[];
};

bool redact_name_ok(const char *name, size_t bytes)
{
	bool all = bytes > 2 && memcmp(name + bytes - 2, ".*", 2) == 0;

	return record_name_ok(name, all ? bytes - 2 : bytes);
}

struct redactor *redactor_new(const struct board *board)
{
	struct redactor *made = malloc(sizeof *made + (board ? board->handlers : 0) * sizeof made->rows[0]);
	struct board_handler row;

	if (!made)
		return NULL;
	made->count = 0;
	for (uint32_t i = 0; board && i < board->handlers; i++) {
		if (!board_copy_handler(board, i, &row))
			continue;
		struct secrets *secrets = &made->rows[made->count++];
		memcpy(secrets->handler, row.name, sizeof secrets->handler);
		memcpy(secrets->names, row.secrets, sizeof secrets->names);
	}
	return made;
}

void redactor_free(struct redactor **redactor)
{
	free(*redactor);
	*redactor = NULL;
}

/* ---- passing over JSON ------------------------------------------------------------------- */

/* All of these step `at` on, and answer false when what is there is not JSON. */
struct scan {
	const char *at, *end;
};

static void pass_space(struct scan *scan)
{
	while (scan->at < scan->end && (*scan->at == ' ' || *scan->at == '\t' || *scan->at == '\n' || *scan->at == '\r'))
		scan->at++;
}

static bool pass_char(struct scan *scan, char wanted)
{
	pass_space(scan);
	if (scan->at == scan->end || *scan->at != wanted)
		return false;
	scan->at++;
	return true;
}

static bool is_next(struct scan *scan, char wanted)
{
	pass_space(scan);
	return scan->at < scan->end && *scan->at == wanted;
}

/* What an escape stands for, as far as a name may hold it; 0x7f: something else. */
static bool pass_escape(struct scan *scan, char *meant)
{
	static const char plain[] = "\"\\/bfnrt", stand_for[] = "\"\\/\b\f\n\r\t";
	unsigned code = 0;

	if (scan->at == scan->end)
		return false;
	char c = *scan->at++;
	if (c != 'u') {
		const char *found = c ? strchr(plain, c) : NULL;
		*meant = found ? stand_for[found - plain] : 0;
		return found != NULL;
	}
	for (int i = 0; i < 4; i++, scan->at++) {
		static const char digits[] = "0123456789abcdef0123456789ABCDEF";
		const char *digit = scan->at < scan->end && *scan->at ? strchr(digits, *scan->at) : NULL;
		if (!digit)
			return false;
		code = code << 4 | (unsigned)((digit - digits) % 16);
	}
	*meant = code > 0 && code < 0x7f ? (char)code : 0x7f;
	return true;
}

/* `name` gets what fits of the string, zero-terminated; one that does not fit becomes "". NULL: nobody asks. */
static bool pass_string(struct scan *scan, char *name, size_t size)
{
	size_t used = 0;

	if (!pass_char(scan, '"'))
		return false;
	while (scan->at < scan->end && *scan->at != '"') {
		char c = *scan->at++;
		if ((unsigned char)c < ' ' || (c == '\\' && !pass_escape(scan, &c)))
			return false;
		if (name && used < size)
			name[used++] = c;
	}
	if (name)
		name[used < size ? used : 0] = '\0';
	return pass_char(scan, '"');
}

static bool pass_nested(struct scan *scan)
{
	char closing[LEVELS_MAX];
	size_t depth = 0;

	do {
		pass_space(scan);
		if (scan->at == scan->end)
			return false;
		char c = *scan->at;
		if (c == '"') {
			if (!pass_string(scan, NULL, 0))
				return false;
			continue;
		}
		scan->at++;
		if (c == '{' || c == '[') {
			if (depth == LEVELS_MAX)
				return false;
			closing[depth++] = c == '{' ? '}' : ']';
		} else if ((c == '}' || c == ']') && (depth == 0 || c != closing[--depth])) {
			return false;
		}
	} while (depth > 0);
	return true;
}

static bool pass_value(struct scan *scan)
{
	pass_space(scan);
	if (scan->at == scan->end)
		return false;
	if (*scan->at == '{' || *scan->at == '[')
		return pass_nested(scan);
	if (*scan->at == '"')
		return pass_string(scan, NULL, 0);
	const char *from = scan->at;
	while (scan->at < scan->end && *scan->at && strchr("+-.0123456789abcdefghijklmnopqrstuvwxyzE", *scan->at))
		scan->at++;
	return scan->at > from;
}

/* ---- redacting --------------------------------------------------------------------------- */

enum secrecy { SHOWN, SECRET, SECRET_MEMBERS };

/* What the names say of a member: it stands among them, or with ".*" behind it. `names` NULL: each is secret. */
static enum secrecy secrecy_of(const char *names, const char *name)
{
	size_t bytes = strlen(name);

	for (const char *at = names; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL) {
		if (bytes == 0 || strncmp(at, name, bytes) != 0)
			continue;
		if (at[bytes] == ',' || at[bytes] == '\0')
			return SECRET;
		if (strncmp(at + bytes, ".*", 2) == 0 && (at[bytes + 2] == ',' || at[bytes + 2] == '\0'))
			return SECRET_MEMBERS;
	}
	return names ? SHOWN : SECRET;
}

static const char stars[] = "\"" REDACTED "\"";

struct output {
	char *at;
	bool redacted;
};

static void copy(struct output *to, const char *from, const char *until)
{
	memcpy(to->at, from, (size_t)(until - from));
	to->at += until - from;
}

static bool show_members(struct scan *scan, const char *names, struct output *to);

/* One member and what is before it. */
static bool show_member(struct scan *scan, const char *names, struct output *to)
{
	char name[TR_NAME_MAX + 2];
	const char *from = scan->at;

	pass_space(scan);
	if (!pass_string(scan, name, sizeof name) || !pass_char(scan, ':'))
		return false;
	pass_space(scan);
	copy(to, from, scan->at);
	from = scan->at;
	enum secrecy secrecy = secrecy_of(names, name);
	if (secrecy == SECRET_MEMBERS && is_next(scan, '{'))
		return show_members(scan, NULL, to); /* one level deeper, and no further */
	if (!pass_value(scan))
		return false;
	if (secrecy == SHOWN) {
		copy(to, from, scan->at);
	} else {
		copy(to, stars, stars + sizeof stars - 1);
		to->redacted = true;
	}
	return true;
}

static bool show_members(struct scan *scan, const char *names, struct output *to)
{
	const char *from = scan->at;

	if (!pass_char(scan, '{'))
		return false;
	copy(to, from, scan->at);
	if (!is_next(scan, '}')) {
		do {
			if (!show_member(scan, names, to))
				return false;
			if (is_next(scan, ','))
				*to->at++ = ',';
		} while (pass_char(scan, ','));
	}
	if (!pass_char(scan, '}'))
		return false;
	*to->at++ = '}';
	return true;
}

static bool show_object(struct scan *scan, const char *names, struct output *to)
{
	if (!show_members(scan, names, to))
		return false;
	pass_space(scan);
	return scan->at == scan->end;
}

char *redactor_show(const struct redactor *redactor, const char *handler, const char *args, size_t bytes, bool *redacted)
{
	/* A member that is replaced takes at least five bytes with its comma, and four more then. */
	char *text = malloc(2 * bytes + 16);
	struct scan scan = { args, args + bytes };
	struct output to = { .at = text };
	const char *names = NULL;

	*redacted = false;
	if (!text)
		return NULL;
	for (size_t i = 0; i < redactor->count && !names; i++)
		if (strcmp(redactor->rows[i].handler, handler) == 0)
			names = redactor->rows[i].names;
	if (names && !*names) {
		copy(&to, args, args + bytes);
		*to.at = '\0';
		return text;
	}
	if (!show_object(&scan, names, &to)) {
		to = (struct output){ .at = text, .redacted = true };
		copy(&to, stars, stars + sizeof stars - 1);
	}
	*to.at = '\0';
	*redacted = to.redacted;
	return text;
}
