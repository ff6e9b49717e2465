/*
 * The worker processes as the supervisor sees them: rows, in the order of the configuration's
 * pools, each with a process or the time of its next start.
 *
 *   due ──start──► alive ──end──► due (at once, or after a pause)
 *                                 └─► none (the row is gone from the configuration, or taskd stops)
 */
#ifndef TASKD_CREW_H
#define TASKD_CREW_H

#include <poll.h>

#include "taskd/outbox.h"
#include "taskd/spawn.h"
#include "taskd/supervisor.h"

#define CREW_NEVER INT64_MAX
/* Room in the outbox that workers' messages never take: for drain and reload. */
#define CREW_ROOM_SPARED 16

struct crew_row {
	pid_t pid;      /* 0: no process */
	int pidfd;
	pid_t last_pid; /* of the process before */
	bool killed;    /* by us, or sent SIGTERM by us */
	bool leaving;   /* the dispatcher has announced its end */
	uint32_t restarts, pause_ms;
	int64_t started_ms; /* monotonic */
	int64_t due_ms;     /* of the next start; CREW_NEVER */
};

struct crew {
	struct crew_row *rows;
	uint32_t count;  /* of rows: what the configuration wants and, after a reload, those still leaving */
	uint32_t wanted;
	uint32_t alive;
	bool closed;     /* nobody is started any more */
	const struct config *config;
	const struct supervisor_roles *roles;
	const struct supervisor_times *times;
	struct outbox *outbox;
	struct spawn_plan plan; /* keep[0] is replaced by the mailbox, keep[1] is the eventfd */
};

/*
 * The pause before the next start of what lived `lived_ms` and ended unasked, after a pause of
 * `last_ms` before it (0: there was none).
 */
uint32_t crew_backoff(const struct supervisor_times *times, uint32_t last_ms, int64_t lived_ms);

/* How many workers it wants, in all pools. */
uint32_t crew_rows_of(const struct config *config);

/* Takes the configuration's rows. New rows are due at `now_ms`. False: out of memory, nothing changed. */
bool crew_configure(struct crew *crew, const struct config *config, int64_t now_ms);
/* All rows are due at `now_ms`: for a new dispatcher. */
void crew_all_due(struct crew *crew, int64_t now_ms);
/* Starts what is due. */
void crew_start_due(struct crew *crew, int64_t now_ms);
/* When the next start is due; CREW_NEVER also while the outbox has no room for one. */
int64_t crew_next_ms(const struct crew *crew);
/* The process of `row` has ended: waits for it and plans the next. */
void crew_reap(struct crew *crew, uint32_t row, int64_t now_ms);
/*
 * The dispatcher's wishes; a pid that is not that row's process any more is left alone. `signal`:
 * SIGTERM or SIGKILL, anything else is refused.
 */
void crew_signal(struct crew *crew, uint32_t row, pid_t pid, uint64_t signal);
void crew_leaves(struct crew *crew, uint32_t row, pid_t pid, int64_t now_ms);
void crew_kill_all(struct crew *crew);

#endif
