/* What the supervisor forks. main.c gives it these. */
#ifndef TASKD_ROLES_H
#define TASKD_ROLES_H

#include "config.h"

/*
 * The dispatcher's exit status when what it needs cannot be opened (a journal that is not ours, a
 * ring of another geometry): its log line says what, and starting it again would not help.
 */
#define DISPATCHER_CANNOT_START 78 /* EX_CONFIG of sysexits(3) */

/*
 * Never returns. `control` is the dispatcher's end; `wake_fd` the eventfd that the workers write.
 */
_Noreturn void dispatcher_run(struct config *config, int control, int wake_fd);

/* Never returns. The process has its name, log, signals, limits and parent-death signal already. */
_Noreturn void worker_run(const struct config *config, const struct config_pool *pool, uint32_t row,
    int mailbox_fd, int wake_fd);

/*
 * Does what a worker does before it takes tasks, and leaves as a worker does. Never returns. Into the pipe `answer` goes
 * what is wrong, with a zero at its end; of what is well only the zero.
 */
_Noreturn void worker_try(const struct config *config, int answer);

#endif
