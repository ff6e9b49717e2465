/*
 * The worker process. In: pieces of work from the dispatcher, through the mailbox; out: messages.
 * Forked by the supervisor, which has set its name, limits, signals (SIGTERM, SIGINT, SIGHUP and
 * SIGPIPE are ignored) and parent-death signal, and opened its log. It touches neither ring nor
 * board nor journal.
 *
 * Each thread takes one piece of work after another. Once a handler has made it a loop (pending.h),
 * pieces of work and turns of the loop alternate while tasks are pending, so that neither starves the
 * other; a handler that takes its time holds up the loop nevertheless.
 *
 * It leaves in order, with status 0, when the dispatcher says so, after max_tasks or above
 * max_memory; LEAVING is sent once, and no task is claimed after it by the thread that sent it. The
 * process ends when nothing is pending any more.
 * It refuses to start (status 78, EX_CONFIG of sysexits.h) with a plug-in that is not right: the
 * tasks wait meanwhile, and the supervisor's back-off keeps the tries apart.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "shared/clock.h"
#include "taskd/attempt.h"
#include "taskd/exec.h"
#include "taskd/http.h"
#include "taskd/log.h"
#include "taskd/mail.h"
#include "taskd/pending.h"
#include "taskd/roles.h"
#include "taskd/text.h"
#include "taskd/transfer.h"
#include "taskd/worker_loop.h"

#define MEMORY_LOOK_MS 20 /* resident memory is read at most this often */

struct worker {
	const struct config *config;
	const struct config_pool *pool;
	struct mailbox *mailbox;
	struct plugin_table *plugins;
	int statm_fd;
	long page_bytes;
	_Atomic uint64_t tasks;
	_Atomic int64_t memory_looked_ms;
	_Atomic bool leaving;
};

struct worker_thread {
	struct worker *worker;
	pthread_t thread;
	struct task_thread tasks;
	bool turn_due; /* the loop had no turn since work was claimed */
};

/* ---- leaving ----------------------------------------------------------------------------- */

static void leave(struct worker *worker, uint32_t lane, const char *reason)
{
	struct message_head head = { .kind = MESSAGE_LEAVING };

	if (atomic_exchange(&worker->leaving, true))
		return;
	mailbox_retire(worker->mailbox); /* first: the other threads claim no more either */
	head.at_ns = clock_ns(CLOCK_REALTIME);
	mailbox_send(worker->mailbox, lane, &head, "");
	log_event(LOG_INFO, "worker-leaving", "pool=%s reason=%s tasks=%llu", worker->pool->name, reason,
	    (unsigned long long)atomic_load(&worker->tasks));
}

/* The second field of /proc/self/statm, in bytes; 0: cannot be read. */
static uint64_t resident_bytes(const struct worker *worker)
{
	char text[128], *second;
	ssize_t got = pread(worker->statm_fd, text, sizeof text - 1, 0);

	if (got <= 0)
		return 0;
	text[got] = '\0';
	strtoull(text, &second, 10);
	return strtoull(second, NULL, 10) * (uint64_t)worker->page_bytes;
}

/* Called after each task; reads /proc now and then, by one of the threads. */
static bool is_above_memory(struct worker *worker)
{
	if (worker->pool->max_memory_bytes == 0)
		return false;
	int64_t now_ms = clock_ms(CLOCK_MONOTONIC_COARSE);
	int64_t looked_ms = atomic_load_explicit(&worker->memory_looked_ms, memory_order_relaxed);
	if (now_ms - looked_ms < MEMORY_LOOK_MS ||
	    !atomic_compare_exchange_strong(&worker->memory_looked_ms, &looked_ms, now_ms))
		return false;
	return resident_bytes(worker) > worker->pool->max_memory_bytes;
}

/* ---- one thread -------------------------------------------------------------------------- */

/* A handler ended its thread: the task would look like one that runs for ever. */
static void thread_gone(void *context)
{
	const struct worker_thread *self = context;

	log_event(LOG_ERR, "handler-left-thread", "handler=%s",
	    self->tasks.current ? self->tasks.current->handler : "-");
	_exit(EX_SOFTWARE);
}

static void turn(struct worker_thread *self, bool waits)
{
	struct worker_loop *loop = self->tasks.loop;

	self->turn_due = false;
	if (waits)
		worker_loop_wait(loop);
	else
		worker_loop_turn(loop);
	mailbox_end_child();
	pending_end_lost(&self->tasks);
	if (is_above_memory(self->worker))
		leave(self->worker, self->tasks.lane, "max_memory");
}

/* While the thread has to look after its loop; as mailbox_try_claim(), but it waits for something. */
static enum mailbox_claim claim_beside_loop(struct worker_thread *self, struct work_head *head,
    const char **record, const char **message)
{
	struct worker *worker = self->worker;

	mailbox_end_child();
	if (self->turn_due)
		turn(self, false);
	enum mailbox_claim claim = mailbox_try_claim(worker->mailbox, self->tasks.lane, head, record, message);
	if (claim == CLAIM_WORK)
		return claim;
	if (claim == CLAIM_LEAVE) {
		leave(worker, self->tasks.lane, "told to");
		if (!self->tasks.pending)
			return claim;
	}
	turn(self, true);
	return CLAIM_NOTHING;
}

/* The next piece of work; false: the process is to leave, and nothing is pending here. */
static bool next_work(struct worker_thread *self, struct work_head *head, const char **record, const char **message)
{
	struct task_thread *tasks = &self->tasks;
	enum mailbox_claim claim = CLAIM_NOTHING;

	while (claim == CLAIM_NOTHING && pending_needs_loop(tasks))
		claim = claim_beside_loop(self, head, record, message);
	if (claim == CLAIM_NOTHING) {
		if (tasks->loop)
			worker_loop_rest(tasks->loop);
		if (mailbox_claim(self->worker->mailbox, tasks->lane, head, record, message))
			claim = CLAIM_WORK;
	}
	/* Timers that the handler starts count from now, not from the loop's last turn. */
	if (tasks->loop)
		uv_update_time(worker_loop_uv(tasks->loop));
	self->turn_due = true;
	return claim == CLAIM_WORK;
}

static void say_ready(const struct worker_thread *self)
{
	const struct message_head ready = { .kind = MESSAGE_READY, .at_ns = clock_ns(CLOCK_REALTIME) };

	mailbox_send(self->worker->mailbox, self->tasks.lane, &ready, "");
}

static void work(struct worker_thread *self)
{
	struct worker *worker = self->worker;
	struct work_head head;
	const char *record, *message;

	say_ready(self);
	while (next_work(self, &head, &record, &message)) {
		if (head.kind == WORK_STOP) {
			pending_stop(&self->tasks, head.serial, (enum mailbox_stop)head.attempt);
			continue;
		}
		attempt_run(&self->tasks, &head, record, message);
		uint64_t tasks = atomic_fetch_add_explicit(&worker->tasks, 1, memory_order_relaxed) + 1;
		if (worker->pool->max_tasks && tasks >= worker->pool->max_tasks)
			leave(worker, self->tasks.lane, "max_tasks");
		else if (is_above_memory(worker))
			leave(worker, self->tasks.lane, "max_memory");
	}
	leave(worker, self->tasks.lane, "told to");
}

static void *thread_main(void *context)
{
	struct worker_thread *self = context;

	if (!pending_open(&self->tasks))
		task_out_of_memory(NULL);
	pthread_cleanup_push(thread_gone, context);
	work(self);
	pthread_cleanup_pop(0);
	pending_close(&self->tasks);
	return NULL;
}

/* On the main thread, before any other sends into lane 0. */
static void announce(void *context, const struct tr_handler *handler)
{
	struct worker *worker = context;
	char text[TR_NAME_MAX + 1 + MAILBOX_DOC_MAX + 1 + TR_SECRETS_MAX + 1], secrets[TR_SECRETS_MAX + 1];
	const char *doc = handler->doc ? handler->doc : "";
	size_t used = strlen(handler->name) + 1;

	memcpy(text, handler->name, used);
	used += text_clean(text + used, MAILBOX_DOC_MAX, doc, strlen(doc)) + 1;
	plugin_secrets(handler, secrets); /* allowed, or it had not been loaded */
	memcpy(text + used, secrets, strlen(secrets));
	const struct message_head head = { .kind = MESSAGE_HANDLER, .text_bytes = (uint32_t)(used + strlen(secrets)) };
	mailbox_send(worker->mailbox, 0, &head, text);
}

/* Lane 0 on the main thread, each other lane on a thread of its own. */
static bool run_threads(struct worker *worker, struct worker_thread *threads, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		struct worker_thread *self = &threads[i];
		self->worker = worker;
		self->tasks.lane = i;
		self->tasks.mailbox = worker->mailbox;
		self->tasks.plugins = worker->plugins;
		self->tasks.spool_dir = worker->config->spool_dir;
	}
	for (uint32_t i = 1; i < count; i++) {
		int failure = pthread_create(&threads[i].thread, NULL, thread_main, &threads[i]);
		if (failure) {
			log_event(LOG_ERR, "worker-refused", "reason=%s", strerror(failure));
			return false;
		}
	}
	thread_main(&threads[0]);
	for (uint32_t i = 1; i < count; i++)
		pthread_join(threads[i].thread, NULL);
	return true;
}

/* ---- the process ------------------------------------------------------------------------- */

static bool set_streams(void)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return false;
	bool well = dup2(fd, STDIN_FILENO) == STDIN_FILENO;
	if (fd != STDIN_FILENO)
		close(fd);
	return well;
}

static _Noreturn void refuse(int status, const char *what, const char *reason)
{
	log_event(LOG_ERR, "worker-refused", "what=%s reason=%s", what, reason);
	exit(status);
}

static void set_up(struct worker *worker, uint32_t row, int mailbox_fd, int wake_fd)
{
	struct tr_error error;

	if (!set_streams())
		refuse(EX_OSERR, "/dev/null", strerror(errno));
	worker->page_bytes = sysconf(_SC_PAGESIZE);
	worker->statm_fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
	if (worker->statm_fd < 0 && worker->pool->max_memory_bytes)
		refuse(EX_OSERR, "/proc/self/statm", strerror(errno));
	worker->mailbox = mailbox_open(mailbox_fd, worker->pool->threads, wake_fd);
	if (!worker->mailbox || !mailbox_guard_fork(worker->mailbox))
		refuse(EX_OSERR, "mailbox", strerror(errno));
	close(mailbox_fd);
	if (!plugin_load(&worker->plugins, worker->config->plugin_dir, &error) || !plugin_start(worker->plugins, &error))
		refuse(EX_CONFIG, "plug-in", error.text);
	mail_configure(&worker->config->mail);
	exec_configure(worker->config);
	http_configure(&worker->config->http);
	transfer_configure(worker->config->transfer_module, worker->config->mail.connections);
	log_event(LOG_INFO, "worker-ready", "pool=%s row=%u threads=%u", worker->pool->name, row,
	    worker->pool->threads);
}

_Noreturn void worker_run(const struct config *config, const struct config_pool *pool, uint32_t row,
    int mailbox_fd, int wake_fd)
{
	struct worker worker = { .config = config, .pool = pool };

	set_up(&worker, row, mailbox_fd, wake_fd);
	plugin_each_handler(worker.plugins, announce, &worker);
	struct worker_thread *threads = calloc(pool->threads, sizeof *threads);
	if (!threads)
		refuse(EX_OSERR, "threads", strerror(ENOMEM));
	if (!run_threads(&worker, threads, pool->threads))
		exit(EX_OSERR);
	/* The objects stay loaded: what they gave to atexit(3) and their threads are still to end. */
	plugin_stop(worker.plugins);
	free(threads);
	mailbox_close(&worker.mailbox);
	if (worker.statm_fd >= 0)
		close(worker.statm_fd);
	exit(EXIT_SUCCESS);
}

/* ---- a trial ----------------------------------------------------------------------------- */

_Noreturn void worker_try(const struct config *config, int answer)
{
	struct plugin_table *plugins = NULL;
	struct tr_error error = { "" };

	if (!set_streams())
		snprintf(error.text, sizeof error.text, "/dev/null: %s", strerror(errno));
	else if (plugin_load(&plugins, config->plugin_dir, &error))
		plugin_start(plugins, &error);
	/* A sentence that does not arrive is missed there. */
	if (write(answer, error.text, strlen(error.text) + 1) < 0 || error.text[0])
		exit(EX_CONFIG);
	plugin_stop(plugins);
	exit(EXIT_SUCCESS);
}
