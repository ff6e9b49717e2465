/*
 * JSON bodies: hostile bytes come in from the transport's source, a JSON value or a refusal goes
 * out. Called by web_serve().
 */
#include "app/web.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define BODY_CHUNK 16384
#define DEPTH_MAX 64 /* the parser recurses as deep as the text does */

struct body {
	char *bytes;
	size_t used, size;
};

/* ---- reading ----------------------------------------------------------------------------- */

/* Room for at least one byte more; never for more than one byte above the limit, which tells that it is passed. */
static bool make_room(struct body *body, size_t declared_bytes, size_t limit_bytes)
{
	if (body->used < body->size)
		return true;
	size_t wanted = body->size == 0 && declared_bytes < limit_bytes ? declared_bytes + 1 : 2 * body->size + BODY_CHUNK;
	if (wanted > limit_bytes + 1)
		wanted = limit_bytes + 1;
	char *larger = realloc(body->bytes, wanted);
	if (larger == NULL)
		return false;
	body->bytes = larger;
	body->size = wanted;
	return true;
}

/* Until the end of the body, of the limit, or of the connection. False: no memory. */
static bool read_all(const struct web_request *request, size_t limit_bytes, struct body *body, bool *broken)
{
	const struct web_source *source = &request->source;
	ssize_t got = 1;
	while (got > 0 && body->used <= limit_bytes) {
		if (!make_room(body, request->declared_bytes, limit_bytes))
			return false;
		got = source->read(source->context, body->bytes + body->used, body->size - body->used);
		if (got > 0)
			body->used += (size_t)got;
	}
	*broken = got < 0;
	return true;
}

/* False: *answer is the refusal. */
static bool read_body(const struct web_request *request, size_t limit_bytes, struct body *body, struct web_answer *answer)
{
	bool declared = request->declared_bytes != SIZE_MAX, broken = false;
	bool too_large = declared && request->declared_bytes > limit_bytes;
	if (!too_large && request->source.read != NULL && !read_all(request, limit_bytes, body, &broken)) {
		*answer = answer_result(TR_NO_MEMORY, NULL);
		return false;
	}
	if (broken)
		*answer = answer_detail(408, "the body did not come to its end");
	else if (too_large || body->used > limit_bytes)
		*answer = answer_detail(413, "the body is larger than what is taken here");
	else if (declared && request->declared_bytes != body->used)
		*answer = answer_detail(400, "Content-Length is not the length of the body");
	else
		return true;
	return false;
}

/* ---- parsing ----------------------------------------------------------------------------- */

/* "application/json", in any case, followed by nothing or by parameters (RFC 9110, 8.3.1). */
static bool media_type_is_json(const char *content_type)
{
	static const char json[] = "application/json";
	content_type += strspn(content_type, " \t");
	if (strncasecmp(content_type, json, sizeof(json) - 1) != 0)
		return false;
	const char *rest = content_type + sizeof(json) - 1;
	rest += strspn(rest, " \t");
	return *rest == '\0' || *rest == ';';
}

/* Where the text is nested too deeply, as its offset; the text's length: nowhere. */
static size_t too_deep_at(const struct body *body)
{
	size_t depth = 0;
	bool in_string = false;
	for (size_t i = 0; i < body->used; i++) {
		char byte = body->bytes[i];
		if (in_string && byte == '\\')
			i++;
		else if (byte == '"')
			in_string = !in_string;
		else if (!in_string && (byte == '[' || byte == '{') && ++depth > DEPTH_MAX)
			return i;
		else if (!in_string && (byte == ']' || byte == '}') && depth > 0)
			depth--;
	}
	return body->used;
}

/* Our own words: jansson's would repeat parts of the body. */
static const char *json_fault(enum json_error_code code)
{
	switch (code) {
	case json_error_premature_end_of_input: return "it ends too early";
	case json_error_end_of_input_expected: return "something follows its end";
	case json_error_duplicate_key: return "a key stands twice in one object";
	case json_error_invalid_utf8: return "it is not UTF-8";
	case json_error_null_character:
	case json_error_null_byte_in_key: return "\\u0000 is not allowed";
	case json_error_numeric_overflow: return "a number is out of range";
	case json_error_stack_overflow: return "it is nested too deeply";
	default: return "a character does not belong here";
	}
}

/* 400, at an offset in the body. */
static struct web_answer refuse_json(size_t at, int line, int column, const char *why)
{
	const struct fault_place body = { .name = "body" };
	const struct fault_place place = { .parent = &body, .index = at };
	struct faults faults = { .list = NULL };
	faults_add(&faults, &place, "json_invalid", "Invalid JSON: %s at line %d column %d", why, line, column);
	return answer_faults(400, &faults);
}

static struct web_answer refuse_depth(const struct body *body, size_t at)
{
	int line = 1, column = 1;
	for (size_t i = 0; i < at; i++) {
		column = body->bytes[i] == '\n' ? 1 : column + 1;
		line += body->bytes[i] == '\n';
	}
	return refuse_json(at, line, column, "it is nested too deeply");
}

static json_t *parse(const struct body *body, struct web_answer *answer)
{
	size_t deep = too_deep_at(body);
	if (deep < body->used) {
		*answer = refuse_depth(body, deep);
		return NULL;
	}
	json_error_t error;
	json_t *value = json_loadb(body->bytes, body->used, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
	/* The parser names a fault of the text; where it names none, it was not the text. */
	if (value == NULL && (error.text[0] == '\0' || json_error_code(&error) == json_error_out_of_memory))
		*answer = answer_result(TR_NO_MEMORY, NULL);
	else if (value == NULL)
		*answer = refuse_json(error.position > 0 ? (size_t)error.position : 0, error.line > 0 ? error.line : 1,
		    error.column > 0 ? error.column : 1, json_fault(json_error_code(&error)));
	return value;
}

/* Where neither length nor type is declared, the first byte tells; nothing is read after it. */
static bool is_empty(const struct web_request *request)
{
	char byte;
	if (request->declared_bytes != SIZE_MAX || request->content_type[0] != '\0')
		return request->declared_bytes == 0;
	return request->source.read == NULL || request->source.read(request->source.context, &byte, 1) == 0;
}

bool body_json(const struct web_request *request, size_t limit_bytes, json_t **value, struct web_answer *answer)
{
	struct body body = { .bytes = NULL };
	*value = NULL;
	if (is_empty(request))
		return true;
	if (!media_type_is_json(request->content_type)) {
		*answer = answer_detail(415, "the Content-Type must be application/json");
		return false;
	}
	bool well = read_body(request, limit_bytes, &body, answer);
	if (well && body.used > 0) {
		*value = parse(&body, answer);
		well = *value != NULL;
	}
	free(body.bytes);
	return well;
}
