/*
 * When and which next. Each queue has a list of ready tasks, first come first served, and a heap
 * of those whose time is still to come (J. W. J. Williams, "Heapsort", 1964). A pool takes its
 * queues in turn, one task each, so that a long queue does not starve a short one.
 */
#include <stdlib.h>
#include <string.h>

#include "dispatch.h"

#define QUEUES_MAX 4096 /* queue names come from outside; memory is bounded */

struct task_key task_key(const struct task *task)
{
	return (struct task_key){ .due_ms = task->due_ms, .id = task->id };
}

int task_key_compare(const struct task_key *a, const struct task_key *b)
{
	if (a->due_ms != b->due_ms)
		return a->due_ms < b->due_ms ? -1 : 1;
	return memcmp(&a->id, &b->id, sizeof a->id);
}

/* ---- queues ------------------------------------------------------------------------------ */

/* uthash's keys are text here, not ids. */
#undef HASH_FUNCTION
#undef HASH_KEYCMP
#define HASH_FUNCTION(key, length, value) HASH_JEN(key, length, value)
#define HASH_KEYCMP(a, b, length) memcmp(a, b, length)

/* Names that nothing uses any more make room for new ones. */
static void drop_unused_queues(struct dispatcher *dispatcher)
{
	for (struct queue *queue = dispatcher->queues, *next; queue; queue = next) {
		next = queue->hh.next;
		/* Blocked tasks may rest in the journal while nothing of it is in memory. */
		if (queue->tasks || queue->bounded || queue->loading || queue->paused || queue->live[TR_QUEUED] ||
		    queue->live[TR_SCHEDULED])
			continue;
		board_rows_forget(dispatcher, queue);
		/* The analyzer takes uthash's way of emptying a table for a use of the one freed before. */
		HASH_DELETE(hh, dispatcher->queues, queue); /* NOLINT(clang-analyzer-unix.Malloc) */
		free(queue->heap);
		free(queue);
	}
}

static struct queue *make_queue(struct dispatcher *dispatcher, struct record_text name)
{
	int pool = config_pool_of(dispatcher->config, name.at, name.bytes);

	assert(pool >= 0); /* one pool takes every queue that no other names */
	if (HASH_COUNT(dispatcher->queues) >= QUEUES_MAX)
		drop_unused_queues(dispatcher);
	/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): as above */
	if (HASH_COUNT(dispatcher->queues) >= QUEUES_MAX)
		return NULL;
	struct queue *made = calloc(1, sizeof *made);
	if (!made)
		return NULL;
	memcpy(made->name, name.at, name.bytes);
	made->row = NO_ROW;
	made->pool = &dispatcher->pools->pools[pool];
	TAILQ_INIT(&made->ready);
	TAILQ_INIT(&made->callbacks);
	TAILQ_INIT(&made->held);
	HASH_ADD_KEYPTR(hh, dispatcher->queues, made->name, name.bytes, made);
	if (!made->hh.tbl) {
		free(made);
		return NULL;
	}
	return made;
}

struct queue *scheduler_queue(struct dispatcher *dispatcher, struct record_text name)
{
	struct queue *found;

	HASH_FIND(hh, dispatcher->queues, name.at, name.bytes, found);
	return found ? found : make_queue(dispatcher, name);
}

/* ---- the heap ---------------------------------------------------------------------------- */

static bool is_earlier(const struct task *a, const struct task *b)
{
	struct task_key left = task_key(a), right = task_key(b);

	return task_key_compare(&left, &right) < 0;
}

static void heap_put(struct queue *queue, uint32_t at, struct task *task)
{
	queue->heap[at] = task;
	task->heap_at = at;
}

static void heap_up(struct queue *queue, uint32_t at, struct task *task)
{
	while (at > 0 && is_earlier(task, queue->heap[(at - 1) / 2])) {
		heap_put(queue, at, queue->heap[(at - 1) / 2]);
		at = (at - 1) / 2;
	}
	heap_put(queue, at, task);
}

static void heap_down(struct queue *queue, uint32_t at, struct task *task)
{
	for (;;) {
		uint32_t child = 2 * at + 1;
		if (child >= queue->heap_count)
			break;
		if (child + 1 < queue->heap_count && is_earlier(queue->heap[child + 1], queue->heap[child]))
			child++;
		if (!is_earlier(queue->heap[child], task))
			break;
		heap_put(queue, at, queue->heap[child]);
		at = child;
	}
	heap_put(queue, at, task);
}

static bool heap_add(struct queue *queue, struct task *task)
{
	if (queue->heap_count == queue->heap_capacity) {
		uint32_t capacity = queue->heap_capacity ? queue->heap_capacity * 2 : 64;
		struct task **larger = realloc(queue->heap, capacity * sizeof *larger);
		if (!larger)
			return false;
		queue->heap = larger;
		queue->heap_capacity = capacity;
	}
	heap_up(queue, queue->heap_count++, task);
	return true;
}

static void heap_remove(struct queue *queue, struct task *task)
{
	uint32_t at = task->heap_at;
	struct task *last = queue->heap[--queue->heap_count];

	if (last == task)
		return;
	if (at > 0 && is_earlier(last, queue->heap[(at - 1) / 2]))
		heap_up(queue, at, last);
	else
		heap_down(queue, at, last);
}

/* ---- filing ------------------------------------------------------------------------------ */

/* Puts the queue among its pool's turns, or takes it from there. */
static void file_queue(struct queue *queue)
{
	bool gives = !TAILQ_EMPTY(&queue->callbacks) || (!queue->paused && !TAILQ_EMPTY(&queue->ready));

	if (gives == queue->in_turns)
		return;
	queue->in_turns = gives;
	if (gives)
		TAILQ_INSERT_TAIL(&queue->pool->turns, queue, turn_link);
	else
		TAILQ_REMOVE(&queue->pool->turns, queue, turn_link);
}

void scheduler_paused(struct queue *queue)
{
	file_queue(queue);
}

static void make_ready(struct task *task, bool first)
{
	struct queue *queue = task->queue;

	queue->expiring += task->record.expires_at_ms != 0;
	if (task->deciding)
		TAILQ_INSERT_TAIL(&queue->callbacks, task, ready_link);
	else if (first)
		TAILQ_INSERT_HEAD(&queue->ready, task, ready_link);
	else
		TAILQ_INSERT_TAIL(&queue->ready, task, ready_link);
	task->where = IN_READY;
	queue->waiting++;
	file_queue(queue);
}

bool scheduler_add(struct dispatcher *dispatcher, struct task *task)
{
	struct queue *queue = task->queue;

	assert(task->where == NOWHERE);
	if (task->due_ms <= dispatcher->now_ms) {
		make_ready(task, false);
		/* It came due while it rested in the journal, or while taskd was not there. */
		if (task->state == TR_SCHEDULED)
			tasks_move(dispatcher, task, EV_DUE);
		return true;
	}
	if (!heap_add(queue, task))
		return false;
	task->where = IN_HEAP;
	queue->waiting++;
	if (task->due_ms < dispatcher->next_due_ms)
		dispatcher->next_due_ms = task->due_ms;
	return true;
}

void scheduler_add_first(struct task *task)
{
	assert(task->where == NOWHERE);
	make_ready(task, true);
}

void scheduler_remove(struct task *task)
{
	struct queue *queue = task->queue;

	if (task->where == IN_HEAP) {
		heap_remove(queue, task);
	} else {
		assert(task->where == IN_READY);
		TAILQ_REMOVE(task->deciding ? &queue->callbacks : &queue->ready, task, ready_link);
		queue->expiring -= task->record.expires_at_ms != 0;
		file_queue(queue);
	}
	queue->waiting--;
	task->where = NOWHERE;
}

struct task *scheduler_next(struct pool *pool)
{
	struct queue *queue = TAILQ_FIRST(&pool->turns);

	if (!queue)
		return NULL;
	struct task *task = TAILQ_FIRST(&queue->callbacks);
	if (!task)
		task = TAILQ_FIRST(&queue->ready);
	scheduler_remove(task);
	if (queue->in_turns && TAILQ_NEXT(queue, turn_link)) { /* to the end of the turns */
		TAILQ_REMOVE(&pool->turns, queue, turn_link);
		TAILQ_INSERT_TAIL(&pool->turns, queue, turn_link);
	}
	return task;
}

/* ---- time -------------------------------------------------------------------------------- */

static void tick_queue(struct dispatcher *dispatcher, struct queue *queue)
{
	while (queue->heap_count && queue->heap[0]->due_ms <= dispatcher->now_ms) {
		struct task *task = queue->heap[0];
		scheduler_remove(task);
		make_ready(task, false);
		if (task->state == TR_SCHEDULED)
			tasks_move(dispatcher, task, EV_DUE);
	}
	if (queue->heap_count && queue->heap[0]->due_ms < dispatcher->next_due_ms)
		dispatcher->next_due_ms = queue->heap[0]->due_ms;
}

int64_t scheduler_tick(struct dispatcher *dispatcher)
{
	if (dispatcher->next_due_ms <= dispatcher->now_ms) {
		dispatcher->next_due_ms = INT64_MAX;
		for (struct queue *queue = dispatcher->queues; queue; queue = queue->hh.next)
			tick_queue(dispatcher, queue);
	}
	return dispatcher->next_due_ms;
}

int64_t scheduler_oldest_wait_ms(const struct dispatcher *dispatcher)
{
	int64_t oldest = 0;

	for (const struct queue *queue = dispatcher->queues; queue; queue = queue->hh.next) {
		const struct task *first = TAILQ_FIRST(&queue->ready);
		if (first && dispatcher->now_ms - first->due_ms > oldest)
			oldest = dispatcher->now_ms - first->due_ms;
	}
	return oldest;
}
