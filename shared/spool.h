/*
 * The spool: arguments too large for a lane, one file each, named by the task's id. A producer
 * writes the file nameless and names it just before it publishes; a worker reads it; taskd removes
 * it when the task ends, and sweeps up what a producer that died in between has left.
 */
#ifndef TR_SPOOL_H
#define TR_SPOOL_H

#include "taskring/taskring.h"

/* A nameless file in `dir` with these bytes, or -1 and *result, *error. The caller closes it. */
int spool_write(const char *dir, const char *bytes, size_t count, enum tr_result *result, struct tr_error *error);
/* Names it; with `durable` file and name are on disk afterwards. Errors: NO_SPACE, SYSTEM. */
enum tr_result spool_link(int fd, const char *dir, const struct tr_id *id, bool durable, struct tr_error *error);
/* Gone already is well. */
void spool_remove(const char *dir, const struct tr_id *id);

#endif
