/*
 * The board: what taskd shows of itself, in POSIX shared memory /NAME.board. The dispatcher is its
 * only writer (taskd/board_writer.c); readers map it read-only, take no lock and make no system
 * call, and read on while taskd hangs or is dead (board_reader.c).
 *
 * Layout: the struct below, then, at the offsets that the header names, `entries` status entries
 * (board_entry; in buckets of BOARD_BUCKET by the id's hash), `workers` worker rows, `lanes` lane
 * rows, BOARD_QUEUES queue rows, BOARD_HANDLERS handler rows, `events` event cells and `text_words` words of
 * their longer texts. Every word that changes is atomic. Entries and rows are guarded by a sequence
 * counter of their own: odd while being written (seqlock; Boehm, "Can seqlocks get along with programming
 * language memory models?", 2012). A writer that dies in between leaves it odd: readers give up after
 * BOARD_SPINS and the next dispatcher makes it even again.
 *
 * The dispatcher holds an open-file-description write lock on the segment's first byte as long as
 * it lives, so that readers can tell a dead one from one that hangs, in any PID namespace.
 */
#ifndef TR_BOARD_H
#define TR_BOARD_H

#include <assert.h>
#include <stdatomic.h>
#include <stddef.h>

#include "hist.h"
#include "taskring/taskring.h"

#define BOARD_MAGIC 0x6472616f62727461ull /* "atrboard" */
#define BOARD_VERSION 4u
#define BOARD_BUCKET 8
#define BOARD_SPINS 10000
#define BOARD_QUEUES 256   /* rows; of more queues than that the idle ones are not shown */
#define BOARD_HANDLERS 256 /* rows; what no row is left for is not shown (board_unshown) */
#define BOARD_ALIVE_MS 3000 /* no heartbeat for this long: the dispatcher hangs or is dead */

enum stat_row { /* not "enum stat": <sys/stat.h> has that tag */
#define STAT(name, kind, unit, text) STAT_##name,
#include "stats.tbl"
	STATS
};
enum stat_hist {
#define HIST(name, unit, text) HIST_##name,
#include "stats.tbl"
	HISTS
};
enum stat_kind { COUNTER, GAUGE };

struct stat_info {
	const char *name;
	enum stat_kind kind; /* meaningless for histograms */
	const char *unit;
	const char *text;
};
extern const struct stat_info stat_info[STATS];
extern const struct stat_info hist_info[HISTS];
/* Over names, kinds and units of all rows, in order: what the arrays of a board mean. */
uint32_t board_tables_hash(void);

/* Texts of an entry that hold something (one that is off is empty, whatever its bytes say: so a new
 * task need not clear what the last one left), and whether it is being cancelled while it runs. */
enum board_mark { BOARD_TEXT_PROGRESS = 1, BOARD_TEXT_ERROR = 2, BOARD_TEXT_RESULT = 4, BOARD_CANCELLING = 8 };

/* One task's status. Words are written between two steps of `sequence`. */
struct board_entry {
	_Atomic uint32_t sequence;
	uint8_t used, state; /* enum tr_state */
	uint16_t worker;     /* row in the worker table + 1; 0: none */
	struct tr_id id;
	uint32_t attempt, max_attempts;
	int64_t created_ms, due_ms, started_ms, ended_ms;
	uint64_t progress_done, progress_total;
	uint32_t result_bytes; /* of the whole result; above TR_RESULT_SHOWN_MAX it is in the journal only */
	uint32_t marks;        /* enum board_mark */
	char handler[TR_NAME_MAX + 1];
	char queue[TR_NAME_MAX + 1];
	char progress_text[TR_TEXT_MAX + 1];
	char error[TR_TEXT_MAX + 1];
	char result[TR_RESULT_SHOWN_MAX + 1];
};
static_assert(sizeof(struct board_entry) == 984, "bump BOARD_VERSION");

enum board_worker_state { WORKER_NONE, WORKER_STARTING, WORKER_IDLE, WORKER_BUSY, WORKER_BACKING_OFF };

struct board_worker {
	_Atomic uint32_t sequence;
	uint32_t state; /* enum board_worker_state */
	int32_t pid;
	uint32_t threads;
	uint64_t tasks;    /* ended in this process */
	uint64_t restarts; /* of this row */
	int64_t started_ms;
	int64_t last_exit_ms;
	int32_t last_exit_code, last_signal;
	uint64_t peak_memory_kb; /* of the last process that ended */
	uint64_t memory_kb;      /* resident now, read once a second; 0: not alive, or not read yet */
	struct tr_id running;    /* a task that it runs, on a thread before pending; zero: none */
	char pool[TR_NAME_MAX + 1];
};

struct board_lane {
	_Atomic uint32_t sequence;
	uint32_t owned;
	uint32_t generation;
	int32_t pid; /* as the producer sees itself; another PID namespace shows another number */
	uint64_t batches, records;
	int64_t last_ms; /* last batch taken */
};

/*
 * A queue that has tasks, had some lately, or is paused. Shown within 100 ms of a change; pausing and resuming at
 * once. A row that is free has an empty name; rows are in no order, and a queue may get another one.
 */
struct board_queue {
	_Atomic uint32_t sequence;
	uint32_t paused;
	uint64_t waiting;  /* tasks that are due, or blocked behind another, in memory and in the journal, */
	uint64_t running, scheduled, retrying; /* in these states */
	int64_t oldest_due_ms; /* of those that are due and not blocked, the earliest due time; 0: none */
	uint64_t accepted, ended; /* tasks, since the row is the queue's; over restarts of taskd */
	char name[TR_NAME_MAX + 1];
};

static_assert(sizeof(struct board_queue) == 128, "bump BOARD_VERSION");

#define BOARD_RUN_BUCKETS 20
/*
 * A handler that a worker knows, and what became of its attempts. Shown as queues are. Names, docs and secrets
 * come from the workers, at their start; a row stays as long as the board does.
 */
struct board_handler {
	_Atomic uint32_t sequence;
	uint32_t known;    /* 1: a worker of this taskd has it loaded; 0: it was there before */
	uint64_t started, succeeded, failed; /* attempts, since the row is the handler's */
	uint64_t run_sum_ns; /* of all attempts that ended by themselves, */
	/* which are counted here by how long they ran: run[i] below board_run_limit_ns(i), and not below that of
	 * the one before; the last takes all above, too. */
	uint64_t run[BOARD_RUN_BUCKETS];
	char name[TR_NAME_MAX + 1];
	char doc[128];               /* one line, cut */
	char secrets[TR_SECRETS_MAX + 1]; /* names with commas between them */
};

static_assert(sizeof(struct board_handler) == 648, "bump BOARD_VERSION");

/* 1 us, 4 us, 16 us, ... 76 hours. */
static inline uint64_t board_run_limit_ns(unsigned bucket)
{
	return 1000ull << 2 * bucket;
}

enum board_event_kind { EVENT_TASK_STATE = 1, EVENT_PROGRESS, EVENT_WORKER, EVENT_LOG };

/*
 * One event. `serial` is 0 while the cell is written, then the event's number from 1 on; cell
 * (serial - 1) % events. A reader that finds a larger number than it expects was overrun.
 */
struct board_event {
	_Atomic uint64_t serial;
	int64_t at_ms;    /* ms since 1970, to the kernel's clock tick (1..10 ms) */
	struct tr_id id;
	uint8_t kind;     /* enum board_event_kind */
	uint8_t state;    /* enum tr_state after the event; of EVENT_WORKER: enum board_worker_state; of EVENT_LOG: enum tr_level */
	uint16_t worker;  /* row + 1; of EVENT_LOG: the line's number in its attempt, from 1, at most 65535 */
	uint32_t attempt;
	uint32_t text_bytes; /* of the whole text: up to TR_LOG_LINE_MAX of a log line, TR_TEXT_MAX of others */
	uint32_t text_at; /* where one that does not fit into `text` stands as a whole: the number of its first word, modulo 2^32 */
	char text[80];    /* error, progress or log text, cut; of EVENT_WORKER: pid and pool */
};
static_assert(sizeof(struct board_event) == 128, "bump BOARD_VERSION");

/* NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding): what changes has cache lines of its own */
struct board {
	uint64_t magic;
	uint32_t version;
	uint32_t tables;   /* board_tables_hash(): another table is another version */
	uint64_t size;     /* of the whole segment */
	uint32_t entries, workers, lanes, events;
	uint32_t queues, handlers; /* BOARD_QUEUES, BOARD_HANDLERS */
	uint64_t entries_at, workers_at, lanes_at, queues_at, handlers_at, events_at, texts_at; /* offsets in bytes */
	uint32_t text_words; /* a power of two; word n of all that were ever written stands at n % text_words */
	uint64_t identity; /* random: another board has another one */
	char instance[TR_NAME_MAX + 1];

	/* Offset 192, a page part of its own: what readers poll. */
	_Alignas(64) _Atomic uint64_t durable; /* ring positions below this one are fsynced */
	_Atomic uint32_t durable_futex;        /* steps with `durable`; producers wait on it (FUTEX_WAIT_BITSET) */
	_Atomic uint32_t running_state;        /* enum board_life */
	_Atomic int64_t heartbeat_ms;          /* ms since 1970, at least once a second */
	_Atomic int64_t started_ms;            /* of this dispatcher */
	_Atomic int32_t pid;                   /* of this dispatcher */
	_Atomic uint32_t incarnation;          /* dispatchers so far, from 1 */
	_Atomic uint64_t last_event;           /* serial of the newest event, 0: none */
	_Atomic uint64_t texts_end;            /* words of texts that were written, or are being written */

	_Alignas(64) _Atomic uint64_t stats[STATS];
	_Atomic uint64_t stats_before[STATS]; /* as this dispatcher found them: for rates since its start */
	_Alignas(64) struct hist hists[HISTS];
};
static_assert(offsetof(struct board, durable) == 192, "bump BOARD_VERSION");

enum board_life { BOARD_NEVER, BOARD_RUNNING, BOARD_DRAINING, BOARD_STOPPED };

static inline struct board_entry *board_entries(const struct board *board)
{
	return (struct board_entry *)((char *)board + board->entries_at);
}
static inline struct board_worker *board_workers(const struct board *board)
{
	return (struct board_worker *)((char *)board + board->workers_at);
}
static inline struct board_lane *board_lanes(const struct board *board)
{
	return (struct board_lane *)((char *)board + board->lanes_at);
}
static inline struct board_queue *board_queues(const struct board *board)
{
	return (struct board_queue *)((char *)board + board->queues_at);
}
static inline struct board_handler *board_handlers(const struct board *board)
{
	return (struct board_handler *)((char *)board + board->handlers_at);
}
static inline struct board_event *board_events(const struct board *board)
{
	return (struct board_event *)((char *)board + board->events_at);
}
static inline uint64_t *board_texts(const struct board *board)
{
	return (uint64_t *)((char *)board + board->texts_at);
}

/* The bucket of a task, as the index of its first entry. `hash` is id_hash()'s, 48 bits. */
static inline uint32_t board_bucket(uint32_t entries, uint64_t hash)
{
	return (uint32_t)((hash >> 16) * (entries / BOARD_BUCKET) >> 32) * BOARD_BUCKET;
}

/*
 * For the futex of `durable`: who waits for a position waits for the bit of the four that it is among, so
 * that a step wakes those for whom it is, and few others.
 */
static inline uint32_t board_durable_bit(uint64_t position)
{
	return 1u << (position / 4 % 32);
}

/* ---- reading: any process, any thread, no lock ------------------------------------------- */

/*
 * Maps the board of `instance` read-only, checks magic, version, tables and that every offset lies
 * inside the segment. Only taskd's user can write the board, so what was checked once is believed
 * afterwards; a board that its own user truncates is beyond our protection.
 * Errors: INVALID (instance), NO_BOARD, VERSION_MISMATCH, NO_MEMORY, SYSTEM; *error says both sides.
 */
enum tr_result board_open(const struct board **board, const char *instance, struct tr_error *error);
void board_close(const struct board **board);

/*
 * True when the name stands for another segment than the mapped one (made anew): open again. False
 * when nothing has the name now: what is mapped is then the last that was known. Makes system calls.
 */
bool board_replaced(const struct board *board, const char *instance);

/* False: not there, or torn by a dead writer. */
bool board_find(const struct board *board, const struct tr_id *id, struct board_entry *copy);
/*
 * The entry in that row, if its task is in one of `states` (1u << enum tr_state, joined) and its id is below *below and
 * above *above. Looking at one that is not costs a cache line. False also: free, or torn by a dead writer.
 */
bool board_copy_entry(const struct board *board, uint32_t row, unsigned states, const struct tr_id *above,
    const struct tr_id *below, struct board_entry *copy);
bool board_copy_worker(const struct board *board, uint32_t row, struct board_worker *copy);
bool board_copy_lane(const struct board *board, uint32_t row, struct board_lane *copy);
/* False also: the row is free. */
bool board_copy_queue(const struct board *board, uint32_t row, struct board_queue *copy);
bool board_copy_handler(const struct board *board, uint32_t row, struct board_handler *copy);
/* The row of that name. False: there is none. */
bool board_find_queue(const struct board *board, const char *name, struct board_queue *copy);
bool board_find_handler(const struct board *board, const char *name, struct board_handler *copy);
/* False where it is sure that no worker has it: the board lists all handlers, unless it has none yet, or no row is free. */
bool board_may_have_handler(const struct board *board, const char *name);

/*
 * The event with number `serial`: 1 copied, 0 not written yet, -1 overrun (continue at
 * board->last_event + 1 - events, and say how many were missed).
 */
int board_event(const struct board *board, uint64_t serial, struct board_event *copy);
/* The whole text of an event that board_event() has copied. False: later texts have taken its place; what is cut is left. */
bool board_event_text(const struct board *board, const struct board_event *event, char text[TR_LOG_LINE_MAX + 1]);

/* Alive: running_state is RUNNING or DRAINING and the heartbeat is younger than BOARD_ALIVE_MS. */
bool board_alive(const struct board *board, int64_t now_ms);

/* A dispatcher lives, working or not: the lock on the board is held. Makes system calls. */
bool board_is_held(const char *instance);

/* How taskd is, as far as its board and the lock on it tell. */
enum taskd_life { TASKD_STARTING, TASKD_RUNNING, TASKD_DRAINING, TASKD_HANGS, TASKD_STOPPED, TASKD_DEAD, TASKD_LIVES };
extern const char *const taskd_life_name[TASKD_LIVES + 1]; /* NULL at the end */
/* Makes system calls. */
enum taskd_life board_life_of(const struct board *board, const char *instance, int64_t now_ms);
/* Seconds that this dispatcher has counted: from its start to now, or to its last sign of life. */
double board_seconds(const struct board *board, enum taskd_life life, int64_t now_ms);
/* Of a counter, per second since the dispatcher's start, on average. */
double board_rate(const struct board *board, enum stat_row row, double seconds);

#endif
