/*
 * What a program writes: its standard output, of which a result is made, and its standard error,
 * whose lines are the task's log and progress. Bounded in memory whatever is written.
 */
#ifndef TASKD_EXEC_OUTPUT_H
#define TASKD_EXEC_OUTPUT_H

#include "taskd/text.h"
#include "taskring/handler.h"

#define EXEC_LOG_LINES_MAX 1000   /* of one attempt; the rest is counted */
#define EXEC_TEXT_RESULT_MAX 8192 /* bytes of an output that is not JSON; JSON makes at most 6 of one */

struct exec_output {
	struct tr_task *task;
	uint64_t out_bytes, error_bytes; /* written so far */
	char *out;                       /* the first TR_RESULT_MAX + 1 bytes */
	size_t out_kept, out_room;
	bool no_memory;                  /* some of them are missing */
	uint64_t lines;                  /* of standard error */
	size_t line_bytes;               /* of the line that has not ended; what is longer is dropped */
	char line[TEXT_LINE_MAX + 1];
	char last_line[TEXT_LINE_MAX + 1]; /* that was not progress; "": none */
};

/* `*output` is all zero but for its task. */
void exec_output_out(struct exec_output *output, const char *bytes, size_t count);
void exec_output_errors(struct exec_output *output, const char *bytes, size_t count);
/* Both streams have ended: says what has not been said yet. */
void exec_output_end(struct exec_output *output);

/*
 * After a success: the output is the task's result if it is JSON; else {"output": its first bytes,
 * "bytes": all of them}; none if there was none.
 */
void exec_output_keep_result(struct exec_output *output);
/* After a failure: its beginning goes to the log. */
void exec_output_log_result(const struct exec_output *output);
void exec_output_free(struct exec_output *output);

#endif
