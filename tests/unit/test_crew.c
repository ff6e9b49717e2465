/*
 * taskd/crew.c and spawn.c: which worker is started when, after which pause, what it has, and what
 * the dispatcher is told of it.
 */
#include "tests/unit/runner.h"
#include "tests/unit/supervisor_world.h"

static void test_backoff(void)
{
	const struct supervisor_times times = { .backoff_first_ms = 100, .backoff_most_ms = 30000, .healthy_ms = 10000 };
	static const uint32_t expected[] = { 100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000 };
	uint32_t pause = 0;
	for (size_t i = 0; i < sizeof(expected) / sizeof(*expected); i++) {
		pause = crew_backoff(&times, pause, 10000);
		CU_ASSERT_EQUAL(pause, expected[i]);
	}
	CU_ASSERT_EQUAL(crew_backoff(&times, 30000, 10001), 100);
}

static void test_start(void)
{
	start(&quick, "pool a { processes=2 threads=3 queues={q} limit_files=64 } pool b { processes=1 limit_files=64 }");
	WAIT_UNTIL(atomic_load(&world->heard_count) == 3);
	static const uint32_t pools[] = { 0, 0, 1 }, threads[] = { 3, 3, 1 };
	for (uint32_t row = 0; row < 3; row++) {
		WAIT_UNTIL(world->worker_pid[row] != 0);
		const struct heard *heard = &world->heard[row];
		CU_ASSERT_EQUAL(heard->message.kind, CONTROL_WORKER_STARTED);
		CU_ASSERT_EQUAL(heard->message.row, row);
		CU_ASSERT_EQUAL(heard->message.pid, world->worker_pid[row]);
		CU_ASSERT_EQUAL(heard->message.pool, pools[row]);
		CU_ASSERT_EQUAL(heard->message.threads, threads[row]);
		CU_ASSERT_EQUAL(heard->message.number, 0);
		CU_ASSERT_EQUAL(heard->mailbox_bytes, (off_t)mailbox_bytes(threads[row]));
	}
	CU_ASSERT_EQUAL(world->worker_fault, 0);
	/* SIGINT as a terminal sends it: to all of them. Only the supervisor answers. */
	for (int row = 0; row < 3; row++)
		kill(world->worker_pid[row], SIGINT);
	kill(world->dispatcher_pid, SIGINT);
	kill(supervisor, SIGINT);
	CU_ASSERT_EQUAL(ended(), 0);
	CU_ASSERT_EQUAL(find(CONTROL_DRAIN, 0, 0), 3);
	CU_ASSERT_EQUAL(world->heard_count, 4);
	CU_ASSERT_EQUAL(world->dispatchers, 1);
	CU_ASSERT_EQUAL(logged(" ready "), 1);
}

static void test_worker_pauses(void)
{
	static const uint64_t pauses[] = { 20, 40, 80, 80, 80 };
	start(&quick, "pool a { processes=2 }");
	WAIT_UNTIL(find(CONTROL_WORKER_STARTED, 1, 0) >= 0);
	atomic_store(&world->exit_with[0], 3 + 1);
	WAIT_UNTIL(find(CONTROL_WORKER_ENDED, 0, 4) >= 0);
	for (uint32_t i = 0; i < 5; i++) {
		const struct heard *began = &world->heard[find(CONTROL_WORKER_STARTED, 0, i)];
		const struct heard *ended_then = &world->heard[find(CONTROL_WORKER_ENDED, 0, i)];
		CU_ASSERT_EQUAL(began->message.number, i);
		CU_ASSERT_EQUAL(began->message.pid, ended_then->message.pid);
		CU_ASSERT_TRUE(WIFEXITED(ended_then->message.status) && WEXITSTATUS(ended_then->message.status) == 3);
		CU_ASSERT_EQUAL(ended_then->message.killed_by_us, 0);
		CU_ASSERT_EQUAL(ended_then->message.number, pauses[i]);
		CU_ASSERT_TRUE(ended_then->message.peak_memory_kb > 100);
		if (i > 0)
			CU_ASSERT_TRUE(world->paused_ms[0][i] + 1 >= (int64_t)pauses[i - 1]); /* two clocks, each cut to ms */
	}
	CU_ASSERT_EQUAL(find(CONTROL_WORKER_ENDED, 1, 0), -1);
	kill(supervisor, SIGTERM);
	CU_ASSERT_EQUAL(ended(), 0);
}

/* Leaving in order costs no pause, whether the dispatcher's word comes before the end or after it. */
static void test_recycled(void)
{
	struct supervisor_times slow = quick;
	slow.backoff_first_ms = slow.backoff_most_ms = 60000;
	start(&slow, "pool a { processes=1 }");
	WAIT_UNTIL(world->worker_pid[0] != 0);
	int first = world->worker_pid[0];
	say(CONTROL_RECYCLED, 0, first + 100000); /* nobody's */
	say(CONTROL_RECYCLED, 9, first);
	say(CONTROL_RECYCLED, 0, first);
	atomic_store(&world->exit_with[0], 0 + 1);
	WAIT_UNTIL(find(CONTROL_WORKER_ENDED, 0, 0) >= 0);
	CU_ASSERT_EQUAL(world->heard[find(CONTROL_WORKER_ENDED, 0, 0)].message.number, 0);
	/* The second exits at once as well, unannounced. */
	WAIT_UNTIL(find(CONTROL_WORKER_ENDED, 0, 1) >= 0);
	atomic_store(&world->exit_with[0], 0);
	CU_ASSERT_EQUAL(world->heard[find(CONTROL_WORKER_ENDED, 0, 1)].message.number, 60000);
	CU_ASSERT_EQUAL(find(CONTROL_WORKER_STARTED, 0, 2), -1);
	say(CONTROL_RECYCLED, 0, world->heard[find(CONTROL_WORKER_ENDED, 0, 1)].message.pid);
	WAIT_UNTIL(find(CONTROL_WORKER_STARTED, 0, 2) >= 0);
	kill(supervisor, SIGTERM);
	CU_ASSERT_EQUAL(ended(), 0);
}

static void test_kill(void)
{
	start(&quick, "pool a { processes=2 }");
	WAIT_UNTIL(find(CONTROL_WORKER_STARTED, 1, 0) >= 0);
	int pid = world->heard[find(CONTROL_WORKER_STARTED, 1, 0)].message.pid;
	say_number(CONTROL_KILL, 0, pid, SIGKILL); /* another row's */
	say_number(CONTROL_KILL, 99, pid, SIGKILL);
	say_number(CONTROL_KILL, 1, pid, SIGSTOP);
	say_number(CONTROL_KILL, 1, pid, 1ull << 32 | SIGKILL);
	WAIT_UNTIL(logged(" kill-refused ") == 2);
	CU_ASSERT_EQUAL(find(CONTROL_WORKER_ENDED, 1, 0), -1);
	say_number(CONTROL_KILL, 1, pid, SIGKILL);
	WAIT_UNTIL(find(CONTROL_WORKER_STARTED, 1, 1) >= 0);
	const struct control_message *message = &world->heard[find(CONTROL_WORKER_ENDED, 1, 0)].message;
	CU_ASSERT_EQUAL(message->pid, pid);
	CU_ASSERT_TRUE(WIFSIGNALED(message->status) && WTERMSIG(message->status) == SIGKILL);
	CU_ASSERT_EQUAL(message->killed_by_us, 1);
	CU_ASSERT_EQUAL(message->number, 0);
	CU_ASSERT_EQUAL(find(CONTROL_WORKER_ENDED, 0, 0), -1);
	/* Somebody else's kill is not ours. */
	kill(world->heard[find(CONTROL_WORKER_STARTED, 0, 0)].message.pid, SIGKILL);
	WAIT_UNTIL(find(CONTROL_WORKER_ENDED, 0, 0) >= 0);
	CU_ASSERT_EQUAL(world->heard[find(CONTROL_WORKER_ENDED, 0, 0)].message.killed_by_us, 0);
	kill(supervisor, SIGTERM);
	CU_ASSERT_EQUAL(ended(), 0);
}

/* A worker dies of SIGTERM when the supervisor wants it to, and of nobody else's. */
static void test_terminate(void)
{
	start(&quick, "pool a { processes=1 }");
	WAIT_UNTIL(world->worker_pid[0] != 0);
	int pid = world->worker_pid[0];
	kill(pid, SIGTERM);
	say_number(CONTROL_KILL, 0, pid + 100000, SIGTERM); /* answered: the worker has had its SIGTERM by now */
	CU_ASSERT_EQUAL(find(CONTROL_WORKER_ENDED, 0, 0), -1);
	CU_ASSERT_EQUAL(kill(pid, 0), 0);
	atomic_store(&world->catch_term, 1);
	say_number(CONTROL_KILL, 0, pid, SIGTERM);
	WAIT_UNTIL(find(CONTROL_WORKER_STARTED, 0, 1) >= 0);
	const struct control_message *message = &world->heard[find(CONTROL_WORKER_ENDED, 0, 0)].message;
	CU_ASSERT_TRUE(WIFSIGNALED(message->status) && WTERMSIG(message->status) == SIGTERM);
	CU_ASSERT_EQUAL(message->killed_by_us, 1);
	CU_ASSERT_EQUAL(message->number, 0); /* it is replaced without a pause */
	/* Where a plug-in has a handler of its own, that one is called. */
	WAIT_UNTIL(world->worker_pid[0] != pid);
	say_number(CONTROL_KILL, 0, world->worker_pid[0], SIGTERM);
	WAIT_UNTIL(find(CONTROL_WORKER_ENDED, 0, 1) >= 0);
	message = &world->heard[find(CONTROL_WORKER_ENDED, 0, 1)].message;
	CU_ASSERT_TRUE(WIFEXITED(message->status) && WEXITSTATUS(message->status) == 42);
	CU_ASSERT_EQUAL(message->killed_by_us, 1);
	kill(supervisor, SIGTERM);
	CU_ASSERT_EQUAL(ended(), 0);
}

/* Workers that die all the time, and a dispatcher that does not read: nothing is lost, nothing grows. */
static void test_deaf_dispatcher(void)
{
	struct supervisor_times hasty = quick;
	hasty.backoff_first_ms = hasty.backoff_most_ms = 1;
	fresh();
	atomic_store(&world->deaf, 1);
	for (int row = 0; row < ROWS; row++)
		atomic_store(&world->exit_with[row], 1 + 1);
	launch(&hasty, "pool a { processes=4 }");
	/* By then the socket is full, the outbox is, and no worker is started any more. */
	int before = -1, starts;
	while ((starts = logged("worker-started")) != before || starts < 100) {
		before = starts;
		pause_ms(200);
	}
	CU_ASSERT_TRUE(starts > 100 && starts < 2000);
	for (int row = 0; row < ROWS; row++)
		atomic_store(&world->exit_with[row], 0);
	atomic_store(&world->deaf, 0);
	uint64_t number[ROWS] = { 0 };
	int alive[ROWS] = { 0 };
	uint32_t next = 0;
	int64_t until = now_ms() + DEADLINE_MS;
	bool told_all = false;
	while (!told_all && now_ms() < until) {
		for (; next < atomic_load(&world->heard_count); next++) {
			const struct control_message *message = &world->heard[next].message;
			if (message->kind == CONTROL_WORKER_STARTED) {
				CU_ASSERT_EQUAL(alive[message->row], 0);
				CU_ASSERT_EQUAL(message->number, number[message->row]++);
				CU_ASSERT_TRUE(world->heard[next].mailbox_bytes > 0);
				alive[message->row] = message->pid;
			} else {
				CU_ASSERT_EQUAL(message->pid, alive[message->row]);
				alive[message->row] = 0;
			}
		}
		pause_ms(5);
		int now_started = logged("worker-started");
		told_all = now_started > starts && alive[0] && alive[1] && alive[2] && alive[3] &&
		    number[0] + number[1] + number[2] + number[3] == (uint64_t)now_started;
	}
	CU_ASSERT_TRUE(told_all);
	kill(supervisor, SIGTERM);
	CU_ASSERT_EQUAL(ended(), 0);
}

int main(void)
{
	static const struct suite_test tests[] = {
		{ "the pauses", test_backoff },
		{ "start, and what a worker has", test_start },
		{ "a worker that ends again and again", test_worker_pauses },
		{ "a worker that leaves in order", test_recycled },
		{ "a worker killed on demand", test_kill },
		{ "a worker that is terminated", test_terminate },
		{ "a dispatcher that does not read", test_deaf_dispatcher },
	};

	/* What a supervisor leaves behind becomes ours: so it is seen. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	return RUN_TESTS_WITHIN("crew", begin, end, tests);
}
