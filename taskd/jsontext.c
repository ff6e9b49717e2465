/*
 * Checking JSON text. In: bytes from a producer or a handler; out: whether they are JSON. Called
 * by arguments.c. One pass, without recursion; the arrays and objects that are open are bits.
 */
#include "taskd/jsontext.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "taskd/text.h"

struct scan {
	const char *at, *end;
	size_t depth;
	uint8_t is_object[JSONTEXT_DEPTH_MAX / 8]; /* one bit for each that is open */
};

static const char not_ended[] = "the text ends too early";

/* ---- what has no parts -------------------------------------------------------------------- */

static void skip_space(struct scan *scan)
{
	while (scan->at < scan->end &&
	    (*scan->at == ' ' || *scan->at == '\n' || *scan->at == '\r' || *scan->at == '\t'))
		scan->at++;
}

static bool is_digit(const struct scan *scan)
{
	return scan->at < scan->end && *scan->at >= '0' && *scan->at <= '9';
}

static const char *scan_digits(struct scan *scan)
{
	if (!is_digit(scan))
		return scan->at < scan->end ? "a digit is missing" : not_ended;
	while (is_digit(scan))
		scan->at++;
	return NULL;
}

static bool take(struct scan *scan, char one, char other)
{
	if (scan->at == scan->end || (*scan->at != one && *scan->at != other))
		return false;
	scan->at++;
	return true;
}

static const char *scan_number(struct scan *scan)
{
	const char *fault = NULL;

	take(scan, '-', '-');
	if (!take(scan, '0', '0'))
		fault = scan_digits(scan);
	else if (is_digit(scan))
		fault = "a number begins with 0";
	if (!fault && take(scan, '.', '.'))
		fault = scan_digits(scan);
	if (!fault && take(scan, 'e', 'E')) {
		take(scan, '+', '-');
		fault = scan_digits(scan);
	}
	return fault;
}

static const char *scan_word(struct scan *scan, const char *word)
{
	for (; *word; word++, scan->at++)
		if (scan->at == scan->end || *scan->at != *word)
			return scan->at < scan->end ? "no value begins like this" : not_ended;
	return NULL;
}

/* ---- strings ------------------------------------------------------------------------------ */

/* The four digits after \u. */
static const char *scan_hex(struct scan *scan, unsigned *code)
{
	*code = 0;
	for (int i = 0; i < 4; i++, scan->at++) {
		if (scan->at == scan->end)
			return not_ended;
		char c = *scan->at;
		char lower = (char)(c | 0x20);
		if (c >= '0' && c <= '9')
			*code = *code << 4 | (unsigned)(c - '0');
		else if (lower >= 'a' && lower <= 'f')
			*code = *code << 4 | (unsigned)(lower - 'a' + 10);
		else
			return "\\u without four digits";
	}
	return NULL;
}

/* After a backslash. */
static const char *scan_escape(struct scan *scan)
{
	static const char lone[] = "a surrogate without its partner";
	unsigned code;

	if (scan->at == scan->end)
		return not_ended;
	char kind = *scan->at;
	if (!kind || !strchr("\"\\/bfnrtu", kind))
		return "an unknown escape";
	scan->at++;
	if (kind != 'u')
		return NULL;
	const char *fault = scan_hex(scan, &code);
	if (fault || code < 0xd800 || code > 0xdfff)
		return fault;
	if (code > 0xdbff || !take(scan, '\\', '\\') || !take(scan, 'u', 'u'))
		return lone;
	fault = scan_hex(scan, &code);
	return fault || (code >= 0xdc00 && code <= 0xdfff) ? fault : lone;
}

/* At the opening quote. */
static const char *scan_string(struct scan *scan)
{
	const char *fault = NULL;

	scan->at++;
	while (!fault) {
		/* Plain ASCII; bytes above it are negative as signed ones. */
		while (scan->at < scan->end && (signed char)*scan->at >= ' ' && *scan->at != '"' && *scan->at != '\\')
			scan->at++;
		if (scan->at == scan->end)
			return not_ended;
		unsigned char c = (unsigned char)*scan->at;
		if (c == '"') {
			scan->at++;
			return NULL;
		}
		if (c == '\\') {
			scan->at++;
			fault = scan_escape(scan);
		} else if (c < ' ') {
			fault = "a control character in a string";
		} else {
			size_t bytes = text_character(scan->at, (size_t)(scan->end - scan->at));
			if (bytes == 0)
				fault = "not UTF-8";
			scan->at += bytes;
		}
	}
	return fault;
}

/* ---- arrays and objects ------------------------------------------------------------------- */

static bool in_object(const struct scan *scan)
{
	size_t top = scan->depth - 1;

	return scan->is_object[top / 8] >> (top % 8) & 1;
}

static const char *open_one(struct scan *scan)
{
	uint8_t bit = (uint8_t)(1u << (scan->depth % 8));
	uint8_t *bits = &scan->is_object[scan->depth / 8];

	if (scan->depth == JSONTEXT_DEPTH_MAX)
		return "nested too deep";
	*bits = (uint8_t)(*scan->at == '{' ? *bits | bit : *bits & ~bit);
	scan->depth++;
	scan->at++;
	return NULL;
}

/* A value, or the begin of an array or object. */
static const char *scan_value(struct scan *scan)
{
	if (scan->at == scan->end)
		return not_ended;
	switch (*scan->at) {
	case '{':
	case '[':
		return open_one(scan);
	case '"':
		return scan_string(scan);
	case 't':
		return scan_word(scan, "true");
	case 'f':
		return scan_word(scan, "false");
	case 'n':
		return scan_word(scan, "null");
	default:
		return is_digit(scan) || *scan->at == '-' ? scan_number(scan) : "no value begins like this";
	}
}

/* A key with its colon. */
static const char *scan_key(struct scan *scan)
{
	if (scan->at == scan->end)
		return not_ended;
	if (*scan->at != '"')
		return "a key is missing";
	const char *fault = scan_string(scan);
	skip_space(scan);
	if (!fault && !take(scan, ':', ':'))
		fault = scan->at < scan->end ? "a colon is missing" : not_ended;
	skip_space(scan);
	return fault;
}

/* After a value: closes what ends here, and comes to the next value or the end of the text. */
static const char *scan_after(struct scan *scan)
{
	for (skip_space(scan); scan->depth; skip_space(scan)) {
		if (take(scan, ',', ',')) {
			skip_space(scan);
			return in_object(scan) ? scan_key(scan) : NULL;
		}
		if (scan->at == scan->end)
			return not_ended;
		if (*scan->at != (in_object(scan) ? '}' : ']'))
			return in_object(scan) ? "neither , nor } follows" : "neither , nor ] follows";
		scan->at++;
		scan->depth--;
	}
	return scan->at == scan->end ? NULL : "something follows the value";
}

/* After an opening bracket: an empty one is a value at its end, else the first key is passed. */
static const char *scan_inside(struct scan *scan, bool *empty)
{
	skip_space(scan);
	*empty = scan->at < scan->end && *scan->at == (in_object(scan) ? '}' : ']');
	return *empty || !in_object(scan) ? NULL : scan_key(scan);
}

const char *jsontext_fault(const char *text, size_t bytes, size_t *at)
{
	struct scan scan = { .at = text, .end = text + bytes };
	const char *fault = NULL;
	bool more = true;

	skip_space(&scan);
	while (more && !fault) {
		size_t depth = scan.depth;
		bool ended = true;
		fault = scan_value(&scan);
		if (!fault && scan.depth > depth)
			fault = scan_inside(&scan, &ended);
		if (!fault && ended) {
			fault = scan_after(&scan);
			more = scan.depth > 0;
		}
	}
	*at = (size_t)(scan.at - text);
	return fault;
}
