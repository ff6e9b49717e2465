/* The life of a task: every cell of the table, written out again by hand. */
#include <string.h>

#include "taskd/life.h"
#include "tests/unit/runner.h"

static const struct {
	const char *from;
	enum task_event event;
	const char *to;
} moves[] = {
	{ "scheduled", EV_DUE, "queued" },
	{ "scheduled", EV_CANCEL, "cancelled" },
	{ "scheduled", EV_EXPIRE, "expired" },
	{ "queued", EV_START, "running" },
	{ "queued", EV_CANCEL, "cancelled" },
	{ "queued", EV_EXPIRE, "expired" },
	{ "running", EV_SUCCEEDED, "succeeded" },
	{ "running", EV_RETRY, "retrying" },
	{ "running", EV_BURY, "dead" },
	{ "running", EV_DISCARD, "cancelled" },
	{ "running", EV_SNOOZE, "scheduled" },
	{ "running", EV_INTERRUPTED, "queued" },
	{ "running", EV_CANCEL, "cancelled" },
	{ "retrying", EV_START, "running" },
	{ "retrying", EV_CANCEL, "cancelled" },
	{ "dead", EV_RETRIED, "queued" },
	{ "dead", EV_CANCEL, "cancelled" },
};

#define MOVES (sizeof moves / sizeof moves[0])

static void test_legal_moves(void)
{
	for (size_t i = 0; i < MOVES; i++) {
		enum tr_state to = task_step(tr_state_by_name(moves[i].from), moves[i].event);
		CU_ASSERT_STRING_EQUAL(tr_state_name(to), moves[i].to);
	}
}

/* All that is not written above is impossible: of 8 * 11 pairs exactly 17 lead somewhere. */
static void test_nothing_else(void)
{
	size_t legal = 0;

	for (int state = 0; state < TR_STATES; state++)
		for (int event = 0; event < TASK_EVENTS; event++)
			legal += task_step((enum tr_state)state, (enum task_event)event) != TR_STATES;
	CU_ASSERT_EQUAL(TR_STATES * TASK_EVENTS, 88);
	CU_ASSERT_EQUAL(legal, MOVES);
}

/* But that a dead task can be retried, or discarded. */
static void test_ended_is_the_end(void)
{
	static const char *const ended[] = { "succeeded", "dead", "cancelled", "expired" };
	static const char *const live[] = { "scheduled", "queued", "running", "retrying" };

	for (size_t i = 0; i < 4; i++) {
		CU_ASSERT_TRUE(tr_state_is_ended(tr_state_by_name(ended[i])));
		CU_ASSERT_FALSE(tr_state_is_ended(tr_state_by_name(live[i])));
		for (int event = 0; event < TASK_EVENTS; event++)
			if (strcmp(ended[i], "dead") != 0 || (event != EV_RETRIED && event != EV_CANCEL))
				CU_ASSERT_EQUAL(task_step(tr_state_by_name(ended[i]), (enum task_event)event), TR_STATES);
	}
	CU_ASSERT_EQUAL(tr_state_by_name("lost"), TR_STATES);
}

int main(void)
{
	static const struct suite_test tests[] = {
		{ "legal moves", test_legal_moves },
		{ "nothing else", test_nothing_else },
		{ "ended is the end", test_ended_is_the_end },
	};

	return RUN_TESTS("life", tests);
}
