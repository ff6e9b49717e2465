/* One program that runs for a pending task: started, watched, stopped, and its end made an outcome. */
#ifndef TASKD_EXEC_RUN_H
#define TASKD_EXEC_RUN_H

#include "taskd/config.h"
#include "taskring/handler.h"

struct exec_plan {
	const struct config_program *program; /* lives as long as the worker */
	const char *keeper;                   /* path of programs/exec_keeper.c */
	char **environment;                   /* NAME=VALUE..., NULL; the caller's */
	char *input;                          /* for its standard input; exec_run_start() takes it away and frees it */
	size_t input_bytes;
	uint32_t hard_timeout_ms;  /* the dispatcher kills the worker this long after now; 0: never */
	uint32_t drain_timeout_ms; /* and this long after TR_SHUTTING_DOWN */
};

/*
 * TR_PENDING: it runs, and the task will be finished. Else it has not been started, and that is the
 * outcome.
 */
enum tr_outcome exec_run_start(struct tr_task *task, struct exec_plan *plan);

#endif
