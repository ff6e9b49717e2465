/*
 * What an HTTP server's answer means for the task: its outcome and its result. Called by http.c.
 * docs/http.md has the table.
 */
#ifndef TASKD_HTTP_ANSWER_H
#define TASKD_HTTP_ANSWER_H

#include "taskd/http_arguments.h"
#include "taskd/transfer.h"

struct http_judgement {
	enum tr_outcome outcome; /* TR_SUCCESS, TR_FAILURE or TR_PERMANENT_FAILURE */
	uint64_t delay_ms;       /* of TR_FAILURE: the least before the next attempt; 0: none */
	char text[400];          /* of a failure: a sentence */
};

/* `retry_after_most_ms`: a server may not ask for more. */
void http_answer_judge(struct http_judgement *judgement, const struct http_answer *answer,
    const struct http_arguments *arguments, uint64_t retry_after_most_ms);

/* Of a server that has answered: a JSON text of less than TR_RESULT_MAX bytes, to be freed; NULL: out of memory. */
char *http_answer_result(const struct http_answer *answer);

#endif
