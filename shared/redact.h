/*
 * What of a task's arguments may be shown: members that the handler declares as secret read "***". Enters: the
 * board's rows of handlers, a JSON text, which may be anything. Leaves: a text that holds no secret. Called by
 * whatever shows or searches arguments: detail.c, archive_list.c.
 */
#ifndef TR_REDACT_H
#define TR_REDACT_H

#include "board.h"

#define REDACTED "***"

/* Whether a handler may declare that as secret: a member's name, or one with ".*" behind it: all members of that one. */
bool redact_name_ok(const char *name, size_t bytes);

/* Which handlers have which secrets, as the board showed it at one moment. Any thread once made. */
struct redactor;
struct redactor *redactor_new(const struct board *board); /* NULL: no memory. `board` may be NULL: nothing is known */
void redactor_free(struct redactor **redactor);

/*
 * The arguments of a task of `handler` as they may be shown, malloc()ed, zero-terminated; NULL: no memory. *redacted:
 * something reads "***". Of a handler that has no secrets they are as they are, JSON or not. Of one that has, its
 * secret members read "***", and what is not a JSON object as a whole. Of one that is not known every value does.
 */
char *redactor_show(const struct redactor *redactor, const char *handler, const char *args, size_t bytes, bool *redacted);

#endif
