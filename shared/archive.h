/*
 * Reading taskd's journal from another process, for tasks that are no longer on the board. It
 * opens the SQLite file read-only and never writes. One handle per thread or under a lock.
 *
 * What a reader needs: read permission for the journal, its -wal and its -shm file, all of which
 * taskd leaves in place when it stops and which outlive a kill -9. Where the two are missing (copied or cleaned
 * away), the reader must be allowed to make them, that is, to write the directory.
 */
#ifndef TR_ARCHIVE_H
#define TR_ARCHIVE_H

#include "taskring/taskring.h"

#define JOURNAL_APPLICATION_ID 0x54524e47 /* "TRNG", PRAGMA application_id */
#define JOURNAL_SCHEMA 2                  /* PRAGMA user_version */

struct archive;

/*
 * Errors: NOT_FOUND (no file yet), INVALID (not a journal), VERSION_MISMATCH (another schema),
 * NO_MEMORY, SYSTEM.
 */
enum tr_result archive_open(struct archive **archive, const char *path, struct tr_error *error);
void archive_close(struct archive **archive);
/*
 * Fills *status; its result is the caller's. A journal that has been replaced since is opened anew.
 * Errors: NOT_FOUND, NO_MEMORY, SYSTEM, and those of archive_open().
 */
enum tr_result archive_find(struct archive *archive, const struct tr_id *id,
    struct tr_task_status *status);
/* Only the whole result of a task, malloc()ed; NULL when there is none or it cannot be read. */
char *archive_result(struct archive *archive, const struct tr_id *id);

#endif
