/*
 * One request from the route table to its answer: a request comes in from the transport, its
 * endpoint is called, what the endpoint added is published, the answer goes out. Called by each
 * responder thread (process.c); holds no state.
 */
#include "app/web.h"

#include <assert.h>
#include <stdlib.h>

static struct web_answer refuse_path_or_method(const struct web_request *request, unsigned allow)
{
	if (allow == 0)
		return answer_detail(404, "there is nothing at this path");
	struct web_answer answer = request->method == METHOD_OPTIONS ?
	    answer_empty(204) : answer_detail(405, "this path does not know this method; see the Allow header");
	answer.allow = allow;
	return answer;
}

/* The endpoint has answered: its tasks go out whole, or the client is told that nothing did. */
static struct web_answer publish(const struct web_settings *settings, struct web_answer answer,
    struct background_tasks *background)
{
	enum tr_result result = background_tasks_publish(background, settings->durable_timeout_ms);
	if (result == TR_OK)
		return answer;
	answer_clear(&answer);
	background_tasks_clear(background);
	/* The result's own sentence: background_tasks_error() may name files and system calls. */
	return answer_result(result, NULL);
}

/* The request is whole: its endpoint answers. */
static struct web_answer call(const struct web_settings *settings, const struct route *route,
    const struct web_request *request, struct background_tasks *background)
{
	if (background == NULL)
		return route->endpoint(request, NULL);
	background_tasks_durability(background, settings->durability);
	struct web_answer answer = route->endpoint(request, background);
	if (answer.status < 400 && background_tasks_count(background) > 0)
		return publish(settings, answer, background);
	background_tasks_clear(background);
	return answer;
}

struct web_answer web_serve(const struct web_settings *settings, struct web_request *request,
    struct background_tasks *background)
{
	assert((request->ring == NULL) == (background == NULL));
	if (request->fault_status != 0)
		return answer_detail(request->fault_status, request->fault);

	unsigned allow;
	const struct route *route = route_find(request->method, request->path, request->parameter, &allow);
	if (route == NULL)
		return refuse_path_or_method(request, allow);
	if (background == NULL && route->needs_ring)
		return answer_result(TR_NO_RING, "background tasks cannot be taken right now; try again later");
	struct web_answer answer;
	if (body_read(request, settings->body_limit_bytes, &answer))
		answer = call(settings, route, request, background);
	free(request->body);
	request->body = NULL;
	request->body_bytes = 0;
	return answer;
}
