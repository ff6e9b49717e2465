/*
 * The journal: every task and every attempt, in SQLite (WAL). One thread owns the connection and
 * does all of its work; the dispatcher hands it requests and gets answers through a callback that
 * runs on the journal's thread (it posts them to the event loop with uv_async_send()).
 *
 * What a commit promises: its rows survive the death of any process once `done` runs with
 * error == NULL; with `sync` they also survive power loss. A commit that fails changes nothing and
 * may be handed in again. Requests are carried out in the order of the calls.
 */
#ifndef TASKD_JOURNAL_H
#define TASKD_JOURNAL_H

#include "shared/archive.h" /* JOURNAL_APPLICATION_ID, JOURNAL_SCHEMA */
#include "shared/hist.h"
#include "shared/record.h"

/* The part of a task that changes. Times in ms since 1970, 0: not yet. */
struct journal_state {
	enum tr_state state;
	uint8_t deciding;      /* the attempt has failed and its on-failure callback has not answered */
	uint8_t failure_kind;  /* enum tr_failure_kind; with deciding */
	uint8_t permanent;     /* with deciding */
	uint8_t blocked;       /* waits for the task before it in its batch */
	uint8_t cancel_wanted; /* somebody cancelled it while it ran: it must not start again */
	uint32_t attempt;      /* attempts started */
	uint32_t failures;     /* attempts that count against max_attempts */
	int64_t due_ms, started_ms, ended_ms;
	uint32_t log_lines;    /* of the attempt that runs or was put off */
	int64_t commanded_ns;  /* when the last retry or run that was obeyed was asked for; ns since 1970, 0: none was */
	const char *error;     /* NULL: none; copied by journal_batch_*() */
	const char *result;    /* JSON; NULL: unchanged */
};

struct journal_attempt {
	struct tr_id id;
	uint32_t attempt;
	int64_t started_ms, ended_ms;
	int32_t worker_pid;
	const char *outcome; /* "succeeded" "failed" "timeout" "crashed" "killed" "bad arguments" "snoozed" "interrupted" "cancelled" */
	const char *message; /* "" when there is none */
	const char *verdict; /* "" | "retry" | "bury" | "discard" | "enqueue", with " (default)" where it stood in */
	int32_t exit_code, signal;
	uint64_t peak_memory_kb;
};

/* A line that a handler logged. */
struct journal_line {
	struct tr_id id;
	uint32_t attempt, number; /* of the line in its attempt, from 1 */
	int64_t at_ms;
	int level;        /* enum tr_level */
	const char *text; /* NULL: it was not kept; the row tells how many the attempt had */
};

/* What happened in a minute, or in a part of it. */
struct journal_history {
	int64_t at_ms; /* when the minute began */
#define SUM(name) uint64_t name;
	HISTORY_SUMS(SUM)
#undef SUM
	uint64_t waiting, running; /* at its end */
	uint64_t oldest_wait_ms;   /* the longest seen */
	uint64_t wait[HIST_BUCKETS], run[HIST_BUCKETS]; /* as of struct hist */
};

struct journal;

struct journal_options {
	const char *path;
	int64_t retention_age_ms;  /* ended tasks older than this are removed; 0: never */
	int64_t retention_count;   /* and all but the newest this many; 0: no bound */
	/*
	 * Runs on the journal's thread for each dead task that retention has removed, after the commit; its flags
	 * name files in the spool (RECORD_SPOOLED, RECORD_FILE). May be NULL.
	 */
	void (*removed)(void *context, const struct tr_id *id, uint8_t flags);
	void *removed_context;
	/* Runs on the journal's thread after each request, to wake the dispatcher's loop. */
	void (*wake)(void *context);
	void *wake_context;
};

/*
 * Opens or makes the file (0600), checks that nobody else writes it, that it is ours
 * (application_id), sound (quick_check up to JOURNAL_CHECK_BYTES, above that its edges only, since
 * a check reads everything) and not newer than we are, migrates an older schema in one
 * transaction, and starts the thread. A file that is not right is left untouched: *error says what
 * it is and the way out. INVALID: not ours or damaged; VERSION_MISMATCH: newer; NO_MEMORY; SYSTEM.
 */
#define JOURNAL_CHECK_BYTES (256ll << 20)
enum tr_result journal_open(struct journal **journal, const struct journal_options *options,
    struct tr_error *error);
/* Waits for what was handed in, checkpoints, closes. NULL afterwards. */
void journal_close(struct journal **journal);

/* ---- writing ----------------------------------------------------------------------------- */

/*
 * A batch is filled by the dispatcher and committed as one transaction. It copies all it is given.
 * Each returns false when out of memory; the batch is then as before the call. Whatever the order of
 * the calls, inserts are carried out first, then updates, attempts, lines and deletes; each kind in the
 * order of its calls. A delete takes the task's attempts and lines along.
 */
struct journal_batch;
struct journal_batch *journal_batch_new(struct journal *journal); /* NULL: out of memory */
bool journal_batch_insert(struct journal_batch *batch, const struct record *record,
    const struct journal_state *state); /* an id that is there already is left alone */
bool journal_batch_update(struct journal_batch *batch, const struct tr_id *id,
    const struct journal_state *state);
/* After the commit, the ids whose updates found no row, one after the other; NULL: no more. *at begins with 0. */
const struct tr_id *journal_batch_missed(const struct journal_batch *batch, size_t *at);
bool journal_batch_delete(struct journal_batch *batch, const struct tr_id *id);
/* An attempt that is there already is replaced: its verdict comes later than its end. */
bool journal_batch_attempt(struct journal_batch *batch, const struct journal_attempt *attempt);
/* A line with a number that is there already is replaced. */
bool journal_batch_line(struct journal_batch *batch, const struct journal_line *line);
/* The queue is paused from now on, or is not any more. */
bool journal_batch_queue(struct journal_batch *batch, const char *name, bool paused);
/* Added to what is known of its minute, and to its hour; what is too old is removed. */
bool journal_batch_history(struct journal_batch *batch, const struct journal_history *minute);
size_t journal_batch_rows(const struct journal_batch *batch);

struct journal_done {
	struct journal_batch *batch; /* handed back: free it, or commit it again */
	const char *error;           /* NULL: committed; else a sentence, valid until the next poll */
	bool synced;
	uint64_t tag;
	uint64_t rows, attempts;
	int64_t duration_ns;
};
void journal_batch_free(struct journal_batch **batch);

/*
 * Hands the batch over. `sync`: wait for the disk, for this and all commits before it, also when
 * the batch is empty. `tag` comes back in journal_done. */
void journal_commit(struct journal *journal, struct journal_batch *batch, bool sync, uint64_t tag);
/* The next finished commit, or false. Dispatcher's thread. */
bool journal_poll_done(struct journal *journal, struct journal_done *done);

/* ---- reading back ------------------------------------------------------------------------ */

/* A task as it stands in the journal. Texts live as long as the list that holds it. */
struct journal_task {
	struct record record;
	struct journal_state state;
	enum tr_state predecessor; /* journal_load_orphans() only; TR_STATES: not in the journal */
};

/* Rows that make no sense (edited by hand?) are logged and left out. */
struct journal_list {
	size_t count;
	struct journal_task *tasks;
	bool more; /* the limit was reached */
	uint64_t tag;
	const char *error; /* NULL: well */
};

/* What waits or ran when the journal was last written, counted by state. */
struct journal_census {
	uint64_t by_state[TR_STATES]; /* of ended states 0: nothing is known about them without reading all */
	int64_t oldest_due_ms; /* of what is due and not blocked; 0: none */
	/* The same by queue, several rows for one; the caller's to free(). */
	struct journal_queue_census {
		char name[TR_NAME_MAX + 1];
		uint64_t by_state[TR_STATES];
	} *queues;
	size_t queue_count;
};

/* These answer at once: for the start, before the event loop runs, and in tests. */
enum tr_result journal_census(struct journal *journal, struct journal_census *census, struct tr_error *error);
bool journal_knows(struct journal *journal, const struct tr_id *id);
/* It is there and has not ended. */
bool journal_is_live(struct journal *journal, const struct tr_id *id);
/* It is there and may run again: it has not ended, or it is dead and can be retried. */
bool journal_needs_files(struct journal *journal, const struct tr_id *id);
/* Tasks whose state is RUNNING (cut off by an end of taskd), at most `limit` beyond `after`. */
struct journal_list *journal_load_running(struct journal *journal, const struct tr_id *after, size_t limit);
/*
 * Blocked tasks whose predecessor (the id before theirs) has ended or is not in the journal: taskd
 * ended between the two. At most `limit`, beyond `after`.
 */
struct journal_list *journal_load_orphans(struct journal *journal, const struct tr_id *after, size_t limit);
/* Queues that hold waiting tasks: zero-terminated names, the last one empty; freed by the caller. */
char *journal_queues(struct journal *journal);
/* Queues that are paused, likewise; NULL: no memory, or it cannot be read. */
char *journal_paused(struct journal *journal);

/*
 * These are carried out by the journal's thread; the answer comes through journal_poll_list().
 * False: out of memory, nothing was asked and no answer will come.
 * Waiting tasks (scheduled, queued, retrying; not blocked) of a queue in the order of (due_ms, id), beyond
 * (after_due_ms, after) — give 0 and a zero id for the first — at most `limit`, due up to `until_ms`.
 */
bool journal_load_waiting(struct journal *journal, const char *queue, int64_t after_due_ms,
    const struct tr_id *after, int64_t until_ms, size_t limit, uint64_t tag);
/* One task by its id, whatever its state; count 0 when unknown. */
bool journal_load_task(struct journal *journal, const struct tr_id *id, uint64_t tag);
struct journal_list *journal_poll_list(struct journal *journal); /* NULL: none */
void journal_list_free(struct journal_list **list);

/* Removed by retention since the last call. */
uint64_t journal_removed(struct journal *journal);
/* Dead tasks in the journal, as of its last commit or removal. */
uint64_t journal_dead(const struct journal *journal);

#endif
