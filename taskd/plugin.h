/*
 * Plug-ins: the shared objects of the configured directory, and the handlers and callbacks that
 * they and taskd itself bring. Loaded once, at a worker's start; afterwards read-only, so any
 * thread may look names up.
 */
#ifndef TASKD_PLUGIN_H
#define TASKD_PLUGIN_H

#include "taskring/handler.h"

struct plugin_table;

/*
 * Loads every *.so of `dir` (NULL or "": only what is built in), in the order of their names. All
 * or nothing: one that cannot be loaded, has another ABI, a name that is not allowed or that is
 * taken already, or a handler that needs a resource that no plug-in has, makes it false, and *error
 * names the file and what is wrong. A worker without one
 * of its handlers would turn good tasks into dead ones; a worker that does not start leaves them
 * waiting until the plug-in is mended. A reload is refused before it comes to that (trial.h).
 */
bool plugin_load(struct plugin_table **table, const char *dir, struct tr_error *error);
/* Closes the objects. *table is NULL afterwards. */
void plugin_unload(struct plugin_table **table);

/* NULL: no such name. `name` need not end with a zero. */
const struct tr_handler *plugin_handler(const struct plugin_table *table, const char *name, size_t bytes);
const struct tr_callback *plugin_callback(const struct plugin_table *table, const char *name, size_t bytes);
const struct tr_resource *plugin_resource(const struct plugin_table *table, const char *name, size_t bytes);

/* Calls `each` with all handlers, in no order. */
void plugin_each_handler(const struct plugin_table *table, void (*each)(void *context, const struct tr_handler *handler),
    void *context);
/* A handler's secrets with commas between them; `text` holds TR_SECRETS_MAX + 1 bytes. False: they are not allowed. */
bool plugin_secrets(const struct tr_handler *handler, char *text);

/* Runs each plug-in's start(); false: one of them did not answer 0, *error names it. */
bool plugin_start(const struct plugin_table *table, struct tr_error *error);
/* Runs each plug-in's stop(), in the opposite order. */
void plugin_stop(const struct plugin_table *table);

#endif
