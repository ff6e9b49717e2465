/*
 * Reading taskd's journal from another process, for tasks that are no longer on the board. It
 * opens the SQLite file read-only and never writes. One handle per thread or under a lock.
 */
#ifndef TR_ARCHIVE_H
#define TR_ARCHIVE_H

#include "taskring/taskring.h"

struct archive;

/* Errors: NOT_FOUND (no file yet), VERSION_MISMATCH (another schema), SYSTEM. */
enum tr_result archive_open(struct archive **archive, const char *path, struct tr_error *error);
void archive_close(struct archive **archive);
/* Fills *status; its result is the caller's. Errors: NOT_FOUND, NO_MEMORY, SYSTEM. */
enum tr_result archive_find(struct archive *archive, const struct tr_id *id,
    struct tr_task_status *status);
/* Only the whole result of a task, malloc()ed; NULL when there is none or it cannot be read. */
char *archive_result(struct archive *archive, const struct tr_id *id);

#endif
