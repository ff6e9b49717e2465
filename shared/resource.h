/*
 * The open resources of one thread (see taskring/resource.h). Used by taskd's worker threads and by
 * the responder's. A set belongs to its thread; nothing here may be called from two.
 */
#ifndef TR_RESOURCE_SET_H
#define TR_RESOURCE_SET_H

#include "taskring/resource.h"

struct resource_set;

/* NULL: out of memory. */
struct resource_set *resource_set_new(void);
/* Closes all, those that were opened last first. *set is NULL afterwards; it may be NULL before. */
void resource_set_free(struct resource_set **set);

/*
 * Opens the resource, or checks the open one and opens it anew when it is broken. The handle counts
 * as used until it is released; a broken one that is still used is closed when the last user has
 * released it. NULL: *error is the resource's sentence, never empty.
 */
void *resource_use(struct resource_set *set, const struct tr_resource *resource, struct tr_error *error);
/* Once for each resource_use() that answered `handle`. */
void resource_release(struct resource_set *set, const struct tr_resource *resource, void *handle);

#endif
