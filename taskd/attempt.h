/* One piece of work in a worker: an attempt of a task, or the on-failure callback of one. */
#ifndef TASKD_ATTEMPT_H
#define TASKD_ATTEMPT_H

#include "taskd/task.h"

/*
 * Runs what mailbox_claim() gave and sends its messages: STARTED, whatever the handler says, and
 * ENDED, PENDING or VERDICT. Returns when the handler does.
 */
void attempt_run(struct task_thread *thread, const struct work_head *head, const char *record,
    const char *message);

/* Ends a pending task with what tr_finish() was given. */
void attempt_finish(struct tr_task *task, enum tr_outcome outcome);

#endif
