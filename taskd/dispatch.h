/*
 * The dispatcher's data: tasks, queues, pools, workers, and what its files do with them. All of it
 * belongs to the dispatcher's one thread. A task meets the files in this order:
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
 *   dispatcher.c the loop around them
 */
#ifndef TASKD_DISPATCH_H
#define TASKD_DISPATCH_H

#include <sys/queue.h>

#include "shared/id.h"
/* Collisions are the id's affair: it is random. */
#define HASH_FUNCTION(key, length, value) ((value) = (unsigned)id_hash((const struct tr_id *)(key)))
#define HASH_KEYCMP(a, b, length) (!id_equal((const struct tr_id *)(a), (const struct tr_id *)(b)))
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "board_writer.h"
#include "config.h"
#include "journal.h"
#include "life.h"
#include "mailbox.h"
#include "shared/ring.h"
#include "taskring/handler.h"

struct lane;
struct queue;
struct handler;

/* Where a live task is, as the dispatcher sees it. */
enum whereabouts {
	NOWHERE,   /* blocked behind its predecessor, resting until committed, or ended */
	IN_READY,  /* in its queue's ready list, or, to be decided, in its callbacks */
	IN_HEAP,   /* in its queue's heap, until it is due */
	AT_WORKER, /* pushed into a worker's lane, or pending there */
};

struct task {
	struct tr_id id;
	UT_hash_handle hh;
	TAILQ_ENTRY(task) ready_link, dirty_link, hold_link, show_link;
	struct queue *queue;
	struct handler *handler; /* once it was asked for */
	struct lane *lane;      /* with AT_WORKER */
	struct work *work;      /* with AT_WORKER */
	struct record record;   /* views into encoded[] */
	uint32_t heap_at;       /* with IN_HEAP */
	uint32_t board_slot;
	uint8_t state;          /* enum tr_state */
	uint8_t where;          /* enum whereabouts */
	bool blocked;           /* its predecessor has not ended */
	bool resting;           /* beyond the window: dropped from memory once it is committed */
	bool held;              /* in queue->held */
	bool deciding;          /* its attempt failed; the on-failure callback is to be asked */
	bool cancel_wanted;
	bool dirty, committing, in_journal;
	bool purged;            /* ended, and to be forgotten: its row goes with the next commit */
	bool has_attempts;      /* rows of its attempts were handed in */
	bool unshown;           /* in dispatcher->unshown */
	uint8_t failure_kind;   /* enum tr_failure_kind, of the last failed attempt */
	bool permanent;
	int32_t exit_code, signal, worker_pid;
	uint64_t peak_memory_kb;
	bool log_cut;           /* the attempt's last line was not kept */
	uint64_t retry_after_ms; /* the failed attempt's: the default waits at least so long */
	uint32_t attempt, failures;
	uint32_t log_lines;     /* of the attempt that runs, or was put off */
	struct task_line *lines; /* that wait until the task has a row; the newest first */
	int64_t commanded_ns;   /* when the last retry or run that was obeyed was asked for; 0: none was */
	int64_t due_ms, started_ms, ended_ms;
	int64_t started_ns;     /* of the running attempt */
	int64_t failed_ms;      /* when the attempt ended that is being decided; 0: not known */
	int64_t accepted_ms;    /* when it came to us */
	uint64_t position;      /* in the ring; UINT64_MAX: it did not come from there */
	char *error, *result;   /* of the last attempt; NULL: none */
	size_t encoded_bytes;
	_Alignas(8) char encoded[];
};

TAILQ_HEAD(task_list, task);

/* A place in the order of a queue: due time, then id. */
struct task_key {
	int64_t due_ms;
	struct tr_id id;
};

struct queue {
	char name[TR_NAME_MAX + 1];
	UT_hash_handle hh;
	TAILQ_ENTRY(queue) turn_link; /* with in_turns */
	struct pool *pool;
	struct task_list ready;
	struct task_list callbacks; /* failed attempts to be decided: they come first, also in a paused queue */
	bool in_turns;      /* in its pool's turns: it has something to give out */
	bool paused;
	uint64_t live[TR_STATES]; /* its tasks by state, in memory and in the journal */
	uint64_t accepted, ended;
	bool changed;       /* since it was shown */
	uint32_t row;       /* on the board, or NO_ROW */
	uint32_t expiring;  /* tasks in ready that name a time by which they must have started */
	struct task **heap; /* by task_key */
	uint32_t heap_count, heap_capacity;
	uint32_t waiting;   /* tasks in ready and heap */
	uint32_t tasks;     /* in memory, wherever they are */
	/* See window.c: every waiting task up to `horizon` is in memory, beyond it the rest are not. */
	struct task_key horizon;
	bool bounded; /* the horizon counts */
	bool loading;
	int64_t load_ms; /* not before: the journal could not be read */
	struct task_list held; /* while loading: ended or resting tasks that must still be known */
};

TAILQ_HEAD(queue_list, queue);
TAILQ_HEAD(lane_list, lane);

struct pool {
	char name[TR_NAME_MAX + 1];
	struct queue_list turns; /* queues with ready tasks, taken in turn */
	/* Lanes that take work, in this order: idle ones, idle but for pending works, and those at work. */
	struct lane_list idle, waiting, busy;
	uint32_t concurrency;    /* works in a lane's hands at most: given to it, running, pending */
};

/* The pools of one reading of the configuration; workers of an older one may still be leaving. */
struct pool_set {
	struct pool_set *older;
	size_t count;
	struct pool pools[];
};

/*
 * One piece of work in a lane: in the order of pushing until its handler has ended or has answered
 * TR_PENDING, from then on among the lane's pending ones. task NULL: revoked.
 */
struct work {
	uint64_t serial;
	struct task *task;
	int64_t expected_ns;
	int64_t deadline_ms; /* hard timeout; 0: none, or not started */
	int64_t term_ms;     /* cancelled: its worker gets SIGTERM then; 0: it is not cancelled */
	uint32_t entry;
	uint8_t kind; /* enum work_kind */
	uint8_t stop; /* enum mailbox_stop that found no room in the mailbox yet; of a pending one */
	bool started;
	bool pending;
	bool timed_out; /* its worker is being killed for it */
};

struct pending_work; /* lane_pending.c */

struct lane {
	struct worker *worker;
	uint32_t number;
	bool ready;     /* its thread takes work */
	bool touched;   /* pushed to since the last wake */
	bool stuffed;   /* takes nothing more until a work is over, or its thread has passed what was taken back */
	const char *lie; /* its worker is being killed for what it said; NULL: nothing wrong */
	struct lane_list *open_in; /* of its pool; NULL: it takes nothing more */
	TAILQ_ENTRY(lane) open_link;
	struct work works[MAILBOX_DEPTH];
	uint32_t first, count;
	int64_t expected_ns; /* of all works */
	int64_t pushed_ns;   /* when the oldest work came into the empty lane */
	int64_t started_ns;  /* of the running work; 0: none */
	struct pending_work *pending; /* uthash by serial */
	uint32_t pending_count;
	uint32_t stops;      /* of the pending ones, how many have `stop` */
};

struct worker {
	bool alive;
	bool leaving; /* gets nothing more */
	bool doomed;  /* to be killed: said again every second, in case it was not heard */
	int64_t kill_ms; /* it was sent SIGTERM, and is killed then; 0: it was not */
	int64_t idle_ms; /* with leaving: since when it has nothing left to do; 0: it has */
	uint32_t row;
	int32_t pid;
	int statm_fd;         /* of /proc/PID/statm; -1: it cannot be read */
	struct pool *pool;
	struct mailbox *mailbox;
	uint32_t lane_count;
	struct lane *lanes;
	uint64_t restarts, tasks;
	int64_t started_ms;
	int32_t last_exit_code, last_signal;
	int64_t last_exit_ms;
	uint64_t last_peak_kb;
	uint64_t memory_kb;   /* resident, as read last */
};

#define NO_ROW UINT32_MAX

/* A handler, known by name (catalogue.c). */
struct handler {
	char name[TR_NAME_MAX + 1];
	UT_hash_handle hh;
	int64_t run_ns;        /* how long an attempt holds its thread, moving average; with measured */
	bool measured;
	bool announced, known; /* a worker has told of it, at any time; one of this dispatcher's */
	bool changed;          /* since it was shown */
	uint32_t row;          /* on the board, or NO_ROW */
	uint64_t started, succeeded, failed, run_sum_ns;
	uint64_t run[BOARD_RUN_BUCKETS];
	char *doc, *secrets;   /* with announced */
};

struct recorder; /* recorder.c */
struct history;  /* history.c */

/* While draining: what runs may go on, idle workers leave, what is still there is killed. */
enum drain_stage { DRAIN_WAIT, DRAIN_LEAVE, DRAIN_KILL };
struct wanted;    /* wanted.c */
struct task_line; /* lines.c */

struct dispatcher {
	struct config *config;
	struct board_writer *writer;
	struct board *board;
	struct ring_consumer *ring;
	struct journal *journal;
	struct recorder *recorder;
	struct history *history; /* NULL: not begun */
	struct id_source ids;
	uint64_t random; /* for jitter */
	struct task *tasks;   /* uthash by id */
	struct queue *queues; /* uthash by name */
	struct handler *handlers; /* uthash by name */
	struct queue *queue_rows[BOARD_QUEUES]; /* who has which row of the board; NULL: free */
	struct handler *handler_rows[BOARD_HANDLERS];
	bool rows_changed;  /* since they were shown */
	int64_t rows_ms;    /* not before then */
	struct pool_set *pools;
	struct task_list unshown; /* changed since the board was written */
	struct worker *workers;
	uint32_t worker_rows;
	char *batch, *text; /* buffers: a batch from the ring, a message's text */
	uint64_t live[TR_STATES]; /* tasks by state, in memory and in the journal */
	uint64_t next_serial;
	uint64_t known_until; /* ring positions below this may hold ids that the journal knows */
	int64_t now_ns, now_ms; /* of this turn */
	int64_t next_due_ms;    /* of all heaps; INT64_MAX: none */
	int64_t next_deadline_ms; /* of all works and workers; INT64_MAX: none */
	int64_t deferred_since_ns;
	uint64_t deferred_position;
	bool pushed_ahead;      /* some lane may hold work behind a running one */
	bool stops_wait;        /* some lane may have stops that found no room */
	bool caught_up;         /* all that lay in the ring at the start has been taken */
	int control, wake_fd;
	SLIST_HEAD(wanted_list, wanted) unread; /* to be asked of the journal again, when it can be read */
	int64_t unread_ms;           /* then */
	/* Commands about tasks that are being looked up; the oldest's place in the ring is kept. */
	uint32_t commands_asked;
	uint64_t commands_from;
	size_t line_bytes;  /* of the lines that wait with their tasks */
	void *sweep;        /* the DIR of the spool being swept; NULL: none is */
	int64_t swept_ms;   /* when the last sweep began */
	uint64_t sweep_until; /* before it: the position, plus one, up to which the ring is to be taken */
	uint32_t queues_paused;
	bool ring_lost;     /* truncated, and not yet rebuilt */
	bool draining;
	uint64_t drain_position; /* what is published beyond it stays in the ring */
	int64_t drain_until_ms;  /* of this stage */
	enum drain_stage drain_stage;
	/* dispatcher.c's, to tell the supervisor: send it SIGTERM or SIGKILL; it leaves in order. */
	void (*signal_worker)(struct dispatcher *dispatcher, struct worker *worker, int signal);
	void (*worker_recycled)(struct dispatcher *dispatcher, struct worker *worker);
};

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
 */
void tasks_show(struct dispatcher *dispatcher, struct task *task);
void tasks_show_now(struct dispatcher *dispatcher, struct task *task);
void tasks_show_all(struct dispatcher *dispatcher);
/* How many tasks are in each state that is not an end. */
void tasks_show_gauges(struct dispatcher *dispatcher);
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
/* Makes a scheduled or retrying task due, as was asked at `asked_ns` by the producer's clock. */
void tasks_hurry(struct dispatcher *dispatcher, struct task *task, int64_t asked_ns);
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

/* Carries out RECORD_PAUSE or RECORD_RESUME. */
void queues_command(struct dispatcher *dispatcher, const struct record *command);
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

/* Carries out a command, taken at that position of the ring, now or when the journal has answered. */
void wanted_command(struct dispatcher *dispatcher, const struct record *command, uint64_t position);
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
/* From now on commits do not wait for their interval and are synced. */
void recorder_flush(struct dispatcher *dispatcher);

#endif
