/*
 * What the dispatcher's files do with its data (dispatch_data.h), all in its one thread. A task meets
 * them in this order:
 *
 *   intake.c     ring -> task            tasks.c         the table of tasks; every change of state
 *   scheduler.c  when and which next     workforce.c     lanes of workers; giving out work
 *   workers.c    workers come and go     lane_pending.c  works that run and hold no thread
 *   outcome.c    what workers say        deadline.c      who is ended by force, and when
 *   settle.c     what a dead worker ran  recorder.c      journal, retiring, durability
 *   wanted.c     commands; tasks looked  window.c        tasks that rest in the journal only
 *                up by id                lines.c         what handlers log, on its way into the journal
 *   queues.c     pausing and resuming    catalogue.c     handlers by name
 *   board_rows.c queues and handlers     history.c       what happened in each minute
 *                on the board            drain.c         the end of taskd
 *   removals.c   what retention took
 *   dispatcher.c the loop around them
 */
#ifndef TASKD_DISPATCH_H
#define TASKD_DISPATCH_H

#include "taskd/dispatch_data.h"

/* ---- tasks.c ----------------------------------------------------------------------------- */

struct task *tasks_find(struct dispatcher *dispatcher, const struct tr_id *id);
/*
 * A task in its first state, known by its id; NULL: out of memory. Nothing else has happened yet.
 * Its queue is NULL when there are too many queues: then it can only be ended or freed.
 */
struct task *tasks_add(struct dispatcher *dispatcher, const struct record *record, enum tr_state state);
/* A new task enters the books: gauges, board, journal. */
void tasks_begin(struct dispatcher *dispatcher, struct task *task);
/* Forgets it; it is in no list. */
void tasks_free(struct dispatcher *dispatcher, struct task *task);
/* The only function that changes a task's state: table, gauges, counters, board, journal. */
void tasks_move(struct dispatcher *dispatcher, struct task *task, enum task_event event);
/*
 * Has it shown on the board, at the end of this turn: a short task that starts and ends within one
 * turn is written once. tasks_show_now() does it at once, for what refers to the entry.
 * Who sees an end asks for the result: where that is too large for the board, the end is shown when the commit
 * with it is through, by tasks_free().
 */
void tasks_show(struct dispatcher *dispatcher, struct task *task);
void tasks_show_now(struct dispatcher *dispatcher, struct task *task);
void tasks_show_all(struct dispatcher *dispatcher);
/* How many tasks are in each state that is not an end. */
void tasks_show_gauges(struct dispatcher *dispatcher);
void tasks_show_dead(struct dispatcher *dispatcher); /* after what may have changed the journal */
/* Shows it as it is and has it written; for changes that are not a change of state. */
void tasks_changed(struct dispatcher *dispatcher, struct task *task);
/* Replaces task->error; NULL clears. A failure to allocate loses the text only. */
void tasks_error(struct task *task, const char *text);
/* Cancels a waiting task, or tells a running one's handler, and from then on presses: deadline.c. */
void tasks_cancel(struct dispatcher *dispatcher, struct task *task, const char *why);
/* Queues a dead task again, with fresh attempts, as was asked at `asked_ns` by the producer's clock. */
void tasks_retry(struct dispatcher *dispatcher, struct task *task, int64_t asked_ns);
/* Ends a task that waits or is dead as cancelled. */
void tasks_discard(struct dispatcher *dispatcher, struct task *task);
/* Has an ended task forgotten: row, attempts, lines, files and what the board shows. */
void tasks_purge(struct dispatcher *dispatcher, struct task *task);
/* Makes a scheduled or retrying task due, as was asked at `asked_ns` by the producer's clock. False: it was. */
bool tasks_hurry(struct dispatcher *dispatcher, struct task *task, int64_t asked_ns);
/* Ends a waiting task that is_expired. */
void tasks_expire(struct dispatcher *dispatcher, struct task *task);
/* The task's record names a time by which it must have started, and that is past. */
bool tasks_is_expired(const struct dispatcher *dispatcher, const struct task *task);

/* ---- scheduler.c ------------------------------------------------------------------------- */

struct task_key task_key(const struct task *task);
int task_key_compare(const struct task_key *a, const struct task_key *b);
/* The queue of that name, made when new; NULL: out of memory, or too many are in use. */
struct queue *scheduler_queue(struct dispatcher *dispatcher, struct record_text name);
/* Files a waiting task by its due_ms: into the ready list or the heap. False: out of memory. */
bool scheduler_add(struct dispatcher *dispatcher, struct task *task);
/* Puts it before all others of its queue: work taken back, callbacks to be asked. */
void scheduler_add_first(struct task *task);
void scheduler_remove(struct task *task);
/* The queue has been paused or resumed: it takes its turns accordingly. */
void scheduler_paused(struct queue *queue);
/* The pool's next task, its queues taken in turn; NULL: none is ready. */
struct task *scheduler_next(struct pool *pool);
/* Makes ready what is due; answers when it wants to be called next, INT64_MAX: not. */
int64_t scheduler_tick(struct dispatcher *dispatcher);
int64_t scheduler_oldest_wait_ms(const struct dispatcher *dispatcher);

/* ---- queues.c ---------------------------------------------------------------------------- */

/* Carries out RECORD_PAUSE or RECORD_RESUME. False: it had no effect. */
bool queues_command(struct dispatcher *dispatcher, const struct record *command);
/* The queues that the journal knows as paused, at the start. False: it could not be read, or no memory. */
bool queues_restore(struct dispatcher *dispatcher);
/* Every second: ends what has expired in paused queues, which give nothing out. */
void queues_expire(struct dispatcher *dispatcher);

/* ---- window.c ---------------------------------------------------------------------------- */

/* Admits a waiting task: schedules it, or lets it rest when it lies beyond the horizon. */
void window_admit(struct dispatcher *dispatcher, struct task *task);
/* A task was committed and has not changed since: frees it when it ended or rests. */
void window_committed(struct dispatcher *dispatcher, struct task *task);
/* Asks the journal for more where a queue has room. */
void window_tick(struct dispatcher *dispatcher);
/* Takes the journal's answers. */
void window_poll(struct dispatcher *dispatcher);
/* All that the journal holds, at the start. False: it could not be read; *error says why. */
bool window_restore(struct dispatcher *dispatcher, struct tr_error *error);
/* The task before it has ended well: it waits for a worker now. Of an unblocked one: nothing. */
void window_unblock(struct dispatcher *dispatcher, struct task *task);
/* A task ended: lets the next of its batch go, or cancels it. */
void window_successor(struct dispatcher *dispatcher, const struct task *ended);
/* A task as the journal knows it, in no list yet; NULL: out of memory or too many queues. */
struct task *window_load(struct dispatcher *dispatcher, const struct journal_task *row);
#define BEFORE_FAILED "the task before it in its batch did not succeed"
/* The row of a task that waits for the one before it. */
bool window_is_blocked(const struct journal_state *state);

/* ---- wanted.c ---------------------------------------------------------------------------- */

/*
 * Carries out a command, taken at that position of the ring (`alone`: and nothing else was), now or when the journal has
 * answered. Without effect, it is struck out of the ring.
 */
void wanted_command(struct dispatcher *dispatcher, const struct record *command, uint64_t position, bool alone);
/* Has the next of a batch loaded, after the one before it has ended: it goes on, or is given up. */
void wanted_next(struct dispatcher *dispatcher, const struct tr_id *id, bool succeeded);
/* The journal's answer: a list whose tag is odd. */
void wanted_answered(struct dispatcher *dispatcher, const struct journal_list *list);
/* Asks again what could not be read. */
void wanted_tick(struct dispatcher *dispatcher);

/* ---- lines.c ----------------------------------------------------------------------------- */

/* A line of the running attempt, or of its callback. Returns its number in the attempt, from 1. */
uint32_t lines_add(struct dispatcher *dispatcher, struct task *task, int level, int64_t at_ms, const char *text);
/* Notes how many lines there were, if not all were kept. Callbacks may still add some. */
void lines_attempt_ended(struct dispatcher *dispatcher, struct task *task);
/* The task gets its row with this batch: its lines go there, too. */
void lines_write(struct dispatcher *dispatcher, struct task *task, struct journal_batch *batch);
void lines_free(struct dispatcher *dispatcher, struct task *task);

/* ---- intake.c ---------------------------------------------------------------------------- */

/* Takes from the ring what is good to take now. Returns batches taken. */
unsigned intake_turn(struct dispatcher *dispatcher);
#define NO_POSITION UINT64_MAX
/* Accepts a new task, from that position of the ring or (NO_POSITION) made by a callback. */
void intake_accept(struct dispatcher *dispatcher, struct record *record, uint64_t position);

/* ---- catalogue.c ------------------------------------------------------------------------- */

/* The handler of that name, made when new; NULL: no memory, or too many names. */
struct handler *catalogue_find(struct dispatcher *dispatcher, const char *name, size_t bytes);
/* How long an attempt of the task's handler holds its thread, ns; below 0: not known yet. */
int64_t catalogue_pace(struct dispatcher *dispatcher, struct task *task);
/* It has held one so long. */
void catalogue_held(struct dispatcher *dispatcher, struct task *task, int64_t run_ns);
/* An attempt has started; has ended by itself; has failed, by itself or otherwise. */
void catalogue_started(struct dispatcher *dispatcher, struct task *task);
void catalogue_ended(struct dispatcher *dispatcher, struct task *task, uint64_t run_ns, bool succeeded);
void catalogue_failed(struct dispatcher *dispatcher, struct task *task);
/* A worker has it loaded. All of them are as struct board_handler may hold them. */
void catalogue_announced(struct dispatcher *dispatcher, const char *name, const char *doc, const char *secrets);

/* ---- board_rows.c ------------------------------------------------------------------------ */

/* At the start, before any queue is made: what an earlier dispatcher has counted goes on. */
void board_rows_open(struct dispatcher *dispatcher);
/* Shows what has changed, if it is time; when it wants to be called again, INT64_MAX: not. */
int64_t board_rows_tick(struct dispatcher *dispatcher);
void board_rows_show(struct dispatcher *dispatcher); /* at once */
void board_rows_forget(struct dispatcher *dispatcher, struct queue *queue); /* it is about to be freed */

/* ---- workforce.c ------------------------------------------------------------------------- */

/* Gives out ready tasks to open lanes and wakes them. Returns works pushed. */
unsigned workforce_assign(struct dispatcher *dispatcher);
/* Takes back what was pushed ahead into a lane and has not started. */
void workforce_take_back(struct lane *lane);
/* The same for a worker that is dead: nothing in the lane is claimed any more. */
void workforce_return(struct lane *lane);
/* Works in the lane were revoked (their task is NULL), or it takes more or less than before. */
void workforce_refile(struct lane *lane);
/* Takes back from lanes whose running work turned out long. */
void workforce_rebalance(struct dispatcher *dispatcher);
/* A lane's thread has begun its oldest work. */
void workforce_begun(struct dispatcher *dispatcher, struct lane *lane, int64_t started_ns);
/*
 * The running work's handler has answered TR_PENDING at that time: it joins the lane's pending ones
 * and the thread is free. How long it held the thread is its handler's pace.
 */
void workforce_pending(struct dispatcher *dispatcher, struct lane *lane, int64_t at_ns);
/* A work that had begun is over: it leaves the lane. `work` is gone afterwards. */
void workforce_finish(struct dispatcher *dispatcher, struct lane *lane, struct work *work);
/* The work with that serial, which must be the lane's oldest or pending; NULL: it is not. */
struct work *workforce_work(struct lane *lane, uint64_t serial);
/* The lane's oldest work, if its thread has begun it; NULL: it has begun none. */
struct work *workforce_running(struct lane *lane);
/* Works are at the lane, given, running or pending. */
bool workforce_has_work(const struct lane *lane);
void workforce_lane_ready(struct lane *lane);
void workforce_close_lane(struct lane *lane); /* it takes nothing more, for good */

/* ---- lane_pending.c ---------------------------------------------------------------------- */

/* Takes the work, which is about to leave the lane's order, over into the lane's pending ones. */
void lane_pending_add(struct dispatcher *dispatcher, struct lane *lane, const struct work *work);
struct work *lane_pending_find(const struct lane *lane, uint64_t serial); /* NULL: none */
/* The oldest after that one (NULL: of all); NULL: no more. */
struct work *lane_pending_next(const struct lane *lane, const struct work *after);
void lane_pending_remove(struct lane *lane, struct work *work);
/* Has the work's handler told; as soon as its mailbox has room. */
void lane_pending_stop(struct dispatcher *dispatcher, struct lane *lane, struct work *work, enum mailbox_stop stop);
/* Tells those who could not be told before. Wants to be called again while stops_wait. */
void lane_pending_tick(struct dispatcher *dispatcher);

/* ---- deadline.c -------------------------------------------------------------------------- */

/* An attempt of the task may take so long; 0: as long as it likes. */
uint32_t deadline_hard_ms(const struct dispatcher *dispatcher, const struct task *task);
/* The work has started: from now on its time runs. */
void deadline_begun(struct dispatcher *dispatcher, struct work *work, int64_t started_ns);
/* Its task was cancelled: from now on that time runs. */
void deadline_cancelled(struct dispatcher *dispatcher, struct work *work);
/* Ends and kills workers of what is past its time; sets next_deadline_ms. */
void deadline_tick(struct dispatcher *dispatcher);

/* ---- workers.c --------------------------------------------------------------------------- */

/* The configuration's pools, the queues moved to them. False: out of memory, nothing has changed. */
bool workers_pools(struct dispatcher *dispatcher, const struct config *config);
bool workers_open(struct dispatcher *dispatcher);
void workers_started(struct dispatcher *dispatcher, uint32_t row, int32_t pid, uint32_t pool,
    uint32_t threads, uint64_t restarts, int mailbox_fd);
/* The worker takes nothing more: all that has not started is taken back. */
void workers_leaving(struct worker *worker);
/* The same, and the supervisor is told to send it SIGTERM, or to kill it. */
void workers_terminate(struct dispatcher *dispatcher, struct worker *worker);
void workers_kill(struct dispatcher *dispatcher, struct worker *worker);
/* The process is gone; its messages have been read and its works settled. */
void workers_gone(struct dispatcher *dispatcher, struct worker *worker);
void workers_show(struct dispatcher *dispatcher, struct worker *worker);
/* How many of its threads run something or have something pending. */
uint32_t workers_busy(struct worker *worker);
/* Reads how much memory the process has. A system call. */
void workers_look(struct worker *worker);

/* ---- outcome.c --------------------------------------------------------------------------- */

/* Reads all lanes' messages. Returns how many. */
unsigned outcome_turn(struct dispatcher *dispatcher);
/* Reads all that a worker that ended has said before: it counts, also that it was leaving. */
void outcome_last_words(struct dispatcher *dispatcher, struct worker *worker);
/* Its attempt was cut off without a fault of its own: it runs again, or, cancelled, ends; `how` says by what. */
void outcome_interrupted(struct dispatcher *dispatcher, struct task *task, const char *how);

/* ---- settle.c ---------------------------------------------------------------------------- */

/* A worker process ended: settles what it ran. `status` is waitpid's. */
void settle_worker_ended(struct dispatcher *dispatcher, struct worker *worker, int status,
    bool killed_by_us, uint64_t peak_memory_kb);

/* ---- verdict.c --------------------------------------------------------------------------- */

/* An attempt failed: keeps it and has the on-failure callback asked. */
void verdict_failed(struct dispatcher *dispatcher, struct task *task, enum tr_failure_kind kind,
    bool permanent, const char *message);
/* The callback's answer. `text` of TR_VERDICT_ENQUEUE as in mailbox.h, `bytes` long. */
void verdict_apply(struct dispatcher *dispatcher, struct task *task, enum tr_verdict_kind kind,
    uint64_t delay_ms, const char *text, size_t bytes);
/* The callback crashed, hung or is unknown: the default decides. */
void verdict_default(struct dispatcher *dispatcher, struct task *task, const char *why);

/* ---- history.c --------------------------------------------------------------------------- */

/* Every second: hands in the minute that is over. */
void history_tick(struct dispatcher *dispatcher);
/* Hands in what happened up to now. */
void history_flush(struct dispatcher *dispatcher);

/* ---- drain.c ----------------------------------------------------------------------------- */

/* taskd ends: nothing more is given out, what runs is told and has drain_timeout. */
void drain_begin(struct dispatcher *dispatcher);
/*
 * Ring or board was removed or replaced under us: what has been accepted goes into the journal, and then a new
 * dispatcher has to start, with what is under their names. What the ring that was removed still held is taken along
 * by a draining, too. To be called again until that is over.
 */
void drain_file_gone(struct dispatcher *dispatcher);
/*
 * Drives the draining on. True when nothing runs, the workers have left, and all that was taken is
 * in the journal and on disk.
 */
bool drain_is_over(struct dispatcher *dispatcher);
/* When it wants to be asked again by the clock alone; INT64_MAX: not. */
int64_t drain_next_ms(const struct dispatcher *dispatcher);

/* ---- recorder.c -------------------------------------------------------------------------- */

bool recorder_open(struct dispatcher *dispatcher, void (*wake)(void *), void *context, struct tr_error *error);
void recorder_close(struct dispatcher *dispatcher);
void recorder_dirty(struct dispatcher *dispatcher, struct task *task);
/* An attempt of the task ended, or its verdict came: one row, written with the next commit. */
void recorder_attempt(struct dispatcher *dispatcher, struct task *task, const char *outcome,
    const char *verdict);
/* A line of a task that has its row, written with the next commit. False: too many wait, or no memory. */
bool recorder_line(struct dispatcher *dispatcher, const struct journal_line *line);
/* The queue is paused, or is not: written with the next commit. False: no memory. */
bool recorder_queue(struct dispatcher *dispatcher, const char *name, bool paused);
/* Of a minute, or of a part of it: written with the next commit. False: no memory. */
bool recorder_history(struct dispatcher *dispatcher, const struct journal_history *minute);
/* Takes finished commits, starts the next when it is time; answers when it wants to be called. */
int64_t recorder_tick(struct dispatcher *dispatcher);
/* Everything is committed, synced and retired. */
bool recorder_is_clean(const struct dispatcher *dispatcher);
/* All that was taken below the position is. */
bool recorder_is_durable(const struct dispatcher *dispatcher, uint64_t position);
/* From now on commits do not wait for their interval and are synced. */
void recorder_flush(struct dispatcher *dispatcher);

/* ---- removals.c -------------------------------------------------------------------------- */

struct removals *removals_new(const char *spool_dir); /* NULL: out of memory */
void removals_free(struct removals **removals);
/* Of a task with these flags: its arguments, its file. Any thread. */
void removals_files(const char *spool_dir, const struct tr_id *id, uint8_t flags);
/* The journal's `removed`: on its thread. */
void removals_note(void *removals, const struct tr_id *id, uint8_t flags);
/* Takes what was noted off the board. */
void removals_tick(struct dispatcher *dispatcher);

#endif
