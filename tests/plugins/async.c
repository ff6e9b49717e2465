/* Asynchronous handlers for tests: they wait on the loop, and finish as they are told, or wrongly. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#include "taskring/handler.h"

/* What one pending task waits for. */
struct wait {
	uv_timer_t timer;
	struct tr_task *task;
	const char *args; /* the task's own text, which lives as long as it does */
	char *copy;       /* of it, as run() saw it */
	const char *then; /* of `read` */
	json_t *read;
	long long ms;
};

static long long number_of(const json_t *args, const char *field)
{
	return json_integer_value(json_object_get(args, field));
}

static void on_closed(uv_handle_t *handle)
{
	struct wait *wait = handle->data;

	json_decref(wait->read);
	free(wait->copy);
	free(wait);
}

static void finish(struct wait *wait, enum tr_outcome outcome)
{
	tr_finish(wait->task, outcome);
	uv_close((uv_handle_t *)&wait->timer, on_closed);
}

static enum tr_outcome outcome_of(const struct wait *wait)
{
	struct tr_task *task = wait->task;

	if (strcmp(wait->then, "fail") == 0)
		return tr_fail(task, "failed after %lld ms", wait->ms);
	if (strcmp(wait->then, "fail_permanently") == 0)
		return tr_fail_permanently(task, "failed for good after %lld ms", wait->ms);
	if (strcmp(wait->then, "fail_silently") == 0)
		return TR_FAILURE;
	if (strcmp(wait->then, "retry_after") == 0)
		return tr_fail_retry_after(task, 5000, "the peer wants 5 s");
	if (strcmp(wait->then, "snooze") == 0)
		return tr_snooze(task, 250);
	if (strcmp(wait->then, "nonsense") == 0)
		return (enum tr_outcome)77;
	if (strcmp(wait->then, "pending") == 0)
		return TR_PENDING;
	return TR_SUCCESS;
}

static void on_timer(uv_timer_t *timer)
{
	struct wait *wait = timer->data;
	struct tr_task *task = wait->task;

	if (json_is_true(json_object_get(wait->read, "say"))) {
		tr_progress(task, 1, 2, "half");
		tr_log(task, TR_INFO, "waited %lld ms in %s", wait->ms, tr_task_handler(task));
		tr_log(task, TR_INFO, "arguments %s", strcmp(wait->args, wait->copy) == 0 ? wait->args : "lost");
		tr_result_json(task, "{\"late\":true}");
	}
	if (strcmp(wait->then, "forget") == 0) {
		uv_close((uv_handle_t *)timer, on_closed);
	} else if (strcmp(wait->then, "call") == 0) { /* goes on as another handler, and says so */
		char *args = json_dumps(json_object_get(wait->read, "args"), JSON_ENCODE_ANY);
		enum tr_outcome outcome =
		    tr_call(task, json_string_value(json_object_get(wait->read, "handler")), args);
		free(args);
		finish(wait, outcome);
	} else if (strcmp(wait->then, "twice") == 0) {
		tr_finish(task, TR_SUCCESS);
		finish(wait, TR_SUCCESS);
	} else if (strcmp(wait->then, "fork") == 0) {
		pid_t child = fork();
		if (child == 0) { /* nothing of this is heard, and its parent's task stays pending */
			tr_log(task, TR_INFO, "from the child");
			tr_finish(task, TR_SUCCESS);
			_exit(tr_loop(task) ? 1 : 7);
		}
		int status = 0;
		waitpid(child, &status, 0);
		finish(wait, tr_fail(task, "the child ended with %d", WEXITSTATUS(status)));
	} else {
		finish(wait, outcome_of(wait));
	}
}

static void on_stop(struct tr_task *task, enum tr_stop why, void *context)
{
	static const char *const reasons[] = {
		[TR_OUT_OF_TIME] = "out of time", [TR_CANCELLED_NOW] = "cancelled", [TR_SHUTTING_DOWN] = "shutting down",
	};
	struct wait *wait = context;

	tr_log(task, TR_INFO, "stopped: %s%s", reasons[why], tr_should_stop(task) == why ? "" : ", or not");
	if (json_is_true(json_object_get(wait->read, "stubborn")))
		return; /* goes on to its end */
	uv_timer_stop(&wait->timer);
	finish(wait, tr_fail(task, "%s", reasons[why]));
}

static void sleep_ms(long long ms)
{
	struct timespec left = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

	while (nanosleep(&left, &left) < 0)
		continue;
}

/* NULL: the task has failed. */
static struct wait *start(struct tr_task *task)
{
	struct wait *wait = calloc(1, sizeof *wait);

	if (!wait)
		abort();
	wait->task = task;
	wait->args = tr_task_args(task);
	wait->copy = strdup(wait->args);
	wait->read = json_loads(wait->args, 0, NULL);
	wait->then = json_string_value(json_object_get(wait->read, "then"));
	wait->then = wait->then ? wait->then : "succeed";
	wait->ms = number_of(wait->read, "ms");
	uv_timer_init(tr_loop(task), &wait->timer);
	wait->timer.data = wait;
	uv_timer_start(&wait->timer, on_timer, (uint64_t)wait->ms, 0);
	return wait;
}

/*
 * {"ms": n, "then": how it ends, "say": whether it talks, "block": ms that run() takes, "stubborn":
 * whether it goes on when it is told to stop}
 */
static enum tr_outcome wait_run(struct tr_task *task)
{
	struct wait *wait = start(task);

	tr_on_stop(task, on_stop, wait);
	sleep_ms(number_of(wait->read, "block"));
	return TR_PENDING;
}

/* As "wait", but deaf: until it ends nobody stops it. */
static enum tr_outcome wait_deaf(struct tr_task *task)
{
	start(task);
	return TR_PENDING;
}

/* ---- wrong ones -------------------------------------------------------------------------- */

static enum tr_outcome finish_in_run(struct tr_task *task)
{
	struct wait *wait = start(task);

	tr_finish(task, TR_SUCCESS);
	uv_close((uv_handle_t *)&wait->timer, on_closed);
	return TR_PENDING;
}

/* The task has ended by the time that the callback finishes it. */
static enum tr_outcome end_and_finish(struct tr_task *task)
{
	start(task);
	return TR_SUCCESS;
}

static enum tr_outcome pend_on_nothing(struct tr_task *task)
{
	return tr_loop(task) ? TR_PENDING : tr_fail(task, "no loop");
}

/* The first to ask for the loop, when no descriptor is left; then again with some. */
static enum tr_outcome loop_without_descriptors(struct tr_task *task)
{
	struct rlimit usual, none;

	if (getrlimit(RLIMIT_NOFILE, &usual) != 0)
		abort();
	none = usual;
	none.rlim_cur = 0;
	if (setrlimit(RLIMIT_NOFILE, &none) != 0)
		abort();
	bool made = tr_loop(task) != NULL;
	if (setrlimit(RLIMIT_NOFILE, &usual) != 0)
		abort();
	return tr_fail(task, "%s, %s", made ? "made" : "not made", tr_loop(task) ? "then made" : "then not made");
}

static enum tr_outcome pend_without_loop(struct tr_task *task)
{
	(void)task;
	return TR_PENDING;
}

struct elsewhere {
	uv_work_t work;
	struct tr_task *task;
};

static void finish_on_another_thread(uv_work_t *work)
{
	struct elsewhere *elsewhere = work->data;

	tr_finish(elsewhere->task, TR_SUCCESS);
}

static void finish_at_last(uv_work_t *work, int status)
{
	struct elsewhere *elsewhere = work->data;

	(void)status;
	tr_finish(elsewhere->task, tr_fail(elsewhere->task, "only here"));
	free(elsewhere);
}

static enum tr_outcome finish_elsewhere(struct tr_task *task)
{
	struct elsewhere *elsewhere = calloc(1, sizeof *elsewhere);

	if (!elsewhere)
		abort();
	elsewhere->task = task;
	elsewhere->work.data = elsewhere;
	uv_queue_work(tr_loop(task), &elsewhere->work, finish_on_another_thread, finish_at_last);
	return TR_PENDING;
}

/* The child comes back out of the handler, pending. */
static enum tr_outcome fork_and_pend(struct tr_task *task)
{
	start(task);
	pid_t child = fork();
	int status = 0;

	if (child == 0)
		return TR_PENDING;
	if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) != EXIT_FAILURE)
		abort();
	return TR_PENDING;
}

/* ---- calls ------------------------------------------------------------------------------- */

/* The pending handler's answer is not passed on. */
static enum tr_outcome call_and_forget(struct tr_task *task)
{
	tr_call(task, "wait", tr_task_args(task));
	enum tr_outcome again = tr_call(task, "noop", NULL);
	return again == TR_PERMANENT_FAILURE ? TR_SUCCESS : tr_fail(task, "the second call ran");
}

static struct tr_verdict call_wait_then_bury(struct tr_task *task, const struct tr_failure *failure)
{
	(void)failure;
	tr_log(task, TR_INFO, "called: %d", (int)tr_call(task, "wait", "{\"ms\":30,\"say\":true,\"then\":\"fail\"}"));
	return tr_bury();
}

/* ---- a loop that never rests ------------------------------------------------------------- */

struct busy {
	uv_idle_t idle;
	struct tr_task *task;
};

static void on_idle(uv_idle_t *idle)
{
	(void)idle;
}

static void on_busy_closed(uv_handle_t *handle)
{
	free(handle->data);
}

static void stop_busy(struct tr_task *task, enum tr_stop why, void *context)
{
	struct busy *busy = context;

	(void)why;
	uv_close((uv_handle_t *)&busy->idle, on_busy_closed);
	tr_finish(task, TR_SUCCESS);
}

static enum tr_outcome keep_loop_busy(struct tr_task *task)
{
	struct busy *busy = calloc(1, sizeof *busy);

	if (!busy)
		abort();
	uv_idle_init(tr_loop(task), &busy->idle);
	busy->idle.data = busy;
	uv_idle_start(&busy->idle, on_idle);
	tr_on_stop(task, stop_busy, busy);
	return TR_PENDING;
}

/* ---- resources --------------------------------------------------------------------------- */

struct connection {
	int number;
	bool broken;
};

static _Atomic int opened;
static _Atomic bool refuses;

/* Each event is a word in the file that $TASKRING_TEST_RESOURCES names, which outlives the worker. */
static void note(const char *what, int number)
{
	const char *path = getenv("TASKRING_TEST_RESOURCES");
	FILE *file = path ? fopen(path, "a") : NULL;

	if (file && (fprintf(file, "%s%d ", what, number) < 0 || fclose(file) != 0))
		abort();
}

static bool open_connection(void **handle, struct tr_error *error)
{
	struct connection *connection = refuses ? NULL : calloc(1, sizeof *connection);

	if (!connection) {
		snprintf(error->text, sizeof error->text, "connection refused");
		return false;
	}
	connection->number = ++opened;
	note("open", connection->number);
	*handle = connection;
	return true;
}

static bool check_connection(void *handle)
{
	return !((struct connection *)handle)->broken;
}

static void close_connection(void *handle)
{
	note("close", ((struct connection *)handle)->number);
	free(handle);
}

/* {"break": bool, "refuse": bool}: says which connection it got; afterwards it is broken, or none opens. */
static enum tr_outcome use_connection(struct tr_task *task)
{
	struct connection *connection = tr_resource(task, "connection");
	json_t *args = json_loads(tr_task_args(task), 0, NULL);

	tr_log(task, TR_INFO, "connection %d%s", connection->number, tr_resource(task, "lamp") ? " and a lamp" : "");
	connection->broken = json_is_true(json_object_get(args, "break"));
	refuses = json_is_true(json_object_get(args, "refuse"));
	json_decref(args);
	return TR_SUCCESS;
}

/* As "wait", holding the connection; it calls use_connection first. */
static enum tr_outcome hold_connection(struct tr_task *task)
{
	const struct connection *connection = tr_resource(task, "connection");

	tr_log(task, TR_INFO, "holding %d", connection->number);
	tr_call(task, "use_connection", tr_task_args(task));
	return wait_run(task);
}

static enum tr_outcome use_lamp(struct tr_task *task)
{
	tr_log(task, TR_INFO, "%s %s", tr_resource(task, "lamp") ? "lamp" : "dark",
	    tr_resource(task, "connection") ? "and connection" : "alone");
	return tr_call(task, "use_connection", "{}");
}

static bool open_lamp(void **handle, struct tr_error *error)
{
	static int lamp;

	(void)error;
	*handle = &lamp;
	return true;
}

static const struct tr_resource resources[] = {
	{ "connection", "counts how often it is opened", open_connection, check_connection, close_connection },
	{ "lamp", "is always there", open_lamp, NULL, NULL },
};
static const char *const needs_connection[] = { "connection", NULL };
static const char *const needs_lamp[] = { "lamp", NULL };

/* ---- a file ------------------------------------------------------------------------------ */

static enum tr_outcome describe_file(struct tr_task *task)
{
	const char *file = tr_task_file(task);

	return tr_fail(task, "file=%s%s", file ? file : "none", file == tr_task_file(task) ? "" : " moved");
}

static const struct tr_handler handlers[] = {
	{ "wait", "waits {\"ms\": n} on the loop", wait_run, NULL, NULL, NULL },
	{ "wait_deaf", "waits {\"ms\": n}, and cannot be stopped", wait_deaf, NULL, NULL, NULL },
	{ "finish_in_run", "finishes before it has returned", finish_in_run, NULL, NULL, NULL },
	{ "end_and_finish", "succeeds, and finishes later", end_and_finish, NULL, NULL, NULL },
	{ "pend_on_nothing", "is pending with an idle loop", pend_on_nothing, NULL, NULL, NULL },
	{ "loop_without_descriptors", "asks for the loop without and with", loop_without_descriptors, NULL, NULL, NULL },
	{ "pend_without_loop", "is pending without a loop", pend_without_loop, NULL, NULL, NULL },
	{ "finish_elsewhere", "finishes on another thread", finish_elsewhere, NULL, NULL, NULL },
	{ "fork_and_pend", "returns twice, pending", fork_and_pend, NULL, NULL, NULL },
	{ "call_and_forget", "does not pass on that it is pending", call_and_forget, NULL, NULL, NULL },
	{ "keep_loop_busy", "until it is stopped", keep_loop_busy, NULL, NULL, NULL },
	{ "use_connection", "says which connection it got", use_connection, NULL, needs_connection, NULL },
	{ "hold_connection", "waits {\"ms\": n} with a connection", hold_connection, NULL, needs_connection, NULL },
	{ "use_lamp", "has another resource, and calls one that has one", use_lamp, NULL, needs_lamp, NULL },
	{ "describe_file", "fails with the path of its file", describe_file, NULL, NULL, NULL },
};

static const struct tr_callback callbacks[] = {
	{ "call_wait_then_bury", "calls an asynchronous handler", call_wait_then_bury },
};

const struct tr_plugin taskring_plugin = {
	.abi = TR_PLUGIN_ABI,
	.handlers = handlers, .handler_count = sizeof handlers / sizeof handlers[0],
	.callbacks = callbacks, .callback_count = sizeof callbacks / sizeof callbacks[0],
	.resources = resources, .resource_count = sizeof resources / sizeof resources[0],
};
