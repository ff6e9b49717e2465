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
 * A struct tr_task belongs to the thread that runs it, and ends when run() or on_failure() returns.
 * Signal safety: none of these functions may be called from a signal handler.
 */
#ifndef TASKRING_HANDLER_H
#define TASKRING_HANDLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "taskring.h" /* TR_API and the limits */

#ifdef __cplusplus
extern "C" {
#endif

#define TR_PLUGIN_ABI 1u

struct tr_task;

/* ---- what a handler may know ------------------------------------------------------------- */

/* Texts live as long as the task does. */
TR_API const char *tr_task_id(const struct tr_task *task);      /* 36 characters */
TR_API const char *tr_task_handler(const struct tr_task *task);
TR_API const char *tr_task_queue(const struct tr_task *task);
TR_API const char *tr_task_trace(const struct tr_task *task);   /* "" when there is none */
/*
 * The arguments: a valid JSON text, zero-terminated. (Only an on-failure callback may see other
 * text: what was given, after TR_FAILED_BAD_ARGUMENTS; and null, when a spool file cannot be read.)
 */
TR_API const char *tr_task_args(const struct tr_task *task);
TR_API size_t tr_task_args_bytes(const struct tr_task *task);
TR_API uint32_t tr_task_attempt(const struct tr_task *task);      /* 1 for the first */
TR_API uint32_t tr_task_max_attempts(const struct tr_task *task);

enum tr_stop {
	TR_GO_ON,
	TR_OUT_OF_TIME,   /* the soft timeout has passed; the hard one will kill the worker */
	TR_CANCELLED_NOW, /* somebody cancelled the task */
	TR_SHUTTING_DOWN, /* taskd drains; after drain_timeout the worker is killed and the task re-queued */
};

/* Cheap (one atomic load and a clock read): ask it in every round of a long loop. */
TR_API enum tr_stop tr_should_stop(const struct tr_task *task);

/* ---- what a handler may say -------------------------------------------------------------- */

/* Progress, shown live. `total` 0: unknown. `text` may be NULL; it is cut at TR_TEXT_MAX bytes. */
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

/* What run() returns: TR_SUCCESS or what one of the functions below answers. */
enum tr_outcome { TR_SUCCESS, TR_FAILURE, TR_PERMANENT_FAILURE, TR_SNOOZE };

/* Failed; worth another attempt. The message, cut at 1,000 bytes, is kept with the attempt. */
TR_API enum tr_outcome tr_fail(struct tr_task *task, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Failed for good: the default callback buries at once. */
TR_API enum tr_outcome tr_fail_permanently(struct tr_task *task, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Not now: run again after `delay_ms`. Counts neither as an attempt nor as a failure. */
TR_API enum tr_outcome tr_snooze(struct tr_task *task, uint64_t delay_ms);

/*
 * Runs another handler, by name, with arguments of its own, as part of this attempt, and answers
 * its outcome; messages and log lines count for this task. An unknown name is a permanent failure.
 * Calls may nest 8 deep. Used e.g. to hand a composed message to the built-in "mail".
 */
TR_API enum tr_outcome tr_call(struct tr_task *task, const char *handler, const char *args);

/* ---- what an on-failure callback sees and answers ---------------------------------------- */

enum tr_failure_kind {
	TR_FAILED_RETURNED,      /* run() returned TR_FAILURE or TR_PERMANENT_FAILURE */
	TR_FAILED_TIMEOUT,       /* the hard timeout passed and the worker was killed */
	TR_FAILED_CRASHED,       /* the worker died by a signal of its own making, or by exit() */
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
	 * anything else stops the worker. stop() runs when a worker ends in order. */
	int (*start)(void);
	void (*stop)(void);
};

/* Defined by each plug-in; declared here so that it is exported whatever -fvisibility says. */
TR_API extern const struct tr_plugin taskring_plugin;

#ifdef __cplusplus
}
#endif
#endif
