/*
 * What a worker and the keeper of one program say to each other. exec_run.c starts
 * programs/exec_keeper.c, once for each program that runs, as
 *
 *     exec_keeper MEMORY_BYTES CPU_SECONDS FILES DIRECTORY PROGRAM [ARGUMENT...]
 *
 * (a limit of 0: none), with the program's standard streams on descriptors 0 to 2 and one end of a
 * stream socket on 3.
 */
#ifndef TASKD_EXEC_KEEPER_H
#define TASKD_EXEC_KEEPER_H

#include <stdint.h>

#define EXEC_KEEPER_CHANNEL 3
#define EXEC_KEEPER_ARGUMENTS 5 /* before the program's own */

/*
 * One byte each, from the worker. The end of the stream means that the worker is dead, and counts
 * as KILL. The keeper ends when nothing of what it has started is left.
 */
enum exec_order {
	EXEC_ORDER_TERM = 'T', /* SIGTERM to the program's process group; wait for all that is left of it */
	EXEC_ORDER_KILL = 'K', /* SIGKILL to everything */
};

enum exec_step {
	EXEC_STEP_ENDED,     /* the program has run and ended: value is its status as of waitpid(2) */
	/* It has not run; value is errno. */
	EXEC_STEP_KEEPER,    /* the keeper could not be set up */
	EXEC_STEP_LIMITS,
	EXEC_STEP_DIRECTORY,
	EXEC_STEP_PROGRAM,
};

/* From the keeper. Only the first one counts. */
struct exec_report {
	uint32_t step; /* enum exec_step */
	int32_t value;
};

#endif
