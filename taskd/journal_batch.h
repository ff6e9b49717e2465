/*
 * What travels between the dispatcher's and the journal's thread: a batch of rows on the way in, a
 * loaded list on the way out. Each owns the texts of its rows in an arena. Between the hand-over
 * and the answer it is the journal's thread's alone.
 */
#ifndef TASKD_JOURNAL_BATCH_H
#define TASKD_JOURNAL_BATCH_H

#include <sys/queue.h>

#include "taskd/journal.h"

/* Texts with one owner, freed together. All zero is an empty arena. */
struct arena {
	struct arena_block *blocks; /* the newest first */
};

/* A zero-terminated copy; NULL: out of memory. */
char *arena_copy(struct arena *arena, const char *text, size_t bytes);
void arena_free(struct arena *arena);

struct task_rows {
	struct journal_task *at;
	size_t count, room;
};

/* Appends the task with texts of its own; false: out of memory, nothing was appended. */
bool task_rows_add(struct task_rows *rows, struct arena *arena, const struct journal_task *task);

struct journal_change {
	struct tr_id id;
	struct journal_state state;
	bool missed; /* there was no such row */
};

enum journal_request_kind {
	REQUEST_COMMIT,
	REQUEST_LOAD,
	REQUEST_CENSUS,
	REQUEST_KNOWS,
	REQUEST_QUEUES,
	REQUEST_PAUSED,
};

struct journal_request {
	STAILQ_ENTRY(journal_request) link;
	enum journal_request_kind kind;
	bool waited;   /* its caller waits for `finished`; else the answer is polled for */
	bool finished;
};

struct journal_pause {
	char queue[TR_NAME_MAX + 1];
	bool paused;
};

struct journal_batch {
	struct journal_request request;
	struct journal *journal;
	struct arena texts;
	struct task_rows inserts;
	struct { struct journal_change *at; size_t count, room, missed; } updates;
	struct { struct journal_attempt *at; size_t count, room; } attempts;
	struct { struct journal_line *at; size_t count, room; } lines;
	struct { struct tr_id *at; size_t count, room; } deletes;
	struct { struct journal_pause *at; size_t count, room; } pauses;
	struct { struct journal_history *at; size_t count; } minutes;
	uint64_t tag;
	int64_t duration_ns;
	bool sync, failed;
	struct tr_error error; /* with failed */
};

enum journal_load_kind { LOAD_WAITING, LOAD_TASK, LOAD_RUNNING, LOAD_ORPHANS };

struct journal_load {
	struct journal_list list; /* first: journal_list_free() gets this */
	struct journal_request request;
	struct arena texts;
	struct task_rows rows;
	enum journal_load_kind kind;
	char queue[TR_NAME_MAX + 1];
	int64_t after_due_ms, until_ms;
	struct tr_id after; /* of LOAD_TASK: the task's */
	size_t limit;
	struct tr_error error;
};

#endif
