/*
 * Tasks that are wanted by their id: by commands (cancel, retry) out of the ring, and as the next ones of
 * their batches. Enters: commands (intake.c), ids (window.c). Leaves: what was wanted, carried out, on
 * tasks in memory at once, on others when the journal has answered. While a command waits for its answer,
 * the ring is not retired beyond it (recorder.c): whoever starts next reads it again.
 */
#include <stdlib.h>

#include "dispatch.h"
#include "log.h"

#define UNREADABLE_MS 1000 /* before the journal is asked again */

/* What is asked of the journal comes back with the pointer to one of these, plus one, as its tag. */
struct wanted {
	SLIST_ENTRY(wanted) link; /* in dispatcher->unread */
	struct tr_id id;
	enum { TO_CANCEL, TO_RETRY, TO_GO_ON, TO_GIVE_UP } purpose;
	int64_t asked_ns;  /* of a command: when it was given, by the producer's clock, */
	uint64_t position; /* and where it stands in the ring */
};

/* ---- retrying ---------------------------------------------------------------------------- */

/*
 * A command may be taken twice: before a kill and after it. Carried out once, it has left its time in the
 * task's row, in the same commit; so what was asked for then or earlier has been obeyed, and must
 * not wake a task that has died again since. Times are compared only where the command can be such
 * a one, since a clock may be put back.
 */
static bool is_replayed(const struct dispatcher *dispatcher, const struct wanted *wanted, int64_t retried_ns)
{
	return wanted->position < dispatcher->known_until && wanted->asked_ns <= retried_ns;
}

/* `task` NULL: it is not there, or not to be retried. */
static void retry(struct dispatcher *dispatcher, const struct wanted *wanted, struct task *task)
{
	char id[TR_ID_TEXT_SIZE];

	if (task && task->state == TR_DEAD && !is_replayed(dispatcher, wanted, task->retried_ns)) {
		tasks_retry(dispatcher, task, wanted->asked_ns);
		return;
	}
	stat_add(dispatcher->board, STAT_retry_refused, 1);
	log_event(LOG_NOTICE, "retry-refused", "id=%s reason=%s", tr_id_format(&wanted->id, id),
	    task && task->state != TR_DEAD ? tr_state_name((enum tr_state)task->state) : "no such dead task");
}

/* ---- asking the journal ------------------------------------------------------------------ */

static bool is_command(const struct wanted *wanted)
{
	return wanted->purpose == TO_CANCEL || wanted->purpose == TO_RETRY;
}

static void drop(struct dispatcher *dispatcher, struct wanted *wanted)
{
	dispatcher->commands_asked -= is_command(wanted);
	free(wanted);
}

/* What memory denies now is made good at the next start, which looks for such tasks. */
static void ask(struct dispatcher *dispatcher, struct wanted *wanted)
{
	char text[TR_ID_TEXT_SIZE];

	if (journal_load_task(dispatcher->journal, &wanted->id, (uint64_t)(uintptr_t)wanted + 1))
		return;
	log_event(LOG_ERR, "task-not-loaded", "id=%s reason=%s", tr_id_format(&wanted->id, text), "out of memory");
	drop(dispatcher, wanted);
}

static void want(struct dispatcher *dispatcher, const struct wanted *what)
{
	struct wanted *wanted = malloc(sizeof *wanted);
	char text[TR_ID_TEXT_SIZE];

	if (!wanted) {
		log_event(LOG_ERR, "task-not-loaded", "id=%s reason=%s", tr_id_format(&what->id, text), "out of memory");
		return;
	}
	*wanted = *what;
	dispatcher->commands_asked += is_command(what);
	ask(dispatcher, wanted);
}

void wanted_next(struct dispatcher *dispatcher, const struct tr_id *id, bool succeeded)
{
	const struct wanted wanted = { .id = *id, .purpose = succeeded ? TO_GO_ON : TO_GIVE_UP };

	want(dispatcher, &wanted);
}

/* `task` NULL: there is none, or none that this is about. */
static void carry_out(struct dispatcher *dispatcher, const struct wanted *wanted, struct task *task)
{
	if (wanted->purpose == TO_RETRY)
		retry(dispatcher, wanted, task);
	else if (!task)
		return;
	else if (wanted->purpose == TO_CANCEL)
		tasks_cancel(dispatcher, task, "cancelled on demand");
	else if (wanted->purpose == TO_GO_ON)
		window_unblock(dispatcher, task);
	else if (task->blocked)
		tasks_cancel(dispatcher, task, BEFORE_FAILED);
}

void wanted_command(struct dispatcher *dispatcher, const struct record *command, uint64_t position)
{
	const struct wanted wanted = { .id = command->id, .asked_ns = command->created_ns, .position = position,
		.purpose = command->kind == RECORD_RETRY ? TO_RETRY : TO_CANCEL };
	struct task *task = tasks_find(dispatcher, &command->id);

	if (task) {
		carry_out(dispatcher, &wanted, task);
		return;
	}
	if (!dispatcher->commands_asked)
		dispatcher->commands_from = position;
	want(dispatcher, &wanted);
}

/* ---- its answers ------------------------------------------------------------------------- */

static bool is_concerned(const struct dispatcher *dispatcher, const struct wanted *wanted, const struct journal_state *row)
{
	switch (wanted->purpose) {
	case TO_CANCEL:
		return !tr_state_is_ended(row->state);
	case TO_RETRY:
		return row->state == TR_DEAD && !is_replayed(dispatcher, wanted, row->retried_ns);
	case TO_GO_ON:
	case TO_GIVE_UP:
		break;
	}
	return window_is_blocked(row);
}

/* A cancelled task must not run and a blocked one not wait for ever: what cannot be read is asked again. */
void wanted_answered(struct dispatcher *dispatcher, const struct journal_list *list)
{
	struct wanted *wanted = (struct wanted *)(uintptr_t)(list->tag - 1);

	if (list->error) {
		SLIST_INSERT_HEAD(&dispatcher->unread, wanted, link);
		dispatcher->unread_ms = dispatcher->now_ms + UNREADABLE_MS;
		return;
	}
	struct task *task = tasks_find(dispatcher, &wanted->id);
	if (!task && list->count && is_concerned(dispatcher, wanted, &list->tasks->state))
		task = window_load(dispatcher, list->tasks);
	carry_out(dispatcher, wanted, task);
	drop(dispatcher, wanted);
}

void wanted_tick(struct dispatcher *dispatcher)
{
	struct wanted *wanted;

	if (dispatcher->unread_ms > dispatcher->now_ms)
		return;
	while ((wanted = SLIST_FIRST(&dispatcher->unread)) != NULL) {
		SLIST_REMOVE_HEAD(&dispatcher->unread, link);
		ask(dispatcher, wanted);
	}
}
