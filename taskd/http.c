/*
 * Enters: an "http" task. Leaves: a request, and when it is answered the task's outcome. Called by the
 * worker; what goes over the network is the transfer module's.
 */
#include "taskd/http.h"

#include <assert.h>
#include <stdlib.h>

#include "taskd/http_answer.h"

/* One task, from run() to its end. */
struct http_call {
	struct tr_task *task;
	struct http_arguments arguments;
	struct http_request request; /* points into the arguments */
	const struct transfer_module *module;
	struct transfer *transfer;
};

static const struct config_http *setting; /* written before the threads are there */

void http_configure(const struct config_http *http)
{
	setting = http;
}

static void free_call(struct http_call *call)
{
	http_arguments_clear(&call->arguments);
	free(call);
}

/* ---- the end ----------------------------------------------------------------------------- */

static void on_done(void *context, const struct http_answer *answer)
{
	struct http_call *call = context;
	struct tr_task *task = call->task;
	struct http_judgement judgement;
	http_answer_judge(&judgement, answer, &call->arguments, setting->retry_after_most_ms);
	char *result = answer->end == HTTP_ANSWERED ? http_answer_result(answer) : NULL;
	/* Without memory for it the result is missing; the request was made all the same. */
	if (result != NULL)
		(void)tr_result_json(task, result);
	free(result);
	free_call(call);

	enum tr_outcome outcome = TR_SUCCESS;
	if (judgement.outcome == TR_PERMANENT_FAILURE)
		outcome = tr_fail_permanently(task, "http: %s", judgement.text);
	else if (judgement.outcome == TR_FAILURE && judgement.delay_ms > 0)
		outcome = tr_fail_retry_after(task, judgement.delay_ms, "http: %s", judgement.text);
	else if (judgement.outcome == TR_FAILURE)
		outcome = tr_fail(task, "http: %s", judgement.text);
	tr_finish(task, outcome);
}

/* When taskd drains, the request may go on: broken off, it would only have to be made twice. */
static void on_stop(struct tr_task *task, enum tr_stop why, void *context)
{
	struct http_call *call = context;
	if (why == TR_SHUTTING_DOWN)
		return;
	call->module->abort_http(call->transfer);
	free_call(call);
	tr_finish(task, tr_fail(task, "http: broken off before the server had answered, %s",
	    why == TR_CANCELLED_NOW ? "because the task was cancelled" : "out of time"));
}

/* ---- the beginning ----------------------------------------------------------------------- */

static const char *refused(const void *rules, const struct sockaddr *address)
{
	return http_address_refused(rules, address);
}

static void fill_request(struct http_call *call)
{
	const struct http_arguments *arguments = &call->arguments;
	call->request = (struct http_request){
		.url = arguments->url,
		.method = arguments->method,
		.headers = (const char *const *)arguments->headers,
		.header_count = arguments->header_count,
		.public_header_count = arguments->public_header_count,
		.body = arguments->body,
		.body_bytes = arguments->body_bytes,
		.timeout_ms = arguments->timeout_ms,
		.connect_timeout_ms = arguments->connect_timeout_ms,
		.redirects = arguments->redirects,
		.ca_file = setting->ca_file,
		.refused = refused,
		.rules = &setting->addresses,
	};
}

static enum tr_outcome start(struct http_call *call)
{
	struct tr_task *task = call->task;
	struct transfers *transfers;
	struct tr_error error;
	call->module = transfer_get(task, &transfers, &error);
	if (call->module != NULL)
		call->transfer = call->module->http(transfers, &call->request, on_done, call, &error);
	if (call->module == NULL || call->transfer == NULL)
		return tr_fail(task, "http: %s", error.text);
	tr_on_stop(task, on_stop, call);
	return TR_PENDING;
}

static enum tr_outcome run(struct tr_task *task)
{
	assert(setting != NULL);
	struct http_call *call = calloc(1, sizeof *call);
	if (call == NULL)
		return tr_fail(task, "http: out of memory");
	struct http_defaults defaults = {
		.task_id = tr_task_id(task),
		.trace = tr_task_trace(task),
		.timeout_ms = setting->timeout_ms,
		.connect_timeout_ms = setting->connect_timeout_ms,
	};
	struct tr_error error;
	enum tr_result result = http_arguments_read(&call->arguments, tr_task_args(task), &defaults, &error);
	if (result != TR_OK) {
		free(call);
		return result == TR_INVALID ? tr_fail_permanently(task, "http: %s", error.text) :
		                              tr_fail(task, "http: %s", error.text);
	}
	call->task = task;
	fill_request(call);
	enum tr_outcome outcome = start(call);
	if (outcome != TR_PENDING)
		free_call(call);
	return outcome;
}

static const char *const resources[] = { TRANSFER_RESOURCE, NULL };

/* Authorization, Cookie, X-Api-Key and whatever else receivers call it. */
static const char *const secrets[] = { "headers.*", NULL };

const struct tr_handler http_handler = {
	.name = "http",
	.doc = "Makes an HTTP request: url; method, headers, body or json, timeout_ms, connect_timeout_ms, follow, expect",
	.run = run,
	.resources = resources,
	.secrets = secrets,
};
