/*
 * taskring: resources, which are FastAPI's dependencies that yield: a database handle, an HTTP
 * session, a cache connection. A plug-in declares them in its table, a handler (or an endpoint of the
 * responder) names those that it needs, and receives their handles.
 *
 * Each thread has its own: opened at its first need, checked before each use, closed and opened anew
 * when broken, closed at the thread's end. So the functions below run on many threads at once, but
 * never on two for the same handle.
 */
#ifndef TASKRING_RESOURCE_H
#define TASKRING_RESOURCE_H

#include <stdbool.h>

#include "taskring.h" /* struct tr_error and the limits */

#ifdef __cplusplus
extern "C" {
#endif

struct tr_resource {
	const char *name; /* 1..TR_NAME_MAX of [A-Za-z0-9._-]; unique among all plug-ins */
	const char *doc;  /* one line */
	/*
	 * True: *handle is the opened thing, not NULL, and the thread's until close(). False: *error says
	 * why, nothing is left open, and the task that needed it has failed and is tried again later.
	 */
	bool (*open)(void **handle, struct tr_error *error);
	/*
	 * Is it still fit for use? Quick, since it runs before each use. False: it is closed and opened
	 * anew. NULL: it always is. Pending tasks of the thread may be using the handle meanwhile; when it
	 * is broken, it is closed after the last of them has ended, and the newly opened one is used beside.
	 */
	bool (*check)(void *handle);
	void (*close)(void *handle); /* NULL: there is nothing to close */
};

#ifdef __cplusplus
}
#endif
#endif
