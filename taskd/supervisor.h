/* The supervisor, with what a test replaces: the roles that it forks and its times. The real ones are in main.c. */
#ifndef TASKD_SUPERVISOR_H
#define TASKD_SUPERVISOR_H

#include "taskd/config.h"

struct supervisor_roles {
	void (*dispatcher)(struct config *config, int control, int wake_fd);
	void (*worker)(const struct config *config, const struct config_pool *pool, uint32_t row, int mailbox_fd,
	    int wake_fd);
	void (*trial)(const struct config *config, int answer);
};

struct supervisor_times {
	uint32_t backoff_first_ms; /* before the start after an unexpected end; doubled for each that follows */
	uint32_t backoff_most_ms;
	uint32_t healthy_ms;       /* having lived longer than this, the next end counts as the first */
	uint32_t drain_extra_ms;   /* the dispatcher's, beyond drain_timeout */
	uint32_t silence_ms;       /* of a dispatcher's event loop before it is reported */
	uint32_t trial_ms;         /* of a new configuration, at most */
	uint32_t hangup_ms;        /* for a dispatcher to end after it closed its socket */
};

/* Takes `config` over. `lock_fd` holds the instance's lock and is inherited by all. Returns taskd's exit status. */
int supervisor_run(struct config *config, int lock_fd, const struct supervisor_roles *roles,
    const struct supervisor_times *times);

#endif
