/* The life of a task: see life.h. Called by tasks.c only. */
#include "life.h"

/* One more than the state, so that a hole in the table is not a state. */
#define TO(state) (TR_##state + 1)

static const unsigned char next[TR_STATES][TASK_EVENTS] = {
	[TR_SCHEDULED] = {
		[EV_DUE] = TO(QUEUED), [EV_CANCEL] = TO(CANCELLED), [EV_EXPIRE] = TO(EXPIRED),
	},
	[TR_QUEUED] = {
		[EV_START] = TO(RUNNING), [EV_CANCEL] = TO(CANCELLED), [EV_EXPIRE] = TO(EXPIRED),
	},
	[TR_RUNNING] = {
		[EV_SUCCEEDED] = TO(SUCCEEDED), [EV_RETRY] = TO(RETRYING), [EV_BURY] = TO(DEAD),
		[EV_DISCARD] = TO(CANCELLED), [EV_SNOOZE] = TO(SCHEDULED), [EV_INTERRUPTED] = TO(QUEUED),
		[EV_CANCEL] = TO(CANCELLED),
	},
	[TR_RETRYING] = {
		[EV_START] = TO(RUNNING), [EV_CANCEL] = TO(CANCELLED),
	},
	[TR_DEAD] = {
		[EV_RETRIED] = TO(QUEUED), [EV_CANCEL] = TO(CANCELLED),
	},
};

enum tr_state task_step(enum tr_state state, enum task_event event)
{
	unsigned char to = next[state][event];

	return to ? (enum tr_state)(to - 1) : TR_STATES;
}
