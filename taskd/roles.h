/* taskd's three kinds of process. main.c starts the supervisor, which forks the other two. */
#ifndef TASKD_ROLES_H
#define TASKD_ROLES_H

#include "config.h"

/* Returns the exit status of taskd. `lock_fd` holds the instance's lock and is inherited by all. */
int supervisor_run(struct config *config, int lock_fd);

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

#endif
