/*
 * Answers: endpoints make them with the functions below, answer_render() turns them into the
 * bytes of a CGI response. Bodies are JSON, or pages and files of ours; nothing of the inside (paths,
 * system errors) is ever put into one.
 */
#include "app/web.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	int status;
	const char *line; /* of the response's head */
} statuses[] = {
	{ 200, "200 OK" }, { 202, "202 Accepted" }, { 204, "204 No Content" },
	{ 304, "304 Not Modified" }, { 307, "307 Temporary Redirect" },
	{ 400, "400 Bad Request" }, { 401, "401 Unauthorized" }, { 403, "403 Forbidden" }, { 404, "404 Not Found" },
	{ 405, "405 Method Not Allowed" }, { 408, "408 Request Timeout" }, { 409, "409 Conflict" },
	{ 413, "413 Content Too Large" }, { 414, "414 URI Too Long" }, { 415, "415 Unsupported Media Type" },
	{ 422, "422 Unprocessable Content" }, { 429, "429 Too Many Requests" },
	{ 431, "431 Request Header Fields Too Large" }, { 500, "500 Internal Server Error" },
	{ 503, "503 Service Unavailable" }, { 507, "507 Insufficient Storage" },
};

static const char out_of_memory_body[] = "{\"detail\":\"out of memory; try again later\"}";
/* An endpoint has answered with what is no status: a bug of its author, and nothing of it is shown. */
static const char bug_body[] = "{\"detail\":\"something went wrong here\"}";

/* NULL: nobody answers with this status. */
static const char *status_line(int status)
{
	for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++)
		if (statuses[i].status == status)
			return statuses[i].line;
	return NULL;
}

bool answer_knows(int status)
{
	return status_line(status) != NULL;
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

struct web_answer answer_content(struct web_content content)
{
	return (struct web_answer){ .status = 200, .content = content };
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

struct web_answer answer_faults(int status, struct faults *faults)
{
	struct web_answer answer = answer_json(faults->no_memory ? 503 : status,
	    faults->no_memory ? NULL : json_pack("{s:O}", "detail", faults->list));
	faults_clear(faults);
	return answer;
}

struct web_answer answer_fault(const char *where, const char *name, const char *type, const char *message)
{
	const struct fault_place in = { .name = where };
	const struct fault_place place = { .parent = &in, .name = name };
	struct faults faults = { .list = NULL };
	faults_add(&faults, &place, type, "%s", message);
	return answer_faults(422, &faults);
}

void answer_clear(struct web_answer *answer)
{
	json_decref(answer->body);
	if (answer->content.release != NULL)
		answer->content.release(answer->content.context);
	free(answer->stream.present);
	*answer = (struct web_answer){ .status = 0 };
}

/* ---- what the client has already --------------------------------------------------------- */

/* Whether the list of an If-None-Match has this tag: weak comparison, RFC 9110, section 13.1.2. */
static bool names_tag(const char *list, const char *tag)
{
	size_t bytes = strlen(tag);
	if (strcmp(list, "*") == 0)
		return true;
	while (*list != '\0') {
		list += strspn(list, " \t,");
		if (strncmp(list, "W/", 2) == 0)
			list += 2;
		if (*list != '"')
			return false;
		size_t span = strcspn(list + 1, "\"") + 2;
		if (span == bytes && strncmp(list, tag, bytes) == 0)
			return true;
		if (strlen(list) < span)
			return false;
		list += span;
	}
	return false;
}

void answer_revalidate(struct web_answer *answer, const struct web_request *request)
{
	if (answer->status != 200 || answer->etag == NULL || !names_tag(request->if_none_match, answer->etag))
		return;
	const struct web_answer known = { .status = 304, .etag = answer->etag, .cache_control = answer->cache_control };
	answer_clear(answer);
	*answer = known;
}

/* ---- rendering --------------------------------------------------------------------------- */

struct head {
	char text[3072]; /* holds every header line below, whatever the request was */
	size_t used;
};

static void head_add(struct head *head, const char *text)
{
	size_t bytes = strlen(text);
	if (bytes >= sizeof(head->text) - head->used)
		abort(); /* our own lines do not fit into our own buffer */
	memcpy(head->text + head->used, text, bytes + 1);
	head->used += bytes;
}

/* The value in two parts, either of which may be "". */
static void head_line(struct head *head, const char *name, const char *value, const char *rest)
{
	head_add(head, name);
	head_add(head, ": ");
	head_add(head, value);
	head_add(head, rest);
	head_add(head, "\r\n");
}

static void head_number(struct head *head, const char *name, size_t number)
{
	char text[24];
	snprintf(text, sizeof(text), "%zu", number);
	head_line(head, name, text, "");
}

static void head_allow(struct head *head, unsigned allow)
{
	const char *separator = "Allow: ";
	for (enum method method = 0; method < METHOD_OTHER; method++) {
		if (allow & 1u << method) {
			head_add(head, separator);
			head_add(head, method_name(method));
			separator = ", ";
		}
	}
	head_add(head, "\r\n");
}

static bool is_bodyless(int status)
{
	return status == 204 || status == 304;
}

static void render_head(struct head *head, const struct web_answer *answer,
    const struct web_request *request, const struct web_content *content)
{
	const char *status = status_line(answer->status);
	assert(status != NULL); /* sendable() has seen to it */
	head_line(head, "Status", status, "");
	if (answer->stream.wanted) { /* and no server on its way is to gather it */
		head_add(head, "Content-Type: text/event-stream\r\nX-Accel-Buffering: no\r\nX-Content-Type-Options: nosniff\r\n");
	} else if (content->type != NULL) { /* RFC 9110, section 8.6: no length where there is no content */
		head_line(head, "Content-Type", content->type, "");
		head_number(head, "Content-Length", content->count);
		head_line(head, "X-Content-Type-Options", "nosniff", "");
	}
	head_line(head, "Cache-Control", answer->cache_control != NULL ? answer->cache_control : "no-store", "");
	if (answer->etag != NULL)
		head_line(head, "ETag", answer->etag, "");
	if (answer->csp != NULL) {
		head_line(head, "Content-Security-Policy", answer->csp, "");
		head_add(head, "X-Frame-Options: DENY\r\nReferrer-Policy: same-origin\r\n");
	}
	if (request->request_id[0] != '\0')
		head_line(head, "X-Request-ID", request->request_id, "");
	if (request->trace[0] != '\0')
		head_line(head, "traceparent", request->trace, "");
	if (answer->location[0] != '\0')
		head_line(head, "Location", answer->location[0] == '/' ? request->prefix : "", answer->location);
	if (answer->retry_after_s != 0)
		head_number(head, "Retry-After", answer->retry_after_s);
	if (answer->set_cookie[0] != '\0')
		head_line(head, "Set-Cookie", answer->set_cookie, "");
	if (answer->challenge)
		head_line(head, "WWW-Authenticate", "Bearer", "");
	if (answer->allow != 0)
		head_allow(head, answer->allow);
	head_add(head, "\r\n");
}

static struct web_content json_content(const char *text)
{
	return (struct web_content){ .type = "application/json", .bytes = text, .count = strlen(text) };
}

/*
 * An answer that can be sent, and the bytes of its body: what was made without memory or with a bug
 * becomes 503 or 500. `text`: its JSON.
 */
static struct web_answer sendable(const struct web_answer *answer, const char *text, struct web_content *content)
{
	*content = (struct web_content){ .bytes = "" };
	if (!answer_knows(answer->status)) {
		*content = json_content(bug_body);
		return (struct web_answer){ .status = 500 };
	}
	if (is_bodyless(answer->status) || answer->stream.wanted)
		return *answer;
	if (answer->content.type != NULL || text != NULL) {
		*content = answer->content.type != NULL ? answer->content : json_content(text);
		return *answer;
	}
	*content = json_content(out_of_memory_body);
	return (struct web_answer){ .status = 503, .retry_after_s = WEB_RETRY_AFTER_S };
}

char *answer_render(const struct web_answer *answer, const struct web_request *request, size_t *bytes)
{
	char *text = NULL;
	struct web_content content;
	if (answer->body != NULL && !is_bodyless(answer->status))
		text = json_dumps(answer->body, JSON_COMPACT | JSON_ENCODE_ANY);
	struct web_answer sent = sendable(answer, text, &content);
	struct head head = { .used = 0 };
	render_head(&head, &sent, request, &content);
	size_t body_bytes = request->method == METHOD_HEAD ? 0 : content.count;
	char *all = malloc(head.used + body_bytes + 1);
	if (all != NULL) {
		memcpy(all, head.text, head.used);
		memcpy(all + head.used, content.bytes, body_bytes);
		all[head.used + body_bytes] = '\0';
		*bytes = head.used + body_bytes;
	}
	free(text);
	return all;
}
