/* In: what a server has answered, or why it has not. Out: the task's outcome and result. Called by http.c. */
#include "taskd/http_answer.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "taskd/arguments.h"
#include "taskd/http_body.h"
#include "taskd/text.h"

#define EXCERPT_MAX 200 /* bytes of a body in a failure's message */

/* ---- the outcome ------------------------------------------------------------------------- */

static bool is_expected(const struct http_arguments *arguments, int status)
{
	if (arguments->expect_count == 0)
		return status >= 200 && status <= 299;
	for (size_t i = 0; i < arguments->expect_count; i++)
		if (arguments->expect[i] == status)
			return true;
	return false;
}

/* What is no status (600 and above) counts as the server's error: RFC 9110, section 15. */
static bool is_worth_another_try(int status)
{
	return status == 408 || status == 429 || status >= 500;
}

static void explain_status(struct http_judgement *judgement, const struct http_answer *answer)
{
	char excerpt[EXCERPT_MAX + 1];
	const char *more = answer->redirects > 0 ? " after redirects" : "";
	if (answer->status >= 300 && answer->status <= 399 && answer->location != NULL)
		more = answer->redirects > 0 ? ", one redirect too many" : ", a redirect, which is not followed";
	size_t bytes = text_clean(excerpt, EXCERPT_MAX, answer->body_bytes > 0 ? answer->body : "", answer->body_bytes);
	snprintf(judgement->text, sizeof judgement->text, "the server answered %d%s%s%s", answer->status, more,
	    bytes > 0 ? ": " : "", excerpt);
}

void http_answer_judge(struct http_judgement *judgement, const struct http_answer *answer,
    const struct http_arguments *arguments, uint64_t retry_after_most_ms)
{
	*judgement = (struct http_judgement){ .outcome = TR_SUCCESS };
	if (answer->end != HTTP_ANSWERED) {
		judgement->outcome = answer->end == HTTP_FAILED ? TR_FAILURE : TR_PERMANENT_FAILURE;
		snprintf(judgement->text, sizeof judgement->text, "%s", answer->error);
		return;
	}
	if (is_expected(arguments, answer->status))
		return;
	explain_status(judgement, answer);
	judgement->outcome = TR_PERMANENT_FAILURE;
	if (is_worth_another_try(answer->status)) {
		judgement->outcome = TR_FAILURE;
		judgement->delay_ms = answer->retry_after_ms < retry_after_most_ms ? answer->retry_after_ms : retry_after_most_ms;
	}
}

/* ---- the result -------------------------------------------------------------------------- */

static bool is_json(const struct http_answer *answer)
{
	struct tr_error unused;
	return answer->content_type != NULL && strcasestr(answer->content_type, "json") != NULL && !answer->body_cut &&
	    arguments_are_json(answer->body, answer->body_bytes, &unused);
}

/* The body as a JSON string; what is not UTF-8 becomes U+FFFD. NULL: out of memory. */
static char *quote(const struct http_answer *answer)
{
	char *clean = malloc(answer->body_bytes * 3 + 1);
	size_t used = 0;
	if (clean == NULL)
		return NULL;
	for (size_t i = 0; i < answer->body_bytes;) {
		size_t left = answer->body_bytes - i;
		size_t bytes = text_character(answer->body + i, left);
		if (bytes == 0 && answer->body_cut && left < 4)
			break; /* a character that was cut with the body */
		memcpy(clean + used, bytes > 0 ? answer->body + i : "\xef\xbf\xbd", bytes > 0 ? bytes : 3);
		used += bytes > 0 ? bytes : 3;
		i += bytes > 0 ? bytes : 1;
	}
	json_t *string = json_stringn(clean, used);
	char *text = string == NULL ? NULL : json_dumps(string, JSON_ENCODE_ANY);
	json_decref(string);
	free(clean);
	return text;
}

static char *show_body(const struct http_answer *answer)
{
	if (answer->body_bytes == 0)
		return strdup("null");
	if (!is_json(answer))
		return quote(answer);
	char *text = malloc(answer->body_bytes + 1);
	if (text != NULL)
		text[http_body_compact(text, answer->body, answer->body_bytes)] = '\0';
	return text;
}

char *http_answer_result(const struct http_answer *answer)
{
	char *body = show_body(answer);
	json_t *head = json_pack("{s:i, s:I, s:I, s:{s:s*, s:s*, s:s*, s:s*}}", "status", answer->status, "ms",
	    (json_int_t)answer->took_ms, "redirects", (json_int_t)answer->redirects, "headers", "Content-Type",
	    answer->content_type, "Location", answer->location, "ETag", answer->etag, "Last-Modified", answer->last_modified);
	char *text = head == NULL ? NULL : json_dumps(head, JSON_COMPACT);
	char *result = NULL;
	/* The members so far, without their closing brace, and the body. */
	if (body != NULL && text != NULL && asprintf(&result, "%.*s,\"body\":%s%s}", (int)strlen(text) - 1, text, body,
	        answer->body_cut ? ",\"body_cut\":true" : "") < 0)
		result = NULL;
	json_decref(head);
	free(text);
	free(body);
	return result;
}
