/*
 * What a task of a request carries as its trace: "TRACEPARENT;request_id=ID", or "TRACEPARENT;" where
 * the id is the trace's own. The responder joins the two; who shows a task, or passes them on to what it
 * calls, takes them apart. Other producers publish any text, which then is an id of theirs.
 */
#ifndef TR_TRACE_H
#define TR_TRACE_H

#include "taskring/taskring.h"

struct trace {
	char traceparent[TR_TRACE_MAX + 1]; /* W3C's; "": none */
	char request_id[TR_TRACE_MAX + 1];  /* "": none */
};

/* "" where there is neither. What does not fit is left out as a whole. */
void trace_join(char joined[TR_TRACE_MAX + 1], const char *traceparent, const char *request_id);
void trace_split(struct trace *trace, const char *joined);

#endif
