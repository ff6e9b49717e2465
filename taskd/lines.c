/*
 * What handlers log, on its way into the journal. Enters: lines (outcome.c). Leaves: rows in the batch
 * that the next commit writes (recorder.c). The lines of a task that has no row yet wait with it in memory until
 * it gets one, or are forgotten with it when it never does: nothing in the journal is without its task.
 * What may wait is bounded; what is beyond it, or beyond TR_LOG_LINES_MAX of an attempt, is not
 * kept, and a row without a text tells how many lines there were.
 */
#include <stdlib.h>
#include <string.h>

#include "dispatch.h"

#define WAITING_MOST (8u << 20) /* bytes of lines with their tasks; the batch that is filled may hold as many */

struct task_line {
	struct task_line *next;
	struct journal_line row; /* its text is NULL or text[] */
	size_t bytes;
	char text[];
};

static bool wait_with_task(struct dispatcher *dispatcher, struct task *task, const struct journal_line *line)
{
	size_t bytes = sizeof(struct task_line) + (line->text ? strlen(line->text) + 1 : 0);
	struct task_line *made = dispatcher->line_bytes + bytes <= WAITING_MOST ? malloc(bytes) : NULL;

	if (!made)
		return false;
	*made = (struct task_line){ .next = task->lines, .row = *line, .bytes = bytes };
	if (line->text) {
		memcpy(made->text, line->text, bytes - sizeof *made);
		made->row.text = made->text;
	}
	task->lines = made;
	dispatcher->line_bytes += bytes;
	return true;
}

static bool keep(struct dispatcher *dispatcher, struct task *task, const struct journal_line *line)
{
	return task->in_journal ? recorder_line(dispatcher, line) : wait_with_task(dispatcher, task, line);
}

uint32_t lines_add(struct dispatcher *dispatcher, struct task *task, int level, int64_t at_ms, const char *text)
{
	const struct journal_line line = { .id = task->id, .attempt = task->attempt, .number = ++task->log_lines,
		.at_ms = at_ms, .level = level, .text = text };

	task->log_cut = task->log_lines > TR_LOG_LINES_MAX || !keep(dispatcher, task, &line);
	if (task->log_cut)
		stat_add(dispatcher->board, STAT_log_dropped, 1);
	return task->log_lines;
}

void lines_attempt_ended(struct dispatcher *dispatcher, struct task *task)
{
	const struct journal_line end = { .id = task->id, .attempt = task->attempt, .number = task->log_lines,
		.at_ms = dispatcher->now_ms, .level = TR_WARNING };

	/* Without memory for this row, too, the count of what was dropped is too low. */
	if (task->log_cut && keep(dispatcher, task, &end))
		task->log_cut = false;
}

void lines_write(struct dispatcher *dispatcher, struct task *task, struct journal_batch *batch)
{
	for (const struct task_line *line = task->lines; line; line = line->next)
		if (!journal_batch_line(batch, &line->row) && line->row.text)
			stat_add(dispatcher->board, STAT_log_dropped, 1);
	lines_free(dispatcher, task);
}

void lines_free(struct dispatcher *dispatcher, struct task *task)
{
	struct task_line *line;

	while ((line = task->lines) != NULL) {
		task->lines = line->next;
		dispatcher->line_bytes -= line->bytes;
		free(line);
	}
}
