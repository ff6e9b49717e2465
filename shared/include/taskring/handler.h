/*
 * taskring: the handler's side. A plug-in is a shared object that exports one symbol:
 *
 *     const struct tr_plugin taskring_plugin = {
 *         .abi = TR_PLUGIN_ABI, .handlers = handlers, .handler_count = 2,
 *     };
 *
 * taskd's workers load every *.so of the configured plug-in directory and run its handlers. The
 * functions below are taskd's own; a plug-in is linked without any library of ours.
 *
 * A handler runs in a worker process of its own user's rights, with one task per thread. It may
 * crash, leak, block or call exit(): that costs the worker and the task's attempt, nothing else.
 * A child that it forks must end with _exit() or exec(); the functions below that say something do
 * nothing there.
 * It can run twice for one task (a crash in between): tr_task_id() is the same each time, use it
 * as the key of whatever must happen once.
 *
 * Thread safety: with `threads` above 1 in the pool, handlers run at the same time in one process.
 * A struct tr_task belongs to the thread that runs it, and ends when run() or on_failure() returns;
 * a pending one (see below) when tr_finish() returns.
 * Signal safety: none of these functions may be called from a signal handler.
 */
#ifndef TASKRING_HANDLER_H
#define TASKRING_HANDLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "resource.h"
#include "taskring.h" /* TR_API and the limits */

#ifdef __cplusplus
extern "C" {
#endif

#define TR_PLUGIN_ABI 2u

struct tr_task;

/* ---- what a handler may know ------------------------------------------------------------- */

/* Texts live as long as the task does. */
TR_API const char *tr_task_id(const struct tr_task *task);      /* 36 characters */
TR_API const char *tr_task_handler(const struct tr_task *task);
TR_API const char *tr_task_queue(const struct tr_task *task);
/* As it was added with; of a request "TRACEPARENT;request_id=ID", or "TRACEPARENT;" with the trace's own id. "": none. */
TR_API const char *tr_task_trace(const struct tr_task *task);
/*
 * The arguments: a valid JSON text, zero-terminated. (Only an on-failure callback may see other
 * text: what was given, after TR_FAILED_BAD_ARGUMENTS; and null, when a spool file cannot be read.)
 */
TR_API const char *tr_task_args(const struct tr_task *task);
TR_API size_t tr_task_args_bytes(const struct tr_task *task);
TR_API uint32_t tr_task_attempt(const struct tr_task *task);      /* 1 for the first */
TR_API uint32_t tr_task_max_attempts(const struct tr_task *task);
/*
 * The path of the file that the task owns (see background_tasks_attach()); NULL: it has none. taskd
 * deletes it when the task has ended; a handler reads it. (NULL also when memory runs out.)
 */
TR_API const char *tr_task_file(const struct tr_task *task);
/*
 * The handle of a resource that the running handler names in its `resources`, opened or checked
 * before its run(): never NULL for those. NULL: the handler has not named it, or
 * an on-failure callback asks.
 */
TR_API void *tr_resource(struct tr_task *task, const char *name);

enum tr_stop {
	TR_GO_ON,
	TR_OUT_OF_TIME,   /* the soft timeout has passed; the hard one will kill the worker */
	TR_CANCELLED_NOW, /* somebody cancelled the task; see below what comes next */
	TR_SHUTTING_DOWN, /* taskd drains; after drain_timeout the worker is killed and the task re-queued */
};

/*
 * Cheap (one atomic load and a clock read): ask it in every round of a long loop.
 *
 * A cancelled task that has not ended cancel_term (10 s) after it was told costs its worker: the
 * process gets SIGTERM, and SIGKILL cancel_kill (2 s) later, whatever else it runs, which then runs
 * again elsewhere. Otherwise a worker ignores SIGTERM, so that signals to the whole process group end
 * no task. A plug-in that must leave something in order may install a handler of its own with
 * sigaction(2), from its start(): it is then called for signals to the group, too (si_pid tells them
 * apart: taskd's own comes from the process itself), and must end the process itself (_exit(2)).
 */
TR_API enum tr_stop tr_should_stop(const struct tr_task *task);

/* ---- what a handler may say -------------------------------------------------------------- */

/*
 * Progress, shown live and not kept: the journal has none. `total` 0: unknown. `text` may be NULL; it is cut at
 * TR_TEXT_MAX bytes.
 */
TR_API void tr_progress(struct tr_task *task, uint64_t done, uint64_t total, const char *text);

enum tr_level { TR_ERROR = 3, TR_WARNING = 4, TR_INFO = 6, TR_DEBUG = 7 }; /* as syslog's */

/*
 * A line of the task's log; cut at 1,000 bytes; newlines at its end are dropped, other control
 * characters and what is not UTF-8 are made visible. So are all texts below.
 */
TR_API void tr_log(struct tr_task *task, enum tr_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/*
 * The task's result, a JSON text of at most TR_RESULT_MAX bytes; the last one counts. False: not
 * JSON or too large; nothing was kept, and the reason is in the task's log.
 */
TR_API bool tr_result_json(struct tr_task *task, const char *json);

/* What run() returns: TR_SUCCESS, TR_PENDING, or what one of the functions below answers. */
enum tr_outcome {
	TR_SUCCESS,
	TR_FAILURE,
	TR_PERMANENT_FAILURE,
	TR_SNOOZE,
	TR_PENDING, /* it goes on, and tr_finish() will end it: see "asynchronous handlers" */
};

/* Failed; worth another attempt. The message, cut at 1,000 bytes, is kept with the attempt. */
TR_API enum tr_outcome tr_fail(struct tr_task *task, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/*
 * Failed; and the default callback waits at least `delay_ms` before the next attempt, as a peer's
 * Retry-After asks for. Answers TR_FAILURE.
 */
TR_API enum tr_outcome tr_fail_retry_after(struct tr_task *task, uint64_t delay_ms, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Failed for good: the default callback buries at once. */
TR_API enum tr_outcome tr_fail_permanently(struct tr_task *task, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Not now: run again after `delay_ms`. Counts neither as an attempt nor as a failure. */
TR_API enum tr_outcome tr_snooze(struct tr_task *task, uint64_t delay_ms);

/*
 * Runs another handler, by name, with arguments of its own, as part of this attempt, and answers
 * its outcome; messages and log lines count for this task. An unknown name is a permanent failure.
 * Calls may nest 8 deep. Used e.g. to hand a composed message to the built-in "mail". `args` is
 * copied; NULL: "{}". The called handler's resources are opened as for a task of its own.
 *
 * When it answers TR_PENDING, the caller must return (or finish with) that at once: the task is the
 * called handler's from then on, and ends when that one finishes it.
 */
TR_API enum tr_outcome tr_call(struct tr_task *task, const char *handler, const char *args);

/* ---- asynchronous handlers --------------------------------------------------------------- */

/*
 * A handler that mostly waits need not hold its thread: run() starts something on the worker thread's
 * event loop (libuv's), returns TR_PENDING, and a callback of that loop ends the task later with
 * tr_finish(). Meanwhile the thread takes other tasks: one thread carries 1,024 pending ones.
 *
 *     run() ── TR_PENDING ──► callbacks of the loop ── tr_finish() ──► the task has ended
 *
 * run(), callbacks and tr_finish() are all on the one thread, so handlers need no locks, and none of
 * them may wait: the loop of all pending tasks stands still meanwhile. For the same reason give
 * asynchronous handlers a queue and pool of their own: a task of another handler that the thread takes
 * holds up the loop while it runs. Until tr_finish() returns, `task` and all texts got from it live,
 * and the functions above may be called with it. The worker leaves (max_tasks, max_memory, taskd's
 * end) only when its pending tasks have ended.
 *
 * Misuse is refused with a line in taskd's log, and where that would leave the task pending for ever,
 * the task fails permanently: TR_PENDING with nothing active on the loop, and a loop that has run out
 * of active handles and requests while tasks are pending. tr_finish() of a task that has ended is
 * refused, too, as long as the worker has not used its memory for a later one.
 */
struct uv_loop_s; /* uv_loop_t of <uv.h> */

/*
 * The loop of the thread that runs the task. It lives as long as the thread; handles on it are the
 * handler's to close, at the latest in a resource's close(). It must not be run, stopped or closed.
 * NULL: it cannot be made for want of memory, descriptors or threads: return tr_fail(); also in a
 * child that a handler has forked.
 */
TR_API struct uv_loop_s *tr_loop(struct tr_task *task);

typedef void tr_stop_fn(struct tr_task *task, enum tr_stop why, void *context);

/*
 * stop() is called once, on the loop, when the pending task is cancelled, is out of time (soft
 * timeout), or taskd drains. It should make the task end soon, and may call tr_finish() itself. A
 * later call replaces the function; NULL: none. What happened before, also while run() still ran,
 * is told soon after. tr_should_stop() answers the same.
 */
TR_API void tr_on_stop(struct tr_task *task, tr_stop_fn *stop, void *context);

/*
 * Ends a pending task: TR_SUCCESS, or what tr_fail(), tr_fail_permanently(), tr_snooze() or tr_call()
 * answered (TR_PENDING of the latter: it stays pending). Never from inside run() or from another
 * thread: that is refused. `task` must not be used afterwards.
 */
TR_API void tr_finish(struct tr_task *task, enum tr_outcome outcome);

/* ---- what an on-failure callback sees and answers ---------------------------------------- */

enum tr_failure_kind {
	TR_FAILED_RETURNED,      /* run() returned TR_FAILURE or TR_PERMANENT_FAILURE */
	TR_FAILED_TIMEOUT,       /* the hard timeout passed and the worker was killed */
	/* The worker died by a signal of its own making, or by exit(). Of all that it ran, the pending ones
	 * too: nobody knows whose code did it. */
	TR_FAILED_CRASHED,
	TR_FAILED_KILLED,        /* somebody else killed the worker: kill -9, the OOM killer */
	TR_FAILED_BAD_ARGUMENTS, /* the arguments are not JSON, or no such handler */
	TR_FAILURE_KINDS
};

TR_API const char *tr_failure_kind_name(enum tr_failure_kind kind);

struct tr_failure {
	enum tr_failure_kind kind;
	bool permanent;          /* the handler said that another attempt is useless */
	uint32_t attempt;        /* the one that failed, 1 for the first */
	uint32_t max_attempts;
	uint32_t backoff_base_ms, backoff_cap_ms;
	const char *message;     /* never NULL */
	int exit_code, signal;   /* of a worker that died; else 0 */
	uint64_t peak_memory_kb; /* of a worker that died; else 0 */
	uint64_t retry_after_ms; /* what tr_fail_retry_after() was given; else 0. The default waits at least so long */
};

enum tr_verdict_kind { TR_VERDICT_DEFAULT, TR_VERDICT_RETRY, TR_VERDICT_BURY, TR_VERDICT_DISCARD, TR_VERDICT_ENQUEUE };

/*
 * Made by the functions below. RETRY: again after delay_ms, whatever max_attempts says (see
 * failure->attempt). BURY: dead. DISCARD: ends as cancelled, nobody needs to look. ENQUEUE: this
 * task is buried and another is queued in the same journal commit. DEFAULT: as if there were no
 * callback: exponential backoff with full jitter up to max_attempts, then dead.
 */
struct tr_verdict {
	enum tr_verdict_kind kind;
	uint64_t delay_ms;
};

TR_API struct tr_verdict tr_default(void);
TR_API struct tr_verdict tr_retry_after(uint64_t delay_ms);
TR_API struct tr_verdict tr_bury(void);
TR_API struct tr_verdict tr_discard(void);
/*
 * `args` is copied (at most TR_ARGS_INLINE_MAX bytes of JSON; NULL: "{}"); `queue` NULL: the failed
 * task's queue. What is not allowed is logged, and the default decides.
 */
TR_API struct tr_verdict tr_enqueue(struct tr_task *task, const char *handler, const char *args,
    const char *queue);

/* ---- the plug-in's tables ---------------------------------------------------------------- */

typedef enum tr_outcome tr_run_fn(struct tr_task *task);
typedef struct tr_verdict tr_on_failure_fn(struct tr_task *task, const struct tr_failure *failure);

struct tr_handler {
	const char *name; /* 1..TR_NAME_MAX of [A-Za-z0-9._-]; unique among all plug-ins */
	const char *doc;  /* one line */
	tr_run_fn *run;
	tr_on_failure_fn *on_failure; /* or NULL: the default */
	/*
	 * The names of the resources that run() needs, of this plug-in or another, NULL after the last; or
	 * NULL: none. One that cannot be opened fails the attempt with its message, as tr_fail() does.
	 */
	const char *const *resources;
	/*
	 * Members of the arguments, which are then a JSON object, that nobody is to see: passwords, tokens. Names
	 * of [A-Za-z0-9._-] as they stand at the top level, NULL after the last; or NULL: none. With ".*" behind it a
	 * name stands for all members of that object: their names are shown, their values are not. Wherever arguments
	 * are shown or searched (tr_task_detail(), tr_tasks_list(), dashboard, taskctl) such a member, whatever it
	 * holds, reads "***". The handler itself gets the arguments as they were given; what it logs, and the file of
	 * the journal, are its and your own affair. With the commas between them at most TR_SECRETS_MAX bytes, else
	 * the plug-in is refused.
	 */
	const char *const *secrets;
};

/* A callback that a task can name in its options. Built in: "default", "bury", "discard". */
struct tr_callback {
	const char *name;
	const char *doc;
	tr_on_failure_fn *call;
};

struct tr_plugin {
	uint32_t abi; /* TR_PLUGIN_ABI */
	uint32_t handler_count;
	const struct tr_handler *handlers;
	uint32_t callback_count;
	const struct tr_callback *callbacks;
	/* Both may be NULL. start() runs once per worker process, before its first task; 0 is well,
	 * anything else stops the worker. stop() runs when a worker ends in order. A reload runs both
	 * in one more process, which takes no task, before it replaces any worker. */
	int (*start)(void);
	void (*stop)(void);
	uint32_t resource_count;
	const struct tr_resource *resources; /* see resource.h */
};

/* Defined by each plug-in; declared here so that it is exported whatever -fvisibility says. */
TR_API extern const struct tr_plugin taskring_plugin;

#ifdef __cplusplus
}
#endif
#endif
