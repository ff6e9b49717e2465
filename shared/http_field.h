/*
 * Header lines of an HTTP request that a task cannot set. Called by taskd, which makes the requests, and by the
 * responder, so that a client hears of it.
 */
#ifndef TR_HTTP_FIELD_H
#define TR_HTTP_FIELD_H

#include <stdbool.h>

/* What belongs to the connection or is written by the handler `http`; in any case of letters. */
bool http_field_is_reserved(const char *name);

#endif
