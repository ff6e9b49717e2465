/*
 * One request on one connection. libfcgi reads and writes the protocol; who waits for what is ours
 * (connections.c): FCGX_Accept_r() left to itself blocks a thread on each connection that the web
 * server keeps open, for as long as it keeps it: more kept connections than threads lock everybody
 * else out, and nothing but closing them ends the wait. So it is handed a connection only when a
 * request has arrived on it. libfcgi accepts nothing itself: it is given no listening socket, so
 * where it would fall back to accept(2) it returns an error instead.
 *
 * Each wait for the web server has a deadline: for the head of a request, for its body, for taking
 * the answer. libfcgi knows none; connections.c shuts the connection down under its hands.
 *
 * An answer that goes on for as long as somebody listens leaves with its connection (stream.h).
 *
 * This uses two fields of FCGX_Request, ipcFd and keepConnection, and two of FCGX_Stream, rdNext and
 * stop, whose meaning has not changed since libfcgi 2.2 and is part of its binary interface.
 */
#include "app/fcgi.h"

#include <errno.h>
#include <fcgiapp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "app/connections.h"
#include "app/log.h"
#include "app/request_head.h"
#include "app/seats.h"
#include "app/stream.h"

#define SECOND_NS 1000000000ll
/* A rest of a body up to this, if it comes so soon, is read and forgotten, and the connection kept. */
#define BODY_SKIP_MAX (1u << 20)
#define BODY_SKIP_NS (SECOND_NS / 5)

struct fcgi_server {
	struct connections *connections;
	struct seats *seats;
	struct fcgi_settings settings;
};

/* What one thread needs. */
struct server_thread {
	struct fcgi_server *server;
	fcgi_answer_fn *answer;
	void *context;
	FCGX_Request fcgx;
	struct connection *connection;
	struct seat seat;
	struct web_request request; /* 4 KB with its texts: not on each call's stack */
	struct fcgi_answer answered;
	int64_t body_left_ns; /* how long the body may still be waited for */
	bool body_ended;      /* all of the body has been read, or the connection broke */
};

struct fcgi_server *fcgi_server_new(int listen_fd, const struct fcgi_settings *settings)
{
	if (FCGX_Init() != 0) {
		errno = EINVAL;
		return NULL;
	}
	struct fcgi_server *server = calloc(1, sizeof(*server));
	if (server == NULL)
		return NULL;
	server->settings = *settings;
	server->seats = seats_new(settings->awake);
	server->connections = server->seats != NULL ? connections_new(listen_fd, settings->connections) : NULL;
	if (server->connections == NULL) {
		int saved = errno;
		seats_free(&server->seats);
		free(server);
		errno = saved;
		return NULL;
	}
	return server;
}

void fcgi_server_free(struct fcgi_server **server)
{
	if (*server == NULL)
		return;
	connections_free(&(*server)->connections);
	seats_free(&(*server)->seats);
	free(*server);
	*server = NULL;
}

/* ---- deadlines --------------------------------------------------------------------------- */

/* From now on, whatever is waited for must be over within the time. */
static void begin_wait(struct server_thread *thread, int64_t within_ns, bool also_writing)
{
	connections_deadline(thread->server->connections, thread->connection, connections_now_ns() + within_ns,
	    also_writing);
}

static void end_wait(struct server_thread *thread)
{
	connections_deadline(thread->server->connections, thread->connection, 0, false);
}

static int64_t timeout_ns(const struct server_thread *thread)
{
	return thread->server->settings.timeout_ms * (SECOND_NS / 1000);
}

/* ---- the body ---------------------------------------------------------------------------- */

/* Waits for one byte only: FCGX_GetStr() would wait for all that it may take. */
static int take_what_is_there(FCGX_Stream *in, char *to, size_t most)
{
	int first = most > 0 ? FCGX_GetChar(in) : EOF;
	if (first == EOF)
		return 0;
	to[0] = (char)first;
	size_t buffered = (size_t)(in->stop - in->rdNext);
	return 1 + FCGX_GetStr(to + 1, (int)(buffered < most - 1 ? buffered : most - 1), in);
}

/* struct web_source: the body as it arrives. */
static ssize_t read_body(void *context, char *to, size_t most)
{
	struct server_thread *thread = context;
	int64_t began_ns = connections_now_ns();
	begin_wait(thread, thread->body_left_ns, false);
	int got = take_what_is_there(thread->fcgx.in, to, most);
	end_wait(thread);
	thread->body_left_ns -= connections_now_ns() - began_ns;
	if (got > 0) {
		thread->body_left_ns += got * (SECOND_NS / thread->server->settings.bytes_per_s);
		return got;
	}
	thread->body_ended = true;
	return FCGX_GetError(thread->fcgx.in) == 0 ? 0 : -1;
}

/* Reading fails with EAGAIN when nothing has come for so long; 0: never. */
static void set_patience(const struct server_thread *thread, int64_t ns)
{
	const struct timeval most = { .tv_usec = (suseconds_t)(ns / 1000) };
	(void)setsockopt(thread->fcgx.ipcFd, SOL_SOCKET, SO_RCVTIMEO, &most, sizeof(most)); /* cannot fail on a socket */
}

/*
 * What the web layer left of the body would be taken for the connection's next request: a short
 * rest is read here. Who was refused must not hold a thread by sending on slowly, so a rest that takes its time counts
 * as a long one; and nothing is shut down: Apache reads no answer before it has passed the body on. False: the
 * connection broke.
 */
static bool skip_body(struct server_thread *thread)
{
	char scratch[16384];
	size_t skipped = 0;
	if (thread->body_ended)
		return FCGX_GetError(thread->fcgx.in) == 0;
	int64_t until_ns = connections_now_ns() + BODY_SKIP_NS;
	set_patience(thread, BODY_SKIP_NS);
	while (!thread->body_ended && skipped < BODY_SKIP_MAX && connections_now_ns() < until_ns) {
		ssize_t got = read_body(thread, scratch, sizeof(scratch));
		skipped += got > 0 ? (size_t)got : 0;
	}
	set_patience(thread, 0);
	bool late = FCGX_GetError(thread->fcgx.in) == EAGAIN;
	if (late)
		thread->body_ended = false;
	return late || FCGX_GetError(thread->fcgx.in) == 0;
}

/* ---- one request ------------------------------------------------------------------------- */

/* Which parameter is which field of the head. */
#define PARAMETER(name, field) { name, sizeof(name) - 1, offsetof(struct request_head, field) }
static const struct {
	const char *name;
	size_t bytes, field;
} parameters[] = {
	PARAMETER("REQUEST_METHOD", method),
	PARAMETER("REQUEST_URI", uri),
	PARAMETER("CONTENT_TYPE", content_type),
	PARAMETER("CONTENT_LENGTH", content_length),
	PARAMETER("HTTP_AUTHORIZATION", authorization),
	PARAMETER("HTTP_CONTENT_DISPOSITION", content_disposition),
	PARAMETER("HTTP_CONTENT_ENCODING", content_encoding),
	PARAMETER("HTTP_COOKIE", cookie),
	PARAMETER("HTTP_ORIGIN", origin),
	PARAMETER("HTTP_HOST", host),
	PARAMETER("HTTP_X_REQUESTED_WITH", requested_with),
	PARAMETER("REMOTE_ADDR", peer),
	PARAMETER("REQUEST_SCHEME", scheme),
	PARAMETER("HTTPS", https),
	PARAMETER("HTTP_ACCEPT", accept),
	PARAMETER("HTTP_IF_NONE_MATCH", if_none_match),
	PARAMETER("HTTP_TRACEPARENT", traceparent),
	PARAMETER("HTTP_LAST_EVENT_ID", last_event_id),
	PARAMETER("HTTP_X_REQUEST_ID", client_request_id),
	PARAMETER("REQUEST_ID", server_request_id),
};

/* Of a name that stands twice the first one counts, as with FCGX_GetParam(). */
static void take_value(const char *value, const char **field)
{
	if (*field == NULL)
		*field = value;
}

/* `user`: the name of the one that says whom the web server has recognized, besides what else it may be; NULL: none. */
static void read_parameter(const char *parameter, const char *user, struct request_head *head)
{
	const char *equals = strchr(parameter, '=');
	size_t bytes = equals != NULL ? (size_t)(equals - parameter) : 0; /* no name is empty */
	if (bytes == 0)
		return;
	if (user != NULL && strncmp(parameter, user, bytes) == 0 && user[bytes] == '\0')
		take_value(equals + 1, &head->user);
	for (size_t i = 0; i < sizeof(parameters) / sizeof(parameters[0]); i++) {
		if (bytes == parameters[i].bytes && memcmp(parameter, parameters[i].name, bytes) == 0) {
			take_value(equals + 1, (const char **)((char *)head + parameters[i].field));
			return;
		}
	}
}

static void read_head(struct server_thread *thread)
{
	struct request_head head = { .bytes = 0 };
	/* One walk: FCGX_GetParam() walks them all for each name. */
	for (char **each = thread->fcgx.envp; *each != NULL; each++) {
		head.bytes += strlen(*each);
		read_parameter(*each, thread->server->settings.user_parameter, &head);
	}
	request_head_read(&head, &thread->request);
	thread->request.source = (struct web_source){ .read = read_body, .context = thread };
	thread->body_ended = false;
	thread->body_left_ns = timeout_ns(thread);
}

/* False: the connection is of no further use. */
static bool serve_request(struct server_thread *thread)
{
	struct fcgi_answer *answer = &thread->answered;
	read_head(thread);
	answer->bytes = NULL;
	answer->count = 0;
	answer->line[0] = '\0';
	answer->listener = NULL;
	thread->answer(thread->context, &thread->request, answer);
	/* One that was too slow is told so; one that broke off hears nothing. */
	bool whole = answer->bytes != NULL && (skip_body(thread) || thread->body_left_ns <= 0);
	begin_wait(thread, timeout_ns(thread), true);
	if (whole && answer->line[0] != '\0')
		FCGX_PutS(answer->line, thread->fcgx.err);
	bool written = whole && FCGX_PutStr(answer->bytes, (int)answer->count, thread->fcgx.out) == (int)answer->count;
	free(answer->bytes);
	/* The rest of a long body: libfcgi reads on, after the answer, until the web server has understood. */
	if (!thread->body_ended)
		thread->fcgx.keepConnection = 0;
	return written;
}

/*
 * The head of a stream has been written: it is sent, libfcgi forgets the request without ending it, and
 * the rest of it is the streamer's. (What libfcgi has read ahead on the connection is lost: nothing, or
 * that the web server has given up so soon, which it then shows by closing, too.) False: it broke.
 */
static bool hand_over(struct server_thread *thread)
{
	struct stream_listener *listener = thread->answered.listener;
	thread->answered.listener = NULL;
	if (FCGX_FFlush(thread->fcgx.err) != 0 || FCGX_FFlush(thread->fcgx.out) != 0 || !thread->body_ended) {
		stream_listener_free(&listener);
		return false;
	}
	uint16_t request = (uint16_t)thread->fcgx.requestId;
	FCGX_Free(&thread->fcgx, 0);
	end_wait(thread);
	thread->fcgx.ipcFd = -1; /* lent: closed with the connection's row */
	streamer_adopt(listener, connections_leave(thread->server->connections, thread->connection), request);
	return true;
}

enum connection_end { CONNECTION_KEPT, CONNECTION_ENDED, CONNECTION_LEFT };

/* A request has arrived on the connection, or its other end was closed. */
static enum connection_end serve_connection(struct server_thread *thread)
{
	thread->fcgx.ipcFd = connection_lend(thread->connection);
	if (thread->fcgx.ipcFd < 0) {
		log_event(LOG_ERR, "serve-failed", "errno=%d", errno);
		return CONNECTION_ENDED;
	}
	/* FCGX_Accept_r() begins by finishing what was before, and must not close the connection. */
	thread->fcgx.keepConnection = 1;
	begin_wait(thread, timeout_ns(thread), false);
	/* An error means that no request came; the connection is closed then. */
	if (FCGX_Accept_r(&thread->fcgx) == 0) {
		end_wait(thread);
		/* libfcgi takes parameters that broke off for all there are. */
		bool served = FCGX_GetError(thread->fcgx.in) == 0 && serve_request(thread);
		if (served && thread->answered.listener != NULL) {
			served = hand_over(thread);
			if (served)
				return CONNECTION_LEFT;
		}
		stream_listener_free(&thread->answered.listener);
		if (!served) {
			/* Closed at once: libfcgi would first read on for as long as the other side sends. */
			thread->fcgx.keepConnection = 0;
			FCGX_Detach(&thread->fcgx);
		}
		FCGX_Finish_r(&thread->fcgx);
	}
	end_wait(thread);
	bool kept = thread->fcgx.ipcFd >= 0;
	if (!kept)
		connection_was_closed(thread->connection);
	thread->fcgx.ipcFd = -1;
	return kept ? CONNECTION_KEPT : CONNECTION_ENDED;
}

/* ---- a thread's life --------------------------------------------------------------------- */

/* NULL: there will be no more. */
static struct connection *next_connection(struct server_thread *thread)
{
	seats_wait(thread->server->seats, &thread->seat);
	struct connection *connection = connections_take(thread->server->connections);
	seats_serve(thread->server->seats, &thread->seat);
	return connection;
}

void fcgi_server_run(struct fcgi_server *server, fcgi_answer_fn *answer, void *context)
{
	struct server_thread *thread = calloc(1, sizeof(*thread));
	if (thread == NULL || FCGX_InitRequest(&thread->fcgx, -1, FCGI_FAIL_ACCEPT_ON_INTR) != 0) {
		log_event(LOG_ERR, "thread-failed", "errno=%d", errno);
		free(thread);
		return;
	}
	thread->server = server;
	thread->answer = answer;
	thread->context = context;
	seats_join(server->seats, &thread->seat);
	while ((thread->connection = next_connection(thread)) != NULL) {
		enum connection_end end = serve_connection(thread);
		if (end == CONNECTION_KEPT)
			connections_give_back(server->connections, thread->connection);
		else if (end == CONNECTION_ENDED)
			connections_end(server->connections, thread->connection);
	}
	seats_leave(server->seats, &thread->seat);
	FCGX_Free(&thread->fcgx, 0);
	free(thread);
}

void fcgi_server_stop(struct fcgi_server *server)
{
	connections_stop(server->connections);
	seats_open(server->seats);
}

void fcgi_server_cut_off(struct fcgi_server *server)
{
	connections_cut_off(server->connections);
	seats_open(server->seats);
}
