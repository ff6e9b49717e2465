/* What the dispatcher does about once a second, and what befalls it from outside. */
#ifndef TASKD_HEARTBEAT_H
#define TASKD_HEARTBEAT_H

#include "control.h"
#include "dispatch.h"

/* Signs of life, gauges, the tables of lanes and workers, the ring's audit, the spool's sweeping. */
void heartbeat(struct dispatcher *dispatcher);
/* The ring was truncated under us: has it rebuilt. */
void heartbeat_ring_lost(struct dispatcher *dispatcher);
/* The supervisor reports a worker's end. */
void heartbeat_worker_ended(struct dispatcher *dispatcher, struct worker *worker,
    const struct control_message *message);

#endif
