/* Calling a handler: for a task of its own (attempt.c), or as part of another's (tr_call()). */
#ifndef TASKD_CALL_H
#define TASKD_CALL_H

#include "taskd/task.h"

/*
 * Opens or checks the handler's resources, and calls its run(); what that returns, unjudged, or
 * TR_FAILURE with the message of a resource that cannot be opened. The resources stay in use until
 * call_release().
 */
enum tr_outcome call_handler(struct tr_task *task, const struct tr_handler *handler);

/* The task has ended: it uses no resources any more. */
void call_release(struct tr_task *task);

#endif
