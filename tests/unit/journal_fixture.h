/*
 * A journal in a directory of its own, records whose every field is told apart, and commits that
 * are waited for. Used by the journal's and the archive's tests.
 */
#ifndef JOURNAL_FIXTURE_H
#define JOURNAL_FIXTURE_H

#include <CUnit/Basic.h>
#include <dirent.h>
#include <errno.h>
#include <semaphore.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "shared/id.h"
#include "taskd/journal.h"

#define DEADLINE_S 30

struct place {
	char directory[64];
	char path[80];
	sem_t woken; /* once for each answer */
	struct journal *journal;
	struct tr_error error;
};

static inline void place_wake(void *place)
{
	sem_post(&((struct place *)place)->woken);
}

static inline void place_name(struct place *place, const char *name)
{
	snprintf(place->path, sizeof place->path, "%.40s/%.30s", place->directory, name);
}

/* An empty directory that others may look into. */
static inline void place_make(struct place *place)
{
	memset(place, 0, sizeof *place);
	snprintf(place->directory, sizeof place->directory, "/tmp/taskring-journal-XXXXXX");
	if (mkdtemp(place->directory) == NULL || chmod(place->directory, 0755) != 0)
		abort();
	place_name(place, "journal.db");
	sem_init(&place->woken, 0, 0);
}

static inline enum tr_result place_open_with(struct place *place, int64_t age_ms, int64_t count)
{
	const struct journal_options options = { .path = place->path, .retention_age_ms = age_ms, .retention_count = count,
		.wake = place_wake, .wake_context = place };

	return journal_open(&place->journal, &options, &place->error);
}

static inline void place_open(struct place *place)
{
	if (place_open_with(place, 0, 0) != TR_OK) {
		fprintf(stderr, "%s\n", place->error.text);
		abort();
	}
}

static inline void place_remove(struct place *place)
{
	char path[400];
	struct dirent *entry;

	journal_close(&place->journal);
	DIR *directory = opendir(place->directory);
	if (directory == NULL)
		abort();
	while ((entry = readdir(directory)) != NULL) {
		snprintf(path, sizeof path, "%s/%s", place->directory, entry->d_name);
		unlink(path);
	}
	closedir(directory);
	rmdir(place->directory);
	sem_destroy(&place->woken);
}

/* Aborts when nothing wakes within the deadline. */
static inline void place_wait(struct place *place)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += DEADLINE_S;
	while (sem_timedwait(&place->woken, &until) != 0)
		if (errno != EINTR)
			abort();
}

/* ---- tasks ------------------------------------------------------------------------------- */

static inline struct tr_id id_of(unsigned number)
{
	struct tr_id id = { { 1, 0x90, 0, 0, 0, 0, 0x70, 0, 0x80 } };

	for (int i = 0; i < 4; i++)
		id.bytes[12 + i] = (uint8_t)(number >> (24 - 8 * i));
	return id;
}

static inline struct record_text text_of(const char *text)
{
	return (struct record_text){ text, (uint32_t)strlen(text) };
}

static inline struct record record_of(unsigned number)
{
	return (struct record){
		.id = id_of(number), .kind = RECORD_TASK, .flags = RECORD_SEQUENTIAL | RECORD_DISK, .place = 3, .places = 7,
		.max_attempts = 11, .backoff_base_ms = 1001, .backoff_cap_ms = 60002, .soft_timeout_ms = 3003,
		.hard_timeout_ms = 4004, .created_ns = 1700000000123456789, .run_at_ms = 1700000000555,
		.expires_at_ms = 1700000999666, .args_bytes = 9, .handler = text_of("a.handler"), .queue = text_of("mails"),
		.on_failure = text_of("bury"), .trace = text_of("00-trace"), .args = text_of("{\"a\":\"\xff\"}"),
	};
}

static inline struct journal_state state_of(enum tr_state state, int64_t due_ms)
{
	return (struct journal_state){ .state = state, .attempt = 1, .due_ms = due_ms,
		.started_ms = state == TR_SCHEDULED ? 0 : due_ms + 1, .ended_ms = tr_state_is_ended(state) ? due_ms + 2 : 0 };
}

static inline struct journal_batch *batch_of(struct place *place)
{
	struct journal_batch *batch = journal_batch_new(place->journal);

	if (batch == NULL)
		abort();
	return batch;
}

static inline void add_task(struct journal_batch *batch, unsigned number, const char *queue,
    const struct journal_state *state)
{
	struct record record = record_of(number);

	record.queue = text_of(queue);
	if (!journal_batch_insert(batch, &record, state))
		abort();
}

static inline void add_attempt(struct journal_batch *batch, unsigned number, uint32_t attempt, const char *outcome)
{
	const struct journal_attempt row = { .id = id_of(number), .attempt = attempt, .started_ms = 10, .ended_ms = 20,
		.worker_pid = 30, .outcome = outcome, .message = "m", .verdict = "retry", .exit_code = 4, .signal = 5,
		.peak_memory_kb = 6 };

	if (!journal_batch_attempt(batch, &row))
		abort();
}

/* Commits and waits; the batch comes back in done.batch. */
static inline struct journal_done commit(struct place *place, struct journal_batch *batch, bool sync, uint64_t tag)
{
	struct journal_done done;

	journal_commit(place->journal, batch, sync, tag);
	do
		place_wait(place);
	while (!journal_poll_done(place->journal, &done));
	return done;
}

/* Commits what must succeed. */
static inline void keep(struct place *place, struct journal_batch *batch)
{
	struct journal_done done = commit(place, batch, false, 0);

	CU_ASSERT_PTR_NULL(done.error);
	journal_batch_free(&done.batch);
}

static inline struct journal_list *wait_list(struct place *place)
{
	struct journal_list *list;

	while ((list = journal_poll_list(place->journal)) == NULL)
		place_wait(place);
	return list;
}

static inline struct journal_list *load_task(struct place *place, unsigned number)
{
	const struct tr_id id = id_of(number);

	if (!journal_load_task(place->journal, &id, number))
		abort();
	return wait_list(place);
}

/* The task's state, TR_STATES when it is not in the journal. */
static inline enum tr_state state_in(struct place *place, unsigned number)
{
	struct journal_list *list = load_task(place, number);
	enum tr_state state = list->count ? list->tasks[0].state.state : TR_STATES;

	journal_list_free(&list);
	return state;
}

/* What another program sees: the first column of the first row; -1 after an error. */
static inline int64_t ask_number(struct place *place, const char *query)
{
	sqlite3 *connection;
	sqlite3_stmt *statement = NULL;
	int64_t number = -1;

	if (sqlite3_open_v2(place->path, &connection, SQLITE_OPEN_READONLY, NULL) == SQLITE_OK &&
	    sqlite3_prepare_v2(connection, query, -1, &statement, NULL) == SQLITE_OK &&
	    sqlite3_step(statement) == SQLITE_ROW)
		number = sqlite3_column_int64(statement, 0);
	sqlite3_finalize(statement);
	sqlite3_close(connection);
	return number;
}

/* ---- the one of a test ------------------------------------------------------------------- */

static struct place place;

static inline void place_set_up(void)
{
	place_make(&place);
}

static inline void place_tear_down(void)
{
	place_remove(&place);
}

#endif
