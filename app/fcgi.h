/*
 * The FastCGI side: connections of a web server come in on a listening socket, struct web_request
 * goes to the caller, rendered answers go back. The only file that knows libfcgi is fcgi.c.
 */
#ifndef APP_FCGI_H
#define APP_FCGI_H

#include <stddef.h>

#include "app/web.h"

struct fcgi_server; /* of one process; used by all of its threads */

#define FCGI_LINE_SIZE 1024

/* What goes back to the web server. */
struct fcgi_answer {
	char *bytes; /* malloc()ed, freed by the server: a CGI response. NULL: the connection is closed */
	size_t count;
	char line[FCGI_LINE_SIZE]; /* for the web server's error log, by FCGI_STDERR; "": none */
	/* The caller's, from its answer to fcgi_settle_fn, where there is one to come. */
	struct web_answer made;
	int64_t began_us;
	/* What follows the bytes is the streamer's: it gets the connection. The server's; NULL: none. */
	struct stream_listener *listener;
};

/*
 * Answers one request: reads its body from request->source as far as it wants. `answer` is empty
 * before; `context` is the calling thread's.
 */
typedef void fcgi_answer_fn(void *context, struct web_request *request, struct fcgi_answer *answer);

/*
 * After an answer whose request->durable is wanted: whether the disk has what was published. Changes the answer
 * where not. On any thread, and nothing that it does may wait.
 */
typedef void fcgi_settle_fn(void *context, struct web_request *request, struct fcgi_answer *answer, enum tr_result result);

struct fcgi_settings {
	unsigned connections; /* open at once, 1 to CONNECTIONS_MAX */
	/*
	 * What the web server has for a request's head, and for taking an answer. A body may take as
	 * long in all, and a second more for each `bytes_per_s` of it that have arrived.
	 */
	unsigned timeout_ms;
	unsigned bytes_per_s;
	unsigned awake; /* threads that take requests, besides those that are held up (seats.h); 0: all */
	/*
	 * How many answers may wait for the disk without a thread; 0: each holds its own. And how long they wait. Few
	 * enough that libfcgi can name their descriptors, beside those of the threads.
	 */
	unsigned parked;
	uint32_t durable_timeout_ms;
	fcgi_settle_fn *settle; /* where answers wait for the disk at all */
	void *settle_context;
	const char *user_parameter; /* in which the web server says whom it has recognized; NULL: none is looked at */
};

/* `listen_fd` is listening, non-blocking and stays the caller's. NULL: errno says why. */
struct fcgi_server *fcgi_server_new(int listen_fd, const struct fcgi_settings *settings);
/* After every thread has left fcgi_server_run(). NULL afterwards. */
void fcgi_server_free(struct fcgi_server **server);

/* Serves requests until fcgi_server_stop(). Each thread calls it once. */
void fcgi_server_run(struct fcgi_server *server, fcgi_answer_fn *answer, void *context);

/*
 * Takes no new connection; what is in hand is answered, and what still arrives on connections that
 * the web server keeps open, until it has let go of them or is silent. Then the threads leave. Any
 * thread, once.
 */
void fcgi_server_stop(struct fcgi_server *server);
/* Where that takes too long: cuts off every connection, and the threads leave. Any thread. */
void fcgi_server_cut_off(struct fcgi_server *server);

#endif
