/*
 * The mailbox, worker's side: a lane's thread claims work and sends messages. Called by worker.c,
 * attempt.c and task.c, each lane by its own thread only. While there is work and room neither
 * makes a system call.
 */
#include "shared/clock.h"
#include "taskd/mailbox_layout.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A sleep and a wake-up cost both sides about this much; longer looking never pays. */
#define SPIN_MOST_NS 20000
#define SPIN_LOOKS 32
/* With this many pieces waiting in the lane the dispatcher need not know at once: see mailbox.h. */
#define PLENTY (MAILBOX_DEPTH / 4)

/* The mailbox of this process, and whether we are a child that a handler forked. */
static struct mailbox *guarded;
static bool in_child;

static void forget_mailbox(void)
{
	static const int ignored[] = { SIGTERM, SIGINT, SIGHUP, SIGPIPE };

	in_child = true;
	close(guarded->wake_fd);
	/* What a worker ignores, a program started by a handler should not. */
	for (size_t i = 0; i < sizeof ignored / sizeof ignored[0]; i++) {
		struct sigaction now;
		if (sigaction(ignored[i], NULL, &now) == 0 && now.sa_handler == SIG_IGN)
			signal(ignored[i], SIG_DFL);
	}
}

bool mailbox_guard_fork(struct mailbox *mailbox)
{
	guarded = mailbox;
	return pthread_atfork(NULL, NULL, forget_mailbox) == 0;
}

bool mailbox_in_child(void)
{
	return in_child;
}

void mailbox_end_child(void)
{
	if (in_child)
		_exit(EXIT_FAILURE);
}

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ __volatile__("yield");
#endif
}

/* Waits until `wake` is no longer `expected`; also returns early, the callers look again. */
static void wait_for_bell(struct mailbox_lane *lane, uint32_t expected)
{
	syscall(SYS_futex, &lane->wake, FUTEX_WAIT, expected, NULL, NULL, 0);
}

/* ---- work -------------------------------------------------------------------------------- */

/* True: `number` is claimed for us. Passes over what was revoked. */
static bool claim_next(struct mailbox_lane *lane, struct worker_lane *own)
{
	for (;;) {
		_Atomic uint64_t *word = &lane->entries[own->cursor % MAILBOX_DEPTH].word;
		/* Pairs with the release in mailbox_push(): the entry before the work. */
		uint64_t seen = atomic_load_explicit(word, memory_order_acquire);
		if (seen == entry_word(own->cursor, ENTRY_PUSHED)) {
			/* Against mailbox_revoke(): one of the two succeeds. */
			if (atomic_compare_exchange_strong_explicit(word, &seen,
			    entry_word(own->cursor, ENTRY_CLAIMED), memory_order_acq_rel, memory_order_acquire))
				return true;
		}
		if (seen != entry_word(own->cursor, ENTRY_REVOKED))
			return false;
		own->cursor++;
	}
}

static bool looks_different(const struct mailbox *mailbox, const struct mailbox_lane *lane,
    const struct worker_lane *own)
{
	uint64_t word = atomic_load_explicit(&lane->entries[own->cursor % MAILBOX_DEPTH].word, memory_order_relaxed);

	return word == entry_word(own->cursor, ENTRY_PUSHED) ||
	    atomic_load_explicit(&mailbox->shared->retiring, memory_order_relaxed);
}

/* Announces the sleep; true: nothing was pushed from entry `next` on. */
static bool announce_sleep(struct mailbox_lane *lane, struct worker_lane *own, uint32_t next)
{
	/* Partner: mailbox_wake(), which writes `announced` and then reads `sleeping`. */
	atomic_store_explicit(&lane->sleeping, ++own->sleep_number, memory_order_seq_cst);
	uint32_t announced = atomic_load_explicit(&lane->announced, memory_order_seq_cst);
	return (int32_t)(announced - next) <= 0;
}

static void announce_awake(struct mailbox_lane *lane, struct worker_lane *own)
{
	atomic_store_explicit(&lane->sleeping, ++own->sleep_number, memory_order_relaxed);
}

static void sleep_for_work(struct mailbox *mailbox, struct mailbox_lane *lane, struct worker_lane *own)
{
	/* Before anything is looked at: a bell rung from here on makes the wait return. */
	uint32_t bell = atomic_load_explicit(&lane->wake, memory_order_acquire);
	bool nothing = announce_sleep(lane, own, own->cursor);

	/* Partner: mailbox_retire(), which writes `retiring` and then rings. */
	if (nothing && !atomic_load_explicit(&mailbox->shared->retiring, memory_order_seq_cst))
		wait_for_bell(lane, bell);
	announce_awake(lane, own);
}

/*
 * Looks a little longer before it sleeps, when that has paid lately: work that comes within
 * SPIN_MOST_NS sets the time to that, each longer wait halves it. Between looks the processor is
 * yielded, since whoever makes the work may need it.
 */
static void wait_for_work(struct mailbox *mailbox, struct mailbox_lane *lane, struct worker_lane *own)
{
	int64_t began = clock_ns(CLOCK_MONOTONIC);
	int64_t waited = 0;

	while (waited < own->spin_ns) {
		for (int i = 0; i < SPIN_LOOKS; i++) {
			if (looks_different(mailbox, lane, own))
				return;
			relax();
		}
		sched_yield();
		waited = clock_ns(CLOCK_MONOTONIC) - began;
	}
	sleep_for_work(mailbox, lane, own);
	own->spin_ns = clock_ns(CLOCK_MONOTONIC) - began <= 2 * SPIN_MOST_NS ? SPIN_MOST_NS : own->spin_ns / 2;
}

/* True: the next entry is claimed; false: there is none. What was passed is released. */
static bool claim_and_release(struct mailbox_lane *lane, struct worker_lane *own)
{
	bool claimed = claim_next(lane, own);

	/* Pairs with the acquire in see_released(): what came before is read no more. */
	atomic_store_explicit(&lane->released, own->cursor, memory_order_release);
	return claimed;
}

static void hand_out(const struct mailbox_lane *lane, uint32_t number, struct work_head *head,
    const char **record, const char **message)
{
	const struct mailbox_entry *entry = &lane->entries[number % MAILBOX_DEPTH];

	*head = entry->head;
	*record = lane->work + entry->at;
	*message = *record + head->record_bytes;
}

bool mailbox_claim(struct mailbox *mailbox, uint32_t lane, struct work_head *head,
    const char **record, const char **message)
{
	assert(lane < mailbox->threads);
	struct mailbox_lane *shared = &mailbox->shared->lanes[lane];
	struct worker_lane *own = &mailbox->worker[lane];

	for (;;) {
		mailbox_end_child();
		if (atomic_load_explicit(&mailbox->shared->retiring, memory_order_acquire))
			return false;
		if (claim_and_release(shared, own))
			break;
		wait_for_work(mailbox, shared, own);
	}
	hand_out(shared, own->cursor, head, record, message);
	own->cursor++;
	return true;
}

/* ---- work, for a thread that has an event loop ------------------------------------------- */

/* When leaving: releases what was looked at and is a WORK_STOP, or was taken back. */
static void release_looked(struct mailbox_lane *lane, struct worker_lane *own)
{
	for (; (int32_t)(own->cursor - own->looked) < 0; own->cursor++) {
		uint64_t word = atomic_load_explicit(&lane->entries[own->cursor % MAILBOX_DEPTH].word, memory_order_relaxed);
		if (word != entry_word(own->cursor, ENTRY_CLAIMED) && word != entry_word(own->cursor, ENTRY_REVOKED))
			break;
	}
	/* As in claim_and_release(). */
	atomic_store_explicit(&lane->released, own->cursor, memory_order_release);
}

/*
 * True: a WORK_STOP is claimed for us, of what was not looked at yet. Other work is left for the
 * dispatcher to take back.
 */
static bool claim_stop(struct mailbox_lane *lane, struct worker_lane *own)
{
	for (; own->looked - own->cursor < MAILBOX_DEPTH; own->looked++) {
		struct mailbox_entry *entry = &lane->entries[own->looked % MAILBOX_DEPTH];
		uint64_t pushed = entry_word(own->looked, ENTRY_PUSHED);
		/* Pairs with the release in mailbox_push(): the entry before the work. */
		uint64_t seen = atomic_load_explicit(&entry->word, memory_order_acquire);
		if (seen != pushed && seen != entry_word(own->looked, ENTRY_REVOKED))
			return false; /* not pushed yet */
		/* Nobody else claims; only mailbox_revoke() could be faster. */
		if (seen == pushed && entry->head.kind == WORK_STOP &&
		    atomic_compare_exchange_strong_explicit(&entry->word, &pushed,
		    entry_word(own->looked, ENTRY_CLAIMED), memory_order_acq_rel, memory_order_relaxed))
			return true;
	}
	return false;
}

enum mailbox_claim mailbox_try_claim(struct mailbox *mailbox, uint32_t lane, struct work_head *head,
    const char **record, const char **message)
{
	assert(lane < mailbox->threads);
	struct mailbox_lane *shared = &mailbox->shared->lanes[lane];
	struct worker_lane *own = &mailbox->worker[lane];

	mailbox_end_child();
	if (atomic_load_explicit(&mailbox->shared->retiring, memory_order_acquire)) {
		if (!own->leaves)
			own->looked = own->cursor;
		own->leaves = true;
		release_looked(shared, own);
		if (!claim_stop(shared, own))
			return CLAIM_LEAVE;
		hand_out(shared, own->looked++, head, record, message);
		return CLAIM_WORK;
	}
	if (!claim_and_release(shared, own))
		return CLAIM_NOTHING;
	hand_out(shared, own->cursor++, head, record, message);
	return CLAIM_WORK;
}

bool mailbox_falls_asleep(struct mailbox *mailbox, uint32_t lane)
{
	struct worker_lane *own = &mailbox->worker[lane];
	bool nothing = announce_sleep(&mailbox->shared->lanes[lane], own, own->leaves ? own->looked : own->cursor);
	/* Partner: mailbox_retire(), which writes `retiring` and then rings. */
	bool retiring = atomic_load_explicit(&mailbox->shared->retiring, memory_order_seq_cst);

	return nothing && retiring == own->leaves;
}

void mailbox_wakes_up(struct mailbox *mailbox, uint32_t lane)
{
	announce_awake(&mailbox->shared->lanes[lane], &mailbox->worker[lane]);
}

uint32_t mailbox_bell(const struct mailbox *mailbox, uint32_t lane)
{
	return atomic_load_explicit(&mailbox->shared->lanes[lane].wake, memory_order_acquire);
}

void mailbox_wait_for_bell(struct mailbox *mailbox, uint32_t lane, uint32_t heard)
{
	wait_for_bell(&mailbox->shared->lanes[lane], heard);
}

enum mailbox_stop mailbox_told(const struct mailbox *mailbox, uint32_t lane, uint64_t serial)
{
	uint64_t told = atomic_load_explicit(&mailbox->shared->lanes[lane].told, memory_order_relaxed);

	return told >> 2 == (serial & UINT64_MAX >> 2) ? (enum mailbox_stop)(told & 3) : STOP_NONE;
}

/* ---- messages ---------------------------------------------------------------------------- */

static void wake_dispatcher(struct mailbox *mailbox, struct worker_lane *own)
{
	static const uint64_t one = 1;
	/* Partner: mailbox_dispatcher_sleeps(), before mailbox_has_messages(). */
	uint32_t sleeps = atomic_load_explicit(&mailbox->shared->dispatcher_sleeps, memory_order_seq_cst);

	if (!(sleeps & 1) || sleeps == own->woken)
		return; /* awake, or told already that this lane has something */
	own->woken = sleeps;
	/* It fails only when the counter is full (EAGAIN): then the dispatcher is awake. */
	ssize_t written = write(mailbox->wake_fd, &one, sizeof one);
	(void)written;
}

static void wait_for_room(struct mailbox *mailbox, struct mailbox_lane *lane, struct worker_lane *own,
    uint64_t bytes)
{
	wake_dispatcher(mailbox, own); /* it may not know yet of what fills the ring */
	/* Pairs with the release in take_message(): read before it is written over. */
	own->head = atomic_load_explicit(&lane->message_head, memory_order_acquire);
	while (own->tail + bytes - own->head > MAILBOX_MESSAGE_BYTES) {
		uint32_t bell = atomic_load_explicit(&lane->wake, memory_order_acquire);
		/* Partner: offer_room(), which writes `message_head` and then reads `wants_room`. */
		atomic_store_explicit(&lane->wants_room, 1, memory_order_seq_cst);
		own->head = atomic_load_explicit(&lane->message_head, memory_order_seq_cst);
		if (own->tail + bytes - own->head > MAILBOX_MESSAGE_BYTES)
			wait_for_bell(lane, bell);
		atomic_store_explicit(&lane->wants_room, 0, memory_order_relaxed);
		own->head = atomic_load_explicit(&lane->message_head, memory_order_acquire);
	}
}

static void copy_in(char ring[MAILBOX_MESSAGE_BYTES], uint64_t position, const void *from, size_t bytes)
{
	size_t at = position % MAILBOX_MESSAGE_BYTES;
	size_t first = bytes < MAILBOX_MESSAGE_BYTES - at ? bytes : MAILBOX_MESSAGE_BYTES - at;

	memcpy(ring + at, from, first);
	if (first < bytes)
		memcpy(ring, (const char *)from + first, bytes - first);
}

/* True: so much work lies ready that the dispatcher looks in by itself before it has run out. */
static bool has_plenty(const struct mailbox_lane *lane, const struct worker_lane *own)
{
	uint32_t number = own->cursor + PLENTY - 1;

	return atomic_load_explicit(&lane->entries[number % MAILBOX_DEPTH].word, memory_order_seq_cst) ==
	    entry_word(number, ENTRY_PUSHED);
}

void mailbox_send(struct mailbox *mailbox, uint32_t lane, const struct message_head *head,
    const char *text)
{
	assert(lane < mailbox->threads && head->text_bytes <= MAILBOX_MESSAGE_MAX);
	struct mailbox_lane *shared = &mailbox->shared->lanes[lane];
	struct worker_lane *own = &mailbox->worker[lane];
	uint64_t bytes = mailbox_padded(sizeof *head + (uint64_t)head->text_bytes);

	if (in_child)
		return;
	if (own->tail + bytes - own->head > MAILBOX_MESSAGE_BYTES)
		wait_for_room(mailbox, shared, own, bytes);
	copy_in(shared->messages, own->tail, head, sizeof *head);
	if (head->text_bytes)
		copy_in(shared->messages, own->tail + sizeof *head, text, head->text_bytes);
	own->tail += bytes;
	/* Pairs with the acquire in see_messages(): the tail after the message. */
	atomic_store_explicit(&shared->message_tail, own->tail, memory_order_seq_cst);
	bool about_work = head->kind != MESSAGE_READY && head->kind != MESSAGE_LEAVING;
	if (!about_work || !has_plenty(shared, own))
		wake_dispatcher(mailbox, own);
}
