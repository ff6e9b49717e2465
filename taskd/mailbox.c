/*
 * The mailbox's making, and the dispatcher's side: work goes in, messages come out. Called by the
 * supervisor (mailbox_create) and the dispatcher. See mailbox.h for the protocol, and
 * mailbox_layout.h for the memory. Nothing read from the mapping is used before it was bounded
 * against the private copies in struct dispatcher_lane.
 *
 * The sleep protocols are Dekker's: each side writes its own word, then reads the other's, all four
 * accesses sequentially consistent, so at least one side sees the other's write.
 */
#include "taskd/mailbox_layout.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "shared/redact.h"
#include "taskd/text.h"
#include "taskring/handler.h"

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
/* A sender that waits for room is looked for each time this much was read, and when all was. */
#define ROOM_STEP_BYTES (MAILBOX_MESSAGE_BYTES / 4)

/* ---- making and mapping ------------------------------------------------------------------ */

size_t mailbox_bytes(uint32_t threads)
{
	return sizeof(struct mailbox_shared) + threads * sizeof(struct mailbox_lane);
}

/* Really allocated, so that memory runs out here and not as SIGBUS in the dispatcher. */
static int allocate(int fd, size_t bytes)
{
	int failure;

	do
		failure = posix_fallocate(fd, 0, (off_t)bytes);
	while (failure == EINTR);
	if (failure) {
		errno = failure;
		return -1;
	}
	return fcntl(fd, F_ADD_SEALS, SEALS);
}

int mailbox_create(uint32_t threads)
{
	assert(threads >= 1 && threads <= MAILBOX_THREADS_MAX);
	int fd = memfd_create("taskring-mailbox", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd >= 0 && allocate(fd, mailbox_bytes(threads)) < 0) {
		int saved = errno;
		close(fd);
		errno = saved;
		return -1;
	}
	return fd;
}

/* A file that another process could cut short under us would be a SIGBUS. */
static bool is_mailbox(int fd, size_t bytes)
{
	struct stat status;
	int seals = fcntl(fd, F_GET_SEALS);

	if (seals < 0 || fstat(fd, &status) < 0)
		return false;
	if ((seals & F_SEAL_SHRINK) && status.st_size >= 0 && (size_t)status.st_size == bytes)
		return true;
	errno = EINVAL;
	return false;
}

struct mailbox *mailbox_open(int fd, uint32_t threads, int wake_fd)
{
	size_t bytes = mailbox_bytes(threads);

	if (threads < 1 || threads > MAILBOX_THREADS_MAX) {
		errno = EINVAL;
		return NULL;
	}
	if (!is_mailbox(fd, bytes))
		return NULL;
	struct mailbox *mailbox = calloc(1, sizeof *mailbox);
	if (!mailbox)
		return NULL;
	*mailbox = (struct mailbox){ .bytes = bytes, .threads = threads, .wake_fd = wake_fd };
	mailbox->dispatcher = calloc(threads, sizeof *mailbox->dispatcher);
	mailbox->worker = aligned_alloc(_Alignof(struct worker_lane), threads * sizeof *mailbox->worker);
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	mailbox->shared = memory == MAP_FAILED ? NULL : memory;
	if (!mailbox->dispatcher || !mailbox->worker || !mailbox->shared) {
		mailbox_close(&mailbox);
		errno = ENOMEM;
		return NULL;
	}
	memset(mailbox->worker, 0, threads * sizeof *mailbox->worker);
	return mailbox;
}

void mailbox_close(struct mailbox **mailbox)
{
	struct mailbox *gone = *mailbox;

	*mailbox = NULL;
	if (!gone)
		return;
	if (gone->shared)
		munmap(gone->shared, gone->bytes);
	free(gone->dispatcher);
	free(gone->worker);
	free(gone);
}

/* ---- work goes in ------------------------------------------------------------------------ */

/* Believes the worker's `released` only as far as it can be true. */
static void see_released(struct dispatcher_lane *own, struct mailbox_lane *lane)
{
	/* Pairs with the release in mailbox_claim(): it reads those entries and bytes no more. */
	uint32_t released = atomic_load_explicit(&lane->released, memory_order_acquire);

	if (released - own->released <= own->pushed - own->released)
		own->released = released;
	else
		own->damaged = true;
	/* Empty: begin again at the front, whose cache lines are warm. */
	if (own->released == own->pushed)
		own->work_end = 0;
}

/* True and *start: `bytes` in one run are free from there on. */
static bool find_room(const struct dispatcher_lane *own, uint64_t bytes, uint64_t *start)
{
	uint64_t at = own->work_end;
	uint64_t offset = at % MAILBOX_WORK_BYTES;

	if (offset + bytes > MAILBOX_WORK_BYTES)
		at += MAILBOX_WORK_BYTES - offset; /* a piece lies in one run */
	uint64_t oldest = own->released == own->pushed ? at : own->starts[own->released % MAILBOX_DEPTH];
	if (own->pushed - own->released >= MAILBOX_DEPTH || at + bytes - oldest > MAILBOX_WORK_BYTES)
		return false;
	*start = at;
	return true;
}

bool mailbox_push(struct mailbox *mailbox, uint32_t lane, const struct work_head *head,
    const void *record, const char *message, uint32_t *entry)
{
	assert(lane < mailbox->threads);
	struct dispatcher_lane *own = &mailbox->dispatcher[lane];
	struct mailbox_lane *shared = &mailbox->shared->lanes[lane];
	uint64_t bytes = mailbox_padded((uint64_t)head->record_bytes + head->message_bytes + 1);
	uint64_t start;

	if (own->damaged || bytes > MAILBOX_WORK_BYTES)
		return false;
	/* Seldom, since it is a cache line that the worker writes all the time. */
	if (own->pushed - own->released >= MAILBOX_DEPTH / 4)
		see_released(own, shared);
	if (!find_room(own, bytes, &start)) {
		see_released(own, shared);
		if (own->damaged || !find_room(own, bytes, &start)) {
			/* A thread that sleeps has perhaps not passed what was taken back. */
			mailbox_wake(mailbox, lane);
			return false;
		}
	}
	if (own->damaged)
		return false;

	struct mailbox_entry *to = &shared->entries[own->pushed % MAILBOX_DEPTH];
	uint32_t at = (uint32_t)(start % MAILBOX_WORK_BYTES);
	char *text = shared->work + at + head->record_bytes;
	to->at = at;
	to->head = *head;
	if (head->record_bytes)
		memcpy(shared->work + at, record, head->record_bytes);
	if (head->message_bytes)
		memcpy(text, message, head->message_bytes);
	text[head->message_bytes] = '\0';
	own->starts[own->pushed % MAILBOX_DEPTH] = start;
	own->work_end = start + bytes;
	/* Pairs with the acquire in mailbox_claim(): the work before its entry. */
	atomic_store_explicit(&to->word, entry_word(own->pushed, ENTRY_PUSHED), memory_order_release);
	*entry = own->pushed++;
	return true;
}

/* Lets the lane's thread look again, whatever it waits for. */
static void ring_bell(struct mailbox_lane *lane)
{
	/* Before the system call: a thread about to wait finds another value and does not. */
	atomic_fetch_add_explicit(&lane->wake, 1, memory_order_seq_cst);
	syscall(SYS_futex, &lane->wake, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

void mailbox_ring_bell(struct mailbox *mailbox, uint32_t lane)
{
	assert(lane < mailbox->threads);
	ring_bell(&mailbox->shared->lanes[lane]);
}

void mailbox_wake(struct mailbox *mailbox, uint32_t lane)
{
	assert(lane < mailbox->threads);
	struct dispatcher_lane *own = &mailbox->dispatcher[lane];
	struct mailbox_lane *shared = &mailbox->shared->lanes[lane];

	/* Partner: announce_sleep(), which writes `sleeping` and then reads `announced`. */
	atomic_store_explicit(&shared->announced, own->pushed, memory_order_seq_cst);
	uint32_t sleeping = atomic_load_explicit(&shared->sleeping, memory_order_seq_cst);
	if (!(sleeping & 1) || sleeping == own->woken)
		return; /* awake, or on its way already */
	own->woken = sleeping;
	ring_bell(shared);
}

bool mailbox_revoke(struct mailbox *mailbox, uint32_t lane, uint32_t entry)
{
	assert(lane < mailbox->threads);
	uint64_t pushed = entry_word(entry, ENTRY_PUSHED);

	/* Against claim_next(): one of the two succeeds. No data hangs on it. */
	return atomic_compare_exchange_strong_explicit(
	    &mailbox->shared->lanes[lane].entries[entry % MAILBOX_DEPTH].word, &pushed,
	    entry_word(entry, ENTRY_REVOKED), memory_order_acq_rel, memory_order_relaxed);
}

bool mailbox_is_passed(struct mailbox *mailbox, uint32_t lane)
{
	assert(lane < mailbox->threads);
	struct dispatcher_lane *own = &mailbox->dispatcher[lane];

	see_released(own, &mailbox->shared->lanes[lane]);
	return own->released == own->pushed;
}

void mailbox_tell(struct mailbox *mailbox, uint32_t lane, uint64_t serial, enum mailbox_stop stop)
{
	assert(lane < mailbox->threads);
	atomic_store_explicit(&mailbox->shared->lanes[lane].told, serial << 2 | (uint64_t)stop,
	    memory_order_relaxed);
}

void mailbox_retire(struct mailbox *mailbox)
{
	/* Pairs with the acquire of `wake` in sleep_for_work(): who sees the bell sees this too. */
	atomic_store_explicit(&mailbox->shared->retiring, 1, memory_order_seq_cst);
	for (uint32_t i = 0; i < mailbox->threads; i++)
		ring_bell(&mailbox->shared->lanes[i]);
}

/* ---- messages come out ------------------------------------------------------------------- */

enum text_kind { TEXT_NONE, TEXT_LINE, TEXT_JSON, TEXT_ENQUEUE, TEXT_HANDLER };

/* What a message may hold; a worker of ours sends nothing else. */
static const struct message_rule {
	uint32_t text_most;
	uint8_t code_most, flag_most;
	uint8_t text; /* enum text_kind */
} rules[] = {
	[MESSAGE_READY] = { .text = TEXT_NONE },
	[MESSAGE_STARTED] = { .text = TEXT_NONE },
	[MESSAGE_PROGRESS] = { .text_most = TR_TEXT_MAX, .text = TEXT_LINE },
	[MESSAGE_LOG] = { .text_most = TEXT_LINE_MAX, .code_most = TR_DEBUG, .text = TEXT_LINE },
	[MESSAGE_RESULT] = { .text_most = TR_RESULT_MAX, .text = TEXT_JSON },
	[MESSAGE_ENDED] = { .text_most = TEXT_LINE_MAX, .code_most = TR_SNOOZE, .flag_most = 1, .text = TEXT_LINE },
	[MESSAGE_VERDICT] = { .text_most = 2 * (TR_NAME_MAX + 1) + TR_ARGS_INLINE_MAX,
	    .code_most = TR_VERDICT_ENQUEUE, .flag_most = 1, .text = TEXT_ENQUEUE },
	[MESSAGE_LEAVING] = { .text = TEXT_NONE },
	[MESSAGE_PENDING] = { .text = TEXT_NONE },
	[MESSAGE_HANDLER] = { .text_most = TR_NAME_MAX + 1 + MAILBOX_DOC_MAX + 1 + TR_SECRETS_MAX, .text = TEXT_HANDLER },
};
static_assert(2 * (TR_NAME_MAX + 1) + TR_ARGS_INLINE_MAX <= MAILBOX_MESSAGE_MAX, "an enqueued task fits");

static bool head_ok(const struct message_head *head)
{
	if (head->kind < MESSAGE_READY || head->kind > MESSAGE_HANDLER)
		return false;
	const struct message_rule *rule = &rules[head->kind];
	return head->text_bytes <= rule->text_most && head->code <= rule->code_most &&
	    head->flag <= rule->flag_most;
}

/* Names with commas between them, or nothing. */
static bool names_ok(const char *names, size_t bytes)
{
	const char *end = names + bytes;

	while (bytes > 0) {
		const char *comma = memchr(names, ',', (size_t)(end - names));
		if (!redact_name_ok(names, (size_t)((comma ? comma : end) - names)))
			return false;
		if (!comma)
			return true;
		names = comma + 1;
	}
	return true;
}

static bool handler_ok(const char *text, size_t bytes)
{
	const char *end = text + bytes;
	const char *name_end = memchr(text, 0, bytes);
	const char *doc_end = name_end ? memchr(name_end + 1, 0, (size_t)(end - name_end - 1)) : NULL;

	return doc_end && record_name_ok(text, (size_t)(name_end - text)) && doc_end - name_end - 1 <= MAILBOX_DOC_MAX &&
	    text_is_line(name_end + 1, (size_t)(doc_end - name_end - 1)) && end - doc_end - 1 <= TR_SECRETS_MAX &&
	    names_ok(doc_end + 1, (size_t)(end - doc_end - 1));
}

static bool text_ok(const struct message_head *head, const char *text)
{
	switch (rules[head->kind].text) {
	case TEXT_LINE:
		return text_is_line(text, head->text_bytes);
	case TEXT_JSON:
		return text_is_utf8(text, head->text_bytes) && !memchr(text, 0, head->text_bytes);
	case TEXT_ENQUEUE: {
		if (head->code != TR_VERDICT_ENQUEUE)
			return head->text_bytes == 0;
		const char *end = text + head->text_bytes;
		const char *queue = memchr(text, 0, head->text_bytes);
		return queue && memchr(queue + 1, 0, (size_t)(end - queue - 1)) && text_is_utf8(text, head->text_bytes);
	}
	case TEXT_HANDLER:
		return handler_ok(text, head->text_bytes);
	default:
		return true; /* head_ok() allowed no text */
	}
}

static void copy_out(void *to, const char ring[MAILBOX_MESSAGE_BYTES], uint64_t position, size_t bytes)
{
	size_t at = position % MAILBOX_MESSAGE_BYTES;
	size_t first = bytes < MAILBOX_MESSAGE_BYTES - at ? bytes : MAILBOX_MESSAGE_BYTES - at;

	memcpy(to, ring + at, first);
	if (first < bytes)
		memcpy((char *)to + first, ring, bytes - first);
}

/* Looks for a thread that waits for room, once in a while: both accesses cost a full barrier. */
static void offer_room(struct dispatcher_lane *own, struct mailbox_lane *shared)
{
	own->room_offered = own->read;
	/* Partner: wait_for_room(), which writes `wants_room` and then reads `message_head`. */
	atomic_store_explicit(&shared->message_head, own->read, memory_order_seq_cst);
	if (atomic_load_explicit(&shared->wants_room, memory_order_seq_cst))
		ring_bell(shared);
}

/* True: there is something between `read` and `tail`, at most a ring full of it. */
static bool see_messages(struct dispatcher_lane *own, struct mailbox_lane *shared)
{
	if (own->read != own->room_offered)
		offer_room(own, shared);
	/* Pairs with the store in mailbox_send(): the message before the tail. */
	uint64_t tail = atomic_load_explicit(&shared->message_tail, memory_order_acquire);
	if (tail - own->read > MAILBOX_MESSAGE_BYTES)
		own->damaged = true;
	else
		own->tail = tail;
	return !own->damaged && own->tail != own->read;
}

/* Takes one message out; false: it makes no sense. */
static bool take_message(struct dispatcher_lane *own, struct mailbox_lane *shared,
    struct message_head *head, char *text)
{
	uint64_t there = own->tail - own->read;

	if (there < sizeof *head)
		return false;
	copy_out(head, shared->messages, own->read, sizeof *head);
	uint64_t size = mailbox_padded(sizeof *head + (uint64_t)head->text_bytes);
	if (!head_ok(head) || size > there)
		return false;
	copy_out(text, shared->messages, own->read + sizeof *head, head->text_bytes);
	text[head->text_bytes] = '\0';
	own->read += size;
	/* Pairs with the acquire in wait_for_room(): copied out before it is written over. */
	atomic_store_explicit(&shared->message_head, own->read, memory_order_release);
	if (own->read - own->room_offered >= ROOM_STEP_BYTES)
		offer_room(own, shared);
	return text_ok(head, text);
}

int mailbox_read(struct mailbox *mailbox, uint32_t lane, struct message_head *head, char *text)
{
	assert(lane < mailbox->threads);
	struct dispatcher_lane *own = &mailbox->dispatcher[lane];
	struct mailbox_lane *shared = &mailbox->shared->lanes[lane];

	if (own->damaged)
		return -1;
	if (own->read == own->tail && !see_messages(own, shared))
		return own->damaged ? -1 : 0;
	if (take_message(own, shared, head, text))
		return 1;
	own->damaged = true;
	return -1;
}

void mailbox_dispatcher_sleeps(struct mailbox *mailbox, bool sleeps)
{
	if (sleeps == (mailbox->sleep_number & 1))
		return;
	mailbox->sleep_number++;
	/* Partner: mailbox_send(), which writes `message_tail` and then reads this. */
	atomic_store_explicit(&mailbox->shared->dispatcher_sleeps, mailbox->sleep_number, memory_order_seq_cst);
}

bool mailbox_has_messages(struct mailbox *mailbox)
{
	for (uint32_t i = 0; i < mailbox->threads; i++) {
		/* After mailbox_dispatcher_sleeps(): see there. */
		uint64_t tail = atomic_load_explicit(&mailbox->shared->lanes[i].message_tail, memory_order_seq_cst);
		if (tail != mailbox->dispatcher[i].read)
			return true;
	}
	return false;
}
