/*
 * One request from the route table to its answer: a request comes in from the transport, what its
 * route takes is read and checked, its endpoint is called, what the endpoint added is published, the
 * answer goes out. Called by each responder thread (process.c); holds no state.
 */
#include "app/web.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "app/access.h"
#include "app/audit.h"
#include "app/log.h"
#include "app/static.h"
#include "shared/resource.h"

static struct web_answer refuse_path_or_method(const struct web_request *request, unsigned allow)
{
	if (allow == 0)
		return answer_detail(404, "there is nothing at this path");
	struct web_answer answer = request->method == METHOD_OPTIONS ?
	    answer_empty(204) : answer_detail(405, "this path does not know this method; see the Allow header");
	answer.allow = allow;
	return answer;
}

/* ---- before the endpoint ----------------------------------------------------------------- */

/* What must be right before anything of the request is read. */
static bool may_call(struct web_request *request, const struct background_tasks *background, struct web_answer *answer)
{
	const struct route *route = request->route;
	if (!access_check(request, answer))
		return false;
	if (route->needs_ring && background == NULL) {
		*answer = answer_result(TR_NO_RING, "background tasks cannot be taken right now; try again later");
		return false;
	}
	return true;
}

/* A body that is a file: received as it arrives. */
static bool receive(const struct web_settings *settings, struct web_request *request, struct upload *upload,
    struct web_answer *answer)
{
	enum upload_result result = upload_receive(request, &settings->upload, upload);
	request->upload = upload;
	if (result == UPLOAD_OK)
		return true;
	upload_refuse(result, answer);
	return false;
}

/* No coding is undone here: what is parsed, or kept as a file, would be another thing than what was meant. */
static bool is_encoded(const struct web_request *request)
{
	return request->content_encoding[0] != '\0' && strcasecmp(request->content_encoding, "identity") != 0;
}

/* Parameters and body, so that the faults of both come in one answer. False: *answer is the refusal. */
static bool read_input(const struct web_settings *settings, struct web_request *request,
    const struct route_match *match, json_t **body, struct web_answer *answer)
{
	static const struct fault_place in_body = { .name = "body" };
	const struct route *route = request->route;
	struct faults faults = { .list = NULL };
	if ((route->body != NULL || route->upload) && is_encoded(request)) {
		*answer = answer_detail(415, "the body must come without a Content-Encoding");
		return false;
	}
	parameters_read(request, match, &faults);
	if (route->body != NULL) {
		size_t limit_bytes = settings->body_limit_bytes;
		if (route->body_bytes_max != 0 && route->body_bytes_max < limit_bytes)
			limit_bytes = route->body_bytes_max;
		if (!body_json(request, limit_bytes, body, answer)) {
			faults_clear(&faults);
			return false;
		}
		request->body = *body;
		if (*body != NULL)
			schema_validate(route->body, *body, &in_body, false, &faults);
		else if (!route->body_optional)
			faults_add(&faults, &in_body, "missing", "Field required");
	}
	if (!faults_any(&faults))
		return true;
	*answer = answer_faults(422, &faults);
	return false;
}

/* ---- resources --------------------------------------------------------------------------- */

/* Those of one request, in the order of its row. */
struct held {
	const struct tr_resource *const *named;
	void *handles[WEB_RESOURCES_MAX];
	size_t count;
};

/* False: *answer is the refusal; what was opened is held all the same. */
static bool hold_resources(struct web_request *request, struct held *held, struct web_answer *answer)
{
	held->named = request->route->resources;
	for (; held->named != NULL && held->named[held->count] != NULL; held->count++) {
		const struct tr_resource *resource = held->named[held->count];
		struct tr_error error = { .text = "out of memory" };
		void *handle = request->resources != NULL ? resource_use(request->resources, resource, &error) : NULL;
		if (handle == NULL) {
			char quoted[LOG_QUOTED_SIZE];
			log_event(LOG_ERR, "resource-failed", "id=%s resource=%s reason=%s", request->request_id, resource->name,
			    log_quote(error.text, quoted));
			*answer = answer_detail(503, "something that this needs is not there right now; try again later");
			return false;
		}
		held->handles[held->count] = handle;
	}
	return true;
}

static void release_resources(struct web_request *request, struct held *held)
{
	while (held->count > 0) {
		held->count--;
		resource_release(request->resources, held->named[held->count], held->handles[held->count]);
	}
}

void *web_resource(const struct web_request *request, const char *name)
{
	const struct held *held = request->held;
	for (size_t i = 0; i < held->count; i++)
		if (strcmp(held->named[i]->name, name) == 0)
			return held->handles[i];
	abort(); /* the route does not name it */
}

/* ---- the endpoint ------------------------------------------------------------------------ */

/* What one task replaces is discarded when the disk has the new one, so that is waited for here. */
static enum tr_result publish_tasks(const struct web_settings *settings, struct web_request *request,
    struct background_tasks *background)
{
	return request->added->replaces ? background_tasks_publish(background, settings->durable_timeout_ms) :
	    batch_publish(background, &request->durable);
}

/* The endpoint has answered: its tasks go out whole, or the client is told that nothing did. */
static struct web_answer publish(const struct web_settings *settings, struct web_request *request,
    struct web_answer answer, struct background_tasks *background)
{
	const struct web_added *added = request->added;
	enum tr_result result = publish_tasks(settings, request, background);
	/* Where this fails the dead one is still there to be seen, beside the new one. */
	if ((result == TR_OK || result == TR_NOT_DURABLE) && added->replaces &&
	    tr_task_discard(request->ring, &added->replaced) != TR_OK)
		log_event(LOG_WARNING, "replaced-not-discarded", "id=%s", request->request_id);
	if (result == TR_OK)
		return answer;
	answer_clear(&answer);
	background_tasks_clear(background);
	/* The result's own sentence: background_tasks_error() may name files and system calls. */
	return answer_result(result, NULL);
}

static struct web_answer call(const struct web_settings *settings, struct web_request *request,
    struct background_tasks *background)
{
	struct web_added added = { .failed = TR_OK };
	if (background != NULL) {
		background_tasks_durability(background, settings->durability);
		background_tasks_concurrent(background, false);
	}
	request->added = &added;
	struct web_answer answer = request->route->endpoint(request, background);
	if (answer.status < 400 && added.failed != TR_OK) {
		answer_clear(&answer);
		answer = answer_not_added(added.failed);
	}
	if (background != NULL && answer.status < 400 && background_tasks_count(background) > 0)
		answer = publish(settings, request, answer, background);
	else if (background != NULL)
		background_tasks_clear(background);
	request->added = NULL;
	free(added.body_text);
	return answer;
}

static struct web_answer serve_route(const struct web_settings *settings, struct web_request *request,
    const struct route_match *match, struct background_tasks *background)
{
	struct web_answer answer;
	struct held held = { .count = 0 };
	json_t *body = NULL;
	struct upload upload = { .fd = -1 };
	if (!may_call(request, background, &answer))
		return answer;
	if (read_input(settings, request, match, &body, &answer) &&
	    (!request->route->upload || receive(settings, request, &upload, &answer))) {
		request->held = &held;
		if (hold_resources(request, &held, &answer))
			answer = call(settings, request, background);
		release_resources(request, &held);
		request->held = NULL;
	}
	json_decref(request->parameters);
	json_decref(body);
	request->parameters = NULL;
	request->body = NULL;
	upload_clear(&upload);
	request->upload = NULL;
	return answer;
}

/* The web server may have taken it off already, so a path without it is good, too. */
static void take_prefix(const struct web_settings *settings, struct web_request *request)
{
	if (settings->prefix == NULL)
		return;
	size_t bytes = strlen(settings->prefix);
	request->prefix = settings->prefix;
	if (strncmp(request->path, settings->prefix, bytes) == 0 && request->path[bytes] == '/')
		memmove(request->path, request->path + bytes, strlen(request->path + bytes) + 1);
}

struct web_answer web_serve(const struct web_settings *settings, struct web_request *request,
    struct background_tasks *background)
{
	assert((request->ring == NULL) == (background == NULL));
	request->durable.wanted = false;
	if (request->fault_status != 0)
		return answer_detail(request->fault_status, request->fault);

	struct route_match match;
	struct web_answer answer;
	unsigned allow;
	take_prefix(settings, request);
	request->access = settings->access;
	request->route = route_find(request->method, request->path, &match, &allow);
	if (request->route != NULL) {
		answer = serve_route(settings, request, &match, background);
		if (!request->durable.wanted)
			audit(request, &answer);
	} else if (allow != 0 || !static_serve(settings->files, request, &answer)) {
		answer = refuse_path_or_method(request, allow);
	}
	answer_revalidate(&answer, request);
	return answer;
}

void web_settle(const struct web_request *request, struct web_answer *answer, enum tr_result result)
{
	if (result != TR_OK) {
		answer_clear(answer);
		*answer = answer_result(result, NULL);
	}
	audit(request, answer);
}
