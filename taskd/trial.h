/*
 * A trial: before a configuration is taken, one process does with it what every worker does at its start, and
 * leaves. What plug-ins do to their process, they do to that one. Called by supervisor.c for a reload.
 */
#ifndef TASKD_TRIAL_H
#define TASKD_TRIAL_H

#include "taskd/spawn.h"
#include "taskring/taskring.h"

#define TRIAL_MOST_MS 30000 /* much more than any start takes; and less than service managers wait for a reload */

struct trial {
	pid_t pid; /* 0: there is none */
	int pidfd; /* readable when it has ended; -1 */
	int answer;
	int64_t until_ms;       /* monotonic */
	struct config *config;  /* the one that is tried */
	const char *broken_off; /* why it was killed; NULL: it was not */
};

/*
 * Forks the process, with the lowest of all pools' limits, which runs `role`. The configuration is the
 * trial's from here on. False and errno: there is no process; the configuration is the caller's.
 */
bool trial_begin(struct trial *trial, struct config *config, void (*role)(const struct config *config, int answer),
    const struct spawn_plan *plan, int64_t until_ms);
/* Kills it, if there is one. */
void trial_break_off(struct trial *trial, const char *reason);
/* Breaks off one that takes too long; otherwise returns when that would be, or INT64_MAX. */
int64_t trial_due(struct trial *trial, int64_t now_ms);
/*
 * NULL: it has not ended. Otherwise the configuration, which is the caller's, and *error says what is wrong with
 * it; an empty text: nothing.
 */
struct config *trial_end(struct trial *trial, struct tr_error *error);

#endif
