/*
 * The tasks of one worker thread: the one that runs, the pending ones, and those that are spare. Used
 * by worker.c and attempt.c; everything on the thread itself.
 *
 *   spare ──take──► current ──run() ended──────────► current, of the next piece of work
 *     ▲                └─────run() returned TR_PENDING──► pending ──tr_finish()──┐
 *     └──────────────────────────────────────────────────────────────────────────┘
 */
#ifndef TASKD_PENDING_H
#define TASKD_PENDING_H

#include "taskd/task.h"

/* On the thread that it is for; the fields that others own are set. False: out of memory. */
bool pending_open(struct task_thread *thread);
/* Nothing is pending any more. Closes the resources, then the loop. */
void pending_close(struct task_thread *thread);

/* The task for the next piece of work. */
struct tr_task *pending_current(struct task_thread *thread);

/* The current task's run() has returned TR_PENDING; false: nothing on the loop could ever end it. */
bool pending_add(struct tr_task *task);
/* The current task's work is over, but callbacks of the loop may still know it: it is not used again soon. */
void pending_set_aside(struct tr_task *task);

/* A WORK_STOP. */
void pending_stop(struct task_thread *thread, uint64_t serial, enum mailbox_stop why);
/* After a turn of the loop: fails what can never end, since nothing is active on the loop. */
void pending_end_lost(struct task_thread *thread);
/* The thread must look after its loop: tasks are pending, or handlers have left something on it. */
bool pending_needs_loop(struct task_thread *thread);

#endif
