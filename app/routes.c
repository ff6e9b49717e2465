/*
 * The route table: a method and a path come in, the row that says all about them goes out. Called by
 * web_serve(). What a client may ask is said here and nowhere else; the schemas of bodies stand
 * beside their endpoints.
 */
#include "app/web.h"

#include <stdio.h>
#include <string.h>

#include "app/endpoints.h"
#include "app/signups.h"

#define ANSWERS (const struct route_answer[])
#define STEPS ANSWERS{ { 200, "What the step would do (dry_run)", &steer_many_schema }, { 202, "The step was done", &steer_many_schema }, \
	{ 500, "The journal cannot be read", NULL }, { 0 } }

static const struct schema any_object = { .types = SCHEMA_OBJECT, .extra_allowed = true };

static const struct tr_resource *const signups_needed[] = { &signups_resource, NULL };

static const struct route routes[] = {
	{
		.method = METHOD_POST, .path = "/register", .endpoint = post_register, .tag = "signups",
		.summary = "Sign somebody up",
		.description = "Records the signup and sends the welcome mail, one after the other, after the answer.",
		.body = &signup_schema,
		.right = RIGHT_SUBMIT, .needs_ring = true,
		.answers = ANSWERS{ { 202, "Its two tasks", &accepted_schema }, { 0 } },
	},
	{
		.method = METHOD_GET, .path = "/signups", .endpoint = get_signups, .tag = "signups",
		.summary = "Who has signed up",
		.description = "The newest first. It shows personal data, so it is for operators.",
		.query = signups_query,
		.right = RIGHT_STEER,
		.resources = signups_needed,
		.answers = ANSWERS{ { 200, "A page of them", &signups_schema }, { 0 } },
	},
	{
		.method = METHOD_POST, .path = "/calculations", .endpoint = post_calculation, .tag = "calculations",
		.summary = "Count the primes below a limit",
		.description = "May take minutes; the task shows its progress and can be cancelled.",
		.body = &calculation_schema,
		.right = RIGHT_SUBMIT, .needs_ring = true,
		.answers = ANSWERS{ { 202, "Its task", &accepted_schema }, { 0 } },
	},
	{
		.method = METHOD_POST, .path = "/callbacks", .endpoint = post_callback, .tag = "callbacks",
		.summary = "Call a URL",
		.description = "The call is tried again after failures that may pass. Loopback, private and link-local "
			       "addresses are refused when it is made, unless taskd's configuration allows them.",
		.body = &callback_schema,
		.right = RIGHT_SUBMIT, .needs_ring = true,
		.answers = ANSWERS{ { 202, "Its task", &accepted_schema }, { 0 } },
	},
	{
		.method = METHOD_POST, .path = "/files", .endpoint = post_file, .tag = "files",
		.summary = "Upload a file",
		.description = "As multipart/form-data with the file in the field `file`, or as the body itself, whose name "
			       "is then that of Content-Disposition. Its SHA-256, lines and bytes are the task's result.",
		.upload = true,
		.right = RIGHT_SUBMIT, .needs_ring = true,
		.answers = ANSWERS{ { 202, "Its task", &accepted_schema }, { 0 } },
	},
	{
		.method = METHOD_GET, .path = "/tasks", .endpoint = get_tasks, .tag = "tasks",
		.summary = "Many background tasks",
		.description = "The newest first, a page at a time. A page may be short, even empty, when few of many tasks "
			       "match; as long as there is a `next`, there may be more.",
		.query = tasks_query,
		.right = RIGHT_READ, .needs_ring = true,
		.answers = ANSWERS{ { 200, "A page of them", &task_list_schema }, { 500, "The journal cannot be read", NULL }, { 0 } },
	},
	{
		.method = METHOD_POST, .path = "/tasks", .endpoint = post_tasks, .tag = "tasks",
		.summary = "Add background tasks",
		.description = "One object, or a list: those run one after the other, unless `concurrent` is set, and if one of them "
			       "ends other than succeeded, those behind it are cancelled.",
		.query = new_tasks_query, .body = &new_tasks_schema,
		.right = RIGHT_SUBMIT, .needs_ring = true,
		.answers = ANSWERS{ { 202, "The tasks", &accepted_schema }, { 413, "Their arguments are too large", NULL }, { 0 } },
	},
	{
		.method = METHOD_GET, .path = "/tasks/{id:uuid}", .endpoint = get_task, .tag = "tasks",
		.summary = "One background task",
		.description = "State, progress, result, error, and the lines that its handler wrote to its log.",
		.right = RIGHT_READ, .needs_ring = true,
		.answers = ANSWERS{ { 200, "The task", &task_schema }, { 404, "No such task, or it ended too long ago", NULL },
			{ 500, "The journal cannot be read", NULL }, { 0 } },
	},
	{
		.method = METHOD_GET, .path = "/tasks/{id:uuid}/events", .endpoint = get_task_events, .tag = "tasks",
		.summary = "What happens to one background task",
		.description = "Server-sent events (text/event-stream): `state` with the task as it is, at first and whenever it "
			       "changes, `progress` and `log`. The stream ends with the task. Last-Event-ID goes on where it broke "
			       "off; `missed` says how many events are lost for good, `taskd` when taskd dies or is back.",
		.right = RIGHT_READ, .needs_ring = true,
		.answers = ANSWERS{ { 200, "A stream of events", NULL }, { 204, "All was told up to the event of Last-Event-ID", NULL },
			{ 404, "No such task, or it ended too long ago", NULL }, { 500, "The journal cannot be read", NULL },
			{ 503, "Too many listen", NULL }, { 0 } },
		.content_type = "text/event-stream",
	},
	{
		.method = METHOD_GET, .path = "/events", .endpoint = get_events, .tag = "tasks",
		.right = RIGHT_READ,
		.summary = "What happens to background tasks",
		.description = "Server-sent events, as of one task: of all, or of those that fit, from now on or from Last-Event-ID on.",
		.query = events_query,
		.answers = ANSWERS{ { 200, "A stream of events", NULL }, { 503, "Too many listen", NULL }, { 0 } },
		.content_type = "text/event-stream",
	},
	{
		.method = METHOD_DELETE, .path = "/tasks/{id:uuid}", .endpoint = delete_task, .tag = "tasks",
		.summary = "Cancel a background task",
		.description = "One that waits never starts. One that runs is told to stop, then terminated, then killed.",
		.right = RIGHT_STEER, .needs_ring = true,
		.answers = ANSWERS{ { 202, "taskd was asked to", &steered_schema },
			{ 404, "No such task, or it ended too long ago", NULL }, { 409, "It has ended already", NULL },
			{ 500, "The journal cannot be read", NULL }, { 0 } },
	},
	{
		.method = METHOD_POST, .path = "/tasks/{id:uuid}/retry", .endpoint = post_task_retry, .tag = "tasks",
		.summary = "Queue a dead task again",
		.description = "With as many attempts as it had at first. With a body, a task like it is added, with the arguments and "
			       "options that stand there, and the dead one is discarded.",
		.body = &retry_schema, .body_optional = true,
		.right = RIGHT_STEER, .needs_ring = true,
		.answers = ANSWERS{ { 202, "taskd was asked to", &retried_schema },
			{ 404, "No such task, or it ended too long ago", NULL }, { 409, "It is not dead, or owns a file and was to be edited", NULL },
			{ 500, "The journal cannot be read", NULL }, { 0 } },
	},
	{
		.method = METHOD_POST, .path = "/tasks/{id:uuid}/discard", .endpoint = post_task_discard, .tag = "tasks",
		.summary = "Give a task up",
		.description = "One that waits or is dead ends as cancelled; nobody needs to look at it any more.",
		.right = RIGHT_STEER, .needs_ring = true,
		.answers = ANSWERS{ { 202, "taskd was asked to", &steered_schema },
			{ 404, "No such task, or it ended too long ago", NULL }, { 409, "It runs, or has ended", NULL },
			{ 500, "The journal cannot be read", NULL }, { 0 } },
	},
	{
		.method = METHOD_POST, .path = "/tasks/{id:uuid}/run", .endpoint = post_task_run, .tag = "tasks",
		.summary = "Run a scheduled or retrying task now",
		.description = "It takes its turn in its queue at once.",
		.right = RIGHT_STEER, .needs_ring = true,
		.answers = ANSWERS{ { 202, "taskd was asked to", &steered_schema },
			{ 404, "No such task, or it ended too long ago", NULL }, { 409, "It is neither scheduled nor retrying", NULL },
			{ 500, "The journal cannot be read", NULL }, { 0 } },
	},
	{
		.method = METHOD_POST, .path = "/tasks/cancel", .endpoint = post_cancel_many, .tag = "tasks",
		.summary = "Cancel all tasks that match",
		.description = "One step of up to 500 tasks; the next one goes on with `next`, until it is null.",
		.query = steer_query,
		.right = RIGHT_STEER, .needs_ring = true,
		.answers = STEPS,
	},
	{
		.method = METHOD_POST, .path = "/tasks/retry", .endpoint = post_retry_many, .tag = "tasks",
		.summary = "Queue all dead tasks that match again",
		.description = "One step of up to 500 tasks; the next one goes on with `next`, until it is null.",
		.query = steer_query,
		.right = RIGHT_STEER, .needs_ring = true,
		.answers = STEPS,
	},
	{
		.method = METHOD_POST, .path = "/tasks/discard", .endpoint = post_discard_many, .tag = "tasks",
		.summary = "Give up all tasks that match, and that wait or are dead",
		.description = "One step of up to 500 tasks; the next one goes on with `next`, until it is null.",
		.query = steer_query,
		.right = RIGHT_STEER, .needs_ring = true,
		.answers = STEPS,
	},
	{
		.method = METHOD_POST, .path = "/tasks/run", .endpoint = post_run_many, .tag = "tasks",
		.summary = "Run all scheduled and retrying tasks that match now",
		.description = "One step of up to 500 tasks; the next one goes on with `next`, until it is null.",
		.query = steer_query,
		.right = RIGHT_STEER, .needs_ring = true,
		.answers = STEPS,
	},
	{
		.method = METHOD_POST, .path = "/queues/{name}/pause", .endpoint = post_queue_pause, .tag = "queues",
		.summary = "Pause a queue",
		.description = "What runs goes on; what waits does not start until it is resumed, also after a restart. A queue "
			       "that no task has named yet is paused as well; taskd refuses to have more than 256 paused.",
		.right = RIGHT_STEER, .needs_ring = true,
		.answers = ANSWERS{ { 202, "taskd was asked to", &queue_asked_schema }, { 0 } },
	},
	{
		.method = METHOD_POST, .path = "/queues/{name}/resume", .endpoint = post_queue_resume, .tag = "queues",
		.summary = "Resume a queue",
		.description = "Its waiting tasks start as workers become free. One that is not paused stays as it is.",
		.right = RIGHT_STEER, .needs_ring = true,
		.answers = ANSWERS{ { 202, "taskd was asked to", &queue_asked_schema }, { 0 } },
	},
	{
		.method = METHOD_POST, .path = "/login", .endpoint = post_login, .tag = "session",
		.summary = "Have the browser keep the token",
		.description = "In a cookie that scripts cannot read. A request that comes by it and changes something needs an "
			       "X-Requested-With header or an Origin of this host.",
		.body = &login_schema,
		.answers = ANSWERS{ { 200, "Whose it is", &session_schema }, { 401, "It is nobody's", NULL },
			{ 403, "No tokens are configured here", NULL }, { 429, "Too many wrong ones came from this address", NULL }, { 0 } },
	},
	{
		.method = METHOD_POST, .path = "/logout", .endpoint = post_logout, .tag = "session",
		.summary = "Have the browser forget the token",
		.description = "Whoever has a copy of it can still use it: what ends it is the token file without its line.",
		.asks_who = true,
		.answers = ANSWERS{ { 204, "It has no token now", NULL }, { 0 } },
	},
	{
		.method = METHOD_GET, .path = "/session", .endpoint = get_session, .tag = "session",
		.summary = "Who am I, and what may I do?",
		.description = "The rights: to read tasks and counters, to submit tasks, to steer what others have submitted.",
		.asks_who = true,
		.answers = ANSWERS{ { 200, "Of whoever asks", &session_schema }, { 0 } },
	},
	{
		.method = METHOD_GET, .path = "/stats", .endpoint = get_stats, .tag = "instance",
		.summary = "Counters, gauges, histograms",
		.description = "And how taskd is. Read from shared memory only: it answers while taskd hangs or is dead.",
		.right = RIGHT_READ, .needs_ring = true,
		.answers = ANSWERS{ { 200, "As they are now", &stats_schema }, { 0 } },
	},
	{
		.method = METHOD_GET, .path = "/stats/history", .endpoint = get_history, .tag = "instance",
		.summary = "What happened, minute by minute or hour by hour",
		.description = "From the journal, so over restarts. Minutes are kept two days, hours a year. At most 1500 rows.",
		.query = history_query,
		.right = RIGHT_READ, .needs_ring = true,
		.answers = ANSWERS{ { 200, "The spans in which something happened, the oldest first", &history_schema },
			{ 404, "There is no journal", NULL }, { 500, "The journal cannot be read", NULL }, { 0 } },
	},
	{
		.method = METHOD_GET, .path = "/queues", .endpoint = get_queues, .tag = "instance",
		.summary = "The queues",
		.description = "How much waits in each, for how long, and which are paused.",
		.right = RIGHT_READ, .needs_ring = true,
		.answers = ANSWERS{ { 200, "All that have tasks, had some lately, or are paused", &queues_schema }, { 0 } },
	},
	{
		.method = METHOD_GET, .path = "/handlers", .endpoint = get_handlers, .tag = "instance",
		.summary = "The handlers",
		.description = "What the workers can run, how often it failed and how long it took.",
		.right = RIGHT_READ, .needs_ring = true,
		.answers = ANSWERS{ { 200, "All of them", &handlers_schema }, { 0 } },
	},
	{
		.method = METHOD_GET, .path = "/workers", .endpoint = get_workers, .tag = "instance",
		.summary = "The worker processes",
		.description = "And what each of them runs now.",
		.right = RIGHT_READ, .needs_ring = true,
		.answers = ANSWERS{ { 200, "All of them", &workers_schema }, { 0 } },
	},
	{
		.method = METHOD_GET, .path = "/ring", .endpoint = get_ring, .tag = "instance",
		.summary = "The ring and its producers",
		.description = "How full it is, what was refused or dropped, and whose lanes live.",
		.right = RIGHT_READ, .needs_ring = true,
		.answers = ANSWERS{ { 200, "As it is now", &ring_schema }, { 0 } },
	},
	{
		.method = METHOD_GET, .path = "/healthz", .endpoint = get_health, .tag = "health",
		.summary = "Whether the ring is there and taskd is alive",
		.description = "Read from shared memory only: it answers while taskd hangs or is dead, and says so.",
		.answers = ANSWERS{ { 200, "Both", &health_schema }, { 503, "Not both", &health_schema }, { 0 } },
	},
	{
		.method = METHOD_GET, .path = "/metrics", .endpoint = get_metrics, .tag = "health",
		.summary = "Counters, gauges and histograms for Prometheus",
		.description = "Read from shared memory only, as /healthz is. As OpenMetrics for those whose Accept header names it.",
		.query = metrics_query,
		.right = RIGHT_READ,
		.answers = ANSWERS{ { 200, "The metrics", NULL }, { 0 } },
		.content_type = "text/plain",
	},
	{
		.method = METHOD_GET, .path = "/openapi.json", .endpoint = get_openapi, .tag = "health",
		.summary = "This description",
		.description = "Of all paths, as OpenAPI 3.1. Its entity tag changes with it.",
		.answers = ANSWERS{ { 200, "The document", &any_object }, { 0 } },
		.content_type = "application/json",
	},
};
#define ROUTES (sizeof(routes) / sizeof(routes[0]))

bool web_begins_a_path(const char *path)
{
	static const char *const pages[] = { "/docs", "/dashboard" };
	size_t bytes = 1 + strcspn(path + 1, "/");
	for (size_t i = 0; i < ROUTES; i++)
		if (strncmp(routes[i].path, path, bytes) == 0 && strcspn(routes[i].path + 1, "/") + 1 == bytes)
			return true;
	for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++)
		if (strlen(pages[i]) == bytes && strncmp(pages[i], path, bytes) == 0)
			return true;
	return false;
}

static const char *const method_names[METHODS] = {
	[METHOD_GET] = "GET",
	[METHOD_HEAD] = "HEAD",
	[METHOD_POST] = "POST",
	[METHOD_PUT] = "PUT",
	[METHOD_PATCH] = "PATCH",
	[METHOD_DELETE] = "DELETE",
	[METHOD_OPTIONS] = "OPTIONS",
	[METHOD_OTHER] = "OTHER",
};

enum method method_by_name(const char *name)
{
	/* Methods are case-sensitive: RFC 9110, section 9.1. */
	for (enum method method = 0; method < METHOD_OTHER; method++)
		if (strcmp(name, method_names[method]) == 0)
			return method;
	return METHOD_OTHER;
}

const char *method_name(enum method method)
{
	return method_names[method];
}

const struct route *routes_all(size_t *count)
{
	*count = ROUTES;
	return routes;
}

const struct route *route_find(enum method method, const char *path, struct route_match *match, unsigned *allow)
{
	return route_find_among(routes, ROUTES, method, path, match, allow);
}
