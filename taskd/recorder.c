/*
 * When what is written to the journal. Changed tasks gather in a list; every commit_interval, or
 * when much of the ring waits for it, one batch takes them. A task that is still young and may soon
 * be over is left out: it then costs one row instead of two writes, or none. When the batch is
 * committed, everything that the ring held up to the oldest one left out is either in the journal or
 * over, and those positions are retired. At most one commit is on its way. A commit that fails is
 * tried again, and meanwhile nothing is retired: the ring fills, and producers are told so.
 */
#include <stdlib.h>
#include <string.h>

#include "dispatch.h"
#include "log.h"

#define YOUNG_MS 20        /* so long a new task may stay out of the journal; it is promised within 50 */
#define EARLY_POSITIONS 256 /* so many that could be retired, and the interval is not waited for */
#define ATTEMPTS_MOST (1u << 20) /* rows of attempts that wait for the journal */
#define LINE_BYTES_MOST (8u << 20) /* of log lines that wait for the next commit */
#define RETRY_FIRST_MS 50 /* after a failed commit; doubles */
#define RETRY_MOST_MS 5000

struct recorder {
	struct task_list dirty;
	size_t dirty_count;
	int64_t dirty_since_ms; /* of the oldest change not handed in; with dirty_count or attempts */
	struct journal_batch *filling; /* attempts are put into it as they end; NULL: empty */
	size_t line_bytes; /* of the log lines in it */
	bool disk;       /* what gathers is to be on disk at once */
	bool flush;      /* taskd ends: no waiting for the interval, and all of it synced */
	bool unsynced;   /* something was committed that is not known to be on disk */
	int64_t synced_ms;
	/* the commit on its way */
	bool busy;
	bool busy_syncs;
	struct journal_batch *failed; /* to be handed in again at retry_ms */
	int64_t retry_ms, retry_delay_ms;
	uint64_t busy_position; /* what may be retired when it is done */
	uint64_t retired;       /* what has been */
	uint64_t durable;       /* what is on disk, to be told at the end of the turn */
	uint64_t tried;         /* ring_taken() at the last commit */
	struct task **written;  /* the tasks in it */
	size_t written_count, written_capacity;
};

static void wake_nobody(void *context)
{
	(void)context;
}

bool recorder_open(struct dispatcher *dispatcher, void (*wake)(void *), void *context, struct tr_error *error)
{
	const struct config *config = dispatcher->config;
	struct recorder *made = calloc(1, sizeof *made);
	dispatcher->removals = removals_new(config->spool_dir);
	const struct journal_options options = {
		.path = config->journal,
		.retention_age_ms = config->retention_age_ms,
		.retention_count = config->retention_count,
		.wake = wake ? wake : wake_nobody,
		.wake_context = context,
		.removed = removals_note,
		.removed_context = dispatcher->removals,
	};

	snprintf(error->text, sizeof error->text, "out of memory");
	if (!made || !dispatcher->removals || journal_open(&dispatcher->journal, &options, error) != TR_OK) {
		removals_free(&dispatcher->removals);
		free(made);
		return false;
	}
	TAILQ_INIT(&made->dirty);
	made->unsynced = true; /* what an earlier taskd committed last may not be on disk */
	made->retry_delay_ms = RETRY_FIRST_MS;
	dispatcher->recorder = made;
	return true;
}

void recorder_close(struct dispatcher *dispatcher)
{
	struct recorder *recorder = dispatcher->recorder;

	journal_close(&dispatcher->journal);
	journal_batch_free(&recorder->filling);
	journal_batch_free(&recorder->failed);
	free(recorder->written);
	removals_free(&dispatcher->removals);
	free(recorder);
	dispatcher->recorder = NULL;
}

/* ---- gathering --------------------------------------------------------------------------- */

static void begin_waiting(struct dispatcher *dispatcher)
{
	struct recorder *recorder = dispatcher->recorder;

	if (!recorder->dirty_since_ms)
		recorder->dirty_since_ms = dispatcher->now_ms;
}

void recorder_dirty(struct dispatcher *dispatcher, struct task *task)
{
	struct recorder *recorder = dispatcher->recorder;

	/* That it was taken over is what its producer waits for; how it goes on has time, as with others. */
	if (task->record.flags & RECORD_DISK && !task->in_journal)
		recorder->disk = true;
	if (task->dirty)
		return;
	task->dirty = true;
	TAILQ_INSERT_TAIL(&recorder->dirty, task, dirty_link);
	recorder->dirty_count++;
	begin_waiting(dispatcher);
}

/* Whether the journal keeps a task that ended so. */
static bool is_kept(const struct dispatcher *dispatcher, enum tr_state state)
{
	enum config_history history = dispatcher->config->history;

	return history == HISTORY_ALL || (history == HISTORY_FAILED && state != TR_SUCCEEDED);
}

void recorder_attempt(struct dispatcher *dispatcher, struct task *task, const char *outcome,
    const char *verdict)
{
	struct recorder *recorder = dispatcher->recorder;
	bool success = strcmp(outcome, "succeeded") == 0;
	const struct journal_attempt attempt = {
		.id = task->id, .attempt = task->attempt,
		.started_ms = task->started_ms,
		/* A verdict comes later than the attempt's end. */
		.ended_ms = *verdict && task->failed_ms ? task->failed_ms : dispatcher->now_ms,
		.worker_pid = task->worker_pid,
		.outcome = outcome, .message = task->error ? task->error : "", .verdict = verdict,
		.exit_code = task->exit_code, .signal = task->signal, .peak_memory_kb = task->peak_memory_kb,
	};

	lines_attempt_ended(dispatcher, task);
	if (dispatcher->config->history == HISTORY_NONE || (success && !is_kept(dispatcher, TR_SUCCEEDED)))
		return;
	if (!recorder->filling)
		recorder->filling = journal_batch_new(dispatcher->journal);
	/* While the journal cannot be written, attempts that fail or are put off again and again gather. */
	if (!recorder->filling || journal_batch_rows(recorder->filling) >= ATTEMPTS_MOST ||
	    !journal_batch_attempt(recorder->filling, &attempt)) {
		log_event(LOG_ERR, "attempt-lost", "attempt=%u reason=%s", task->attempt, "no memory for its row");
		return;
	}
	task->has_attempts = true;
	stat_add(dispatcher->board, STAT_journal_attempts, 1);
	begin_waiting(dispatcher);
}

bool recorder_line(struct dispatcher *dispatcher, const struct journal_line *line)
{
	struct recorder *recorder = dispatcher->recorder;
	size_t bytes = sizeof *line + (line->text ? strlen(line->text) : 0);

	if (!recorder->filling)
		recorder->filling = journal_batch_new(dispatcher->journal);
	if (!recorder->filling || recorder->line_bytes + bytes > LINE_BYTES_MOST ||
	    !journal_batch_line(recorder->filling, line))
		return false;
	recorder->line_bytes += bytes;
	begin_waiting(dispatcher);
	return true;
}

bool recorder_queue(struct dispatcher *dispatcher, const char *name, bool paused)
{
	struct recorder *recorder = dispatcher->recorder;

	if (!recorder->filling)
		recorder->filling = journal_batch_new(dispatcher->journal);
	if (!recorder->filling || !journal_batch_queue(recorder->filling, name, paused))
		return false;
	begin_waiting(dispatcher);
	return true;
}

bool recorder_history(struct dispatcher *dispatcher, const struct journal_history *minute)
{
	struct recorder *recorder = dispatcher->recorder;

	if (!recorder->filling)
		recorder->filling = journal_batch_new(dispatcher->journal);
	if (!recorder->filling || !journal_batch_history(recorder->filling, minute))
		return false;
	begin_waiting(dispatcher);
	return true;
}

/* ---- handing in -------------------------------------------------------------------------- */

static struct journal_state state_of(const struct task *task)
{
	return (struct journal_state){
		.state = (enum tr_state)task->state,
		.deciding = task->deciding,
		.failure_kind = task->failure_kind,
		.permanent = task->permanent,
		.blocked = task->blocked,
		.cancel_wanted = task->cancel_wanted,
		.attempt = task->attempt, .failures = task->failures,
		.due_ms = task->due_ms, .started_ms = task->started_ms, .ended_ms = task->ended_ms,
		.log_lines = task->log_lines, .commanded_ns = task->commanded_ns,
		.error = task->error, .result = task->result,
	};
}

/*
 * The next of its batch rests in the journal and is about to be cancelled. Until then the row must
 * tell how this one ended: the start takes a predecessor that it does not find for one that succeeded.
 */
static bool is_needed_by_next(struct dispatcher *dispatcher, const struct task *task)
{
	const struct tr_id next = id_step(&task->id, 1);

	return task->in_journal && task->state != TR_SUCCEEDED && task->record.flags & RECORD_SEQUENTIAL &&
	    task->record.place + 1 < task->record.places && !tasks_find(dispatcher, &next);
}

/* One row of one task. False: out of memory; it stays dirty. */
static bool write_task(struct dispatcher *dispatcher, struct journal_batch *batch, struct task *task)
{
	enum tr_state state = (enum tr_state)task->state;
	const struct journal_state row = state_of(task);

	if (tr_state_is_ended(state) && (task->purged || (!is_kept(dispatcher, state) && !is_needed_by_next(dispatcher, task)))) {
		if ((task->in_journal || task->has_attempts) && !journal_batch_delete(batch, &task->id))
			return false;
		task->in_journal = task->has_attempts = false;
		return true;
	}
	if (task->in_journal)
		return journal_batch_update(batch, &task->id, &row);
	if (!journal_batch_insert(batch, &task->record, &row))
		return false;
	task->in_journal = true; /* or, if this commit fails, when it is tried again */
	lines_write(dispatcher, task, batch);
	return true;
}

static bool make_room(struct recorder *recorder)
{
	if (recorder->written_capacity >= recorder->dirty_count)
		return true;
	size_t capacity = recorder->dirty_count * 2;
	struct task **larger = realloc(recorder->written, capacity * sizeof *larger);
	if (!larger)
		return false;
	recorder->written = larger;
	recorder->written_capacity = capacity;
	return true;
}

/* Its row can wait: until it is over, or not young any more. */
static bool may_wait(const struct dispatcher *dispatcher, const struct task *task)
{
	const struct recorder *recorder = dispatcher->recorder;

	/* The clock may have been put back. */
	bool young = task->accepted_ms <= dispatcher->now_ms && dispatcher->now_ms - task->accepted_ms < YOUNG_MS;

	return young && !task->in_journal && task->position != NO_POSITION && !recorder->disk && !recorder->flush &&
	    !tr_state_is_ended((enum tr_state)task->state) && task->state != TR_SCHEDULED && !task->resting;
}

/* What was taken, up to a command that is still to find its task. */
static uint64_t settled_position(const struct dispatcher *dispatcher)
{
	uint64_t taken = ring_taken(dispatcher->ring);

	return dispatcher->commands_asked && dispatcher->commands_from < taken ? dispatcher->commands_from : taken;
}

/* Moves the dirty tasks into the batch; answers up to where the ring can be retired then. */
static uint64_t write_dirty(struct dispatcher *dispatcher, struct journal_batch *batch)
{
	struct recorder *recorder = dispatcher->recorder;
	uint64_t position = settled_position(dispatcher);
	struct task *next;

	recorder->written_count = 0;
	for (struct task *task = TAILQ_FIRST(&recorder->dirty); task; task = next) {
		next = TAILQ_NEXT(task, dirty_link);
		if (may_wait(dispatcher, task)) {
			if (task->position < position)
				position = task->position;
			continue;
		}
		if (!write_task(dispatcher, batch, task))
			return recorder->retired; /* out of memory: nothing more is retired, and the rest tried again */
		TAILQ_REMOVE(&recorder->dirty, task, dirty_link);
		recorder->dirty_count--;
		task->dirty = false;
		task->committing = true;
		recorder->written[recorder->written_count++] = task;
	}
	return position;
}

/* What was handed in is in the journal, or was over before it needed to be. */
static void settle(struct dispatcher *dispatcher, bool synced)
{
	struct recorder *recorder = dispatcher->recorder;

	recorder->busy = false;
	if (synced) {
		recorder->unsynced = false;
		recorder->synced_ms = dispatcher->now_ms;
	}
	if (recorder->busy_position > recorder->retired) {
		ring_retire(dispatcher->ring, recorder->busy_position);
		recorder->retired = recorder->busy_position;
	}
	if (!recorder->unsynced)
		recorder->durable = recorder->busy_position;
	for (size_t i = 0; i < recorder->written_count; i++) {
		struct task *task = recorder->written[i];
		task->committing = false;
		if (!task->dirty)
			window_committed(dispatcher, task);
	}
	recorder->written_count = 0;
}

static void commit(struct dispatcher *dispatcher)
{
	struct recorder *recorder = dispatcher->recorder;
	struct journal_batch *batch = recorder->filling;

	if (!batch)
		batch = journal_batch_new(dispatcher->journal);
	if (!batch || !make_room(recorder)) {
		recorder->filling = batch;
		return; /* the next turn tries again */
	}
	recorder->filling = NULL;
	recorder->line_bytes = 0;
	recorder->tried = ring_taken(dispatcher->ring);
	recorder->busy_position = write_dirty(dispatcher, batch);
	recorder->dirty_since_ms = recorder->dirty_count ? dispatcher->now_ms : 0;
	recorder->busy = true;
	recorder->busy_syncs = recorder->disk || recorder->flush ||
	    dispatcher->now_ms - recorder->synced_ms >= dispatcher->config->sync_interval_ms;
	recorder->disk = false;
	if (journal_batch_rows(batch) == 0 && !(recorder->unsynced && recorder->busy_syncs)) {
		journal_batch_free(&batch);
		settle(dispatcher, false);
		return;
	}
	recorder->unsynced = true;
	journal_commit(dispatcher->journal, batch, recorder->busy_syncs, 0);
}

/* ---- answers ----------------------------------------------------------------------------- */

static void failed(struct dispatcher *dispatcher, const struct journal_done *done)
{
	struct recorder *recorder = dispatcher->recorder;

	stat_add(dispatcher->board, STAT_journal_errors, 1);
	if (!stat_get(dispatcher->board, STAT_journal_failing))
		log_event(LOG_CRIT, "journal-failing", "file=%s reason=%s", dispatcher->config->journal, done->error);
	stat_set(dispatcher->board, STAT_journal_failing, 1);
	recorder->failed = done->batch;
	recorder->retry_ms = dispatcher->now_ms + recorder->retry_delay_ms;
	recorder->retry_delay_ms *= 2;
	if (recorder->retry_delay_ms > RETRY_MOST_MS)
		recorder->retry_delay_ms = RETRY_MOST_MS;
}

/* Retention had removed its row when it was retried, say: it gets one again, however it has gone on. */
static void write_missed(struct dispatcher *dispatcher, const struct journal_batch *batch)
{
	const struct tr_id *id;

	for (size_t at = 0; (id = journal_batch_missed(batch, &at)) != NULL;) {
		struct task *task = tasks_find(dispatcher, id);
		assert(task && task->committing);
		task->in_journal = false;
		recorder_dirty(dispatcher, task);
	}
}

static void committed(struct dispatcher *dispatcher, struct journal_done *done)
{
	struct recorder *recorder = dispatcher->recorder;
	struct board *board = dispatcher->board;

	if (stat_get(board, STAT_journal_failing))
		log_event(LOG_NOTICE, "journal-recovered", "file=%s", dispatcher->config->journal);
	stat_set(board, STAT_journal_failing, 0);
	recorder->retry_delay_ms = RETRY_FIRST_MS;
	stat_add(board, STAT_journal_commits, 1);
	stat_add(board, STAT_journal_fsyncs, done->synced);
	stat_add(board, STAT_journal_rows, done->rows);
	tasks_show_dead(dispatcher);
	hist_add(&board->hists[HIST_commit_ns], (uint64_t)done->duration_ns);
	write_missed(dispatcher, done->batch);
	journal_batch_free(&done->batch);
	/* What was read before this was written is looked at before what was written is forgotten. */
	window_poll(dispatcher);
	settle(dispatcher, done->synced);
}

/* Whether it is time, and if not, when it will be. */
static int64_t due_ms(const struct dispatcher *dispatcher)
{
	const struct recorder *recorder = dispatcher->recorder;
	int64_t due = INT64_MAX;

	if (recorder->dirty_since_ms)
		due = recorder->dirty_since_ms + dispatcher->config->commit_interval_ms;
	/* Batches whose tasks were all dropped or over leave no row, but positions to retire. */
	else if (settled_position(dispatcher) != recorder->retired)
		due = dispatcher->now_ms;
	if (ring_taken(dispatcher->ring) - recorder->tried >= EARLY_POSITIONS)
		due = dispatcher->now_ms;
	if (recorder->unsynced && recorder->synced_ms + dispatcher->config->sync_interval_ms < due)
		due = recorder->synced_ms + dispatcher->config->sync_interval_ms;
	if ((recorder->disk || recorder->flush) && (due != INT64_MAX || recorder->unsynced))
		due = dispatcher->now_ms;
	return due;
}

/* Were the clock put back by an hour, nothing would be written for an hour. */
static void follow_clock(struct dispatcher *dispatcher)
{
	struct recorder *recorder = dispatcher->recorder;
	int64_t now_ms = dispatcher->now_ms;

	if (recorder->dirty_since_ms > now_ms)
		recorder->dirty_since_ms = now_ms;
	if (recorder->synced_ms > now_ms)
		recorder->synced_ms = now_ms;
	if (recorder->retry_ms > now_ms + RETRY_MOST_MS)
		recorder->retry_ms = now_ms;
}

/* Takes the answers of the journal, and begins the next commit when it is time; answers when that will be. */
static int64_t go_on(struct dispatcher *dispatcher)
{
	struct recorder *recorder = dispatcher->recorder;
	struct journal_done done;

	while (journal_poll_done(dispatcher->journal, &done)) {
		if (done.error)
			failed(dispatcher, &done);
		else
			committed(dispatcher, &done);
	}
	if (recorder->failed && recorder->retry_ms <= dispatcher->now_ms) {
		struct journal_batch *again = recorder->failed;
		recorder->failed = NULL;
		journal_commit(dispatcher->journal, again, recorder->busy_syncs, 0);
	}
	if (recorder->busy)
		return recorder->failed ? recorder->retry_ms : INT64_MAX;
	if (due_ms(dispatcher) <= dispatcher->now_ms)
		commit(dispatcher);
	return recorder->busy ? INT64_MAX : due_ms(dispatcher);
}

int64_t recorder_tick(struct dispatcher *dispatcher)
{
	follow_clock(dispatcher);
	int64_t next_ms = go_on(dispatcher);
	/* To wake who waits takes a while; the journal writes on meanwhile. */
	board_durable(dispatcher->writer, dispatcher->recorder->durable);
	return next_ms;
}

bool recorder_is_clean(const struct dispatcher *dispatcher)
{
	const struct recorder *recorder = dispatcher->recorder;

	return !recorder->busy && !recorder->dirty_since_ms && !recorder->unsynced &&
	    recorder->retired == ring_taken(dispatcher->ring);
}

bool recorder_is_durable(const struct dispatcher *dispatcher, uint64_t position)
{
	return dispatcher->recorder->durable >= position;
}

void recorder_flush(struct dispatcher *dispatcher)
{
	dispatcher->recorder->flush = true;
}
