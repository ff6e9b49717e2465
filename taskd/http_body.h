/*
 * JSON texts taken over as they were written, since reading and writing them again would change their
 * numbers: a task's "json" becomes a body, and an answer's body becomes part of the task's result.
 */
#ifndef TASKD_HTTP_BODY_H
#define TASKD_HTTP_BODY_H

#include <stddef.h>

/*
 * The value of the member `name` of the JSON object in `text`, which is known to be valid: a pointer into
 * it, without blanks around, and its length. NULL: it has none whose name is written just so.
 */
const char *http_body_member(const char *text, const char *name, size_t *bytes);

/* Copies a valid JSON text without the blanks between its parts; `to` has room for `bytes`. The new length. */
size_t http_body_compact(char *to, const char *from, size_t bytes);

#endif
