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
};

struct taskring;

/*
 * Opens the instance `name` (1..TR_NAME_MAX of [A-Za-z0-9._-], not starting with a dot), and makes
 * its ring if there is none: a producer may start before taskd. `options` may be NULL. *ring is the
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
 * independently. Errors: NO_MEMORY, FORKED.
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
 * Publishes the whole batch or nothing, and never waits for room. After TR_OK the batch is empty.
 * After an error it is as before and may be published again or cleared.
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
	uint64_t progress_done, progress_total;
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
 * the board has it. Errors: NOT_FOUND, NO_MEMORY, VERSION_MISMATCH, FORKED.
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

/* ---- many tasks -------------------------------------------------------------------------- */

/* All zero: every task. */
struct tr_task_filter {
	unsigned states;             /* 1u << enum tr_state, joined by |; 0: all */
	const char *handler, *queue; /* exactly this name; NULL: any */
};

/*
 * Lists tasks, the newest first (by id, thus by the time of their making), from journal and board:
 * those below *before (NULL: from the newest), at most `limit` (1..TR_LIST_MAX) of them into rows[],
 * *count says how many. Each row is freed with tr_task_status_clear(). *next is where the next page
 * begins, to be given as `before`; all zero: there is none. The work of a call is bounded, so a page
 * may be short, even empty, when few of many tasks match; go on with *next. Tasks that taskd has not
 * yet taken out of the ring are not listed. Works while taskd is stopped or dead. Any thread.
 * `filter` may be NULL. After an error *count is 0 and nothing is to be freed.
 * Errors: INVALID (limit, or a name that none can have), NO_MEMORY, VERSION_MISMATCH, SYSTEM, FORKED.
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
 * not got there yet; of the latter up to 79 bytes are shown. Of each attempt the first TR_LOG_LINES_MAX
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

/* How the instance is, read from shared memory only. */
struct tr_health {
	bool ring_ok;                /* the ring is there and in order */
	bool taskd_alive;            /* the dispatcher has shown life in the last seconds */
	int64_t taskd_seen_ms;       /* when it last did, ms since 1970; 0: never */
	int64_t oldest_waiting_ms;   /* how long the longest waiting due task has waited, ms */
	uint64_t waiting, running;   /* tasks */
	uint64_t ring_cells_used, ring_cells;
};

/* Errors: NO_BOARD, VERSION_MISMATCH (ring_ok and the ring_ figures are filled in all the same). */
TR_API enum tr_result tr_health(struct taskring *ring, struct tr_health *health);

#ifdef __cplusplus
}
#endif
#endif
