#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "taskring/handler.h"

/* What one pending task waits for. */
struct scan {
	struct tr_task *task;
	uv_pipe_t pipe; /* to clamd */
	uv_connect_t connect;
	uv_write_t write;
	char request[PATH_MAX + 8];
	char answer[1024];
	size_t answer_bytes;
	enum tr_outcome outcome;
};

/* The pipe is closed, so no callback comes any more: now the task may end. */
static void on_closed(uv_handle_t *pipe)
{
	struct scan *scan = pipe->data;
	struct tr_task *task = scan->task;
	enum tr_outcome outcome = scan->outcome;

	free(scan);
	tr_finish(task, outcome);
}

static void end(struct scan *scan, enum tr_outcome outcome)
{
	if (uv_is_closing((uv_handle_t *)&scan->pipe))
		return;
	scan->outcome = outcome;
	uv_close((uv_handle_t *)&scan->pipe, on_closed);
}

/* "PATH: OK" or "PATH: NAME FOUND"; anything else is an error of clamd's. */
static enum tr_outcome judge(struct scan *scan)
{
	char result[1100] = "";
	const char *verdict = strrchr(scan->answer, ':'), *found = verdict != NULL ? strstr(verdict, " FOUND") : NULL;

	if (verdict != NULL && strcmp(verdict, ": OK") == 0)
		snprintf(result, sizeof result, "{\"virus\":null}");
	else if (found != NULL)
		snprintf(result, sizeof result, "{\"virus\":\"%.*s\"}", (int)(found - verdict) - 2, verdict + 2);
	if (result[0] != '\0' && tr_result_json(scan->task, result))
		return TR_SUCCESS;
	return tr_fail(scan->task, "clamd: %s", scan->answer);
}

static void on_answer(uv_stream_t *pipe, ssize_t count, const uv_buf_t *buffer)
{
	struct scan *scan = pipe->data;

	(void)buffer; /* is where on_room() said: in scan->answer, which stays zero-terminated */
	if (count > 0)
		scan->answer_bytes += (size_t)count;
	else if (count == UV_EOF)
		end(scan, judge(scan));
	else if (count < 0)
		end(scan, tr_fail(scan->task, "clamd: %s", uv_strerror((int)count)));
}

static void on_room(uv_handle_t *pipe, size_t suggested, uv_buf_t *buffer)
{
	struct scan *scan = pipe->data;

	(void)suggested; /* without room libuv calls on_answer() with UV_ENOBUFS */
	*buffer = uv_buf_init(scan->answer + scan->answer_bytes, (unsigned)(sizeof scan->answer - 1 - scan->answer_bytes));
}

static void on_connected(uv_connect_t *connect, int status)
{
	struct scan *scan = connect->data;
	uv_buf_t request = uv_buf_init(scan->request, (unsigned)strlen(scan->request) + 1);

	if (status == UV_ECANCELED)
		return; /* it is being closed: the outcome stands already */
	if (status == 0)
		status = uv_write(&scan->write, connect->handle, &request, 1, NULL);
	if (status == 0)
		status = uv_read_start(connect->handle, on_room, on_answer);
	if (status != 0)
		end(scan, tr_fail(scan->task, "clamd: %s", uv_strerror(status)));
}

/* Cancelled, out of time, or taskd shuts down: then the task is put off, which is no failure. */
static void on_stop(struct tr_task *task, enum tr_stop why, void *context)
{
	end(context, why == TR_SHUTTING_DOWN ? tr_snooze(task, 0) : tr_fail(task, "clamd has not answered in time"));
}

static enum tr_outcome scan_file(struct tr_task *task)
{
	const char *socket = getenv("CLAMD_SOCKET");
	uv_loop_t *loop = tr_loop(task);
	if (tr_task_file(task) == NULL)
		return tr_fail_permanently(task, "the task owns no file");

	struct scan *scan = calloc(1, sizeof *scan);
	if (loop == NULL || scan == NULL) {
		free(scan);
		return tr_fail(task, "out of memory");
	}
	snprintf(scan->request, sizeof scan->request, "zSCAN %s", tr_task_file(task));
	scan->task = task;
	scan->pipe.data = scan->connect.data = scan;
	uv_pipe_init(loop, &scan->pipe, 0);
	uv_pipe_connect(&scan->connect, &scan->pipe, socket != NULL ? socket : "/run/clamav/clamd.ctl", on_connected);
	tr_on_stop(task, on_stop, scan);
	return TR_PENDING;
}

static const struct tr_handler handlers[] = {
	{ .name = "scan_file", .doc = "Has clamd look for viruses in the task's file", .run = scan_file },
};

const struct tr_plugin taskring_plugin = {
	.abi = TR_PLUGIN_ABI, .handlers = handlers, .handler_count = 1,
};
