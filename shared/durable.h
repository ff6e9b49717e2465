/*
 * Up to where the ring is on disk, as the board tells; and how one waits for it. Enters: positions that
 * batch.c has published. Called by background_tasks_publish(), and by who waits for many of them at once.
 */
#ifndef TR_DURABLE_H
#define TR_DURABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "taskring/taskring.h"

struct board;

/* What is left to do for a batch that has been published. */
struct durable_wish {
	bool wanted; /* it is for TR_DISK: nobody may be told before durable_wait(), or what stands for it */
	uint64_t position;
};

/* background_tasks_publish() without the wait for the disk; defined in batch.c. */
enum tr_result batch_publish(struct background_tasks *background, struct durable_wish *wish);

/* Waits for the position. Errors: NOT_DURABLE, it was not on disk in that time. Any thread. */
enum tr_result durable_wait(struct taskring *client, uint64_t position, uint32_t timeout_ms);

/*
 * The same in steps, for any number of positions: a look, which of them it has reached, and if none, the
 * wait for what comes after that look.
 */
struct durable_look {
	const struct board *board; /* NULL: there is none yet */
	uint32_t seen;
};

struct durable_look durable_look(struct taskring *client);
bool durable_reached(const struct durable_look *look, uint64_t position);
/*
 * Until something has become durable since the look, or until then by CLOCK_MONOTONIC; at most for 100 ms, after
 * which it is looked whether the board was made anew. `bits`: board_durable_bit() of the positions.
 */
void durable_step(struct taskring *client, const struct durable_look *look, uint32_t bits, int64_t until_ns);

#endif
