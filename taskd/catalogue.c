/*
 * Handlers by name, as the dispatcher knows them: how long their attempts take, what became of these, and what
 * workers say of them at their start. Enters: attempts (outcome.c, verdict.c, settle.c), MESSAGE_HANDLER. Leaves:
 * the pace that workforce.c plans with, rows of the board (board_rows.c).
 */
#include <stdlib.h>
#include <string.h>

#include "dispatch.h"

#define PACE_WEIGHT 8     /* of the moving average: the newest counts one part in so many */
#define HANDLERS_MAX 4096 /* names come from outside */

/* uthash's keys are text here, not ids. */
#undef HASH_FUNCTION
#undef HASH_KEYCMP
#define HASH_FUNCTION(key, length, value) HASH_JEN(key, length, value)
#define HASH_KEYCMP(a, b, length) memcmp(a, b, length)

struct handler *catalogue_find(struct dispatcher *dispatcher, const char *name, size_t bytes)
{
	struct handler *handler;

	HASH_FIND(hh, dispatcher->handlers, name, bytes, handler);
	if (handler || HASH_COUNT(dispatcher->handlers) >= HANDLERS_MAX || !(handler = calloc(1, sizeof *handler)))
		return handler;
	memcpy(handler->name, name, bytes);
	handler->row = NO_ROW;
	HASH_ADD_KEYPTR(hh, dispatcher->handlers, handler->name, bytes, handler);
	if (handler->hh.tbl)
		return handler;
	free(handler);
	return NULL;
}

/* The task's; NULL: no memory, or too many names. Looked up once in a task's stay in memory. */
static struct handler *handler_of(struct dispatcher *dispatcher, struct task *task)
{
	if (!task->handler)
		task->handler = catalogue_find(dispatcher, task->record.handler.at, task->record.handler.bytes);
	return task->handler;
}

int64_t catalogue_pace(struct dispatcher *dispatcher, struct task *task)
{
	const struct handler *handler = handler_of(dispatcher, task);

	return handler && handler->measured ? handler->run_ns : -1;
}

void catalogue_held(struct dispatcher *dispatcher, struct task *task, int64_t run_ns)
{
	struct handler *handler = handler_of(dispatcher, task);

	if (!handler)
		return;
	handler->run_ns += handler->measured ? (run_ns - handler->run_ns) / PACE_WEIGHT : run_ns;
	handler->measured = true;
}

/* ---- counting ---------------------------------------------------------------------------- */

static void changed(struct dispatcher *dispatcher, struct handler *handler)
{
	handler->changed = true;
	dispatcher->rows_changed = true;
}

void catalogue_started(struct dispatcher *dispatcher, struct task *task)
{
	struct handler *handler = handler_of(dispatcher, task);

	if (!handler)
		return;
	handler->started++;
	changed(dispatcher, handler);
}

/* The first bucket whose limit is above: each is four times the one before. */
static unsigned bucket_of(uint64_t run_ns)
{
	uint64_t run_us = run_ns / 1000;
	unsigned bucket = run_us ? (65u - (unsigned)__builtin_clzll(run_us)) / 2 : 0;

	return bucket < BOARD_RUN_BUCKETS ? bucket : BOARD_RUN_BUCKETS - 1;
}

void catalogue_ended(struct dispatcher *dispatcher, struct task *task, uint64_t run_ns, bool succeeded)
{
	struct handler *handler = handler_of(dispatcher, task);

	if (!handler)
		return;
	handler->succeeded += succeeded;
	handler->run_sum_ns += run_ns;
	handler->run[bucket_of(run_ns)]++;
	changed(dispatcher, handler);
}

void catalogue_failed(struct dispatcher *dispatcher, struct task *task)
{
	struct handler *handler = handler_of(dispatcher, task);

	if (!handler)
		return;
	handler->failed++;
	changed(dispatcher, handler);
}

/* ---- what workers say -------------------------------------------------------------------- */

/* False: out of memory; the text is as before. */
static bool replace(char **text, const char *with)
{
	char *copy;

	if (*text && strcmp(*text, with) == 0)
		return true;
	copy = strdup(with);
	if (!copy)
		return false;
	free(*text);
	*text = copy;
	return true;
}

void catalogue_announced(struct dispatcher *dispatcher, const char *name, const char *doc, const char *secrets)
{
	struct handler *handler = catalogue_find(dispatcher, name, strlen(name));

	/* Without its secrets it must not look like one that has none: then it is not shown. */
	if (!handler || !replace(&handler->secrets, secrets) || !replace(&handler->doc, doc))
		return;
	handler->announced = handler->known = true;
	changed(dispatcher, handler);
	dispatcher->rows_ms = 0; /* in this turn: before anything of it has run, its secrets are known */
}
