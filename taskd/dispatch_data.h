/*
 * The dispatcher's data: tasks, queues, pools, workers and their lanes, handlers. All of it belongs to
 * the dispatcher's one thread. dispatch.h says which file does what with it.
 */
#ifndef TASKD_DISPATCH_DATA_H
#define TASKD_DISPATCH_DATA_H

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
	bool end_unshown;       /* until the journal has the result, see tasks_show_all() */
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
struct removals; /* removals.c */
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
	struct removals *removals;
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
	STAILQ_HEAD(wanted_list, wanted) unread; /* to be asked of the journal again, when it can be read */
	int64_t unread_ms;           /* then */
	uint32_t wanted_asked;       /* what the journal was asked and has not answered */
	/* Commands about tasks that are being looked up; the oldest's place in the ring is kept. */
	uint32_t commands_asked;
	uint64_t commands_from;
	size_t line_bytes;  /* of the lines that wait with their tasks */
	void *sweep;        /* the DIR of the spool being swept; NULL: none is */
	int64_t swept_ms;   /* when the last sweep began */
	uint64_t sweep_until; /* before it: the position, plus one, up to which the ring is to be taken */
	uint32_t queues_paused;
	bool ring_lost;     /* truncated, and not yet rebuilt */
	bool file_gone;     /* ring or board was removed or replaced by somebody else; said once */
	bool draining;
	bool restarting;    /* only what is in the ring is still written down, for a new dispatcher to go on from */
	uint64_t drain_position; /* what is published beyond it stays in the ring */
	int64_t drain_until_ms;  /* of this stage */
	enum drain_stage drain_stage;
	/* dispatcher.c's, to tell the supervisor: send it SIGTERM or SIGKILL; it leaves in order. */
	void (*signal_worker)(struct dispatcher *dispatcher, struct worker *worker, int signal);
	void (*worker_recycled)(struct dispatcher *dispatcher, struct worker *worker);
};

#endif
