/*
 * The spool: files named by a task's id. <id> holds arguments too large for a lane, <id>.file is a
 * file that the task owns. A producer writes them nameless and names them just before it publishes; a
 * worker reads them; taskd removes them when nobody can need them any more (taskd/window.c), and sweeps
 * up what a producer that died in between has left.
 */
#ifndef TR_SPOOL_H
#define TR_SPOOL_H

#include "taskring/taskring.h"

enum spool_kind { SPOOL_ARGS, SPOOL_FILE, SPOOL_KINDS };
#define SPOOL_NAME_SIZE 42 /* the id, ".file" and the zero */

/* A nameless file in `dir`; the caller's. -1: *result (NO_SPACE, SYSTEM) and *error. */
int spool_make(const char *dir, enum tr_result *result, struct tr_error *error);
/* The same with these bytes in it. */
int spool_write(const char *dir, const char *bytes, size_t count, enum tr_result *result, struct tr_error *error);
/* The same with all that the file `from` holds. */
int spool_copy(const char *dir, int from, enum tr_result *result, struct tr_error *error);
/*
 * Names it; with `durable` file and name are on disk afterwards. It has no name after an error. Errors:
 * NO_SPACE, SYSTEM.
 */
enum tr_result spool_link(int fd, const char *dir, const struct tr_id *id, enum spool_kind kind, bool durable,
    struct tr_error *error);
/*
 * The arguments that lie there, a plain file of just so many bytes: zero-terminated, the caller's to free(). Errors:
 * NOT_FOUND, NO_MEMORY, SYSTEM; *error names the file, *text is NULL.
 */
enum tr_result spool_read(const char *dir, const struct tr_id *id, size_t bytes, char **text, struct tr_error *error);
/* Gone already is well. */
void spool_remove(const char *dir, const struct tr_id *id, enum spool_kind kind);

/* The file's name in its directory. Returns `name`. */
char *spool_name(const struct tr_id *id, enum spool_kind kind, char name[SPOOL_NAME_SIZE]);
/* False: not a name that spool_name() writes; nothing was set. */
bool spool_name_parse(const char *name, struct tr_id *id, enum spool_kind *kind);

#endif
