/*
 * taskring: background tasks for web applications. The producer's side.
 *
 * A program opens an instance once, fills a batch of background tasks while it works on a request,
 * and publishes the batch when the request has succeeded. Publishing is one compare-and-swap in
 * shared memory; no system call is made unless taskd sleeps. taskd runs the tasks.
 *
 * Thread safety: a struct taskring may be used by any number of threads at the same time. A struct
 * background_tasks belongs to one thread at a time.
 * Signal safety: no function here may be called from a signal handler.
 * fork(): a child must not use what its parent opened; every call in it answers TR_FORKED. It
 * opens its own instance.
 */
#ifndef TASKRING_H
#define TASKRING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TR_API __attribute__((visibility("default")))

/* Limits, in bytes without a terminating zero where text is meant. */
#define TR_NAME_MAX 63                    /* instance, handler, queue and callback names */
#define TR_TRACE_MAX 255                  /* W3C traceparent, or any printable ASCII */
#define TR_ARGS_INLINE_MAX (16u << 10)    /* arguments up to this size travel in the lane */
#define TR_ARGS_MAX (16u << 20)           /* larger ones go through a spool file, up to this */
#define TR_BATCH_MAX 256                  /* tasks in one batch */
#define TR_TEXT_MAX 255                   /* error and progress texts as the board shows them */
#define TR_RESULT_SHOWN_MAX 255           /* results up to this size stand on the board */
#define TR_RESULT_MAX (64u << 10)         /* a result's JSON text */
#define TR_ATTEMPTS_MAX 1000
#define TR_LIST_MAX 500                   /* tasks in one page of tr_tasks_list() */
#define TR_LOG_LINE_MAX 1000              /* a log line's text */
#define TR_LOG_LINES_MAX 200              /* log lines kept of one attempt */
#define TR_LOG_SHOWN_MAX 1000             /* log lines that tr_task_log() gives */
#define TR_SECRETS_MAX 255                /* a handler's secrets, see handler.h */
#define TR_ATTEMPTS_SHOWN_MAX 100         /* attempts that tr_task_detail() gives */
#define TR_ARGS_SHOWN_MAX (64u << 10)     /* arguments that tr_task_detail() gives */
#define TR_FILTER_TEXT_MAX 255            /* a text or value that tasks are filtered by */
#define TR_FILTER_ARGS_MAX 4              /* arguments that tasks are filtered by */
#define TR_DELAY_MS_MAX (10ll * 366 * 24 * 3600 * 1000)
#define TR_TIMEOUT_MS_MAX (7u * 24 * 3600 * 1000)

enum tr_result {
#define RESULT(name, status, text) TR_##name,
#include "results.tbl"
#undef RESULT
	TR_RESULTS
};

/* Never NULL; static storage. A value outside the enumeration gives "UNKNOWN" and 500. */
TR_API const char *tr_result_name(enum tr_result result);
TR_API const char *tr_result_text(enum tr_result result);
TR_API int tr_result_http_status(enum tr_result result);

enum tr_state {
#define STATE(name, shown, ended, text) TR_##name,
#include "states.tbl"
#undef STATE
	TR_STATES
};

TR_API const char *tr_state_name(enum tr_state state);
TR_API bool tr_state_is_ended(enum tr_state state);
/* The state of that name, or TR_STATES. */
TR_API enum tr_state tr_state_by_name(const char *name);

/* What went wrong, for a person: names the field, file or number. Empty after TR_OK. */
struct tr_error {
	char text[256];
};

/*
 * A task's id: a UUID version 7 (RFC 9562), so ids sort by the time of their making and are unique
 * across machines. The tasks of one batch have consecutive ids, as 128-bit big-endian numbers.
 */
struct tr_id {
	uint8_t bytes[16];
};

#define TR_ID_TEXT_SIZE 37 /* 36 characters and the zero */

/* Writes the lower-case 8-4-4-4-12 form. Returns `text`. */
TR_API char *tr_id_format(const struct tr_id *id, char text[TR_ID_TEXT_SIZE]);
/* Takes exactly 36 characters, either case. False: not a UUID; *id is untouched. */
TR_API bool tr_id_parse(const char *text, struct tr_id *id);

/* ---- an instance ------------------------------------------------------------------------- */

/*
 * The geometry of a ring. Zero in a field: the default when the ring is made, whatever is there
 * when it exists already. Anything else must equal what is there, or tr_open() refuses.
 */
struct tr_geometry {
	uint32_t lanes;          /* producers at the same time, 1..512, default 64 */
	uint32_t slots_per_lane; /* a power of two, 64..32768, default 1024 */
	uint32_t slot_bytes;     /* a multiple of 64, 128..4096, default 256 */
	uint32_t cells;          /* batches waiting, a power of two, 16384..1048576, default 16384 */
};

struct tr_open_options {
	struct tr_geometry geometry;
	const char *spool_dir; /* for large arguments and tasks' files; NULL: tasks with such are refused */
	const char *journal;   /* taskd's journal file, read for tasks no longer on the board; or NULL */
	uint32_t mode;         /* permission bits of a ring made here; 0 means 0600 */
	bool look;             /* a ring that is not there is not made: looking works all the same, publishing
	                        * answers TR_NO_RING */
	/*
	 * Whatever is published, batches and commands, waits up to so long for room, or a lane; 0: never. When somebody
	 * has waited in vain and taskd has taken over nothing in that time, nobody waits, until there is room again.
	 */
	uint32_t room_wait_ms;
};

struct taskring;

/*
 * Opens the instance `name` (1..TR_NAME_MAX of [A-Za-z0-9._-], not starting with a dot), and makes
 * its ring if there is none (but see `look`): a producer may start before taskd. `options` may be NULL. *ring is the
 * caller's, to be closed with tr_close(); NULL after an error. `error` may be NULL.
 * Errors: INVALID, VERSION_MISMATCH, GEOMETRY_MISMATCH, NO_SPACE, NO_MEMORY, SYSTEM.
 */
TR_API enum tr_result tr_open(struct taskring **ring, const char *name,
    const struct tr_open_options *options, struct tr_error *error);

/* Gives the lanes back and unmaps. What was published stays. *ring is NULL afterwards. */
TR_API void tr_close(struct taskring **ring);

/* ---- a batch of background tasks --------------------------------------------------------- */

enum tr_durability {
	TR_MEMORY, /* survives the death of any process or of all of them */
	TR_DISK,   /* publishing also waits until the journal's fsync has covered the batch */
};

/* All zero means: what the handler's queue and taskd's configuration say. */
struct task_options {
	const char *queue;         /* NULL: "default" */
	const char *on_failure;    /* a callback's name; NULL: the handler's own, else the default */
	const char *trace;         /* trace context carried along, e.g. a W3C traceparent; or NULL */
	uint32_t max_attempts;     /* 0: 5 */
	uint32_t backoff_base_ms;  /* first retry's upper bound; 0: 1,000 */
	uint32_t backoff_cap_ms;   /* any retry's upper bound; 0: 600,000 */
	uint32_t soft_timeout_ms;  /* the handler is told; 0: none, or a little before the hard one */
	uint32_t hard_timeout_ms;  /* the worker is killed; 0: taskd's configured default */
	int64_t delay_ms;          /* not before this long from now; with run_at_ms the later counts */
	int64_t run_at_ms;         /* not before this time, ms since 1970; 0: at once */
	int64_t expires_after_ms;  /* must have started by then, ms from now; 0: never expires */
};

struct background_tasks;

/*
 * A batch, empty. It may be used for one request after another: publishing and clearing empty it.
 * Tasks of one batch run one after the other, in the order in which they were added; a task whose
 * predecessor ends other than succeeded is cancelled. With background_tasks_concurrent() they run
 * independently. Errors: NO_RING (the instance was opened to look at), NO_MEMORY, FORKED.
 */
TR_API enum tr_result background_tasks_new(struct background_tasks **background, struct taskring *ring);
TR_API void background_tasks_free(struct background_tasks **background);
TR_API void background_tasks_concurrent(struct background_tasks *background, bool concurrent);
TR_API void background_tasks_durability(struct background_tasks *background, enum tr_durability durability);

/*
 * Adds a task: `handler` is the name it has in its plug-in, `args` a JSON text (NULL means "{}"),
 * `options` may be NULL. Everything is copied. What is not allowed is refused here, with the field
 * named in background_tasks_error(), and the batch stays as it was.
 * That `args` is JSON is checked where it is parsed, by the worker: text that is not fails as
 * "bad arguments", and its on-failure callback sees it.
 * Errors: INVALID, TOO_LARGE, NO_SPACE (spool), NO_MEMORY, SYSTEM (spool), FORKED.
 */
TR_API enum tr_result background_tasks_add(struct background_tasks *background, const char *handler,
    const char *args, const struct task_options *options);

/*
 * A nameless file in the spool directory, open for reading and writing, close-on-exec, for a task to
 * own: the caller writes it, from its beginning and as large as it likes, and gives it to
 * background_tasks_attach(), or closes it, and it is gone. Any thread. -1: *error says why (`error`
 * may be NULL): no spool_dir was given to tr_open(), the disk is full, the system refused.
 */
TR_API int tr_spool_file(struct taskring *ring, struct tr_error *error);

/*
 * The task that was added last owns the file `fd`, made by tr_spool_file(), from now on; a task owns at
 * most one. `fd` is the batch's, also after an error: do not use or close it. The file gets its name,
 * <spool_dir>/<id>.file, when the batch is published, before the batch can be seen (with TR_DISK it is
 * on disk by then), and loses it again when the publishing fails. The handler reads it
 * (tr_task_file()). taskd deletes it when the task has ended; of a dead task it stays, so that the
 * task can be retried, until retention removes the task. Clearing the batch deletes it.
 * Errors: INVALID (no task was added, it has a file already, not such a file), NO_MEMORY, FORKED.
 */
TR_API enum tr_result background_tasks_attach(struct background_tasks *background, int fd);

/* How many tasks the batch holds, and the id of each: fixed when it is added, valid at once. */
TR_API size_t background_tasks_count(const struct background_tasks *background);
TR_API struct tr_id background_tasks_id(const struct background_tasks *background, size_t index);
/* The sentence for the last call that did not answer TR_OK. Never NULL. */
TR_API const char *background_tasks_error(const struct background_tasks *background);

/*
 * Publishes the whole batch or nothing; waits for room if tr_open() was told to. After TR_OK the batch is
 * empty. After an error it is as before and may be published again or cleared.
 * With TR_DISK it waits after publishing, up to `durable_timeout_ms`, for the fsync that covers it;
 * TR_NOT_DURABLE then means: published, will run, but the disk has not confirmed it; the batch is
 * empty. An empty batch publishes nothing and is TR_OK.
 * Errors: RING_FULL, LANE_FULL, NO_LANE, RING_DAMAGED, NO_SPACE, NOT_DURABLE, FORKED, SYSTEM.
 */
TR_API enum tr_result background_tasks_publish(struct background_tasks *background,
    uint32_t durable_timeout_ms);

/* Forgets what was added; nothing of it will run. */
TR_API void background_tasks_clear(struct background_tasks *background);

/* ---- one task ---------------------------------------------------------------------------- */

/* Times are ms since 1970, 0: not yet. Texts are UTF-8, cut at a character when too long. */
struct tr_task_status {
	struct tr_id id;
	enum tr_state state;
	uint32_t attempt;      /* 1 for the first; 0: not started yet */
	uint32_t max_attempts;
	int64_t created_ms, due_ms, started_ms, ended_ms;
	uint64_t progress_done, progress_total; /* the board's; 0 where only the journal knows the task */
	char handler[TR_NAME_MAX + 1];
	char queue[TR_NAME_MAX + 1];
	char progress_text[TR_TEXT_MAX + 1];
	char error[TR_TEXT_MAX + 1]; /* the last failure's message */
	char *result;                /* JSON, or NULL; freed by tr_task_status_clear() */
	bool cancelling;             /* somebody asked to cancel it, and it still runs */
};

/*
 * Looks a task up: on the board, in the ring, in the journal, in that order, so that a task whose
 * id was once given out is always found until retention has removed it. Makes no system call when
 * the board has it. A result of more than TR_RESULT_SHOWN_MAX bytes is the journal's: its task is shown as
 * running until it is there. Errors: NOT_FOUND, NO_MEMORY, VERSION_MISMATCH, FORKED.
 */
TR_API enum tr_result tr_task_status(struct taskring *ring, const struct tr_id *id,
    struct tr_task_status *status);
TR_API void tr_task_status_clear(struct tr_task_status *status);

/*
 * Asks taskd to cancel a task. The request travels through the ring like a task. A waiting task
 * ends as cancelled; a running one is told (see tr_should_stop()), and if it does not end, its worker
 * is ended (cancel_term and cancel_kill in taskd.conf(5)). It never starts again. Errors: as
 * background_tasks_publish(). TR_OK means: asked.
 */
TR_API enum tr_result tr_task_cancel(struct taskring *ring, const struct tr_id *id);

/*
 * Asks taskd to queue a dead task again, with fresh attempts: up to max_attempts more may fail. Its
 * attempts go on counting, the earlier ones are kept, and so are its arguments and its file. The
 * request travels through the ring like a task; TR_OK means: asked. Whether it is dead is judged by
 * what board and journal show now, and once more by taskd, which ignores the request if it is not.
 * Errors: NOT_FOUND, INVALID (it is not dead), NO_MEMORY, VERSION_MISMATCH, SYSTEM (the journal cannot be
 * read), and those of background_tasks_publish().
 */
TR_API enum tr_result tr_task_retry(struct taskring *ring, const struct tr_id *id);

/*
 * Asks taskd to discard a task that does not run: one that is queued, scheduled, retrying or dead ends as
 * cancelled, and nobody needs to look at it any more (a dead one's file and arguments in the spool go, too).
 * The request travels through the ring like a task; TR_OK means: asked. It is judged by what board and
 * journal show now, and once more by taskd, which ignores it of a task that runs by then, or has ended otherwise.
 * Errors: as tr_task_retry(); INVALID: it runs (cancel it), or has ended.
 */
TR_API enum tr_result tr_task_discard(struct taskring *ring, const struct tr_id *id);

/*
 * Asks taskd to run a scheduled or retrying task now instead of when it is due. It is then due at once
 * and takes its turn in its queue; a sequential one still waits for the task before it. Else as
 * tr_task_discard(). Errors: as there; INVALID: it is neither scheduled nor retrying.
 */
TR_API enum tr_result tr_task_run(struct taskring *ring, const struct tr_id *id);

/*
 * What a dead task was added with, to add one like it. `options` has what the task was told but the times, its
 * texts are this struct's. `args` are the arguments as they are, secrets included: for who adds a task with
 * them, not to be shown (see tr_task_detail()).
 */
struct tr_task_recipe {
	char handler[TR_NAME_MAX + 1], queue[TR_NAME_MAX + 1], on_failure[TR_NAME_MAX + 1];
	struct task_options options;
	char *args;    /* a JSON text */
	bool has_file; /* the task owns a file, which one like it would not have */
};
/* Errors: NOT_FOUND, INVALID (it is not dead), NO_MEMORY, VERSION_MISMATCH, SYSTEM, FORKED. Any thread. */
TR_API enum tr_result tr_task_recipe(struct taskring *ring, const struct tr_id *id, struct tr_task_recipe *recipe);
TR_API void tr_task_recipe_clear(struct tr_task_recipe *recipe);

enum tr_command { TR_CANCEL, TR_RETRY, TR_DISCARD, TR_RUN };

/*
 * The same of many tasks: as tr_task_cancel(), tr_task_retry() and so on of each, but what
 * state a task is in is judged by taskd alone, which ignores the command for one that it does not fit. `ids`
 * are those of a page of tr_tasks_list(), say. *asked: of how many taskd was asked, the first ones; after an
 * error it may be less than `count`, and the call may be made again with all of them: asking twice does no harm.
 * Errors: those of background_tasks_publish(). Any thread.
 */
TR_API enum tr_result tr_tasks_command(struct taskring *ring, enum tr_command command, const struct tr_id *ids,
    size_t count, size_t *asked);

/*
 * Asks taskd to forget a task that has ended: its row, attempts, log lines and files go, and it is not shown
 * any more, as if retention had removed it. Else as tr_task_discard(). Errors: as there; INVALID: it has not ended.
 */
TR_API enum tr_result tr_task_purge(struct taskring *ring, const struct tr_id *id);

/*
 * Asks taskd to pause the queue: none of its tasks starts until it is resumed. Those that run go on, new
 * ones are accepted and wait, scheduled ones become due, and tasks may expire meanwhile. A paused queue stays so
 * over restarts of taskd and of the machine. A queue that has no tasks (yet) can be paused. Pausing what is
 * paused, or resuming what is not, changes nothing. TR_OK means: asked; the board's row of the
 * queue shows it when taskd has obeyed. At most TR_PAUSED_MAX queues are paused at a time; taskd
 * refuses more, counted as command_refused. Errors: INVALID (a name that no queue can have), and those of
 * background_tasks_publish().
 */
#define TR_PAUSED_MAX 256
TR_API enum tr_result tr_queue_pause(struct taskring *ring, const char *queue);
TR_API enum tr_result tr_queue_resume(struct taskring *ring, const char *queue);

/* ---- one task in full -------------------------------------------------------------------- */

struct tr_attempt {
	uint32_t number;             /* 1 for the first */
	int64_t started_ms, ended_ms; /* ms since 1970; ended_ms 0: it runs */
	int32_t worker_pid;
	int32_t exit_code, signal;   /* of a worker that died with it; else 0 */
	uint64_t peak_memory_kb;     /* of a worker that died with it; else 0 */
	char outcome[16];            /* "succeeded" "failed" "timeout" "crashed" "killed" "bad arguments" "snoozed"
	                              * "interrupted" "cancelled"; "running" */
	char verdict[24];            /* of the on-failure callback: "retry" "bury" "discard" "enqueue", with
	                              * " (default)" where the default stood in; "": none was asked */
	char message[TR_LOG_LINE_MAX + 1]; /* of a failure; "": none */
};

struct tr_task_detail {
	struct tr_task_status status;
	/*
	 * The arguments, a JSON text, as they may be shown: what the handler declares as secret (`secrets` in
	 * handler.h) reads "***". Of a handler that the board does not show, and of arguments that are no JSON
	 * object though the handler has secrets, nothing but the members' names is known to be harmless: each
	 * value, or the whole, reads "***". NULL: they are not here to be shown: larger than
	 * TR_ARGS_SHOWN_MAX, or the task has no row and is not in the ring any more.
	 */
	char *args;
	uint32_t args_bytes;         /* of the arguments as they are; 0: not known */
	bool redacted;               /* something in args reads "***" */
	bool has_file;               /* the task owns a file */
	char trace[TR_TRACE_MAX + 1];
	char on_failure[TR_NAME_MAX + 1]; /* "": the handler's own */
	uint32_t backoff_base_ms, backoff_cap_ms, soft_timeout_ms, hard_timeout_ms; /* 0: not named */
	int64_t run_at_ms, expires_at_ms; /* ms since 1970; 0: at once, never */
	struct tr_attempt *attempts; /* the last TR_ATTEMPTS_SHOWN_MAX, oldest first */
	size_t attempt_count;
	/* The tasks of its batch, itself among them, in their order. A task of which nothing but the board's entry is
	 * left has none. */
	struct tr_id *siblings;
	size_t sibling_count, place; /* siblings[place] is the task itself */
	bool sequential;             /* they run one after the other */
};

/*
 * All that is to be known of a task, from board, ring and journal. Freed by tr_task_detail_clear(), which
 * may be called after an error, too. Its log: tr_task_log(). Works while taskd is stopped or dead. Any thread.
 * Errors: NOT_FOUND, NO_MEMORY, VERSION_MISMATCH, SYSTEM, FORKED.
 */
TR_API enum tr_result tr_task_detail(struct taskring *ring, const struct tr_id *id, struct tr_task_detail *detail);
TR_API void tr_task_detail_clear(struct tr_task_detail *detail);

#define TR_EXPLANATION_SIZE 256
/*
 * One sentence on why the task is not running, for a person: it waits for the task before it, for its time,
 * its queue is paused, all workers are busy, taskd does not live; or that it runs, or how it ended.
 * Errors: as tr_task_detail(); the text is then empty.
 */
TR_API enum tr_result tr_task_explain(struct taskring *ring, const struct tr_id *id, char text[TR_EXPLANATION_SIZE]);

/* ---- many tasks -------------------------------------------------------------------------- */

/* All zero: every task. All that is given must hold. */
struct tr_task_filter {
	unsigned states;             /* 1u << enum tr_state, joined by |; 0: all */
	const char *handler, *queue; /* exactly this name; NULL: any */
	/* Stands in the id, the handler, the queue, the error or the arguments, in either case of ASCII letters; in
	 * arguments where they may be shown (see struct tr_task_detail). NULL: any */
	const char *text;
	int64_t from_ms, to_ms;      /* made at or after, and before; ms since 1970, 0: no bound */
	/*
	 * The arguments' member at `path`, as SQLite's JSON paths without "$." (email, user.name, items[0]), is
	 * `value`, compared as text: numbers as SQLite writes them, true and false as JSON does. It matches no secret member, and
	 * nothing of a spool file. The first with path NULL ends the list.
	 */
	struct {
		const char *path, *value;
	} args[TR_FILTER_ARGS_MAX];
};

/*
 * Lists tasks, the newest first (by id, thus by the time of their making), from journal and board:
 * those below *before (NULL: from the newest), at most `limit` (1..TR_LIST_MAX) of them into rows[],
 * *count says how many. Each row is freed with tr_task_status_clear(). *next is where the next page
 * begins, to be given as `before`; all zero: there is none. The work of a call is bounded, so a page
 * may be short, even empty, when few of many tasks match; go on with *next. Tasks that taskd has not
 * yet taken out of the ring are not listed. Works while taskd is stopped or dead. Any thread.
 * `filter` may be NULL. After an error *count is 0 and nothing is to be freed.
 * Errors: INVALID (limit, a name that none can have, a text or value above TR_FILTER_TEXT_MAX, a path that cannot be one), NO_MEMORY, VERSION_MISMATCH, SYSTEM, FORKED.
 */
TR_API enum tr_result tr_tasks_list(struct taskring *ring, const struct tr_task_filter *filter,
    const struct tr_id *before, size_t limit, struct tr_task_status *rows, size_t *count, struct tr_id *next);

struct tr_log_line {
	int64_t at_ms;    /* ms since 1970 */
	uint32_t attempt; /* 1 for the first */
	int level;        /* enum tr_level of handler.h: syslog's numbers */
	char text[TR_LOG_LINE_MAX + 1];
};

/*
 * A task's log lines (tr_log()), oldest first: those in the journal and those on the board that have
 * not got there yet. Of each attempt the first TR_LOG_LINES_MAX
 * are kept; of those, the last TR_LOG_SHOWN_MAX are given. *lines is malloc()ed, *count long, the
 * caller's to free(); NULL when there are none. *dropped: how many more lines the task has logged. A task
 * whose row the journal does not keep (history) leaves its lines on the board only, until later
 * events take their place. Any thread.
 * Errors: NOT_FOUND (no such task), NO_MEMORY, VERSION_MISMATCH, SYSTEM, FORKED.
 */
TR_API enum tr_result tr_task_log(struct taskring *ring, const struct tr_id *id,
    struct tr_log_line **lines, size_t *count, uint64_t *dropped);

/*
 * The trace that a task was added with (struct task_options), "" when there was none; from ring or
 * journal. A task of which the journal keeps no row (history) has one only while it is in the ring.
 * Errors: NOT_FOUND, NO_MEMORY, VERSION_MISMATCH, SYSTEM, FORKED.
 */
TR_API enum tr_result tr_task_origin(struct taskring *ring, const struct tr_id *id, char trace[TR_TRACE_MAX + 1]);

/* ---- the instance ------------------------------------------------------------------------ */

enum tr_span { TR_MINUTE, TR_HOUR };

/* What happened in a minute or an hour. Spans in which nothing did have no row. */
struct tr_history_row {
	int64_t at_ms;   /* when it began, ms since 1970, a whole number of spans */
	uint64_t accepted, succeeded, dead, cancelled, expired; /* tasks */
	uint64_t started, failed; /* attempts; failed in whatever way: returned, timeout, crashed, killed, bad arguments */
	uint64_t waiting, running; /* tasks, at its end */
	uint64_t oldest_wait_ms;   /* the longest seen in it */
	/* Of the attempts started (wait) and ended (run) in it, known to 1/16; 0: there were none. */
	uint64_t wait_p50_ns, wait_p99_ns, wait_p999_ns;
	uint64_t run_p50_ns, run_p99_ns, run_p999_ns;
};

/*
 * The rows of [from_ms, to_ms), oldest first, at most `limit`; *count says how many. Minutes are kept two days,
 * hours a year; an hour's row grows with each of its minutes. taskd writes a minute's row when the
 * minute is over, and the last one when it stops; a kill -9 costs the current minute's. Any thread; works
 * while taskd is dead. Errors: NOT_FOUND (no journal was named to tr_open(), or there is none yet), NO_MEMORY,
 * VERSION_MISMATCH, SYSTEM, FORKED.
 */
TR_API enum tr_result tr_history(struct taskring *ring, enum tr_span span, int64_t from_ms, int64_t to_ms,
    struct tr_history_row *rows, size_t limit, size_t *count);

/* How the instance is, read from shared memory only. */
struct tr_health {
	bool ring_ok;                /* the ring is there and in order */
	bool taskd_alive;            /* the dispatcher has shown life in the last seconds */
	int64_t taskd_seen_ms;       /* when it last did, ms since 1970; 0: never */
	int64_t oldest_waiting_ms;   /* how long the longest waiting due task has waited, ms */
	uint64_t waiting, running;   /* tasks */
	uint64_t ring_cells_used, ring_cells;
};

/*
 * Also notices that the ring was removed or replaced, and takes the new one; publishing does so once taskd has noticed
 * it, within a second, if this process owns a lane. Errors: NO_BOARD, VERSION_MISMATCH (ring_ok and the ring_ figures
 * are filled in all the same).
 */
TR_API enum tr_result tr_health(struct taskring *ring, struct tr_health *health);

#ifdef __cplusplus
}
#endif
#endif
