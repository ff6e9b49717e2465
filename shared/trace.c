/* See trace.h. Called by app/tasks.c and app/endpoint_task.c, and by taskd's handlers "http" and "exec". */
#include "trace.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define TRACEPARENT_BYTES 55 /* of version 00; later ones are longer */
#define TRACE_ID_AT 3
#define TRACE_ID_BYTES 32

static const char id_mark[] = ";request_id=";

/* Two digits for the version, 32, 16, and flags: who accepted it has looked at it closely. */
static bool is_traceparent(const char *text)
{
	return strlen(text) >= TRACEPARENT_BYTES && text[2] == '-' && text[35] == '-' && text[52] == '-' &&
	    strspn(text, "0123456789abcdef-") == strlen(text);
}

/* Where a request brought neither, its id is the trace's id; then it is not carried twice. */
static bool is_trace_id(const char *traceparent, const char *request_id)
{
	return strlen(request_id) == TRACE_ID_BYTES && strlen(traceparent) >= TRACEPARENT_BYTES &&
	    memcmp(traceparent + TRACE_ID_AT, request_id, TRACE_ID_BYTES) == 0;
}

void trace_join(char joined[TR_TRACE_MAX + 1], const char *traceparent, const char *request_id)
{
	bool same = is_trace_id(traceparent, request_id), none = request_id[0] == '\0';
	const char *mark = same ? ";" : none ? "" : id_mark, *id = same ? "" : request_id;

	joined[0] = '\0';
	if (strlen(traceparent) + strlen(mark) + strlen(id) <= TR_TRACE_MAX)
		stpcpy(stpcpy(stpcpy(joined, traceparent), mark), id);
}

void trace_split(struct trace *trace, const char *joined)
{
	size_t bytes = strcspn(joined, ";");
	const char *rest = joined + bytes;

	*trace = (struct trace){ .traceparent = "" };
	snprintf(trace->traceparent, sizeof trace->traceparent, "%.*s", (int)(bytes <= TR_TRACE_MAX ? bytes : 0), joined);
	if (!is_traceparent(trace->traceparent)) {
		trace->traceparent[0] = '\0';
		snprintf(trace->request_id, sizeof trace->request_id, "%s", joined);
	} else if (strncmp(rest, id_mark, strlen(id_mark)) == 0) {
		snprintf(trace->request_id, sizeof trace->request_id, "%s", rest + strlen(id_mark));
	} else if (strcmp(rest, ";") == 0) {
		snprintf(trace->request_id, sizeof trace->request_id, "%.32s", trace->traceparent + TRACE_ID_AT);
	}
}
