/* See durable.h. */
#include "durable.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "client.h"
#include "shared/clock.h"

/* How long a wait goes on without looking whether the board was made anew. */
#define LOOK_NS 100000000ll

struct durable_look durable_look(struct taskring *client)
{
	enum tr_result ignored;
	const struct board *board = client_board(client, &ignored);

	return (struct durable_look){ .board = board, .seen = board ? atomic_load(&board->durable_futex) : 0 };
}

/*
 * A dispatcher that has left in order may have taken the ring with it, and what its board tells is
 * then about positions of another ring than ours. One that was killed leaves the ring in place.
 */
bool durable_reached(const struct durable_look *look, uint64_t position)
{
	if (!look->board)
		return false;
	uint32_t life = atomic_load(&look->board->running_state);

	return (life == BOARD_RUNNING || life == BOARD_DRAINING) && atomic_load(&look->board->durable) > position;
}

/* True: something may have become durable. False: nothing came of this board in that time. */
static bool wait_for_step(const struct durable_look *look, uint32_t bits, int64_t until_ns)
{
	const struct timespec until = { .tv_sec = until_ns / 1000000000, .tv_nsec = until_ns % 1000000000 };

	if (look->board) /* a shared futex: the waker is another process */
		return syscall(SYS_futex, &look->board->durable_futex, FUTEX_WAIT_BITSET, look->seen, &until, NULL, bits) == 0 ||
		    errno != ETIMEDOUT;
	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL); /* no taskd yet, so nothing to wait on */
	return false;
}

void durable_step(struct taskring *client, const struct durable_look *look, uint32_t bits, int64_t until_ns)
{
	int64_t look_ns = clock_ns(CLOCK_MONOTONIC) + LOOK_NS;
	enum tr_result ignored;

	if (!wait_for_step(look, bits, look_ns < until_ns ? look_ns : until_ns))
		(void)client_board_again(client, &ignored);
}

enum tr_result durable_wait(struct taskring *client, uint64_t position, uint32_t timeout_ms)
{
	int64_t deadline_ns = clock_ns(CLOCK_MONOTONIC) + (int64_t)timeout_ms * 1000000;

	while (true) {
		struct durable_look look = durable_look(client);
		if (durable_reached(&look, position))
			return TR_OK;
		if (clock_ns(CLOCK_MONOTONIC) >= deadline_ns)
			return TR_NOT_DURABLE;
		durable_step(client, &look, board_durable_bit(position), deadline_ns);
	}
}
