/*
 * Stopping a process at any instruction. A victim is a forked child that prepares something, comes
 * to a marker, and goes on through a window until it says that the window is over. Its tracer lets
 * it run to the marker, then single-steps it (ptrace) through the window: that is the window's path.
 * Further victims, forked from the same image, take the same path; they are brought to any point of
 * it by a breakpoint, and there killed, or stopped and later let go on. (Single-stepping each of
 * them from the start would cost the square of the path's length.)
 */
#ifndef STEP_H
#define STEP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Memory that tracer and victim share. */
struct step_shared {
	_Atomic bool over;     /* the victim is through the window */
	_Atomic int result;    /* of what it did there */
	_Atomic uint64_t value; /* and what it got */
};

struct step_victim {
	pid_t pid;
	bool ended; /* and waited for */
	int status;
};

/* Maps the shared memory and pins this process, and so its victims, to one processor. */
struct step_shared *step_open(void);

/*
 * Forks a victim that runs before(context), marker, window(context), over, and leaves. Either may
 * be NULL. Returns with the victim at the marker. It dies with its tracer.
 */
struct step_victim step_start(void (*before)(void *context), void (*window)(void *context), void *context);

/* The addresses of a window's instructions in the order in which they were executed. */
struct step_path {
	uint64_t *addresses;
	uint64_t count;
};

/*
 * Single-steps a victim through its window, or through `most` instructions of it, and notes its
 * path. The path is the caller's, to be freed with step_path_free().
 */
struct step_path step_record(struct step_victim *victim, uint64_t most);
void step_path_free(struct step_path *path);

/*
 * Brings a victim to where `point` instructions of the path have been executed; all of them: to its
 * end. False: it did not come there; it went another way, and to its end.
 */
bool step_to(struct step_victim *victim, const struct step_path *path, uint64_t point);

/* Runs until the instruction at `address` is next. False: the victim ended first. */
bool step_to_address(struct step_victim *victim, uint64_t address);

void step_kill(struct step_victim *victim);
/* Lets it run to its end. Returns true when it left in order, with 0. */
bool step_finish(struct step_victim *victim);

#endif
