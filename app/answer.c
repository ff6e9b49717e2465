/*
 * Answers: endpoints make them with the functions below, answer_render() turns them into the
 * bytes of a CGI response. Every body is JSON; nothing of the inside (paths, system errors) is
 * ever put into one.
 */
#include "app/web.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	int status;
	const char *reason;
} reasons[] = {
	{ 200, "OK" }, { 202, "Accepted" }, { 204, "No Content" }, { 400, "Bad Request" }, { 404, "Not Found" },
	{ 405, "Method Not Allowed" }, { 408, "Request Timeout" }, { 413, "Content Too Large" }, { 414, "URI Too Long" },
	{ 415, "Unsupported Media Type" }, { 422, "Unprocessable Content" }, { 500, "Internal Server Error" },
	{ 503, "Service Unavailable" }, { 507, "Insufficient Storage" },
};

static const char out_of_memory_body[] = "{\"detail\":\"out of memory; try again later\"}";

static const char *reason_of(int status)
{
	for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
		if (reasons[i].status == status)
			return reasons[i].reason;
	return "Unknown";
}

struct web_answer answer_json(int status, json_t *body)
{
	/* Without a body answer_render() writes the out-of-memory one. */
	if (body == NULL)
		return (struct web_answer){ .status = 503, .retry_after_s = WEB_RETRY_AFTER_S };
	return (struct web_answer){ .status = status, .body = body };
}

struct web_answer answer_empty(int status)
{
	return (struct web_answer){ .status = status };
}

struct web_answer answer_detail(int status, const char *text)
{
	struct web_answer answer = answer_json(status, json_pack("{s:s}", "detail", text));
	if (answer.status == 503)
		answer.retry_after_s = WEB_RETRY_AFTER_S;
	return answer;
}

struct web_answer answer_result(enum tr_result result, const char *why)
{
	return answer_detail(tr_result_http_status(result), why != NULL ? why : tr_result_text(result));
}

bool faults_add(json_t *faults, const char *where, const char *field, const char *message, const char *type)
{
	json_t *location = field != NULL ? json_pack("[s,s]", where, field) : json_pack("[s]", where);
	return json_array_append_new(faults, json_pack("{s:o,s:s,s:s}", "loc", location,
	    "msg", message, "type", type)) == 0;
}

struct web_answer answer_faults(json_t *faults)
{
	return answer_json(422, json_pack("{s:o}", "detail", faults));
}

void answer_clear(struct web_answer *answer)
{
	json_decref(answer->body);
	*answer = (struct web_answer){ .status = 0 };
}

/* ---- rendering --------------------------------------------------------------------------- */

struct head {
	char text[1024]; /* holds every header line below, whatever the request was */
	size_t used;
};

__attribute__((format(printf, 2, 3))) static void head_line(struct head *head, const char *format, ...)
{
	va_list list;
	va_start(list, format);
	int length = vsnprintf(head->text + head->used, sizeof(head->text) - head->used, format, list);
	va_end(list);
	if (length < 0 || (size_t)length >= sizeof(head->text) - head->used)
		abort(); /* our own lines do not fit into our own buffer */
	head->used += (size_t)length;
}

static void head_allow(struct head *head, unsigned allow)
{
	const char *separator = "Allow: ";
	for (enum method method = 0; method < METHOD_OTHER; method++) {
		if (allow & 1u << method) {
			head_line(head, "%s%s", separator, method_name(method));
			separator = ", ";
		}
	}
	head_line(head, "\r\n");
}

static void render_head(struct head *head, const struct web_answer *answer,
    const struct web_request *request, size_t body_bytes)
{
	head_line(head, "Status: %d %s\r\n", answer->status, reason_of(answer->status));
	if (answer->status != 204) /* RFC 9110, section 8.6: no length where there is no content */
		head_line(head, "Content-Type: application/json\r\nContent-Length: %zu\r\n", body_bytes);
	head_line(head, "Cache-Control: no-store\r\n");
	if (request->request_id[0] != '\0')
		head_line(head, "X-Request-ID: %s\r\n", request->request_id);
	if (answer->location[0] != '\0')
		head_line(head, "Location: %s\r\n", answer->location);
	if (answer->retry_after_s != 0)
		head_line(head, "Retry-After: %u\r\n", answer->retry_after_s);
	if (answer->allow != 0)
		head_allow(head, answer->allow);
	head_line(head, "\r\n");
}

char *answer_render(const struct web_answer *answer, const struct web_request *request, size_t *bytes)
{
	struct web_answer rendered = *answer;
	char *body = NULL;
	if (answer->body != NULL)
		body = json_dumps(answer->body, JSON_COMPACT | JSON_ENCODE_ANY);
	const char *text = body;
	if (body == NULL && answer->status != 204) {
		rendered.status = 503;
		rendered.retry_after_s = WEB_RETRY_AFTER_S;
		rendered.location[0] = '\0';
		text = out_of_memory_body;
	}
	size_t body_bytes = text != NULL ? strlen(text) : 0;
	struct head head = { .used = 0 };
	render_head(&head, &rendered, request, body_bytes);
	if (request->method == METHOD_HEAD)
		body_bytes = 0;
	char *all = malloc(head.used + body_bytes + 1);
	if (all != NULL) {
		memcpy(all, head.text, head.used);
		if (body_bytes > 0)
			memcpy(all + head.used, text, body_bytes);
		all[head.used + body_bytes] = '\0';
		*bytes = head.used + body_bytes;
	}
	free(body);
	return all;
}
