/*
 * The application's own database as the responder sees it: read only, as a resource that a route
 * names. It is written by the plug-in's handler (app/handlers/signup.c). The only file of the
 * responder that knows SQLite is signups.c.
 */
#ifndef APP_SIGNUPS_H
#define APP_SIGNUPS_H

#include <jansson.h>

#include "taskring/resource.h"

/*
 * The database at $TASKRING_SIGNUP_DB, else signups.db in the working directory. Before the first
 * signup there is none: then the handle stands for an empty table, and the next use looks again.
 */
extern const struct tr_resource signups_resource;

/*
 * The newest signups with a task id below `before` (NULL: from the newest), at most `limit`, as a JSON
 * array of objects; a new reference. NULL: *error says why, and the next use opens anew.
 */
json_t *signups_page(void *handle, const char *before, int limit, struct tr_error *error);

#endif
