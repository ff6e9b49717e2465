/*
 * The table of exit statuses. In: what waitpid(2) said; out: a verdict and a sentence. Called by
 * exec_run.c. docs/exec.md shows the same table.
 *
 * Meanings are those of sysexits.h, which mail servers have followed for forty years; 126 and 127
 * are the shell's. What has no row is a failure of a kind that only the program knows, and worth
 * another attempt.
 */
#include "taskd/exec_status.h"

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <sysexits.h>

static const struct status {
	int code;
	enum exec_verdict verdict;
	const char *meaning;
} statuses[] = {
	{ 0, EXEC_SUCCEEDED, "success" },
	{ EX_USAGE, EXEC_FOR_GOOD, "called in a wrong way" },
	{ EX_DATAERR, EXEC_FOR_GOOD, "the input is wrong" },
	{ EX_NOINPUT, EXEC_FOR_GOOD, "an input file cannot be read" },
	{ EX_NOUSER, EXEC_FOR_GOOD, "no such user" },
	{ EX_NOHOST, EXEC_TRY_AGAIN, "no such host" },
	{ EX_UNAVAILABLE, EXEC_TRY_AGAIN, "a service is not available" },
	{ EX_SOFTWARE, EXEC_TRY_AGAIN, "an internal error" },
	{ EX_OSERR, EXEC_TRY_AGAIN, "an error of the operating system" },
	{ EX_OSFILE, EXEC_TRY_AGAIN, "a system file is missing" },
	{ EX_CANTCREAT, EXEC_TRY_AGAIN, "an output file cannot be made" },
	{ EX_IOERR, EXEC_TRY_AGAIN, "an input or output error" },
	{ EX_TEMPFAIL, EXEC_TRY_AGAIN, "a temporary failure" },
	{ EX_PROTOCOL, EXEC_TRY_AGAIN, "a peer's answer was not understood" },
	{ EX_NOPERM, EXEC_FOR_GOOD, "not permitted" },
	{ EX_CONFIG, EXEC_FOR_GOOD, "configured in a wrong way" },
	{ 126, EXEC_FOR_GOOD, "a command cannot be executed" },
	{ 127, EXEC_FOR_GOOD, "a command was not found" },
};

static enum exec_verdict exited(int code, char *sentence, size_t room)
{
	for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
		if (statuses[i].code != code)
			continue;
		snprintf(sentence, room, "ended with status %d (%s)", code, statuses[i].meaning);
		return statuses[i].verdict;
	}
	snprintf(sentence, room, "ended with status %d", code);
	return EXEC_TRY_AGAIN;
}

enum exec_verdict exec_status_verdict(int status, char *sentence, size_t room)
{
	if (!WIFSIGNALED(status))
		return exited(WEXITSTATUS(status), sentence, room);
	int number = WTERMSIG(status);
	const char *name = sigabbrev_np(number), *meaning = sigdescr_np(number);
	if (name != NULL && meaning != NULL)
		snprintf(sentence, room, "was killed by SIG%s (%s)", name, meaning);
	else
		snprintf(sentence, room, "was killed by signal %d", number);
	return EXEC_TRY_AGAIN;
}
