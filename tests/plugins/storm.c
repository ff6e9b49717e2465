/*
 * Handlers for tests/system/storm.sh: each start leaves a line "ID ATTEMPT NS" (ns since 1970) in a file, written
 * in one piece, so that it is there whatever dies next.
 */
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#include "taskring/handler.h"

/* {"file": path, "ms": how long it takes, "fails": how many of its first attempts fail, "deaf": whether it stops when told} */
struct orders {
	json_t *read;
	const char *file;
	long long ms, fails;
	bool deaf;
};

static struct orders read_orders(const struct tr_task *task)
{
	struct orders orders = { .read = json_loads(tr_task_args(task), 0, NULL) };

	orders.file = json_string_value(json_object_get(orders.read, "file"));
	orders.ms = json_integer_value(json_object_get(orders.read, "ms"));
	orders.fails = json_integer_value(json_object_get(orders.read, "fails"));
	orders.deaf = json_is_true(json_object_get(orders.read, "deaf"));
	return orders;
}

static void say_started(const struct tr_task *task, const struct orders *orders)
{
	struct timespec now;
	char line[100];
	int fd = orders->file ? open(orders->file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666) : -1;

	clock_gettime(CLOCK_REALTIME, &now);
	int bytes = snprintf(line, sizeof line, "%s %u %lld\n", tr_task_id(task), tr_task_attempt(task),
	    now.tv_sec * 1000000000LL + now.tv_nsec);
	if (fd < 0 || write(fd, line, (size_t)bytes) != bytes)
		abort(); /* the test's own fault: nothing that follows would mean anything */
	close(fd);
}

static enum tr_outcome outcome(struct tr_task *task, long long fails)
{
	if (tr_task_file(task) && access(tr_task_file(task), R_OK) != 0)
		return tr_fail_permanently(task, "its file is gone");
	return tr_task_attempt(task) <= fails ? tr_fail(task, "as ordered") : TR_SUCCESS;
}

static enum tr_outcome storm(struct tr_task *task)
{
	struct orders orders = read_orders(task);
	const struct timespec step = { .tv_nsec = 1000000 };
	long long fails = orders.fails;

	say_started(task, &orders);
	for (long long ms = 0; ms < orders.ms && (orders.deaf || tr_should_stop(task) == TR_GO_ON); ms++)
		nanosleep(&step, NULL);
	json_decref(orders.read);
	return outcome(task, fails);
}

/* ---- the same, pending ------------------------------------------------------------------- */

struct wait {
	uv_timer_t timer;
	struct tr_task *task;
	long long fails;
};

static void on_closed(uv_handle_t *handle)
{
	free(handle->data);
}

static void on_timer(uv_timer_t *timer)
{
	struct wait *wait = timer->data;

	tr_finish(wait->task, outcome(wait->task, wait->fails));
	uv_close((uv_handle_t *)timer, on_closed);
}

static void on_stop(struct tr_task *task, enum tr_stop why, void *context)
{
	(void)task;
	(void)why;
	on_timer(context);
}

static enum tr_outcome storm_wait(struct tr_task *task)
{
	struct orders orders = read_orders(task);
	struct wait *wait = calloc(1, sizeof *wait);

	if (!wait)
		abort();
	say_started(task, &orders);
	wait->task = task;
	wait->fails = orders.fails;
	uv_timer_init(tr_loop(task), &wait->timer);
	wait->timer.data = wait;
	uv_timer_start(&wait->timer, on_timer, (uint64_t)orders.ms, 0);
	if (!orders.deaf)
		tr_on_stop(task, on_stop, &wait->timer);
	json_decref(orders.read);
	return TR_PENDING;
}

static const struct tr_handler handlers[] = {
	{ "storm", "says that it has started, and takes a while", storm, NULL, NULL, NULL },
	{ "storm_wait", "the same, on the loop", storm_wait, NULL, NULL, NULL },
};

const struct tr_plugin taskring_plugin = {
	.abi = TR_PLUGIN_ABI, .handlers = handlers, .handler_count = sizeof handlers / sizeof handlers[0],
};
