/*
 * The supervisor: one poll(2) loop over signals, the dispatcher's socket and the pidfds of all
 * children. It forks the dispatcher and the workers, replaces what ends, and touches no task. main()
 * calls supervisor_run() after the instance's lock has been taken.
 *
 *                 SIGTERM, SIGINT              dispatcher ended, or too late,
 *   RUNNING ───────────────────► DRAINING ──── or a second signal ──► ENDING ──all reaped──► return
 *      │ the dispatcher refuses to start, or is not there at SIGTERM    ▲
 *      └────────────────────────────────────────────────────────────────┘
 *
 * A dispatcher that ends unasked takes all workers with it: what they were running is known to the
 * journal only. When they are gone a new one starts, with new workers.
 *
 * A reload has two halves: SIGHUP reads the file and begins a trial (trial.h), and the trial's end takes the
 * configuration or refuses it. In between all goes on by the old one. Another SIGHUP, and a stop, break the trial off.
 */
#include "taskd/supervisor.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shared/clock.h"
#include "taskd/crew.h"
#include "taskd/instance.h"
#include "taskd/log.h"
#include "taskd/notify.h"
#include "taskd/trial.h"

#define STOP_RESERVE_MS 5000 /* for the ends of all processes, beyond what draining may take */

enum phase { RUNNING, DRAINING, ENDING };

struct dispatcher {
	pid_t pid; /* 0: none */
	int pidfd, control;
	bool ready, was_ready; /* this one; any so far */
	bool drained, silent;
	uint32_t pause_ms;
	int64_t started_ms;
	int64_t due_ms;      /* of the next one's start, without one */
	int64_t life_sign_ms;
	int64_t hung_up_ms;  /* when it closed its socket; 0: it has not */
};

/* Where in the poll set what stands; the workers' rows follow. */
enum { POLL_SIGNALS, POLL_CONTROL, POLL_DISPATCHER, POLL_TRIAL, POLL_WORKERS };

struct supervisor {
	struct config *config;
	const struct supervisor_roles *roles;
	const struct supervisor_times *times;
	int lock_fd, signals, wake_fd;
	sigset_t mask_before;
	enum phase phase;
	int64_t drain_until_ms;
	int exit_status;
	struct notify notify;
	struct dispatcher dispatcher;
	struct outbox outbox;
	struct crew crew;
	struct trial trial; /* of the configuration that may take the place of `config` */
	bool try_again;     /* another SIGHUP came meanwhile */
	struct pollfd *polled; /* has room for every row */
};

/* ---- end --------------------------------------------------------------------------------- */

static void kill_dispatcher(struct supervisor *self)
{
	if (self->dispatcher.pid > 0 &&
	    syscall(SYS_pidfd_send_signal, self->dispatcher.pidfd, SIGKILL, NULL, 0) < 0 && errno != ESRCH)
		log_event(LOG_ERR, "kill-failed", "dispatcher_pid=%d error=%m", (int)self->dispatcher.pid);
}

/* Nothing is started any more and everything killed; the loop ends when all of it is reaped. */
static void begin_end(struct supervisor *self, int exit_status)
{
	self->phase = ENDING;
	self->exit_status = exit_status;
	self->crew.closed = true;
	trial_break_off(&self->trial, "taskd stops");
	kill_dispatcher(self);
	crew_kill_all(&self->crew);
}

static void begin_drain(struct supervisor *self, int64_t now)
{
	int64_t most_ms = (int64_t)self->config->drain_timeout_ms + self->times->drain_extra_ms;
	notify_stopping(&self->notify, most_ms + STOP_RESERVE_MS);
	if (self->dispatcher.pid == 0) {
		log_event(LOG_NOTICE, "stopping", "dispatcher=none");
		begin_end(self, EXIT_SUCCESS);
		return;
	}
	log_event(LOG_NOTICE, "draining", "timeout_ms=%" PRIu32, self->config->drain_timeout_ms);
	self->phase = DRAINING;
	self->crew.closed = true;
	trial_break_off(&self->trial, "taskd stops");
	self->drain_until_ms = now + most_ms;
	const struct control_message message = { .kind = CONTROL_DRAIN };
	outbox_put(&self->outbox, &message, -1);
}

/* ---- the dispatcher ---------------------------------------------------------------------- */

static void plan_dispatcher(struct supervisor *self, int64_t now)
{
	struct dispatcher *dispatcher = &self->dispatcher;
	dispatcher->pause_ms = crew_backoff(self->times, dispatcher->pause_ms, now - dispatcher->started_ms);
	dispatcher->due_ms = now + dispatcher->pause_ms;
}

/* Forks it; its end of the socket pair does not stay open here. False and errno. */
static bool fork_dispatcher(struct supervisor *self)
{
	int pair[2];
	if (control_pair(pair) < 0)
		return false;
	const struct spawn_plan plan = {
		.role = "dispatcher", .name = "taskd-dispatch", .log_level = self->config->log_level,
		.keep = { pair[1], self->wake_fd, self->lock_fd, -1 }, .mask = &self->mask_before,
	};
	self->dispatcher.pid = spawn_fork(&plan, &self->dispatcher.pidfd);
	if (self->dispatcher.pid == 0) {
		self->roles->dispatcher(self->config, pair[1], self->wake_fd);
		abort(); /* a role does not return */
	}
	int failed = errno;
	close(pair[1]);
	if (self->dispatcher.pid > 0) {
		self->dispatcher.control = self->outbox.socket = pair[0];
		return true;
	}
	close(pair[0]);
	self->dispatcher.pid = 0;
	errno = failed;
	return false;
}

static void start_dispatcher(struct supervisor *self, int64_t now)
{
	struct dispatcher *dispatcher = &self->dispatcher;
	dispatcher->started_ms = dispatcher->life_sign_ms = now;
	dispatcher->ready = dispatcher->drained = dispatcher->silent = false;
	dispatcher->hung_up_ms = 0;
	if (!fork_dispatcher(self)) {
		int failed = errno;
		plan_dispatcher(self, now);
		errno = failed;
		log_event(LOG_ERR, "dispatcher-not-started", "retry_ms=%" PRIu32 " error=%m", dispatcher->pause_ms);
		return;
	}
	log_event(LOG_DEBUG, "dispatcher-started", "dispatcher_pid=%d", (int)dispatcher->pid);
	crew_all_due(&self->crew, now);
}

/* Nothing more is read from or written to it. */
static void hang_up(struct supervisor *self)
{
	if (self->dispatcher.control >= 0)
		close(self->dispatcher.control);
	self->dispatcher.control = self->outbox.socket = -1;
	outbox_clear(&self->outbox);
}

static void on_dispatcher_end(struct supervisor *self, int64_t now)
{
	struct dispatcher *dispatcher = &self->dispatcher;
	int status;
	if (waitpid(dispatcher->pid, &status, WNOHANG) != dispatcher->pid)
		return;
	pid_t pid = dispatcher->pid;
	int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
	int signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
	close(dispatcher->pidfd);
	dispatcher->pidfd = -1;
	dispatcher->pid = 0;
	dispatcher->ready = false;
	hang_up(self);
	if (self->phase == ENDING)
		return;
	if (self->phase == DRAINING) {
		log_event(code == 0 ? LOG_NOTICE : LOG_ERR, "drained", "dispatcher_pid=%d exit=%d signal=%d", (int)pid, code, signal);
		begin_end(self, code == 0 ? EXIT_SUCCESS : EXIT_FAILURE);
		return;
	}
	if (!dispatcher->was_ready && code >= 0) {
		/* It has said why it cannot serve; trying again would say the same. */
		log_event(LOG_ERR, "refused", "dispatcher_pid=%d exit=%d", (int)pid, code);
		begin_end(self, EXIT_FAILURE);
		return;
	}
	plan_dispatcher(self, now);
	log_event(LOG_CRIT, "dispatcher-died", "dispatcher_pid=%d exit=%d signal=%d restart_ms=%" PRIu32, (int)pid, code, signal,
	    dispatcher->pause_ms);
	notify_status(&self->notify, "The dispatcher died (exit %d, signal %d); a new one starts.", code, signal);
	crew_kill_all(&self->crew);
}

static void on_message(struct supervisor *self, const struct control_message *message, int64_t now)
{
	struct dispatcher *dispatcher = &self->dispatcher;
	switch (message->kind) {
	case CONTROL_KILL:
		crew_signal(&self->crew, message->row, message->pid, message->number);
		break;
	case CONTROL_RECYCLED:
		crew_leaves(&self->crew, message->row, message->pid, now);
		break;
	case CONTROL_READY:
		dispatcher->ready = dispatcher->was_ready = true;
		dispatcher->life_sign_ms = now;
		log_event(LOG_NOTICE, "ready", "instance=%s dispatcher_pid=%d start_ms=%" PRId64, self->config->instance,
		    (int)dispatcher->pid, now - dispatcher->started_ms);
		if (self->phase == RUNNING)
			notify_ready(&self->notify, self->config->instance);
		notify_alive(&self->notify, now);
		break;
	case CONTROL_PROGRESS:
		if (dispatcher->silent) {
			log_event(LOG_NOTICE, "dispatcher-goes-on", "silent_ms=%" PRId64, now - dispatcher->life_sign_ms);
			notify_status(&self->notify, "Serving instance %s.", self->config->instance);
		}
		dispatcher->silent = false;
		dispatcher->life_sign_ms = now;
		notify_alive(&self->notify, now);
		break;
	case CONTROL_DRAINED:
		dispatcher->drained = true;
		break;
	default:
		log_event(LOG_ERR, "control-unknown", "kind=%" PRIu32, message->kind);
		break;
	}
}

static void lose_control(struct supervisor *self, int64_t now)
{
	if (errno != EPIPE && errno != ECONNRESET)
		log_event(LOG_ERR, "control-lost", "dispatcher_pid=%d error=%m", (int)self->dispatcher.pid);
	hang_up(self);
	self->dispatcher.hung_up_ms = now;
}

static void on_control(struct supervisor *self, int64_t now)
{
	struct control_message message;
	int fd, got;
	while ((got = control_receive(self->dispatcher.control, &message, &fd)) == 1) {
		if (fd >= 0)
			close(fd); /* none is sent this way */
		on_message(self, &message, now);
	}
	if (got < 0)
		lose_control(self, now);
}

/* Room in the poll set for the crew's rows, which never become fewer, and those of `config`. */
static bool reserve_poll(struct supervisor *self, const struct config *config)
{
	uint32_t rows = crew_rows_of(config);
	size_t workers = rows > self->crew.count ? rows : self->crew.count;
	struct pollfd *polled = realloc(self->polled, (POLL_WORKERS + workers) * sizeof(*polled));
	if (polled == NULL)
		return false;
	self->polled = polled;
	return true;
}

/* ---- signals ----------------------------------------------------------------------------- */

/* The end of every reload, however it came out; without a dispatcher that serves, the next one's start says it. */
static void end_reload(struct supervisor *self, const char *option, const char *reason)
{
	if (reason != NULL)
		log_event(LOG_ERR, "reload-refused", "file=%s option=%s reason=%s", self->config->path, option, reason);
	if (self->dispatcher.ready && self->phase == RUNNING)
		notify_ready(&self->notify, self->config->instance);
}

/* A configuration without faults is tried; on_trial_end() takes it from there. */
static void reload(struct supervisor *self, int64_t now)
{
	struct config *next = config_load(self->config->path);
	const char *fixed = next != NULL ? config_restart_needed(self->config, next) : NULL;
	self->try_again = false;
	if (next == NULL || !instance_check(next))
		end_reload(self, "-", "the file has faults");
	else if (fixed != NULL)
		end_reload(self, fixed, "this option cannot change while taskd runs");
	else if (!trial_begin(&self->trial, next, self->roles->trial, &self->crew.plan, now + self->times->trial_ms))
		end_reload(self, "-", strerror(errno));
	if (self->trial.pid == 0)
		config_free(&next);
}

/* Takes the old one's place. NULL, or why not: then `next` is still the caller's. */
static const char *adopt(struct supervisor *self, struct config *next, int64_t now)
{
	if (self->outbox.socket >= 0 && outbox_room(&self->outbox) < CREW_ROOM_SPARED / 2)
		return "the dispatcher does not read";
	if (!reserve_poll(self, next) || !crew_configure(&self->crew, next, now))
		return "out of memory";
	/* It is on its way before the first start by the new configuration. */
	const struct control_message message = { .kind = CONTROL_RELOAD };
	outbox_put(&self->outbox, &message, -1);
	config_free(&self->config);
	self->config = next;
	self->crew.plan.log_level = next->log_level;
	log_open("supervisor", next->log_level);
	log_event(LOG_NOTICE, "reloaded", "file=%s workers=%" PRIu32, next->path, self->crew.wanted);
	return NULL;
}

static void on_trial_end(struct supervisor *self, int64_t now)
{
	struct tr_error error;
	struct config *next = trial_end(&self->trial, &error);
	if (next == NULL)
		return;
	const char *reason = error.text[0] != '\0' ? error.text : NULL;
	/* The dispatcher reads the file itself: what it finds must have been tried. */
	if (self->phase == RUNNING && (self->try_again || (reason == NULL && config_file_changed(next)))) {
		config_free(&next);
		reload(self, now);
		return;
	}
	if (reason == NULL)
		reason = adopt(self, next, now);
	if (reason != NULL)
		config_free(&next);
	end_reload(self, "-", reason);
}

static void on_signals(struct supervisor *self, int64_t now)
{
	struct signalfd_siginfo info;
	while (read(self->signals, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		bool stop = info.ssi_signo != SIGHUP;
		log_event(LOG_INFO, "signal", "number=%" PRIu32 " from_pid=%" PRIu32, info.ssi_signo, info.ssi_pid);
		if (!stop && self->phase == RUNNING) {
			notify_reloading(&self->notify);
			if (self->trial.pid == 0) {
				reload(self, now);
			} else {
				self->try_again = true;
				trial_break_off(&self->trial, "SIGHUP came again");
			}
		} else if (stop && self->phase == RUNNING) {
			begin_drain(self, now);
		} else if (stop && self->phase == DRAINING) {
			log_event(LOG_WARNING, "stopped-at-once", "workers=%" PRIu32, self->crew.alive);
			begin_end(self, EXIT_FAILURE);
		}
	}
}

/* ---- the loop ---------------------------------------------------------------------------- */

static int64_t earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* Does what is due and returns when the next is, but for the workers'; CREW_NEVER. */
static int64_t run_due(struct supervisor *self, int64_t now)
{
	struct dispatcher *dispatcher = &self->dispatcher;
	int64_t next = CREW_NEVER;
	if (self->phase == DRAINING) {
		if (now >= self->drain_until_ms) {
			log_event(LOG_ERR, "drain-too-late", "dispatcher_pid=%d", (int)dispatcher->pid);
			begin_end(self, EXIT_FAILURE);
		}
		next = self->drain_until_ms;
	}
	if (self->phase == ENDING)
		return CREW_NEVER;

	/* A new dispatcher waits until the last worker of the old one is gone. */
	if (dispatcher->pid == 0 && self->crew.alive == 0 && now >= dispatcher->due_ms)
		start_dispatcher(self, now);
	if (dispatcher->pid == 0)
		return self->crew.alive > 0 ? next : dispatcher->due_ms;

	if (dispatcher->hung_up_ms != 0 && !dispatcher->drained) {
		int64_t until = dispatcher->hung_up_ms + self->times->hangup_ms;
		if (now >= until)
			kill_dispatcher(self); /* its pidfd tells us next */
		else
			next = earlier(next, until);
	}
	if (dispatcher->ready && !dispatcher->silent && self->phase == RUNNING) {
		int64_t until = dispatcher->life_sign_ms + self->times->silence_ms;
		if (now >= until) {
			dispatcher->silent = true;
			log_event(LOG_ERR, "dispatcher-hangs", "dispatcher_pid=%d silent_ms=%" PRId64, (int)dispatcher->pid,
			    now - dispatcher->life_sign_ms);
			notify_status(&self->notify, "The dispatcher (process %d) hangs.", (int)dispatcher->pid);
		} else {
			next = earlier(next, until);
		}
	}
	crew_start_due(&self->crew, now);
	return next;
}

static void fill_poll(struct supervisor *self, bool blocked)
{
	/* poll(2) passes over negative descriptors. */
	self->polled[POLL_SIGNALS] = (struct pollfd){ .fd = self->signals, .events = POLLIN };
	self->polled[POLL_CONTROL] = (struct pollfd){ .fd = self->dispatcher.control,
		.events = blocked ? POLLIN | POLLOUT : POLLIN };
	self->polled[POLL_DISPATCHER] = (struct pollfd){ .fd = self->dispatcher.pidfd, .events = POLLIN };
	self->polled[POLL_TRIAL] = (struct pollfd){ .fd = self->trial.pidfd, .events = POLLIN };
	for (uint32_t row = 0; row < self->crew.count; row++)
		self->polled[POLL_WORKERS + row] = (struct pollfd){ .fd = self->crew.rows[row].pidfd, .events = POLLIN };
}

/* Control before the ends: a worker's RECYCLED is then known when it is reaped. */
static void handle_poll(struct supervisor *self, uint32_t rows)
{
	int64_t now = clock_ms(CLOCK_MONOTONIC);
	if (self->polled[POLL_SIGNALS].revents != 0)
		on_signals(self, now);
	if (self->polled[POLL_CONTROL].revents != 0 && self->dispatcher.control >= 0)
		on_control(self, now);
	for (uint32_t row = 0; row < rows; row++)
		if (self->polled[POLL_WORKERS + row].revents != 0)
			crew_reap(&self->crew, row, now);
	if (self->polled[POLL_DISPATCHER].revents != 0)
		on_dispatcher_end(self, now);
	if (self->polled[POLL_TRIAL].revents != 0)
		on_trial_end(self, now);
}

static void loop(struct supervisor *self)
{
	while (self->phase != ENDING || self->dispatcher.pid > 0 || self->crew.alive > 0 || self->trial.pid > 0) {
		int64_t now = clock_ms(CLOCK_MONOTONIC);
		int64_t next = earlier(run_due(self, now), trial_due(&self->trial, now));
		enum outbox_result sent = outbox_flush(&self->outbox);
		if (sent == OUTBOX_GONE) {
			lose_control(self, now);
			continue;
		}
		/* Sending made room, so that more may be due than a moment ago. */
		if (self->dispatcher.pid > 0)
			next = earlier(next, crew_next_ms(&self->crew));
		uint32_t rows = self->crew.count;
		fill_poll(self, sent == OUTBOX_BLOCKED);
		int64_t wait_ms = next == CREW_NEVER ? -1 : next <= now ? 0 : next - now;
		if (poll(self->polled, POLL_WORKERS + rows, wait_ms > 3600000 ? 3600000 : (int)wait_ms) > 0)
			handle_poll(self, rows);
	}
}

/* ---- beginning --------------------------------------------------------------------------- */

static bool begin(struct supervisor *self)
{
	self->notify = notify_open();
	self->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	self->signals = spawn_take_signals(&self->mask_before);
	if (self->wake_fd < 0 || self->signals < 0) {
		log_event(LOG_ERR, "refused", "error=%m");
		return false;
	}
	self->crew = (struct crew){ .roles = self->roles, .times = self->times, .outbox = &self->outbox };
	self->crew.plan = (struct spawn_plan){
		.role = "worker", .name = "taskd-worker", .log_level = self->config->log_level,
		.keep = { -1, self->wake_fd, self->lock_fd, -1 }, .mask = &self->mask_before, .files = spawn_raise_files(),
	};
	if (!reserve_poll(self, self->config) || !crew_configure(&self->crew, self->config, clock_ms(CLOCK_MONOTONIC))) {
		log_event(LOG_ERR, "refused", "error=%m");
		return false;
	}
	return true;
}

int supervisor_run(struct config *config, int lock_fd, const struct supervisor_roles *roles,
    const struct supervisor_times *times)
{
	struct supervisor self = {
		.config = config, .roles = roles, .times = times, .lock_fd = lock_fd, .signals = -1, .wake_fd = -1,
		.dispatcher = { .pidfd = -1, .control = -1 }, .outbox = { .socket = -1 }, .notify = { .socket = -1 },
		.trial = { .pidfd = -1 }, .exit_status = EXIT_FAILURE,
	};
	log_open("supervisor", config->log_level);
	if (instance_check(config) && begin(&self)) {
		log_event(LOG_NOTICE, "starting", "version=%s instance=%s workers=%" PRIu32, TASKRING_VERSION, config->instance,
		    self.crew.wanted);
		loop(&self);
		log_event(LOG_NOTICE, "stopped", "exit=%d", self.exit_status);
	}
	if (self.signals >= 0)
		close(self.signals);
	if (self.wake_fd >= 0)
		close(self.wake_fd);
	notify_close(&self.notify);
	outbox_clear(&self.outbox);
	free(self.outbox.letters);
	free(self.crew.rows);
	free(self.polled);
	config_free(&self.config);
	return self.exit_status;
}
