/*
 * The dispatcher: the one process that owns the tasks' state. It opens journal, ring and board,
 * restores what was left, and then turns: what workers say, what the ring holds, what is due, what
 * to give out, what to write. It sleeps only when there is nothing of that, in libuv's loop, and is
 * woken by producers (the ring's FIFO), workers (an eventfd), the journal's thread (uv_async) and
 * the supervisor (the control socket).
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>
#include <uv.h>

#include "control.h"
#include "dispatch.h"
#include "heartbeat.h"
#include "log.h"
#include "ring_guard.h"
#include "roles.h"
#include "shared/clock.h"

#define SPIN_NS 10000ll      /* looked for more work this long before sleeping */
/*
 * Under load a wake-up for every few tasks costs everybody more than the tasks do. When a window of
 * time saw LOAD_LEAST pieces of work, the dispatcher naps between turns, unannounced, and work
 * gathers without a system call of anybody's. NAPS_EMPTY naps without work, and it sleeps announced.
 */
#define LOAD_WINDOW_NS 4000000ll
#define LOAD_LEAST 64
#define NAP_NS 150000l
#define NAP_MOST 256 /* a turn that did more has left more to do */
#define NAPS_EMPTY 5
#define LOOP_EVERY 64        /* turns under load between two looks at the event loop */
#define REBALANCE_MS 2
#define HEARTBEAT_MS 1000
#define LANES_MS 10 /* a look costs a system call for each lane that is owned */

struct loop {
	uv_loop_t uv;
	uv_poll_t control, wake, ring;
	uv_async_t journal;
	uv_timer_t timer;
	uv_idle_t idle;
	struct dispatcher dispatcher;
	int64_t heartbeat_ms; /* the next */
	int64_t lanes_ms; /* the next look for lanes of the dead, if one is wanted */
	int64_t window_ns; /* is_loaded() */
	uint64_t window_done;
	bool loaded;
	bool slept; /* sleep is announced to producers, and the ring's FIFO not emptied */
	bool supervisor_gone;
};

static void read_clock(struct dispatcher *dispatcher)
{
	dispatcher->now_ns = clock_ns(CLOCK_REALTIME);
	dispatcher->now_ms = dispatcher->now_ns / 1000000;
}

/* ---- the supervisor ---------------------------------------------------------------------- */

static void tell_supervisor(struct dispatcher *dispatcher, enum control_kind kind, const struct worker *worker,
    int signal)
{
	const struct control_message message = {
		.kind = kind, .row = worker ? worker->row : 0, .pid = worker ? worker->pid : 0, .number = (uint64_t)signal,
	};

	/* A socket that is full is one that nobody reads: the supervisor hangs, and then kills nobody. */
	if (control_send(dispatcher->control, &message, -1) != 0)
		log_event(LOG_ERR, "control-lost", "kind=%d errno=%d", (int)kind, errno);
}

static void signal_worker(struct dispatcher *dispatcher, struct worker *worker, int signal)
{
	tell_supervisor(dispatcher, CONTROL_KILL, worker, signal);
}

static void worker_recycled(struct dispatcher *dispatcher, struct worker *worker)
{
	tell_supervisor(dispatcher, CONTROL_RECYCLED, worker, 0);
}

/*
 * The supervisor has read the file and starts workers by it. Should it be faulty by now, we start
 * anew, with what the supervisor has: pools by their numbers must mean the same to both.
 */
static void reload(struct dispatcher *dispatcher)
{
	struct config *next = config_load(dispatcher->config->path);

	if (!next || !workers_pools(dispatcher, next)) {
		log_event(LOG_CRIT, "reload-failed", "file=%s", dispatcher->config->path);
		exit(EXIT_FAILURE);
	}
	config_free(&dispatcher->config);
	dispatcher->config = next;
	for (uint32_t row = 0; row < dispatcher->worker_rows; row++) {
		struct worker *worker = &dispatcher->workers[row];
		if (!worker->alive || worker->leaving)
			continue;
		workers_leaving(worker);
		mailbox_retire(worker->mailbox);
		worker_recycled(dispatcher, worker);
	}
	log_event(LOG_INFO, "reloaded", "file=%s", next->path);
}

static void obey(struct loop *loop, const struct control_message *message, int fd)
{
	struct dispatcher *dispatcher = &loop->dispatcher;
	struct worker *worker = &dispatcher->workers[message->row];

	switch ((enum control_kind)message->kind) {
	case CONTROL_WORKER_STARTED:
		workers_started(dispatcher, message->row, message->pid, message->pool, message->threads,
		    message->number, fd);
		break;
	case CONTROL_WORKER_ENDED:
		if (worker->alive && worker->pid == message->pid)
			heartbeat_worker_ended(dispatcher, worker, message);
		break;
	case CONTROL_DRAIN:
		drain_begin(&loop->dispatcher);
		break;
	case CONTROL_RELOAD:
		reload(dispatcher);
		break;
	default:
		log_event(LOG_ERR, "control-unknown", "kind=%u", message->kind);
	}
}

static void on_control(uv_poll_t *handle, int status, int events)
{
	struct loop *loop = handle->data;
	struct control_message message;
	int fd, got;

	(void)status;
	(void)events;
	read_clock(&loop->dispatcher);
	while ((got = control_receive(loop->dispatcher.control, &message, &fd)) > 0) {
		obey(loop, &message, fd);
		if (fd >= 0)
			close(fd); /* mapped by now */
	}
	if (got < 0)
		loop->supervisor_gone = true;
}

/* ---- the loop ---------------------------------------------------------------------------- */

static void on_wake(uv_poll_t *handle, int status, int events)
{
	struct loop *loop = handle->data;
	uint64_t count;

	(void)status;
	(void)events;
	ssize_t ignored = read(loop->dispatcher.wake_fd, &count, sizeof count);
	(void)ignored;
}

/* That the loop has woken up is all: the next turn looks everywhere. */
static void on_ring(uv_poll_t *handle, int status, int events)
{
	(void)handle;
	(void)status;
	(void)events;
}

static void on_journal(uv_async_t *handle)
{
	(void)handle;
}

static void on_idle(uv_idle_t *handle)
{
	(void)handle;
}

/*
 * libuv runs timers before it polls, and would then, with no timer left, poll without end. An
 * active idle handle makes that poll return at once.
 */
static void on_timer(uv_timer_t *handle)
{
	struct loop *loop = handle->data;

	uv_idle_start(&loop->idle, on_idle);
}

static void wake_from_journal(void *context)
{
	uv_async_send(context);
}

static int64_t earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* Whether *next_ms has come, which is then so much later. */
static bool is_time(const struct dispatcher *dispatcher, int64_t *next_ms, int64_t every_ms)
{
	if (*next_ms > dispatcher->now_ms && *next_ms <= dispatcher->now_ms + every_ms) /* beyond: the clock was set back */
		return false;
	*next_ms = dispatcher->now_ms + every_ms;
	return true;
}

/* Every second, too. Its old file has left the epoll set when it was closed. */
static void follow_wake(struct loop *loop)
{
	struct dispatcher *dispatcher = &loop->dispatcher;

	if (dispatcher->file_gone || !ring_consumer_follow_wake(dispatcher->ring))
		return;
	log_event(LOG_WARNING, "file-gone", "file=/dev/shm/%s.wake made_anew=yes", dispatcher->config->instance);
	uv_poll_start(&loop->ring, UV_READABLE, on_ring);
}

/* One look at everything. Returns how much was done; *next_ms is when time alone will give work. */
static unsigned turn(struct loop *loop, int64_t *next_ms)
{
	struct dispatcher *dispatcher = &loop->dispatcher;

	read_clock(dispatcher);
	unsigned done = outcome_turn(dispatcher);
	done += intake_turn(dispatcher);
	if (ring_guard_was_hit())
		heartbeat_ring_lost(dispatcher);
	window_poll(dispatcher);
	*next_ms = scheduler_tick(dispatcher);
	deadline_tick(dispatcher);
	lane_pending_tick(dispatcher);
	if (dispatcher->pushed_ahead)
		workforce_rebalance(dispatcher);
	window_tick(dispatcher);
	done += workforce_assign(dispatcher);
	tasks_show_all(dispatcher);
	*next_ms = earlier(*next_ms, recorder_tick(dispatcher));
	done += workforce_assign(dispatcher); /* what a commit let into the window */
	*next_ms = earlier(*next_ms, earlier(dispatcher->next_due_ms, board_rows_tick(dispatcher)));
	if (is_time(dispatcher, &loop->heartbeat_ms, HEARTBEAT_MS)) {
		heartbeat(dispatcher);
		follow_wake(loop);
	}
	if (ring_lanes_wanted(dispatcher->ring) && is_time(dispatcher, &loop->lanes_ms, LANES_MS))
		ring_audit_lanes(dispatcher->ring);
	*next_ms = earlier(*next_ms, earlier(dispatcher->next_deadline_ms, loop->heartbeat_ms));
	if (dispatcher->pushed_ahead || dispatcher->stops_wait)
		*next_ms = earlier(*next_ms, dispatcher->now_ms + REBALANCE_MS);
	if (dispatcher->deferred_since_ns)
		*next_ms = earlier(*next_ms, dispatcher->now_ms + REBALANCE_MS);
	return done;
}

static void announce(struct dispatcher *dispatcher, bool sleeps)
{
	for (uint32_t row = 0; row < dispatcher->worker_rows; row++)
		if (dispatcher->workers[row].alive)
			mailbox_dispatcher_sleeps(dispatcher->workers[row].mailbox, sleeps);
}

static bool has_messages(const struct dispatcher *dispatcher)
{
	for (uint32_t row = 0; row < dispatcher->worker_rows; row++)
		if (dispatcher->workers[row].alive && mailbox_has_messages(dispatcher->workers[row].mailbox))
			return true;
	return false;
}

/* Announces sleep to everybody, looks once more, and waits until something or `next_ms` comes. */
static void sleep_until(struct loop *loop, int64_t next_ms)
{
	struct dispatcher *dispatcher = &loop->dispatcher;
	/* What stays in the ring for now must not keep us awake. */
	bool stays = dispatcher->deferred_since_ns || dispatcher->draining;
	bool idle = stays || ring_sleep(dispatcher->ring);

	announce(dispatcher, true);
	idle = idle && !has_messages(dispatcher);
	read_clock(dispatcher);
	/* One more: now_ms is cut to whole ms, and to come too early is to come twice. */
	int64_t wait_ms = next_ms > dispatcher->now_ms ? next_ms - dispatcher->now_ms + 1 : 0;
	uv_update_time(&loop->uv);
	uv_timer_start(&loop->timer, on_timer, (uint64_t)wait_ms, 0);
	uv_run(&loop->uv, idle ? UV_RUN_ONCE : UV_RUN_NOWAIT);
	uv_idle_stop(&loop->idle);
	announce(dispatcher, false);
	loop->slept = true;
}

/*
 * Withdraws the announcement to producers, after the turn that it woke us for: a system call sooner
 * would come between a task and its handler. Before the next sleep the ring is looked at again.
 */
static void settle_wake(struct loop *loop)
{
	struct dispatcher *dispatcher = &loop->dispatcher;

	if (loop->slept && ring_awake(dispatcher->ring))
		stat_add(dispatcher->board, STAT_ring_wakeups, 1);
	loop->slept = false;
}

/* Whether the last windows of time saw much work. */
static bool is_loaded(struct loop *loop, unsigned done)
{
	int64_t now_ns = loop->dispatcher.now_ns;

	loop->window_done += done;
	if (now_ns - loop->window_ns > LOAD_WINDOW_NS || now_ns < loop->window_ns) {
		loop->loaded = loop->window_done >= LOAD_LEAST;
		loop->window_done = 0;
		loop->window_ns = now_ns;
	}
	return loop->loaded || loop->window_done >= LOAD_LEAST;
}

static void run(struct loop *loop)
{
	const struct timespec nap = { .tv_nsec = NAP_NS };
	int64_t next_ms, busy_ns = 0;
	unsigned turns = 0, naps = 0;

	while (!loop->supervisor_gone && !drain_is_over(&loop->dispatcher)) {
		unsigned done = turn(loop, &next_ms);
		settle_wake(loop);
		int64_t now_ns = loop->dispatcher.now_ns;
		if (done) {
			busy_ns = now_ns;
			naps = 0;
		}
		next_ms = earlier(next_ms, drain_next_ms(&loop->dispatcher));
		if (is_loaded(loop, done) && naps < NAPS_EMPTY) {
			if (done < NAP_MOST) {
				naps++;
				nanosleep(&nap, NULL);
			}
		} else if (!done && now_ns - busy_ns > SPIN_NS && !drain_is_over(&loop->dispatcher)) {
			sleep_until(loop, next_ms); /* once the draining is over, nobody wakes us */
		}
		if (++turns % LOOP_EVERY == 0)
			uv_run(&loop->uv, UV_RUN_NOWAIT);
	}
}

/* ---- opening and closing ----------------------------------------------------------------- */

static bool open_loop(struct loop *loop)
{
	struct dispatcher *dispatcher = &loop->dispatcher;

	if (uv_loop_init(&loop->uv) != 0 || uv_async_init(&loop->uv, &loop->journal, on_journal) != 0 ||
	    uv_timer_init(&loop->uv, &loop->timer) != 0 || uv_idle_init(&loop->uv, &loop->idle) != 0 ||
	    uv_poll_init(&loop->uv, &loop->control, dispatcher->control) != 0 ||
	    uv_poll_init(&loop->uv, &loop->wake, dispatcher->wake_fd) != 0)
		return false;
	loop->control.data = loop->wake.data = loop->timer.data = loop;
	return uv_poll_start(&loop->control, UV_READABLE, on_control) == 0 &&
	    uv_poll_start(&loop->wake, UV_READABLE, on_wake) == 0;
}

static bool open_board(struct dispatcher *dispatcher, uint32_t lanes, struct tr_error *error)
{
	const struct config *config = dispatcher->config;
	const struct board_geometry geometry = {
		.entries = config->board_entries,
		.events = config->board_events,
		.workers = CONFIG_POOLS_MAX * 8,
		.lanes = lanes,
		.mode = config->ring_mode,
	};

	if (board_writer_open(&dispatcher->writer, config->instance, &geometry, error) != TR_OK)
		return false;
	dispatcher->board = board_writer_board(dispatcher->writer);
	return true;
}

static bool open_ring(struct loop *loop, struct tr_error *error)
{
	struct dispatcher *dispatcher = &loop->dispatcher;
	const struct config *config = dispatcher->config;
	struct ring *ring;
	void *memory;
	size_t bytes;

	if (ring_attach(&ring, config->instance, &config->ring, config->ring_mode, error) != TR_OK)
		return false;
	uint32_t lanes = ring_geometry(ring).lanes;
	dispatcher->batch = malloc(ring_batch_max(ring));
	dispatcher->text = malloc(MAILBOX_MESSAGE_MAX + 1);
	if (!dispatcher->batch || !dispatcher->text || !open_board(dispatcher, lanes, error) ||
	    ring_consumer_open(&dispatcher->ring, &ring, error) != TR_OK) {
		ring_detach(&ring);
		return false;
	}
	ring_mapping(dispatcher->ring, &memory, &bytes);
	if (!ring_guard_install(memory, bytes) ||
	    uv_poll_init(&loop->uv, &loop->ring, ring_wake_fd(dispatcher->ring)) != 0 ||
	    uv_poll_start(&loop->ring, UV_READABLE, on_ring) != 0)
		return false;
	dispatcher->known_until = ring_published(dispatcher->ring) + 1; /* the tail may be one behind */
	return true;
}

static bool open_all(struct loop *loop, struct tr_error *error)
{
	struct dispatcher *dispatcher = &loop->dispatcher;

	snprintf(error->text, sizeof error->text, "out of memory or of file descriptors");
	if (!open_loop(loop) || !id_source_open(&dispatcher->ids) || !workers_open(dispatcher))
		return false;
	TAILQ_INIT(&dispatcher->unshown);
	STAILQ_INIT(&dispatcher->unread);
	dispatcher->random = dispatcher->ids.state;
	dispatcher->next_due_ms = dispatcher->next_deadline_ms = INT64_MAX;
	dispatcher->signal_worker = signal_worker;
	dispatcher->worker_recycled = worker_recycled;
	/* The journal first: where it is refused, no ring and no board are made. */
	if (!recorder_open(dispatcher, wake_from_journal, &loop->journal, error) || !open_ring(loop, error))
		return false;
	read_clock(dispatcher);
	board_rows_open(dispatcher);
	return window_restore(dispatcher, error);
}

static void close_all(struct loop *loop)
{
	struct dispatcher *dispatcher = &loop->dispatcher;

	recorder_close(dispatcher);
	heartbeat(dispatcher);
	board_rows_show(dispatcher);
	board_life(dispatcher->writer, BOARD_STOPPED); /* before the ring goes: see wait_durable() */
	bool removed = ring_consumer_close(&dispatcher->ring, true);
	/* Producers that live go on publishing; until a taskd is back, the board tells how it was. */
	board_writer_close(&dispatcher->writer, removed);
	tell_supervisor(dispatcher, CONTROL_DRAINED, NULL, 0);
	log_event(LOG_INFO, "drained", "ring=%s", removed ? "removed" : "kept for its producers");
}

void dispatcher_run(struct config *config, int control, int wake_fd)
{
	struct loop *loop = calloc(1, sizeof *loop);
	struct tr_error error;

	log_open("dispatcher", config->log_level);
	prctl(PR_SET_NAME, "taskd-dispatch");
	prctl(PR_SET_TIMERSLACK, 1000ul, 0ul, 0ul, 0ul); /* ns; the default is longer than a nap */
	signal(SIGPIPE, SIG_IGN);
	/* A Ctrl-C reaches the whole foreground group; the supervisor is the one who decides. */
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	if (!loop)
		exit(1);
	loop->dispatcher.config = config;
	loop->dispatcher.control = control;
	loop->dispatcher.wake_fd = wake_fd;
	if (!open_all(loop, &error)) {
		log_event(LOG_CRIT, "cannot-start", "reason=%s", error.text);
		exit(DISPATCHER_CANNOT_START);
	}
	board_life(loop->dispatcher.writer, BOARD_RUNNING);
	heartbeat(&loop->dispatcher);
	tell_supervisor(&loop->dispatcher, CONTROL_READY, NULL, 0);
	log_event(LOG_INFO, "serving", "instance=%s waiting=%llu", config->instance,
	    (unsigned long long)loop->dispatcher.live[TR_QUEUED]);
	run(loop);
	if (loop->supervisor_gone) {
		log_event(LOG_CRIT, "supervisor-gone", "pid=%d", (int)getpid());
		exit(1);
	}
	if (loop->dispatcher.restarting) {
		log_event(LOG_NOTICE, "restarting", "reason=file-gone");
		exit(EXIT_FAILURE);
	}
	close_all(loop);
	exit(0);
}
