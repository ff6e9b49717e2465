/* One piece of work in a worker: an attempt of a task, or the on-failure callback of one. */
#ifndef TASKD_ATTEMPT_H
#define TASKD_ATTEMPT_H

#include "taskd/task.h"

/*
 * Runs what mailbox_claim() gave and sends its messages: STARTED, whatever the handler says, and
 * ENDED or VERDICT. `task` is the thread's. Returns when the handler does.
 */
void attempt_run(struct tr_task *task, const struct work_head *head, const char *record,
    const char *message);

#endif
