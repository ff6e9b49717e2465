/* On-failure callbacks for tests, one for each verdict and each way to go wrong. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "taskring/handler.h"

static struct tr_verdict retry_soon(struct tr_task *task, const struct tr_failure *failure)
{
	(void)task;
	(void)failure;
	return tr_retry_after(10);
}

/* Retries until the third attempt has failed, then buries. */
static struct tr_verdict retry_twice(struct tr_task *task, const struct tr_failure *failure)
{
	(void)task;
	return failure->attempt < 3 ? tr_retry_after(10) : tr_bury();
}

static struct tr_verdict bury_it(struct tr_task *task, const struct tr_failure *failure)
{
	(void)task;
	(void)failure;
	return tr_bury();
}

static struct tr_verdict discard_it(struct tr_task *task, const struct tr_failure *failure)
{
	(void)task;
	(void)failure;
	return tr_discard();
}

static struct tr_verdict enqueue_other(struct tr_task *task, const struct tr_failure *failure)
{
	char args[128];

	snprintf(args, sizeof args, "{\"failed\":\"%s\",\"attempt\":%u}", tr_task_id(task), failure->attempt);
	return tr_enqueue(task, "succeed", args, NULL);
}

static struct tr_verdict enqueue_wrong(struct tr_task *task, const struct tr_failure *failure)
{
	(void)failure;
	return tr_enqueue(task, "not a name", "{}", "somewhere");
}

static struct tr_verdict no_verdict(struct tr_task *task, const struct tr_failure *failure)
{
	(void)task;
	(void)failure;
	return (struct tr_verdict){ .kind = (enum tr_verdict_kind)99 };
}

/* What it sees, as a log line. */
static struct tr_verdict describe_failure(struct tr_task *task, const struct tr_failure *failure)
{
	tr_log(task, TR_INFO, "kind=%s permanent=%d attempt=%u/%u exit=%d signal=%d peak=%llu args=%.20s message=%s",
	    tr_failure_kind_name(failure->kind), failure->permanent, failure->attempt, failure->max_attempts,
	    failure->exit_code, failure->signal, (unsigned long long)failure->peak_memory_kb, tr_task_args(task),
	    failure->message);
	return tr_default();
}

static struct tr_verdict callback_crash(struct tr_task *task, const struct tr_failure *failure)
{
	(void)task;
	(void)failure;
	signal(SIGSEGV, SIG_DFL);
	raise(SIGSEGV); /* of this thread: it does not come back */
	return tr_default();
}

static struct tr_verdict callback_hang(struct tr_task *task, const struct tr_failure *failure)
{
	(void)task;
	(void)failure;
	while (pause() < 0)
		continue;
	return tr_default();
}

static const struct tr_callback callbacks[] = {
	{ "retry_soon", "retries after 10 ms, for ever", retry_soon },
	{ "retry_twice", "retries after 10 ms, twice, then buries", retry_twice },
	{ "bury_it", "buries", bury_it },
	{ "discard_it", "discards", discard_it },
	{ "enqueue_other", "enqueues \"succeed\"", enqueue_other },
	{ "enqueue_wrong", "enqueues what is not allowed", enqueue_wrong },
	{ "no_verdict", "answers what is no verdict", no_verdict },
	{ "describe_failure", "logs what it sees, and leaves it to the default", describe_failure },
	{ "callback_crash", "dies of SIGSEGV", callback_crash },
	{ "callback_hang", "never ends", callback_hang },
};

static enum tr_outcome fail(struct tr_task *task)
{
	return tr_fail(task, "failed as asked");
}

static const struct tr_handler handlers[] = {
	{ "fail", "always fails", fail, NULL, NULL, NULL },
	{ "fail_then_discard", "always fails; its own callback discards", fail, discard_it, NULL, NULL },
	{ "fail_then_crash", "always fails; its own callback crashes", fail, callback_crash, NULL, NULL },
};

/* With these in the environment, start() does not answer 0, and stop() leaves a file. */
static int start(void)
{
	const char *answer = getenv("TASKRING_TEST_START");

	return answer ? (int)strtol(answer, NULL, 10) : 0;
}

static void stop(void)
{
	const char *path = getenv("TASKRING_TEST_STOP");
	FILE *file = path ? fopen(path, "w") : NULL;

	if (file && fclose(file) != 0)
		abort();
}

const struct tr_plugin taskring_plugin = {
	.abi = TR_PLUGIN_ABI,
	.handlers = handlers, .handler_count = sizeof handlers / sizeof handlers[0],
	.callbacks = callbacks, .callback_count = sizeof callbacks / sizeof callbacks[0],
	.start = start, .stop = stop,
};
