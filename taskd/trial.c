/* See trial.h. */
#include "taskd/trial.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Where one of two limits is 0, there is none. */
static uint64_t lower(uint64_t a, uint64_t b)
{
	return a == 0 || (b != 0 && b < a) ? b : a;
}

/* What is too little for one pool's workers is found with this one. */
static struct config_pool lowest_limits(const struct config *config)
{
	struct config_pool lowest = { .name = "trial" };
	for (size_t i = 0; i < config->pool_count; i++) {
		const struct config_pool *pool = &config->pools[i];
		lowest.limit_memory_bytes = lower(lowest.limit_memory_bytes, pool->limit_memory_bytes);
		lowest.limit_files = (uint32_t)lower(lowest.limit_files, pool->limit_files);
		lowest.limit_cpu_s = (uint32_t)lower(lowest.limit_cpu_s, pool->limit_cpu_s);
	}
	return lowest;
}

bool trial_begin(struct trial *trial, struct config *config, void (*role)(const struct config *config, int answer),
    const struct spawn_plan *plan, int64_t until_ms)
{
	const struct config_pool pool = lowest_limits(config);
	struct spawn_plan own = *plan;
	int answer[2];
	if (pipe2(answer, O_CLOEXEC | O_NONBLOCK) < 0)
		return false;
	own.role = "trial";
	own.name = "taskd-trial";
	own.pool = &pool;
	own.keep[0] = answer[1];
	own.keep[1] = -1; /* it wakes nobody */
	pid_t pid = spawn_fork(&own, &trial->pidfd);
	if (pid == 0) {
		role(config, answer[1]);
		abort(); /* a role does not return */
	}
	int failed = errno;
	close(answer[1]);
	if (pid < 0) {
		close(answer[0]);
		trial->pidfd = -1;
		errno = failed;
		return false;
	}
	trial->pid = pid;
	trial->answer = answer[0];
	trial->until_ms = until_ms;
	trial->config = config;
	trial->broken_off = NULL;
	return true;
}

void trial_break_off(struct trial *trial, const char *reason)
{
	if (trial->pid == 0 || trial->broken_off != NULL)
		return;
	trial->broken_off = reason;
	syscall(SYS_pidfd_send_signal, trial->pidfd, SIGKILL, NULL, 0); /* or it has just ended */
}

int64_t trial_due(struct trial *trial, int64_t now_ms)
{
	if (trial->pid != 0 && now_ms >= trial->until_ms)
		trial_break_off(trial, "the trial of the plug-ins took too long");
	return trial->pid != 0 && trial->broken_off == NULL ? trial->until_ms : INT64_MAX;
}

/* A plug-in may have ended the process with any status: it is well only if it also says so, with an empty text. */
static void judge(const struct trial *trial, int status, struct tr_error *error)
{
	ssize_t got = read(trial->answer, error->text, sizeof error->text - 1);
	error->text[got > 0 ? got : 0] = '\0';
	if (trial->broken_off != NULL)
		snprintf(error->text, sizeof error->text, "%s", trial->broken_off);
	else if (WIFSIGNALED(status))
		snprintf(error->text, sizeof error->text, "the trial of the plug-ins ended with signal %d", WTERMSIG(status));
	else if (error->text[0] == '\0' && (got <= 0 || WEXITSTATUS(status) != 0))
		snprintf(error->text, sizeof error->text, "the trial of the plug-ins ended with status %d", WEXITSTATUS(status));
}

struct config *trial_end(struct trial *trial, struct tr_error *error)
{
	int status;
	if (trial->pid == 0 || waitpid(trial->pid, &status, WNOHANG) != trial->pid)
		return NULL;
	judge(trial, status, error);
	close(trial->answer);
	close(trial->pidfd);
	trial->pidfd = -1;
	trial->pid = 0;
	return trial->config;
}
