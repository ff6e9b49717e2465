/*
 * The FastCGI side: connections of a web server come in on a listening socket, struct web_request
 * goes to the caller, rendered answers go back. The only file that knows libfcgi is fcgi.c.
 */
#ifndef APP_FCGI_H
#define APP_FCGI_H

#include <stddef.h>

#include "app/web.h"

struct fcgi_server; /* of one process; used by all of its threads */

/*
 * Answers one request: reads its body from request->source as far as it wants, and returns a
 * malloc()ed CGI response, *bytes long, that the server frees. NULL: out of memory, the connection
 * is closed. `context` is the calling thread's.
 */
typedef char *fcgi_answer_fn(void *context, struct web_request *request, size_t *bytes);

/* `listen_fd` is listening, non-blocking and stays the caller's. NULL: errno says why. */
struct fcgi_server *fcgi_server_new(int listen_fd);
/* After every thread has left fcgi_server_run(). NULL afterwards. */
void fcgi_server_free(struct fcgi_server **server);

/* Serves requests until fcgi_server_stop(). Each thread calls it once. */
void fcgi_server_run(struct fcgi_server *server, fcgi_answer_fn *answer, void *context);

/* Takes no new connection; each thread leaves after the request that it serves. Any thread. */
void fcgi_server_stop(struct fcgi_server *server);
/*
 * After the threads have left: answers what still arrives on connections that the web server keeps
 * open, closing each, until none has had a request for a moment. The protocol has no other way to
 * end a kept connection without cutting off a request that is on its way.
 */
void fcgi_server_drain(struct fcgi_server *server, fcgi_answer_fn *answer, void *context);
/* Cuts the connections off on which a thread still reads or writes. Any thread. */
void fcgi_server_cut_off(struct fcgi_server *server);

#endif
