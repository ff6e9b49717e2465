/*
 * taskd/supervisor.c: its life from start to stop, with dispatchers that die, refuse, hang or do not
 * drain. Nothing is left of any of it.
 */
#include "tests/unit/runner.h"
#include "tests/unit/supervisor_world.h"

static void test_dispatcher_dies(void)
{
	start(&quick, "pool a { processes=3 }");
	for (int life = 1; life <= 3; life++) {
		WAIT_UNTIL(world->dispatchers == life && find(CONTROL_WORKER_STARTED, 2, (uint32_t)life - 1) >= 0);
		WAIT_UNTIL(logged(" ready ") == life);
		for (uint32_t row = 0; row < 3; row++)
			world->must_be_gone[row] = world->heard[find(CONTROL_WORKER_STARTED, row, (uint32_t)life - 1)].message.pid;
		if (life < 3)
			kill(world->dispatcher_pid, SIGKILL);
	}
	CU_ASSERT_EQUAL(world->leftovers, 0);
	CU_ASSERT_EQUAL(logged("dispatcher-died"), 2);
	CU_ASSERT_EQUAL(logged("signal=9 restart_ms=20\n"), 1);
	CU_ASSERT_EQUAL(logged("signal=9 restart_ms=40\n"), 1);
	/* Each dispatcher heard of its own workers only, and of no end of the old ones. */
	for (uint32_t i = 0; i < world->heard_count; i++) {
		CU_ASSERT_EQUAL(world->heard[i].message.kind, CONTROL_WORKER_STARTED);
		CU_ASSERT_EQUAL(world->heard[i].life, (int)i / 3 + 1);
	}
	/* One that closes its socket is no dispatcher any more. */
	atomic_store(&world->leave, 1);
	WAIT_UNTIL(world->dispatchers == 4 && logged(" ready ") == 4);
	kill(supervisor, SIGTERM);
	CU_ASSERT_EQUAL(ended(), 0);
}

static void test_refuses_to_start(void)
{
	fresh();
	atomic_store(&world->refuse_with, 2);
	launch(&quick, "pool a { processes=2 }");
	CU_ASSERT_EQUAL(ended(), 1);
	CU_ASSERT_EQUAL(world->dispatchers, 1);
	CU_ASSERT_EQUAL(logged(" ready "), 0);

	/* What the machine does not have is told at once. */
	fresh();
	launch(&quick, "pool a { limit_files=1048576 }");
	struct rlimit files;
	CU_ASSERT_EQUAL(getrlimit(RLIMIT_NOFILE, &files), 0);
	if (files.rlim_max < 1048576) {
		CU_ASSERT_EQUAL(ended(), 1);
		return;
	}
	kill(supervisor, SIGTERM);
	CU_ASSERT_EQUAL(ended(), 0);
}

static void test_drain(void)
{
	start(&quick, "pool a { processes=2 }");
	WAIT_UNTIL(find(CONTROL_WORKER_STARTED, 1, 0) >= 0);
	atomic_store(&world->on_drain, IGNORE_DRAIN);
	kill(supervisor, SIGTERM);
	WAIT_UNTIL(find(CONTROL_DRAIN, 0, 0) >= 0);
	/* A worker that ends now is told of, and not replaced. */
	atomic_store(&world->exit_with[0], 0 + 1);
	CU_ASSERT_EQUAL(ended(), 1); /* the dispatcher did not end within drain_extra_ms */
	CU_ASSERT_TRUE(find(CONTROL_WORKER_ENDED, 0, 0) > find(CONTROL_DRAIN, 0, 0));
	CU_ASSERT_EQUAL(find(CONTROL_WORKER_STARTED, 0, 1), -1);
	CU_ASSERT_EQUAL(logged("drain-too-late"), 1);

	fresh();
	atomic_store(&world->on_drain, LEAVE_BADLY);
	launch(&quick, "pool a { processes=2 }");
	WAIT_UNTIL(world->dispatcher_pid != 0);
	kill(supervisor, SIGTERM);
	CU_ASSERT_EQUAL(ended(), 1);
	CU_ASSERT_EQUAL(world->dispatchers, 1);
	CU_ASSERT_EQUAL(logged("drained dispatcher_pid="), 1);
}

static void test_second_signal(void)
{
	struct supervisor_times patient = quick;
	patient.drain_extra_ms = 600000;
	fresh();
	atomic_store(&world->on_drain, IGNORE_DRAIN);
	launch(&patient, "pool a { processes=3 }");
	WAIT_UNTIL(find(CONTROL_WORKER_STARTED, 2, 0) >= 0);
	kill(supervisor, SIGINT);
	WAIT_UNTIL(find(CONTROL_DRAIN, 0, 0) >= 0);
	CU_ASSERT_EQUAL(waitpid(supervisor, NULL, WNOHANG), 0);
	kill(supervisor, SIGTERM);
	CU_ASSERT_EQUAL(ended(), 1);
	CU_ASSERT_EQUAL(logged("stopped-at-once workers=3"), 1);
}

static void test_reload(void)
{
	start(&quick, "pool a { processes=2 }");
	WAIT_UNTIL(find(CONTROL_WORKER_STARTED, 1, 0) >= 0);
	configure("pool a { processes=1 } pool b { queues={x} processes=2 threads=5 }");
	kill(supervisor, SIGHUP);
	WAIT_UNTIL(find(CONTROL_WORKER_STARTED, 2, 0) >= 0);
	CU_ASSERT_TRUE(find(CONTROL_RELOAD, 0, 0) >= 0 && find(CONTROL_RELOAD, 0, 0) < find(CONTROL_WORKER_STARTED, 2, 0));
	CU_ASSERT_EQUAL(world->heard[find(CONTROL_WORKER_STARTED, 2, 0)].message.pool, 1);
	/* Row 1 still runs by the old configuration; its successor by the new. */
	say(CONTROL_RECYCLED, 1, world->heard[find(CONTROL_WORKER_STARTED, 1, 0)].message.pid);
	atomic_store(&world->exit_with[1], 0 + 1);
	WAIT_UNTIL(find(CONTROL_WORKER_ENDED, 1, 0) >= 0);
	atomic_store(&world->exit_with[1], 0);
	WAIT_UNTIL(find(CONTROL_WORKER_STARTED, 1, 1) >= 0);
	CU_ASSERT_EQUAL(world->heard[find(CONTROL_WORKER_STARTED, 1, 1)].message.pool, 1);
	CU_ASSERT_EQUAL(world->heard[find(CONTROL_WORKER_STARTED, 1, 1)].message.threads, 5);

	/* Faults, and what needs a restart: nothing happens but a line. */
	configure("pool a { processes=0 }");
	kill(supervisor, SIGHUP);
	WAIT_UNTIL(logged("reload-refused") == 1);
	configure("ring { lanes=7 }");
	kill(supervisor, SIGHUP);
	WAIT_UNTIL(logged("option=ring reason=\"this option cannot change while taskd runs\"") == 1);
	CU_ASSERT_EQUAL(find(CONTROL_RELOAD, 0, 1), -1);

	/* Fewer: the rows beyond are not filled again. */
	configure("pool a { processes=1 }");
	kill(supervisor, SIGHUP);
	WAIT_UNTIL(find(CONTROL_RELOAD, 0, 1) >= 0);
	atomic_store(&world->exit_with[2], 0 + 1);
	WAIT_UNTIL(find(CONTROL_WORKER_ENDED, 2, 0) >= 0);
	atomic_store(&world->exit_with[0], 1 + 1);
	WAIT_UNTIL(find(CONTROL_WORKER_STARTED, 0, 3) >= 0);
	CU_ASSERT_EQUAL(find(CONTROL_WORKER_STARTED, 2, 1), -1);
	CU_ASSERT_EQUAL(logged(" reloaded "), 2);
	kill(supervisor, SIGTERM);
	CU_ASSERT_EQUAL(ended(), 0);
}

/* The file as it is is refused for `reason`: nothing else happens. */
static void expect_refused(enum on_trial on_trial, const char *reason)
{
	atomic_store(&world->on_trial, on_trial);
	kill(supervisor, SIGHUP);
	WAIT_UNTIL(logged(reason) == 1);
	CU_ASSERT_EQUAL(find(CONTROL_RELOAD, 0, 0), -1);
	CU_ASSERT_EQUAL(find(CONTROL_WORKER_STARTED, 0, 1), -1);
}

static void test_trial(void)
{
	start(&quick, "pool a {}");
	WAIT_UNTIL(find(CONTROL_WORKER_STARTED, 0, 0) >= 0);
	configure("pool a { limit_files=64 } pool b { queues={x} limit_files=100 limit_cpu=7s }");
	expect_refused(FIND_FAULT, "option=- reason=\"broken.so: no\"");
	expect_refused(EXIT_SILENTLY, "reason=\"the trial of the plug-ins ended with status 0\"");
	expect_refused(EXIT_LATE, "reason=\"the trial of the plug-ins ended with status 3\"");
	expect_refused(CRASH, "reason=\"the trial of the plug-ins ended with signal 6\"");
	CU_ASSERT_EQUAL(logged("reload-refused"), 4);
	atomic_store(&world->on_trial, GO_WELL);
	kill(supervisor, SIGHUP);
	WAIT_UNTIL(find(CONTROL_RELOAD, 0, 0) >= 0 && find(CONTROL_WORKER_STARTED, 1, 0) >= 0);
	CU_ASSERT_EQUAL(world->trials, 5);
	CU_ASSERT_EQUAL(world->trial_fault, 0);
	kill(supervisor, SIGTERM);
	CU_ASSERT_EQUAL(ended(), 0);

	struct supervisor_times hasty = quick;
	hasty.trial_ms = 50;
	start(&hasty, "pool a {}");
	WAIT_UNTIL(find(CONTROL_WORKER_STARTED, 0, 0) >= 0);
	expect_refused(HANG, "reason=\"the trial of the plug-ins took too long\"");
	kill(supervisor, SIGTERM);
	CU_ASSERT_EQUAL(ended(), 0);
}

/* What comes while a trial goes on. */
static void test_signals_during_trial(void)
{
	start(&quick, "pool a { processes=1 }");
	atomic_store(&world->on_trial, HANG);
	WAIT_UNTIL(find(CONTROL_WORKER_STARTED, 0, 0) >= 0);
	configure("pool a { processes=2 }");
	kill(supervisor, SIGHUP);
	WAIT_UNTIL(world->trials == 1);
	/* The newest wish counts; nothing is refused. */
	configure("pool a { processes=3 }");
	kill(supervisor, SIGHUP);
	WAIT_UNTIL(world->trials == 2);
	/* A file that has changed by the end is tried anew: the dispatcher will read this one. */
	configure("pool a { processes=4 }");
	atomic_store(&world->on_trial, GO_WELL);
	WAIT_UNTIL(find(CONTROL_WORKER_STARTED, 3, 0) >= 0);
	CU_ASSERT_EQUAL(world->trials, 3);
	CU_ASSERT_EQUAL(logged(" reloaded "), 1);
	/* The same where it has faults by now. */
	atomic_store(&world->on_trial, HANG);
	kill(supervisor, SIGHUP);
	WAIT_UNTIL(world->trials == 4);
	configure("pool a { processes=0 }");
	atomic_store(&world->on_trial, GO_WELL);
	WAIT_UNTIL(logged("reason=\"the file has faults\"") == 1);
	/* A stop does not wait for it. */
	configure("pool a { processes=1 }");
	atomic_store(&world->on_trial, HANG);
	kill(supervisor, SIGHUP);
	WAIT_UNTIL(world->trials == 5);
	kill(supervisor, SIGTERM);
	CU_ASSERT_EQUAL(ended(), 0);
	CU_ASSERT_EQUAL(logged("reason=\"taskd stops\""), 1);
	CU_ASSERT_EQUAL(logged("reload-refused"), 2);
	CU_ASSERT_EQUAL(logged(" reloaded "), 1);
}

/* The new dispatcher and its workers begin by the old configuration, which the trial's end replaces. */
static void test_dispatcher_dies_during_trial(void)
{
	start(&quick, "pool a { processes=1 }");
	atomic_store(&world->on_trial, HANG);
	WAIT_UNTIL(find(CONTROL_WORKER_STARTED, 0, 0) >= 0);
	configure("pool a { processes=2 }");
	kill(supervisor, SIGHUP);
	WAIT_UNTIL(world->trials == 1);
	kill(world->dispatcher_pid, SIGKILL);
	WAIT_UNTIL(find(CONTROL_WORKER_STARTED, 0, 1) >= 0);
	CU_ASSERT_EQUAL(find(CONTROL_WORKER_STARTED, 1, 0), -1);
	atomic_store(&world->on_trial, GO_WELL);
	WAIT_UNTIL(find(CONTROL_WORKER_STARTED, 1, 0) >= 0);
	CU_ASSERT_EQUAL(world->heard[find(CONTROL_RELOAD, 0, 0)].life, 2);
	CU_ASSERT_EQUAL(world->trials, 1);
	kill(supervisor, SIGTERM);
	CU_ASSERT_EQUAL(ended(), 0);
}

static void test_supervisor_killed(void)
{
	start(&quick, "pool a { processes=3 }");
	WAIT_UNTIL(find(CONTROL_WORKER_STARTED, 2, 0) >= 0);
	/* Who is still too young for the signal leaves by itself when he sees that he is alone. */
	for (int row = 0; row < 3; row++)
		WAIT_UNTIL(world->worker_pid[row] != 0);
	kill(supervisor, SIGKILL);
	int status, left = 0, killed = 0;
	for (int i = 0; i < 5; i++) { /* all of them are ours to wait for now */
		left += waitpid(-1, &status, 0) > 0;
		killed += WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
	}
	CU_ASSERT_EQUAL(left, 5);
	CU_ASSERT_EQUAL(killed, 5);
	CU_ASSERT_EQUAL(waitpid(-1, NULL, 0), -1);
}

static void test_silence(void)
{
	struct supervisor_times strict = quick;
	strict.silence_ms = 60;
	start(&strict, "pool a { processes=1 }");
	WAIT_UNTIL(logged("dispatcher-hangs") == 1);
	atomic_store(&world->progress, 1);
	/* More than once, where the machine itself is silent for so long. */
	WAIT_UNTIL(logged("dispatcher-goes-on") >= 1);
	CU_ASSERT_TRUE(logged("dispatcher-hangs") - logged("dispatcher-goes-on") <= 1);
	CU_ASSERT_EQUAL(world->dispatchers, 1);
	kill(supervisor, SIGTERM);
	CU_ASSERT_EQUAL(ended(), 0);
}

int main(void)
{
	static const struct suite_test tests[] = {
		{ "a dispatcher that dies", test_dispatcher_dies },
		{ "a dispatcher that refuses", test_refuses_to_start },
		{ "drain", test_drain },
		{ "a second signal", test_second_signal },
		{ "reload", test_reload },
		{ "a trial before a reload", test_trial },
		{ "signals during a trial", test_signals_during_trial },
		{ "a dispatcher that dies during a trial", test_dispatcher_dies_during_trial },
		{ "the supervisor is killed", test_supervisor_killed },
		{ "a silent dispatcher", test_silence },
	};

	/* What a supervisor leaves behind becomes ours: so it is seen. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	return RUN_TESTS_WITHIN("supervisor", begin, end, tests);
}
