/*
 * Queues as a whole: pausing and resuming. Enters: commands out of the ring (intake.c), the journal's paused
 * queues at the start. Leaves: queues that give nothing out (scheduler.c), a row in the journal for each
 * that is paused.
 *
 * A command may be taken twice, before a kill and after it. Those that follow it are then taken again,
 * too, in the same order, before anything is given out; so the last one decides, as it did the first time.
 */
#include <stdlib.h>
#include <string.h>

#include "dispatch.h"
#include "log.h"

/* What was pushed ahead to workers and has not begun is taken back: it must not start. */
static void take_back(struct dispatcher *dispatcher)
{
	for (uint32_t row = 0; row < dispatcher->worker_rows; row++) {
		struct worker *worker = &dispatcher->workers[row];
		for (uint32_t i = 0; worker->alive && i < worker->lane_count; i++)
			workforce_take_back(&worker->lanes[i]);
	}
}

static void set_paused(struct dispatcher *dispatcher, struct queue *queue, bool paused)
{
	queue->paused = paused;
	if (paused)
		dispatcher->queues_paused++;
	else
		dispatcher->queues_paused--;
	scheduler_paused(queue);
	if (paused)
		take_back(dispatcher);
	stat_set(dispatcher->board, STAT_queues_paused, dispatcher->queues_paused);
	queue->changed = true;
	board_rows_show(dispatcher);
}

/* False: it had no effect. */
static bool refuse(struct dispatcher *dispatcher, const struct record *command, const char *why)
{
	stat_add(dispatcher->board, STAT_command_refused, 1);
	log_event(LOG_WARNING, "command-refused", "command=%s queue=%.*s reason=%s",
	    command->kind == RECORD_PAUSE ? "pause" : "resume", (int)command->queue.bytes, command->queue.at, why);
	return false;
}

bool queues_command(struct dispatcher *dispatcher, const struct record *command)
{
	bool pause = command->kind == RECORD_PAUSE;
	struct queue *queue = scheduler_queue(dispatcher, command->queue);

	if (!queue && pause)
		return refuse(dispatcher, command, "it cannot be made: too many others are in use");
	if (!queue || queue->paused == pause)
		return false;
	if (pause && dispatcher->queues_paused >= TR_PAUSED_MAX)
		return refuse(dispatcher, command, "too many queues are paused");
	if (!recorder_queue(dispatcher, queue->name, pause))
		return refuse(dispatcher, command, "out of memory");
	set_paused(dispatcher, queue, pause);
	log_event(LOG_NOTICE, pause ? "queue-paused" : "queue-resumed", "queue=%s", queue->name);
	return true;
}

bool queues_restore(struct dispatcher *dispatcher)
{
	char *names = journal_paused(dispatcher->journal);
	bool well = names != NULL;

	for (const char *name = names; well && *name; name += strlen(name) + 1) {
		struct queue *queue = scheduler_queue(dispatcher, (struct record_text){ name, (uint32_t)strlen(name) });
		well = queue != NULL;
		if (well && !queue->paused)
			set_paused(dispatcher, queue, true);
	}
	free(names);
	return well;
}

void queues_expire(struct dispatcher *dispatcher)
{
	for (struct queue *queue = dispatcher->queues; queue; queue = queue->hh.next) {
		struct task *next;
		if (!queue->paused || !queue->expiring)
			continue;
		for (struct task *task = TAILQ_FIRST(&queue->ready); task; task = next) {
			next = TAILQ_NEXT(task, ready_link);
			if (!tasks_is_expired(dispatcher, task))
				continue;
			scheduler_remove(task);
			tasks_expire(dispatcher, task);
		}
	}
}
