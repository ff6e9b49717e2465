/*
 * Request bodies: hostile bytes come in, a JSON object or a refusal goes out. web_serve() reads
 * them, endpoints parse them.
 */
#include "app/web.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define BODY_CHUNK 16384

/* Room for at least one byte more; never for more than one byte above the limit, which tells that it is passed. */
static bool make_room(struct web_request *request, size_t *size, size_t limit_bytes)
{
	if (request->body_bytes < *size)
		return true;
	size_t wanted = *size == 0 && request->declared_bytes < limit_bytes ? request->declared_bytes + 1 :
									      2 * *size + BODY_CHUNK;
	if (wanted > limit_bytes + 1)
		wanted = limit_bytes + 1;
	char *larger = realloc(request->body, wanted);
	if (larger == NULL)
		return false;
	request->body = larger;
	*size = wanted;
	return true;
}

/* Until the end of the body, of the limit, or of the connection. False: no memory. */
static bool read_all(struct web_request *request, size_t limit_bytes, bool *broken)
{
	size_t size = 0;
	ssize_t got = 1;
	while (got > 0 && request->body_bytes <= limit_bytes) {
		if (!make_room(request, &size, limit_bytes))
			return false;
		got = request->source.read(request->source.context, request->body + request->body_bytes,
		    size - request->body_bytes);
		if (got > 0)
			request->body_bytes += (size_t)got;
	}
	*broken = got < 0;
	return true;
}

bool body_read(struct web_request *request, size_t limit_bytes, struct web_answer *answer)
{
	bool declared = request->declared_bytes != SIZE_MAX, broken = false;
	bool too_large = declared && request->declared_bytes > limit_bytes;
	if (!too_large && request->source.read != NULL && !read_all(request, limit_bytes, &broken)) {
		*answer = answer_result(TR_NO_MEMORY, NULL);
		return false;
	}
	if (broken)
		*answer = answer_detail(408, "the body did not come to its end");
	else if (too_large || request->body_bytes > limit_bytes)
		*answer = answer_detail(413, "the body is larger than what is taken here");
	else if (declared && request->declared_bytes != request->body_bytes)
		*answer = answer_detail(400, "Content-Length is not the length of the body");
	else
		return true;
	return false;
}

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
	case json_error_numeric_overflow: return "a number is too large";
	case json_error_stack_overflow: return "it is nested too deeply";
	case json_error_out_of_memory: return "it needs too much memory";
	default: return "a character does not belong here";
	}
}

json_t *body_json_object(const struct web_request *request, struct web_answer *answer)
{
	if (!media_type_is_json(request->content_type)) {
		*answer = answer_detail(415, "the Content-Type must be application/json");
		return NULL;
	}
	json_error_t error;
	json_t *body = json_loadb(request->body != NULL ? request->body : "", request->body_bytes, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
	if (body == NULL) {
		char text[128];
		snprintf(text, sizeof(text), "the body is not JSON: line %d, column %d: %s", error.line,
		    error.column, json_fault(json_error_code(&error)));
		*answer = answer_detail(400, text);
		return NULL;
	}
	if (!json_is_object(body)) {
		json_decref(body);
		json_t *faults = json_array();
		faults_add(faults, "body", NULL, "must be a JSON object", "type_error.object");
		*answer = answer_faults(faults);
		return NULL;
	}
	return body;
}
