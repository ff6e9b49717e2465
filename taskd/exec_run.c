/*
 * A program, from its start to the end of its task. In: a plan (exec.c), the program's output and
 * exit status; out: log lines, a result, an outcome. All of it runs on the loop of the worker's thread,
 * which carries many of them.
 *
 *   RUNNING ──── stop, out of time or cancelled ───► ASKED ── grace over ──► KILLED
 *      └── taskd drains ──► DRAINING ── nearly over ──┘ (TERM)                (KILL)
 *
 * Each of them becomes ENDED when the keeper, which outlives the program and all that it started, has
 * ended; after what is left in the pipes has been read, the task is finished.
 */
#include "taskd/exec_run.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "taskd/exec_keeper.h"
#include "taskd/exec_output.h"
#include "taskd/exec_status.h"

#define READ_BYTES 16384
#define SHORTAGE_DELAY_MS 1000 /* before the next try when descriptors, processes or memory have run out */
#define STUCK_MS 3000          /* after KILL: a process that cannot be killed must not hold up the task */
#define PIPE_END_MS 1000       /* after the end: somebody elsewhere got hold of a pipe */
#define DRAIN_MARGIN_MS 1000   /* the program's grace is over this long before the worker is killed */

enum phase { RUNNING, DRAINING, ASKED, KILLED, ENDED };

struct exec_run {
	struct tr_task *task; /* NULL: it was not started, the task has an outcome already */
	const struct config_program *program;
	uv_process_t keeper;
	uv_pipe_t input, out, errors, channel;
	uv_timer_t timer;
	unsigned open_handles;
	uv_write_t write;
	char *text; /* what is written */
	uint64_t started_ms, hard_timeout_ms, drain_timeout_ms;
	enum phase phase;
	enum tr_stop why; /* it was asked to end; TR_GO_ON: it was not */
	bool flooded;
	struct exec_report report;
	size_t report_bytes;
	enum tr_outcome outcome;
	struct exec_output output;
};

static void look_at_end(struct exec_run *run);

/* ---- handles ----------------------------------------------------------------------------- */

static void opened(struct exec_run *run, uv_handle_t *handle)
{
	handle->data = run;
	run->open_handles++;
}

/* The last one closed: nothing of the run is on the loop any more. */
static void on_closed(uv_handle_t *handle)
{
	struct exec_run *run = handle->data;

	if (--run->open_handles > 0)
		return;
	struct tr_task *task = run->task;
	enum tr_outcome outcome = run->outcome;
	exec_output_free(&run->output);
	free(run->text);
	free(run);
	if (task != NULL)
		tr_finish(task, outcome);
}

/* Also for one that is closed already, or was never opened. */
static void close_handle(void *any)
{
	uv_handle_t *handle = any;

	if (handle->data != NULL && !uv_is_closing(handle))
		uv_close(handle, on_closed);
}

static void close_all(struct exec_run *run)
{
	close_handle(&run->input);
	close_handle(&run->out);
	close_handle(&run->errors);
	close_handle(&run->channel);
	close_handle(&run->keeper);
	close_handle(&run->timer);
}

/* ---- stopping ---------------------------------------------------------------------------- */

/* Fails only when the keeper has ended. */
static void order(struct exec_run *run, enum exec_order what)
{
	char byte = (char)what;
	uv_buf_t buffer = uv_buf_init(&byte, 1);

	(void)uv_try_write((uv_stream_t *)&run->channel, &buffer, 1);
}

static void on_timer(uv_timer_t *timer);

static void enter(struct exec_run *run, enum phase phase, uint64_t wait_ms)
{
	run->phase = phase;
	uv_timer_start(&run->timer, on_timer, wait_ms, 0);
}

static void kill_now(struct exec_run *run)
{
	if (run->phase >= KILLED)
		return;
	order(run, EXEC_ORDER_KILL);
	enter(run, KILLED, STUCK_MS);
}

static uint64_t passed_ms(const struct exec_run *run)
{
	return uv_hrtime() / 1000000 - run->started_ms;
}

/* How long it may take to end by itself; all must be over before the worker is killed. */
static uint64_t grace_ms(const struct exec_run *run)
{
	uint64_t grace = run->program->kill_after_ms, passed = passed_ms(run);

	if (run->hard_timeout_ms <= passed)
		return grace;
	uint64_t half_left_ms = (run->hard_timeout_ms - passed) / 2;
	return grace < half_left_ms ? grace : half_left_ms;
}

static void ask_to_end(struct exec_run *run)
{
	order(run, EXEC_ORDER_TERM);
	enter(run, ASKED, grace_ms(run));
}

static void on_timer(uv_timer_t *timer)
{
	struct exec_run *run = timer->data;

	switch (run->phase) {
	case DRAINING:
		run->why = TR_SHUTTING_DOWN;
		ask_to_end(run);
		break;
	case ASKED:
		kill_now(run);
		break;
	case KILLED:
		uv_process_kill(&run->keeper, SIGKILL);
		break;
	case ENDED:
		close_handle(&run->out);
		close_handle(&run->errors);
		close_handle(&run->channel);
		look_at_end(run);
		break;
	case RUNNING:
		break;
	}
}

/*
 * While taskd drains, the program may go on as long as there is time for a grace afterwards: most
 * end by themselves.
 */
static void on_stop(struct tr_task *task, enum tr_stop why, void *context)
{
	struct exec_run *run = context;

	(void)task;
	if (run->phase > DRAINING || run->report_bytes == sizeof run->report)
		return;
	if (why == TR_SHUTTING_DOWN) {
		uint64_t reserved_ms = run->program->kill_after_ms + DRAIN_MARGIN_MS;
		enter(run, DRAINING, run->drain_timeout_ms > reserved_ms ? run->drain_timeout_ms - reserved_ms : 0);
		return;
	}
	run->why = why;
	ask_to_end(run);
}

/* ---- the end ----------------------------------------------------------------------------- */

static enum tr_outcome stopped_outcome(struct exec_run *run)
{
	const char *name = run->program->name;

	switch (run->why) {
	case TR_CANCELLED_NOW:
		return tr_fail(run->task, "%s was stopped: cancelled", name);
	case TR_SHUTTING_DOWN:
		tr_log(run->task, TR_INFO, "%s was stopped because taskd shuts down; it will run again", name);
		return tr_snooze(run->task, 0);
	default:
		return tr_fail(run->task, "%s was stopped: out of time after %.1f s", name, (double)passed_ms(run) / 1000);
	}
}

/* The fault is the configuration's or the machine's: worth another attempt. */
static enum tr_outcome not_started(struct exec_run *run)
{
	const struct config_program *program = run->program;
	const char *reason = strerrordesc_np(run->report.value);

	reason = reason != NULL ? reason : "unknown error";
	switch ((enum exec_step)run->report.step) {
	case EXEC_STEP_LIMITS:
		return tr_fail(run->task, "%s cannot be started: its limits: %s", program->name, reason);
	case EXEC_STEP_DIRECTORY:
		return tr_fail(run->task, "%s cannot be started: directory %s: %s", program->name, program->directory, reason);
	case EXEC_STEP_PROGRAM:
		return tr_fail(run->task, "%s cannot be started: %s: %s", program->name, program->program, reason);
	default:
		return tr_fail(run->task, "%s cannot be started: its keeper: %s", program->name, reason);
	}
}

static enum tr_outcome ended_outcome(struct exec_run *run)
{
	const char *name = run->program->name, *last = run->output.last_line;
	const char *colon = last[0] != '\0' ? ": " : "";
	char sentence[128];

	switch (exec_status_verdict(run->report.value, sentence, sizeof sentence)) {
	case EXEC_SUCCEEDED:
		exec_output_keep_result(&run->output);
		return TR_SUCCESS;
	case EXEC_FOR_GOOD:
		exec_output_log_result(&run->output);
		return tr_fail_permanently(run->task, "%s %s%s%s", name, sentence, colon, last);
	case EXEC_TRY_AGAIN:
		break;
	}
	exec_output_log_result(&run->output);
	return tr_fail(run->task, "%s %s%s%s", name, sentence, colon, last);
}

static enum tr_outcome outcome_of(struct exec_run *run)
{
	exec_output_end(&run->output);
	if (run->flooded)
		return tr_fail_permanently(run->task, "%s was killed: it wrote more than max_output, %llu bytes",
		    run->program->name, (unsigned long long)run->program->max_output_bytes);
	if (run->why != TR_GO_ON)
		return stopped_outcome(run);
	if (run->report_bytes < sizeof run->report)
		return tr_fail(run->task, "%s: its keeper was killed, and so was it", run->program->name);
	return run->report.step == EXEC_STEP_ENDED ? ended_outcome(run) : not_started(run);
}

static void look_at_end(struct exec_run *run)
{
	/* The channel too: its report may be read after the keeper's end was told. */
	if (run->phase != ENDED || !uv_is_closing((uv_handle_t *)&run->out) ||
	    !uv_is_closing((uv_handle_t *)&run->errors) || !uv_is_closing((uv_handle_t *)&run->channel))
		return;
	run->outcome = outcome_of(run);
	close_all(run);
}

/* Its status says nothing: what it has to say is in the report. */
static void on_keeper_end(uv_process_t *keeper, int64_t status, int number)
{
	struct exec_run *run = keeper->data;

	(void)status;
	(void)number;
	close_handle(keeper);
	enter(run, ENDED, PIPE_END_MS);
	look_at_end(run);
}

/* ---- the streams ------------------------------------------------------------------------- */

/* What libuv reads is looked at before anything else is read, so a thread needs one buffer. */
static void on_room(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
	static _Thread_local char bytes[READ_BYTES];

	(void)handle;
	(void)suggested;
	*buffer = uv_buf_init(bytes, sizeof bytes);
}

static void on_output(uv_stream_t *stream, ssize_t count, const uv_buf_t *buffer)
{
	struct exec_run *run = stream->data;
	const struct exec_output *output = &run->output;

	if (count < 0) {
		close_handle(stream);
		look_at_end(run);
		return;
	}
	if (run->flooded)
		return;
	if (stream == (uv_stream_t *)&run->out)
		exec_output_out(&run->output, buffer->base, (size_t)count);
	else
		exec_output_errors(&run->output, buffer->base, (size_t)count);
	run->flooded = output->out_bytes + output->error_bytes > run->program->max_output_bytes;
	if (run->flooded)
		kill_now(run);
}

static void on_channel(uv_stream_t *stream, ssize_t count, const uv_buf_t *buffer)
{
	struct exec_run *run = stream->data;

	if (count < 0) {
		close_handle(stream);
		look_at_end(run);
		return;
	}
	size_t wanted = sizeof run->report - run->report_bytes;
	wanted = (size_t)count < wanted ? (size_t)count : wanted;
	memcpy((char *)&run->report + run->report_bytes, buffer->base, wanted);
	run->report_bytes += wanted;
}

/* A program need not read its input: that it has closed it is no fault. */
static void on_written(uv_write_t *write, int status)
{
	struct exec_run *run = write->data;

	(void)status;
	free(run->text);
	run->text = NULL;
	close_handle(&run->input);
}

static void write_input(struct exec_run *run, size_t bytes)
{
	uv_buf_t buffer = { .base = run->text, .len = bytes };

	run->write.data = run;
	if (bytes == 0 || uv_write(&run->write, (uv_stream_t *)&run->input, &buffer, 1, on_written) != 0)
		close_handle(&run->input);
}

/* ---- starting ---------------------------------------------------------------------------- */

enum direction { TO_PROGRAM, FROM_PROGRAM, BOTH_WAYS };

/*
 * Ours as a handle on the loop, theirs as a descriptor. Plain pipes, no sockets: scripts open
 * /dev/stderr. 0, or libuv's error.
 */
static int open_stream(struct exec_run *run, uv_loop_t *loop, uv_pipe_t *ours, int *theirs, enum direction direction)
{
	uv_file ends[2] = { -1, -1 };
	int code, mine = direction == TO_PROGRAM;

	if (direction == BOTH_WAYS)
		code = uv_socketpair(SOCK_STREAM, 0, ends, UV_NONBLOCK_PIPE, 0);
	else
		code = uv_pipe(ends, mine == 0 ? UV_NONBLOCK_PIPE : 0, mine == 1 ? UV_NONBLOCK_PIPE : 0);
	if (code != 0)
		return code;
	*theirs = ends[1 - mine];
	uv_pipe_init(loop, ours, 0);
	opened(run, (uv_handle_t *)ours);
	code = uv_pipe_open(ours, ends[mine]);
	if (code != 0)
		close(ends[mine]);
	return code;
}

static int start_keeper(struct exec_run *run, uv_loop_t *loop, const struct exec_plan *plan, const int theirs[4])
{
	const struct config_program *program = plan->program;
	char limits[3][24];
	uv_stdio_container_t stdio[4];
	char **arguments = calloc(EXEC_KEEPER_ARGUMENTS + program->args.count + 2, sizeof *arguments);

	if (arguments == NULL)
		return UV_ENOMEM;
	snprintf(limits[0], sizeof limits[0], "%llu", (unsigned long long)program->limit_memory_bytes);
	snprintf(limits[1], sizeof limits[1], "%u", program->limit_cpu_s);
	snprintf(limits[2], sizeof limits[2], "%u", program->limit_files);
	size_t count = 0;
	arguments[count++] = (char *)plan->keeper; /* libuv's type; nobody writes there */
	for (size_t i = 0; i < 3; i++)
		arguments[count++] = limits[i];
	arguments[count++] = program->directory;
	arguments[count++] = program->program;
	for (size_t i = 0; i < program->args.count; i++)
		arguments[count++] = program->args.texts[i];
	for (int i = 0; i < 4; i++)
		stdio[i] = (uv_stdio_container_t){ .flags = UV_INHERIT_FD, .data.fd = theirs[i] };
	const uv_process_options_t options = {
		.file = plan->keeper, .args = arguments, .env = plan->environment, .exit_cb = on_keeper_end,
		.flags = UV_PROCESS_DETACHED, /* a session of its own: no terminal, no signal to taskd's group */
		.stdio_count = 4, .stdio = stdio,
	};
	int code = uv_spawn(loop, &run->keeper, &options);
	opened(run, (uv_handle_t *)&run->keeper); /* also after an error, says libuv's manual */
	free(arguments);
	return code;
}

static int start(struct exec_run *run, uv_loop_t *loop, const struct exec_plan *plan)
{
	int theirs[4] = { -1, -1, -1, -1 };

	uv_timer_init(loop, &run->timer); /* cannot fail */
	opened(run, (uv_handle_t *)&run->timer);
	int code = open_stream(run, loop, &run->input, &theirs[0], TO_PROGRAM);
	if (code == 0)
		code = open_stream(run, loop, &run->out, &theirs[1], FROM_PROGRAM);
	if (code == 0)
		code = open_stream(run, loop, &run->errors, &theirs[2], FROM_PROGRAM);
	if (code == 0)
		code = open_stream(run, loop, &run->channel, &theirs[EXEC_KEEPER_CHANNEL], BOTH_WAYS);
	if (code == 0)
		code = start_keeper(run, loop, plan, theirs);
	for (int i = 0; i < 4; i++)
		if (theirs[i] >= 0)
			close(theirs[i]);
	return code;
}

/* What has run out may be there again in a moment: neither the task's fault nor an attempt of it. */
static enum tr_outcome refused(struct tr_task *task, const struct exec_plan *plan, int code)
{
	const char *name = plan->program->name;

	if (code != UV_EMFILE && code != UV_ENFILE && code != UV_EAGAIN && code != UV_ENOMEM)
		return tr_fail(task, "%s cannot be started: %s: %s", name, plan->keeper, uv_strerror(code));
	tr_log(task, TR_WARNING, "%s cannot be started now: %s", name, uv_strerror(code));
	return tr_snooze(task, SHORTAGE_DELAY_MS);
}

enum tr_outcome exec_run_start(struct tr_task *task, struct exec_plan *plan)
{
	struct exec_run *run = calloc(1, sizeof *run);
	uv_loop_t *loop = run != NULL ? tr_loop(task) : NULL;

	if (loop == NULL) {
		free(run);
		free(plan->input);
		plan->input = NULL;
		return refused(task, plan, UV_ENOMEM);
	}
	run->program = plan->program;
	run->text = plan->input;
	plan->input = NULL;
	run->hard_timeout_ms = plan->hard_timeout_ms;
	run->drain_timeout_ms = plan->drain_timeout_ms;
	run->started_ms = uv_hrtime() / 1000000;
	run->output.task = task;
	int code = start(run, loop, plan);
	if (code != 0) {
		close_all(run);
		return refused(task, plan, code);
	}
	run->task = task;
	uv_read_start((uv_stream_t *)&run->out, on_room, on_output);
	uv_read_start((uv_stream_t *)&run->errors, on_room, on_output);
	uv_read_start((uv_stream_t *)&run->channel, on_room, on_channel);
	write_input(run, plan->input_bytes);
	tr_on_stop(task, on_stop, run);
	return TR_PENDING;
}
