/* What makes a process the one taskd of its instance: its user, its lock, the ground it stands on. */
#ifndef TASKD_INSTANCE_H
#define TASKD_INSTANCE_H

#include <stdbool.h>

#include "taskd/config.h"

/* How long a starting taskd waits for what a former one left running to be gone. */
#define INSTANCE_WAIT_MS 3000

/*
 * Started as root with a user configured: becomes that user for good, groups included. To be called
 * before anything but the configuration is opened. False: it was not possible, which is logged.
 */
bool instance_drop_root(const struct config *config);

/*
 * Takes the instance's lock, waiting at most `wait_ms`. The answer is a descriptor, close-on-exec, whose
 * lock lasts until every process that inherited it is gone; -1: refused, which is logged.
 */
int instance_lock(const struct config *config, unsigned wait_ms);

/*
 * Looks whether the machine has what the configuration names: directories, modules, limits. Each
 * fault is logged. Called at the start and for each reload.
 */
bool instance_check(const struct config *config);

#endif
