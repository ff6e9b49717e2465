/*
 * Pages, scripts and styles: a directory is read when the process starts, and from then on a path is
 * looked up among what was found there. So no path of a client ever reaches the file system, and what
 * is changed in the directory shows after SIGHUP. Called by process.c and web_serve().
 */
#ifndef APP_STATIC_H
#define APP_STATIC_H

#include "app/web.h"

struct static_files; /* of one process; read by all of its threads */

/*
 * Reads what lies under `directory`: regular files with a name of [A-Za-z0-9._-] that begins with
 * none of ".-" and ends in a type that is known here. NULL: *error says why.
 */
struct static_files *static_read(const char *directory, struct tr_error *error);
void static_free(struct static_files **files);

size_t static_count(const struct static_files *files);

/*
 * The answer to a request for a path, which no route has. "/a/" is "/a/index.html"; "/a" leads there,
 * and "/" to the dashboard. False: nothing is there. `files` may be NULL: nothing is anywhere.
 */
bool static_serve(const struct static_files *files, const struct web_request *request, struct web_answer *answer);

#endif
