/*
 * The journal's thread and its queues. Enters: requests of the dispatcher's thread. Leaves: answers,
 * polled or waited for. The thread alone touches the file (journal_db.c); between requests it removes
 * old tasks, a chunk at a time, and checkpoints.
 *
 *   dispatcher ── commit, load ──► requests ──► the thread ──► done / lists ── poll ──► dispatcher
 */
#include "taskd/journal.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "shared/clock.h"
#include "taskd/journal_db.h"

/*
 * 32 MiB of WAL between two checkpoints: a checkpoint takes 30 to 200 ms here, most of it fsync,
 * whatever its size, and commits wait for it.
 */
#define CHECKPOINT_PAGES 4096
#define IDLE_MS 500 /* without a request: time to checkpoint and to give memory back */
/* At least this many tasks are removed at once, and more than a commit adds: removing keeps pace. */
#define RETAIN_CHUNK 256

STAILQ_HEAD(request_list, journal_request);

struct journal {
	struct journal_db db; /* the thread's */
	struct journal_options options;
	char *path;
	pthread_t thread;
	_Atomic uint64_t removed, dead;

	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t asked, answered;
	struct request_list requests; /* to the thread */
	struct request_list done, lists; /* from it */
	bool closing;

	/* The thread's own. */
	uint32_t checkpoint_at; /* pages in the WAL */
	size_t retain_limit;
	int64_t retain_ms, idle_ms; /* when to do it, by the wall clock and the monotonic one; INT64_MAX: never */

	struct tr_error shown; /* the dispatcher's: the error of the last poll */
};

/* A question that its caller waits for. */
struct question {
	struct journal_request request;
	const struct tr_id *id;
	struct journal_census *census;
	struct tr_error *error;
	bool yes;
	enum journal_knowing knowing; /* with REQUEST_KNOWS */
	char *names;
};

#define REQUEST_OWNER(request, type) ((struct type *)(void *)((char *)(request) - offsetof(struct type, request)))

/* ---- the thread -------------------------------------------------------------------------- */

static void tell_dead(struct journal *journal)
{
	int64_t dead = journal_db_dead(&journal->db);

	if (dead >= 0)
		journal->dead = (uint64_t)dead;
}

static void commit(struct journal *journal, struct journal_batch *batch)
{
	int64_t start_ns = clock_ns(CLOCK_MONOTONIC);

	batch->failed = !journal_db_write(&journal->db, batch, batch->sync, &batch->error);
	batch->duration_ns = clock_ns(CLOCK_MONOTONIC) - start_ns;
	tell_dead(journal);
	size_t most = 2 * (batch->inserts.count + batch->updates.count);
	journal->retain_limit = most > RETAIN_CHUNK ? most : RETAIN_CHUNK;
	if (journal->options.retention_age_ms > 0 || journal->options.retention_count > 0)
		journal->retain_ms = 0;
}

static void carry_out(struct journal *journal, struct journal_request *request)
{
	struct question *question = REQUEST_OWNER(request, question);

	switch (request->kind) {
	case REQUEST_COMMIT:
		commit(journal, REQUEST_OWNER(request, journal_batch));
		break;
	case REQUEST_LOAD:
		journal_db_load(&journal->db, REQUEST_OWNER(request, journal_load));
		break;
	case REQUEST_CENSUS:
		question->yes = journal_db_census(&journal->db, clock_ms(CLOCK_REALTIME), question->census, question->error);
		break;
	case REQUEST_KNOWS:
		question->yes = journal_db_knows(&journal->db, question->id, question->knowing);
		break;
	case REQUEST_QUEUES:
		question->names = journal_db_names(&journal->db, STATEMENT_QUEUES);
		break;
	case REQUEST_PAUSED:
		question->names = journal_db_names(&journal->db, STATEMENT_PAUSED);
		break;
	}
}

static void retain(struct journal *journal)
{
	int64_t now_ms = clock_ms(CLOCK_REALTIME);
	struct journal_removed dead;

	if (now_ms < journal->retain_ms)
		return;
	atomic_fetch_add(&journal->removed, journal_db_retain(&journal->db, journal->options.retention_age_ms,
	    journal->options.retention_count, now_ms, journal->retain_limit, &journal->retain_ms, &dead));
	for (size_t i = 0; i < dead.count && journal->options.removed != NULL; i++)
		journal->options.removed(journal->options.removed_context, &dead.at[i].id, dead.at[i].flags);
	free(dead.at);
	tell_dead(journal);
	journal->retain_limit = RETAIN_CHUNK;
}

/*
 * A reader with an open transaction keeps the WAL from being begun anew. It grows then, and the
 * next attempt is made when it has grown as much again, not after each commit.
 */
static void checkpoint(struct journal *journal)
{
	bool complete = journal_db_checkpoint(&journal->db);

	journal->checkpoint_at = (complete ? 0 : journal->db.wal_pages) + CHECKPOINT_PAGES;
}

/* What is to be done when no request waits; answers in how many ms to come back, -1: when asked. */
static int64_t spare_time(struct journal *journal)
{
	int64_t now_ms = clock_ms(CLOCK_MONOTONIC);

	retain(journal);
	if (journal->db.wal_pages >= journal->checkpoint_at)
		checkpoint(journal);
	if (journal->idle_ms <= now_ms) {
		if (journal->db.wal_pages > 0)
			checkpoint(journal);
		journal_db_rest(&journal->db);
		journal->idle_ms = INT64_MAX;
	}
	int64_t idle_in_ms = journal->idle_ms == INT64_MAX ? INT64_MAX : journal->idle_ms - now_ms;
	int64_t retain_in_ms = journal->retain_ms == INT64_MAX ? INT64_MAX : journal->retain_ms - clock_ms(CLOCK_REALTIME);
	int64_t in_ms = idle_in_ms < retain_in_ms ? idle_in_ms : retain_in_ms;
	return in_ms == INT64_MAX ? -1 : in_ms < 0 ? 0 : in_ms;
}

/* With the lock. Waits for a request or until the time is over. */
static void wait_for_request(struct journal *journal, int64_t in_ms)
{
	if (in_ms < 0) {
		pthread_cond_wait(&journal->asked, &journal->lock);
	} else if (in_ms > 0) {
		int64_t until_ns = clock_ns(CLOCK_MONOTONIC) + (in_ms > 3600000 ? 3600000 : in_ms) * 1000000;
		struct timespec until = { .tv_sec = until_ns / 1000000000, .tv_nsec = until_ns % 1000000000 };
		pthread_cond_timedwait(&journal->asked, &journal->lock, &until);
	}
}

static void answer(struct journal *journal, struct journal_request *request)
{
	pthread_mutex_lock(&journal->lock);
	bool waited = request->waited;
	if (waited) {
		request->finished = true; /* from here on it is the asker's */
		pthread_cond_broadcast(&journal->answered);
	} else {
		STAILQ_INSERT_TAIL(request->kind == REQUEST_COMMIT ? &journal->done : &journal->lists, request, link);
	}
	pthread_mutex_unlock(&journal->lock);
	if (!waited && journal->options.wake != NULL)
		journal->options.wake(journal->options.wake_context);
}

static void *journal_thread(void *context)
{
	struct journal *journal = context;
	int64_t in_ms = 0;

	pthread_mutex_lock(&journal->lock);
	while (true) {
		struct journal_request *request = STAILQ_FIRST(&journal->requests);
		if (request == NULL && journal->closing)
			break;
		if (request == NULL && in_ms != 0) {
			wait_for_request(journal, in_ms);
			in_ms = 0;
			continue;
		}
		if (request != NULL)
			STAILQ_REMOVE_HEAD(&journal->requests, link);
		pthread_mutex_unlock(&journal->lock);
		if (request != NULL) {
			carry_out(journal, request);
			answer(journal, request);
			journal->idle_ms = clock_ms(CLOCK_MONOTONIC) + IDLE_MS;
		}
		/* After each request, so that a dispatcher that never pauses keeps nothing from being done. */
		in_ms = spare_time(journal);
		pthread_mutex_lock(&journal->lock);
	}
	pthread_mutex_unlock(&journal->lock);
	return NULL;
}

/* ---- open and close ---------------------------------------------------------------------- */

static void init_sync(struct journal *journal)
{
	pthread_condattr_t attributes;

	/* On Linux none of these fails with these arguments. */
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&journal->asked, &attributes);
	pthread_condattr_destroy(&attributes);
	pthread_cond_init(&journal->answered, NULL);
	pthread_mutex_init(&journal->lock, NULL);
}

static void free_journal(struct journal *journal)
{
	pthread_mutex_destroy(&journal->lock);
	pthread_cond_destroy(&journal->answered);
	pthread_cond_destroy(&journal->asked);
	free(journal->path);
	free(journal);
}

/* Signals are the dispatcher's thread's. */
static int start_thread(struct journal *journal)
{
	sigset_t all, before;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int code = pthread_create(&journal->thread, NULL, journal_thread, journal);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return code;
}

enum tr_result journal_open(struct journal **journal, const struct journal_options *options,
    struct tr_error *error)
{
	struct journal *made = calloc(1, sizeof *made);

	*journal = NULL;
	error->text[0] = 0;
	if (made == NULL || (made->path = strdup(options->path)) == NULL) {
		free(made);
		return journal_refuse(error, TR_NO_MEMORY, "%.*s: out of memory", JOURNAL_PATH_SHOWN, options->path);
	}
	made->options = *options;
	made->options.path = made->path;
	STAILQ_INIT(&made->requests);
	STAILQ_INIT(&made->done);
	STAILQ_INIT(&made->lists);
	made->checkpoint_at = CHECKPOINT_PAGES;
	made->retain_limit = RETAIN_CHUNK;
	made->retain_ms = options->retention_age_ms > 0 || options->retention_count > 0 ? 0 : INT64_MAX;
	made->idle_ms = clock_ms(CLOCK_MONOTONIC) + IDLE_MS;
	init_sync(made);
	enum tr_result result = journal_db_open(&made->db, made->path, error);
	if (result != TR_OK) {
		free_journal(made);
		return result;
	}
	tell_dead(made);
	int code = start_thread(made);
	if (code != 0) {
		journal_db_close(&made->db);
		free_journal(made);
		return journal_refuse(error, TR_SYSTEM, "the journal's thread cannot be started: %s", strerror(code));
	}
	*journal = made;
	return TR_OK;
}

void journal_close(struct journal **journal)
{
	struct journal *gone = *journal;
	struct journal_done done;
	struct journal_list *list;

	*journal = NULL;
	if (gone == NULL)
		return;
	pthread_mutex_lock(&gone->lock);
	gone->closing = true;
	pthread_cond_signal(&gone->asked);
	pthread_mutex_unlock(&gone->lock);
	pthread_join(gone->thread, NULL);
	journal_db_close(&gone->db);
	while (journal_poll_done(gone, &done))
		journal_batch_free(&done.batch);
	while ((list = journal_poll_list(gone)) != NULL)
		journal_list_free(&list);
	free_journal(gone);
}

/* ---- requests ---------------------------------------------------------------------------- */

static void ask(struct journal *journal, struct journal_request *request)
{
	pthread_mutex_lock(&journal->lock);
	assert(!journal->closing);
	STAILQ_INSERT_TAIL(&journal->requests, request, link);
	pthread_cond_signal(&journal->asked);
	pthread_mutex_unlock(&journal->lock);
}

static void ask_and_wait(struct journal *journal, struct journal_request *request)
{
	request->waited = true;
	ask(journal, request);
	pthread_mutex_lock(&journal->lock);
	while (!request->finished)
		pthread_cond_wait(&journal->answered, &journal->lock);
	pthread_mutex_unlock(&journal->lock);
}

static struct journal_request *take_answer(struct journal *journal, struct request_list *list)
{
	pthread_mutex_lock(&journal->lock);
	struct journal_request *request = STAILQ_FIRST(list);
	if (request != NULL)
		STAILQ_REMOVE_HEAD(list, link);
	pthread_mutex_unlock(&journal->lock);
	return request;
}

void journal_commit(struct journal *journal, struct journal_batch *batch, bool sync, uint64_t tag)
{
	assert(batch->journal == journal);
	batch->request.kind = REQUEST_COMMIT;
	batch->sync = sync;
	batch->tag = tag;
	ask(journal, &batch->request);
}

bool journal_poll_done(struct journal *journal, struct journal_done *done)
{
	struct journal_request *request = take_answer(journal, &journal->done);

	if (request == NULL)
		return false;
	struct journal_batch *batch = REQUEST_OWNER(request, journal_batch);
	journal->shown = batch->error;
	*done = (struct journal_done){
		.batch = batch,
		.error = batch->failed ? journal->shown.text : NULL,
		.synced = batch->sync && !batch->failed,
		.tag = batch->tag,
		.rows = batch->inserts.count + batch->updates.count + batch->deletes.count,
		.attempts = batch->attempts.count,
		.duration_ns = batch->duration_ns,
	};
	return true;
}

/* NULL: out of memory. */
static struct journal_load *new_load(enum journal_load_kind kind, const struct tr_id *after, size_t limit)
{
	struct journal_load *load = calloc(1, sizeof *load);

	if (load == NULL)
		return NULL;
	load->request.kind = REQUEST_LOAD;
	load->kind = kind;
	load->after = *after;
	load->limit = limit;
	return load;
}

static struct journal_list *load_now(struct journal *journal, enum journal_load_kind kind, const struct tr_id *after,
    size_t limit)
{
	struct journal_load *load = new_load(kind, after, limit);

	if (load == NULL)
		return NULL;
	ask_and_wait(journal, &load->request);
	return &load->list;
}

struct journal_list *journal_load_running(struct journal *journal, const struct tr_id *after, size_t limit)
{
	return load_now(journal, LOAD_RUNNING, after, limit);
}

struct journal_list *journal_load_orphans(struct journal *journal, const struct tr_id *after, size_t limit)
{
	return load_now(journal, LOAD_ORPHANS, after, limit);
}

bool journal_load_waiting(struct journal *journal, const char *queue, int64_t after_due_ms,
    const struct tr_id *after, int64_t until_ms, size_t limit, uint64_t tag)
{
	struct journal_load *load = new_load(LOAD_WAITING, after, limit);

	if (load == NULL)
		return false;
	assert(strlen(queue) < sizeof load->queue);
	memcpy(load->queue, queue, strlen(queue));
	load->after_due_ms = after_due_ms;
	load->until_ms = until_ms;
	load->list.tag = tag;
	ask(journal, &load->request);
	return true;
}

bool journal_load_task(struct journal *journal, const struct tr_id *id, uint64_t tag)
{
	struct journal_load *load = new_load(LOAD_TASK, id, 1);

	if (load == NULL)
		return false;
	load->list.tag = tag;
	ask(journal, &load->request);
	return true;
}

struct journal_list *journal_poll_list(struct journal *journal)
{
	struct journal_request *request = take_answer(journal, &journal->lists);

	return request != NULL ? &REQUEST_OWNER(request, journal_load)->list : NULL;
}

enum tr_result journal_census(struct journal *journal, struct journal_census *census, struct tr_error *error)
{
	struct question question = { .request.kind = REQUEST_CENSUS, .census = census, .error = error };

	ask_and_wait(journal, &question.request);
	return question.yes ? TR_OK : TR_SYSTEM;
}

static bool knows(struct journal *journal, const struct tr_id *id, enum journal_knowing knowing)
{
	struct question question = { .request.kind = REQUEST_KNOWS, .id = id, .knowing = knowing };

	ask_and_wait(journal, &question.request);
	return question.yes;
}

bool journal_knows(struct journal *journal, const struct tr_id *id)
{
	return knows(journal, id, KNOWS_AT_ALL);
}

bool journal_is_live(struct journal *journal, const struct tr_id *id)
{
	return knows(journal, id, KNOWS_LIVE);
}

bool journal_needs_files(struct journal *journal, const struct tr_id *id)
{
	return knows(journal, id, KNOWS_LIVE_OR_DEAD);
}

char *journal_queues(struct journal *journal)
{
	struct question question = { .request.kind = REQUEST_QUEUES };

	ask_and_wait(journal, &question.request);
	return question.names;
}

char *journal_paused(struct journal *journal)
{
	struct question question = { .request.kind = REQUEST_PAUSED };

	ask_and_wait(journal, &question.request);
	return question.names;
}

uint64_t journal_removed(struct journal *journal)
{
	return atomic_exchange(&journal->removed, 0);
}

uint64_t journal_dead(const struct journal *journal)
{
	return journal->dead;
}
