/*
 * The open resources of one thread. In: who needs which; out: handles. Called by taskd/task.c before
 * and after an attempt, and by the responder before and after an endpoint. A thread has a handful of
 * them, so they are a list.
 *
 *   use: open() ──► fit ──► release ──► (stays open) ──► use: check() ──► fit
 *                                                              └─► broken: close(), when nobody
 *                                                                  uses it any more; open() anew
 */
#include "shared/resource.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

struct open_resource {
	struct open_resource *next; /* opened before it */
	const struct tr_resource *resource;
	void *handle;
	size_t users;
	bool broken; /* closed when the last user has released it */
};

struct resource_set {
	struct open_resource *newest;
};

struct resource_set *resource_set_new(void)
{
	return calloc(1, sizeof(struct resource_set));
}

/* Takes `gone` out of the list and closes it. */
static void close_one(struct resource_set *set, struct open_resource *gone)
{
	struct open_resource **link = &set->newest;

	while (*link != gone)
		link = &(*link)->next;
	*link = gone->next;
	if (gone->resource->close)
		gone->resource->close(gone->handle);
	free(gone);
}

void resource_set_free(struct resource_set **set)
{
	struct resource_set *gone = *set;

	*set = NULL;
	if (!gone)
		return;
	while (gone->newest)
		close_one(gone, gone->newest);
	free(gone);
}

/* Always NULL. */
static void *refuse(struct tr_error *error, const char *text)
{
	snprintf(error->text, sizeof error->text, "%s", text);
	return NULL;
}

static void *open_one(struct resource_set *set, const struct tr_resource *resource, struct tr_error *error)
{
	struct open_resource *opened = calloc(1, sizeof *opened);

	if (!opened)
		return refuse(error, "out of memory");
	error->text[0] = '\0';
	opened->resource = resource;
	if (!resource->open(&opened->handle, error)) {
		free(opened);
		error->text[sizeof error->text - 1] = '\0'; /* a plug-in wrote it */
		return error->text[0] ? NULL : refuse(error, "it cannot be opened, and gave no reason");
	}
	if (!opened->handle) {
		free(opened);
		return refuse(error, "its open() answered true without a handle");
	}
	opened->users = 1;
	opened->next = set->newest;
	set->newest = opened;
	return opened->handle;
}

void *resource_use(struct resource_set *set, const struct tr_resource *resource, struct tr_error *error)
{
	struct open_resource *at = set->newest;

	while (at && (at->resource != resource || at->broken))
		at = at->next;
	if (at && (!resource->check || resource->check(at->handle))) {
		at->users++;
		return at->handle;
	}
	if (at) {
		at->broken = true;
		if (at->users == 0)
			close_one(set, at);
	}
	return open_one(set, resource, error);
}

void resource_release(struct resource_set *set, const struct tr_resource *resource, void *handle)
{
	struct open_resource *at = set->newest;

	/* Of two with one handle, which a resource may have answered twice, one that is used. */
	while (at && (at->resource != resource || at->handle != handle || at->users == 0))
		at = at->next;
	assert(at);
	if (--at->users == 0 && at->broken)
		close_one(set, at);
}
