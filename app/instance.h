/*
 * The taskring instance of one responder process: opened once, shared by its threads. Now and then it has the
 * library look whether the ring was removed or replaced.
 */
#ifndef APP_INSTANCE_H
#define APP_INSTANCE_H

#include "taskring/taskring.h"

struct instance; /* of one process; any thread */

/* `name` and `options` live as long as the instance. NULL: out of memory. */
struct instance *instance_new(const char *name, const struct tr_open_options *options);
/* Closes the ring; no thread uses it any more. NULL afterwards. */
void instance_free(struct instance **instance);

/* The opened ring. NULL: there is none now, and none can be made; asking tries again, at most every 200 ms. */
struct taskring *instance_ring(struct instance *instance);

#endif
