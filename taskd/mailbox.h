/*
 * The mailbox: how the dispatcher and one worker process talk. A memfd that both map, with one
 * lane for each of the worker's threads; in a lane, work goes one way and messages the other.
 * The worker sees no other shared memory.
 *
 *   dispatcher ── mailbox_push() ──► work entries ── mailbox_claim() ──► worker thread
 *   dispatcher ◄─ mailbox_read() ─── message ring ◄─ mailbox_send() ──── worker thread
 *
 * Work may be pushed ahead of the running task (up to MAILBOX_DEPTH), to spare a wake-up for each
 * short task. Who gets an entry is decided by one compare-and-swap of its state word:
 *
 *   FREE ─push─► PUSHED ─claim (worker)─► CLAIMED ─reuse─► FREE
 *                   └────revoke (dispatcher)──► REVOKED ─reuse─► FREE
 *
 * so a cancelled or stolen-back task never starts, and a dead worker costs only what it had
 * claimed. A worker sends STARTED before the handler's first instruction; what was claimed
 * without it may run again freely.
 *
 * The dispatcher trusts nothing in the mapping: it keeps its cursors, lengths and offsets
 * privately, reads each word once and bounds it. The memfd is sealed against shrinking.
 *
 * Sleeping: a worker thread announces itself in `sleeping`, looks again, and waits on `wake`
 * (futex). The dispatcher announces itself in the mailbox's `dispatcher_sleeps`, looks again, and
 * waits in its event loop for the eventfd, which all workers share. A thread with a quarter of
 * MAILBOX_DEPTH or more waiting in its lane does not wake the dispatcher: who pushes that far ahead
 * looks in every few ms anyway, and is woken when less is left.
 * A thread with pending works waits in its event loop instead of on `wake`; another thread of the
 * worker (doorman.h) waits there and passes it on.
 */
#ifndef TASKD_MAILBOX_H
#define TASKD_MAILBOX_H

#include <stdatomic.h>

#include "shared/record.h"

#define MAILBOX_DEPTH 64               /* work entries in a lane; a power of two */
#define MAILBOX_WORK_BYTES (512u << 10)    /* their bytes; a power of two */
#define MAILBOX_MESSAGE_BYTES (256u << 10) /* message ring of a lane; a power of two */
#define MAILBOX_MESSAGE_MAX (TR_RESULT_MAX + 1024)
#define MAILBOX_THREADS_MAX 64
#define MAILBOX_PENDING_MAX 1024 /* works of one lane that are pending; the dispatcher sees to it */

enum work_kind {
	WORK_RUN = 1,
	WORK_CALLBACK = 2,
	/*
	 * Tells the lane's thread that the pending work `serial` should end: `attempt` holds the enum
	 * mailbox_stop, record and message are empty. Never answered; about a work that has ended it is
	 * dropped. Claimed ahead of other work when the process is to leave. (A running work is told with
	 * mailbox_tell(). One that was told so and turns out to be pending is told again this way: the
	 * thread looked at what it was told when run() returned, and not since.)
	 */
	WORK_STOP = 3,
};

/* The head of one piece of work; the encoded record follows, then (WORK_CALLBACK) the message. */
struct work_head {
	uint32_t record_bytes, message_bytes;
	uint64_t serial;       /* the dispatcher's number of this piece of work, echoed in messages */
	uint8_t kind;          /* enum work_kind */
	uint8_t failure_kind;  /* enum tr_failure_kind, of a callback */
	uint8_t permanent;
	uint8_t reserved;
	uint32_t attempt;
	uint32_t soft_timeout_ms; /* from the handler's start; 0: none */
	int16_t exit_code, signal;
	uint64_t retry_after_ms; /* of a callback: the default waits at least so long */
	uint64_t peak_memory_kb;
};

enum message_kind {
	MESSAGE_READY = 1,  /* the thread has loaded its plug-ins and takes work; serial 0 */
	MESSAGE_STARTED,    /* before the handler's first instruction */
	MESSAGE_PROGRESS,   /* number = done, number2 = total, text */
	MESSAGE_LOG,        /* code = level, text */
	MESSAGE_RESULT,     /* text = JSON */
	/* code = enum tr_outcome but TR_PENDING, flag = bad arguments, text = failure message; number =
	 * ms: of TR_SNOOZE the delay, of TR_FAILURE the least delay before the next attempt (0: none) */
	MESSAGE_ENDED,
	MESSAGE_VERDICT,    /* code = enum tr_verdict_kind, number = delay ms, flag = callback unknown; text: see below */
	/* The process leaves in order: max_tasks, max_memory, told to stop. Sent once, at once; what is
	 * pending goes on until it has ended, and only then the process ends. */
	MESSAGE_LEAVING,
	/*
	 * run() has returned TR_PENDING. From now on the thread may claim further work, and messages of
	 * this one (PROGRESS, LOG, RESULT, ENDED) come between those of others, in any order of works.
	 */
	MESSAGE_PENDING,
	/*
	 * The process has this handler loaded; sent for each of them before the first thread is ready. text: name,
	 * zero, doc (one line), zero, secrets (names, commas between them).
	 */
	MESSAGE_HANDLER,
};

#define MAILBOX_DOC_MAX 127 /* of a MESSAGE_HANDLER; the board shows as much */

/*
 * text of a MESSAGE_VERDICT with TR_VERDICT_ENQUEUE: handler, zero, queue (may be empty), zero,
 * arguments; all as given to tr_enqueue().
 */
struct message_head {
	uint32_t text_bytes;
	uint8_t kind; /* enum message_kind */
	uint8_t code, flag, reserved;
	uint64_t serial;
	int64_t at_ns; /* ns since 1970, worker's clock */
	uint64_t number, number2;
};

enum mailbox_stop { STOP_NONE, STOP_CANCEL, STOP_DRAIN };

struct mailbox; /* one process's view: the dispatcher's or the worker's */

/* Supervisor: a sealed memfd for `threads` lanes, close-on-exec; -1 and errno on failure. */
int mailbox_create(uint32_t threads);
size_t mailbox_bytes(uint32_t threads);

/* Maps it. `wake_fd` is the dispatcher's eventfd. The fds stay the caller's. NULL and errno. */
struct mailbox *mailbox_open(int fd, uint32_t threads, int wake_fd);
void mailbox_close(struct mailbox **mailbox);

/* ---- dispatcher's side ------------------------------------------------------------------- */

/*
 * Puts work into a lane. False: no room (depth or bytes). The caller wakes with mailbox_wake()
 * after its last push. `entry` gets the entry's number, for mailbox_revoke().
 */
bool mailbox_push(struct mailbox *mailbox, uint32_t lane, const struct work_head *head,
    const void *record, const char *message, uint32_t *entry);
void mailbox_wake(struct mailbox *mailbox, uint32_t lane); /* a system call only if it sleeps */
/* True: taken back, it will never start. False: the worker has claimed it. */
bool mailbox_revoke(struct mailbox *mailbox, uint32_t lane, uint32_t entry);
/* The thread has passed all that was pushed: claimed it, or seen that it was taken back. */
bool mailbox_is_passed(struct mailbox *mailbox, uint32_t lane);
/* Tells the lane's thread about the work `serial`: tr_should_stop() answers it. */
void mailbox_tell(struct mailbox *mailbox, uint32_t lane, uint64_t serial, enum mailbox_stop stop);
/*
 * Asks the whole process to leave when its threads have ended what they run: from now on
 * mailbox_claim() answers false. Wakes them. Also called by a worker that leaves of itself.
 */
void mailbox_retire(struct mailbox *mailbox);
/*
 * The lane's next message: 1, head and text copied out (text zero-terminated; `text` holds
 * MAILBOX_MESSAGE_MAX + 1 bytes); 0: none; -1: what is there makes no sense (kill the worker).
 * Kind, code, flag and length are then within what the kind allows; the text of PROGRESS, LOG and
 * ENDED is one line of UTF-8 without control characters, that of RESULT is UTF-8 without a zero
 * (made by our worker, it is JSON), that of a VERDICT with ENQUEUE has its two zeros, that of a HANDLER
 * its two zeros and what they part.
 */
int mailbox_read(struct mailbox *mailbox, uint32_t lane, struct message_head *head, char *text);
/* Announces that the dispatcher sleeps (true) or is awake; with a full fence. */
void mailbox_dispatcher_sleeps(struct mailbox *mailbox, bool sleeps);
bool mailbox_has_messages(struct mailbox *mailbox);

/* ---- worker's side ----------------------------------------------------------------------- */

/*
 * The lane's next piece of work, claimed: true, and *head, *record, *message point into memory
 * that stays until the next call; the message ends with a zero, and is "" when there is none.
 * Waits; false: the process is to leave (mailbox_retire()). In a child that a handler forked, and
 * that came back out of the handler, it ends the child.
 */
bool mailbox_claim(struct mailbox *mailbox, uint32_t lane, struct work_head *head,
    const char **record, const char **message);

/*
 * For a thread that has pending works and so waits in its event loop, not here. As mailbox_claim(),
 * but it does not wait. CLAIM_LEAVE: the process is to leave; until the thread has nothing pending it
 * goes on asking, and gets WORK_STOP and nothing else.
 */
enum mailbox_claim { CLAIM_NOTHING, CLAIM_WORK, CLAIM_LEAVE };
enum mailbox_claim mailbox_try_claim(struct mailbox *mailbox, uint32_t lane, struct work_head *head,
    const char **record, const char **message);
/*
 * Announces that the lane's thread is going to wait elsewhere, for the bell among others, whose number
 * it has asked for before this. True: nothing has come since it last tried to claim. Then, as after
 * false, mailbox_wakes_up().
 */
bool mailbox_falls_asleep(struct mailbox *mailbox, uint32_t lane);
void mailbox_wakes_up(struct mailbox *mailbox, uint32_t lane);
/* The bell's number: another one each time that it was rung. Any thread of the process, as below. */
uint32_t mailbox_bell(const struct mailbox *mailbox, uint32_t lane);
/* Waits until the bell's number is not `heard`; may also return early. */
void mailbox_wait_for_bell(struct mailbox *mailbox, uint32_t lane, uint32_t heard);
void mailbox_ring_bell(struct mailbox *mailbox, uint32_t lane);

/* Sends; waits while the ring is full. text_bytes <= MAILBOX_MESSAGE_MAX. */
void mailbox_send(struct mailbox *mailbox, uint32_t lane, const struct message_head *head,
    const char *text);
enum mailbox_stop mailbox_told(const struct mailbox *mailbox, uint32_t lane, uint64_t serial);

/*
 * Once in a worker process: a child that a handler forks can then neither send nor claim, has no
 * wake_fd, and no longer ignores the signals that the worker ignores (posix_spawn(3) and vfork(2)
 * go past this; they exec at once). False: out of memory.
 */
bool mailbox_guard_fork(struct mailbox *mailbox);
/* This is such a child. */
bool mailbox_in_child(void);
/* A child that came back out of a handler ends here: the parent goes on, not it. */
void mailbox_end_child(void);

#endif
