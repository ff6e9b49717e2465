/*
 * What lies in a mailbox's memfd, and each side's private half. For mailbox.c (the dispatcher's
 * side), mailbox_worker.c and their tests only; everybody else includes mailbox.h.
 *
 * struct mailbox_shared, then one struct mailbox_lane for each thread. Each word has one writer,
 * but an entry's `word`, which both sides move by compare-and-swap, `wake`, which both add to, and
 * `retiring`, which both set.
 */
#ifndef TASKD_MAILBOX_LAYOUT_H
#define TASKD_MAILBOX_LAYOUT_H

#include <assert.h>

#include "taskd/mailbox.h"

enum entry_state { ENTRY_FREE, ENTRY_PUSHED, ENTRY_CLAIMED, ENTRY_REVOKED };

/*
 * One piece of work; number n is in entry n % MAILBOX_DEPTH. `word` holds the number and the state,
 * so that a compare-and-swap meant for one piece never hits a later one in the same place.
 */
struct mailbox_entry {
	_Atomic uint64_t word; /* number << 2 | enum entry_state */
	uint32_t at;           /* where in `work` the record starts; the message follows it */
	uint32_t reserved;
	struct work_head head;
};
static_assert(sizeof(struct mailbox_entry) == 64, "an entry is a cache line");

static inline uint64_t entry_word(uint32_t number, enum entry_state state)
{
	return (uint64_t)number << 2 | (uint64_t)state;
}

struct mailbox_lane {
	/* Written by the dispatcher. */
	_Alignas(64) _Atomic uint32_t announced; /* entries pushed, as of the last mailbox_wake() */
	_Atomic uint32_t wake;                   /* the futex that the lane's thread waits on */
	_Atomic uint64_t told;                   /* serial << 2 | enum mailbox_stop */
	_Atomic uint64_t message_head;           /* bytes of messages read, ever */
	/* Written by the lane's thread. */
	_Alignas(64) _Atomic uint32_t released; /* entries below this number are done with */
	_Atomic uint32_t sleeping;              /* odd: waits for work; another number each time */
	_Atomic uint32_t wants_room;            /* 1: waits for room in the message ring */
	_Atomic uint64_t message_tail;          /* bytes of messages written, ever */

	_Alignas(64) struct mailbox_entry entries[MAILBOX_DEPTH];
	_Alignas(64) char work[MAILBOX_WORK_BYTES];
	char messages[MAILBOX_MESSAGE_BYTES];
};

struct mailbox_shared {
	_Alignas(64) _Atomic uint32_t dispatcher_sleeps; /* odd: sleeps; another number each time */
	_Atomic uint32_t retiring;                       /* 1: the process is to leave */
	_Alignas(64) struct mailbox_lane lanes[];
};

/* What the dispatcher keeps to itself, so that nothing in the mapping can lead it astray. */
struct dispatcher_lane {
	uint32_t pushed;   /* number of the next entry */
	uint32_t released; /* the largest believable `released` seen */
	uint64_t work_end; /* position in `work` after the last piece; positions count on past the end */
	uint64_t starts[MAILBOX_DEPTH]; /* position of each piece */
	uint64_t read, tail;            /* of the message ring: read so far, and known to be there */
	uint64_t room_offered;          /* `read` when a waiting sender was last looked for */
	uint32_t woken;                 /* the `sleeping` that was woken last */
	bool damaged;                   /* what the worker wrote made no sense */
};

/* What the lane's thread keeps to itself. */
struct worker_lane {
	_Alignas(64) uint32_t cursor; /* number of the next entry to look at */
	bool leaves;                  /* mailbox_try_claim() has answered CLAIM_LEAVE */
	uint32_t looked;              /* then: entries below it were looked at for WORK_STOP */
	uint32_t sleep_number;        /* last value of `sleeping` */
	uint32_t woken;               /* the `dispatcher_sleeps` that was woken last */
	int64_t spin_ns;              /* how long to look before sleeping */
	uint64_t tail, head;          /* of the message ring: written, and known to be read */
};

struct mailbox {
	struct mailbox_shared *shared;
	size_t bytes;
	uint32_t threads;
	int wake_fd;
	uint32_t sleep_number; /* the dispatcher's: last value of `dispatcher_sleeps` */
	struct dispatcher_lane *dispatcher; /* [threads] */
	struct worker_lane *worker;         /* [threads] */
};

static inline uint64_t mailbox_padded(uint64_t bytes)
{
	return (bytes + 7) & ~7ull;
}

#endif
