/* What a program's end means for its task: the table of exit statuses, and the sentences. */
#ifndef TASKD_EXEC_STATUS_H
#define TASKD_EXEC_STATUS_H

#include <stdbool.h>
#include <stddef.h>

enum exec_verdict {
	EXEC_SUCCEEDED,
	EXEC_TRY_AGAIN, /* failed, worth another attempt */
	EXEC_FOR_GOOD,  /* failed, another attempt would end likewise */
};

/*
 * `status` as of waitpid(2), of a program that has ended. *sentence gets what happened, e.g. "ended
 * with status 65 (the input is wrong)", "was killed by SIGSEGV (Segmentation fault)".
 */
enum exec_verdict exec_status_verdict(int status, char *sentence, size_t room);

#endif
