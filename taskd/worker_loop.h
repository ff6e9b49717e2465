/*
 * A worker thread's event loop, for asynchronous handlers. Made at the first need; a thread whose
 * handlers never ask for it has none, and waits for work on the mailbox's futex.
 *
 * A loop waits in epoll, the mailbox rings a futex: between them stands the doorman, a second thread
 * that waits for the lane's bell and wakes the loop. It has duty only while the loop waits, so that
 * a thread without pending tasks is woken alone.
 */
#ifndef TASKD_WORKER_LOOP_H
#define TASKD_WORKER_LOOP_H

#include <uv.h>

#include "taskd/mailbox.h"

struct worker_loop;

/* NULL: no memory, descriptors or threads left. */
struct worker_loop *worker_loop_open(struct mailbox *mailbox, uint32_t lane);
/* Lets what is closing close. A loop that handlers have left busy stays, as does its memory. */
void worker_loop_close(struct worker_loop **loop);

uv_loop_t *worker_loop_uv(struct worker_loop *loop);
/* Nothing is active or closing on it but what is ours. */
bool worker_loop_is_idle(struct worker_loop *loop);
/* Calls back what is ready, and does not wait. */
void worker_loop_turn(struct worker_loop *loop);
/* Waits until something is ready, or work has come, and calls back what is ready. */
void worker_loop_wait(struct worker_loop *loop);
/* The thread waits elsewhere from now on. */
void worker_loop_rest(struct worker_loop *loop);

#endif
