/*
 * Tasks that are wanted by their id: by commands (cancel, retry, discard, run, purge) out of the ring, and as the
 * next ones of their batches. Enters: commands (intake.c), ids (window.c). Leaves: what was wanted, carried out, on
 * tasks in memory at once, on others when the journal has answered. While a command waits for its answer,
 * the ring is not retired beyond it (recorder.c): whoever starts next reads it again.
 *
 * A command that had no effect is struck out of the ring. After a kill it would be carried out on a task that has changed
 * since: a cancelling, for instance, of what was dead, on what has been retried. What has had an effect stays until that is
 * in the journal, and may be taken twice: is_replayed().
 */
#include <stdlib.h>

#include "dispatch.h"
#include "log.h"

#define UNREADABLE_MS 1000 /* before the journal is asked again */

/* What is asked of the journal comes back with the pointer to one of these, plus one, as its tag. */
struct wanted {
	STAILQ_ENTRY(wanted) link; /* in dispatcher->unread */
	struct tr_id id;
	enum purpose { TO_CANCEL, TO_RETRY, TO_DISCARD, TO_RUN, TO_PURGE, TO_GO_ON, TO_GIVE_UP } purpose;
	int64_t asked_ns;  /* of a command: when it was given, by the producer's clock, */
	uint64_t position; /* and where it stands in the ring, */
	bool alone;        /* as the only one of its batch */
};

/* ---- commands ---------------------------------------------------------------------------- */

/*
 * A command may be taken twice: before a kill and after it. Carried out once, a retry or run has left its
 * time in the task's row, in the same commit; so what was asked for then or earlier has been obeyed, and must
 * not wake a task that has died, or was put off, again since. Times are compared only where the command can be
 * such a one, since a clock may be put back. Who was cancelled or discarded stays so, whoever asks again.
 */
static bool is_replayed(const struct dispatcher *dispatcher, const struct wanted *wanted, int64_t commanded_ns)
{
	return wanted->position < dispatcher->known_until && wanted->asked_ns <= commanded_ns;
}

/* The states in which a task can be what is wanted, 1u << enum tr_state. */
static unsigned states_for(enum purpose purpose)
{
	switch (purpose) {
	case TO_RETRY:
		return 1u << TR_DEAD;
	case TO_DISCARD:
		return 1u << TR_SCHEDULED | 1u << TR_QUEUED | 1u << TR_RETRYING | 1u << TR_DEAD;
	case TO_RUN:
		return 1u << TR_SCHEDULED | 1u << TR_RETRYING;
	case TO_CANCEL:
		return 1u << TR_SCHEDULED | 1u << TR_QUEUED | 1u << TR_RETRYING | 1u << TR_RUNNING;
	case TO_PURGE:
		return 1u << TR_SUCCEEDED | 1u << TR_DEAD | 1u << TR_CANCELLED | 1u << TR_EXPIRED;
	case TO_GO_ON:
	case TO_GIVE_UP:
		break;
	}
	return 1u << TR_SCHEDULED | 1u << TR_QUEUED;
}

static bool is_fit(const struct dispatcher *dispatcher, const struct wanted *wanted, enum tr_state state,
    int64_t commanded_ns)
{
	if (!(states_for(wanted->purpose) >> state & 1))
		return false;
	return (wanted->purpose != TO_RETRY && wanted->purpose != TO_RUN) || !is_replayed(dispatcher, wanted, commanded_ns);
}

/* False: it had no effect. */
static bool refuse(struct dispatcher *dispatcher, const struct wanted *wanted, const struct task *task)
{
	static const char *const names[] = { [TO_RETRY] = "retry", [TO_DISCARD] = "discard", [TO_RUN] = "run",
		[TO_PURGE] = "purge" };
	char id[TR_ID_TEXT_SIZE];

	stat_add(dispatcher->board, STAT_command_refused, 1);
	log_event(LOG_NOTICE, "command-refused", "command=%s id=%s reason=%s", names[wanted->purpose],
	    tr_id_format(&wanted->id, id), task ? tr_state_name((enum tr_state)task->state) : "no such task in a state for it");
	return false;
}

/* ---- asking the journal ------------------------------------------------------------------ */

static bool is_command(const struct wanted *wanted)
{
	return wanted->purpose != TO_GO_ON && wanted->purpose != TO_GIVE_UP;
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

	if (journal_load_task(dispatcher->journal, &wanted->id, (uint64_t)(uintptr_t)wanted + 1)) {
		dispatcher->wanted_asked++;
		return;
	}
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

/* `task` NULL: there is none, or none that this is about. False: it was a command, and had no effect. */
static bool carry_out(struct dispatcher *dispatcher, const struct wanted *wanted, struct task *task)
{
	bool fit = task && !task->purged && is_fit(dispatcher, wanted, (enum tr_state)task->state, task->commanded_ns);

	switch (wanted->purpose) {
	case TO_CANCEL:
		if (fit)
			tasks_cancel(dispatcher, task, "cancelled on demand");
		/* What is shown as running, and was cancelled, must not start again when its end is lost in a kill. */
		return fit || (task && task->end_unshown && task->state == TR_SUCCEEDED);
	case TO_GO_ON:
		if (task)
			window_unblock(dispatcher, task);
		return true;
	case TO_GIVE_UP:
		if (task && task->blocked)
			tasks_cancel(dispatcher, task, BEFORE_FAILED);
		return true;
	case TO_RETRY:
	case TO_DISCARD:
	case TO_RUN:
	case TO_PURGE:
		break;
	}
	if (!task && wanted->purpose == TO_PURGE && board_forget(dispatcher->writer, &wanted->id))
		stat_add(dispatcher->board, STAT_task_purged, 1); /* it has no row, and was shown nevertheless */
	else if (!fit)
		return refuse(dispatcher, wanted, task);
	else if (wanted->purpose == TO_RETRY)
		tasks_retry(dispatcher, task, wanted->asked_ns);
	else if (wanted->purpose == TO_DISCARD)
		tasks_discard(dispatcher, task);
	else if (wanted->purpose == TO_PURGE)
		tasks_purge(dispatcher, task);
	else
		return tasks_hurry(dispatcher, task, wanted->asked_ns);
	return true;
}

/* What shares its batch with others stays: it is struck out with them or not at all. */
static void strike(struct dispatcher *dispatcher, const struct wanted *wanted)
{
	if (wanted->alone)
		ring_strike(dispatcher->ring, wanted->position);
}

/*
 * It has just ended, otherwise than well, and the next of its batch is on its way from the journal to be cancelled:
 * whoever starts before that is committed must find how this one ended.
 */
static bool is_awaited(struct dispatcher *dispatcher, const struct task *task)
{
	const struct tr_id next = id_step(&task->id, 1);

	return tr_state_is_ended((enum tr_state)task->state) && task->state != TR_SUCCEEDED &&
	    task->record.flags & RECORD_SEQUENTIAL && task->record.place + 1 < task->record.places &&
	    !tasks_find(dispatcher, &next);
}

/*
 * It died, and was shown as dead to whoever gave the command; then taskd was killed, and in the journal its death is still
 * to be decided. Its callback is not asked again, which could decide otherwise. A command from before the last retry
 * or run is about another death.
 */
static void bury_again(struct dispatcher *dispatcher, const struct wanted *wanted, struct task *task)
{
	if (!task->deciding || task->where != IN_READY || wanted->position >= dispatcher->known_until ||
	    is_replayed(dispatcher, wanted, task->commanded_ns) || !(states_for(wanted->purpose) >> TR_DEAD & 1))
		return;
	scheduler_remove(task);
	verdict_apply(dispatcher, task, TR_VERDICT_BURY, 0, "", 0);
}

static enum purpose purpose_of(const struct record *command)
{
	switch ((enum record_kind)command->kind) {
	case RECORD_RETRY:
		return TO_RETRY;
	case RECORD_DISCARD:
		return TO_DISCARD;
	case RECORD_RUN:
		return TO_RUN;
	case RECORD_PURGE:
		return TO_PURGE;
	default:
		return TO_CANCEL;
	}
}

void wanted_command(struct dispatcher *dispatcher, const struct record *command, uint64_t position, bool alone)
{
	const struct wanted wanted = { .id = command->id, .asked_ns = command->created_ns, .position = position,
		.alone = alone, .purpose = purpose_of(command) };
	struct task *task = tasks_find(dispatcher, &command->id);

	if (!task) {
		if (!dispatcher->commands_asked)
			dispatcher->commands_from = position;
		want(dispatcher, &wanted);
		return;
	}
	bury_again(dispatcher, &wanted, task);
	if (wanted.purpose == TO_PURGE)
		tasks_show_now(dispatcher, task); /* how it ended is told before it goes */
	bool awaited = wanted.purpose == TO_PURGE && is_awaited(dispatcher, task);
	if (awaited ? !refuse(dispatcher, &wanted, task) : !carry_out(dispatcher, &wanted, task))
		strike(dispatcher, &wanted);
}

/* ---- its answers ------------------------------------------------------------------------- */

static bool is_concerned(const struct dispatcher *dispatcher, const struct wanted *wanted, const struct journal_state *row)
{
	if (!is_command(wanted))
		return window_is_blocked(row);
	return is_fit(dispatcher, wanted, row->state, row->commanded_ns);
}

/*
 * A cancelled task must not run and a blocked one not wait for ever: what cannot be read is asked again. What was asked
 * after it comes after it, or what was cancelled when it was dead would be cancelled when it has been retried.
 */
void wanted_answered(struct dispatcher *dispatcher, const struct journal_list *list)
{
	struct wanted *wanted = (struct wanted *)(uintptr_t)(list->tag - 1);

	dispatcher->wanted_asked--;
	if (list->error)
		dispatcher->unread_ms = dispatcher->now_ms + UNREADABLE_MS;
	if (list->error || !STAILQ_EMPTY(&dispatcher->unread)) {
		STAILQ_INSERT_TAIL(&dispatcher->unread, wanted, link);
		return;
	}
	struct task *task = tasks_find(dispatcher, &wanted->id);
	if (!task && list->count && is_concerned(dispatcher, wanted, &list->tasks->state))
		task = window_load(dispatcher, list->tasks);
	if (!carry_out(dispatcher, wanted, task))
		strike(dispatcher, wanted);
	drop(dispatcher, wanted);
}

void wanted_tick(struct dispatcher *dispatcher)
{
	struct wanted *wanted;
	int64_t left_ms = dispatcher->unread_ms - dispatcher->now_ms;

	/* More is left where the clock was put back. What is on its way to the journal would be answered first. */
	if ((left_ms > 0 && left_ms <= UNREADABLE_MS) || dispatcher->wanted_asked)
		return;
	while ((wanted = STAILQ_FIRST(&dispatcher->unread)) != NULL) {
		STAILQ_REMOVE_HEAD(&dispatcher->unread, link);
		ask(dispatcher, wanted);
	}
}
