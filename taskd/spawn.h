/* Forking a child that has only what it needs. Called by the supervisor. */
#ifndef TASKD_SPAWN_H
#define TASKD_SPAWN_H

#include <signal.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "taskd/config.h"

#define SPAWN_KEEP_MAX 4
/* A child that could not be bounded as configured ends with this (sysexits.h: EX_OSERR). */
#define SPAWN_FAILED 71
/* Makes a worker end by SIGTERM, which it ignores otherwise; nobody else sends this one. */
#define SPAWN_END_SIGNAL (SIGRTMAX - 1)

struct spawn_plan {
	const char *role;       /* in its log lines */
	const char *name;       /* of the process, at most 15 bytes */
	int log_level;
	int keep[SPAWN_KEEP_MAX]; /* descriptors that it keeps besides 0, 1 and 2; -1: none */
	const sigset_t *mask;   /* its signal mask */
	struct rlimit files;    /* RLIMIT_NOFILE where the pool has no limit of its own */
	const struct config_pool *pool; /* a worker's; NULL: no limits, and not the OOM killer's choice */
};

/*
 * fork(). In the parent: the pid and *pidfd; -1 and errno: there is no child. In the child 0: it dies
 * with its parent, gains no privileges, ignores the signals that only the supervisor answers
 * (SIGINT, SIGTERM, SIGHUP), and has its limits. A worker ends by SIGTERM at SPAWN_END_SIGNAL, unless a
 * plug-in has installed a handler for SIGTERM: then that one is called.
 */
pid_t spawn_fork(const struct spawn_plan *plan, int *pidfd);

/*
 * SIGTERM, SIGINT and SIGHUP are read from the answer from here on; -1 and errno. *mask_before is for the plan: what is
 * forked gets it back.
 */
int spawn_take_signals(sigset_t *mask_before);

/*
 * One pidfd for each child: from here on this process may have as many descriptors as there can be. Returns what it
 * might have before, for the plan: workers get that back.
 */
struct rlimit spawn_raise_files(void);

#endif
