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
 * An answer that goes on for as long as somebody listens leaves with its connection (stream.h). One that
 * must not go out before the disk has what it tells of is parked with all that belongs to it (parking.h);
 * its thread goes on with another exchange.
 *
 * This uses two fields of FCGX_Request, ipcFd and keepConnection, and two of FCGX_Stream, rdNext and
 * stop, whose meaning has not changed since libfcgi 2.2 and is part of its binary interface.
 */
#include "app/fcgi.h"

#include <errno.h>
#include <fcgiapp.h>
#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "app/connections.h"
#include "app/log.h"
#include "app/parking.h"
#include "app/request_head.h"
#include "app/seats.h"
#include "app/stream.h"
#include "shared/durable.h"

#define SECOND_NS 1000000000ll
/* A rest of a body up to this, if it comes so soon, is read and forgotten, and the connection kept. */
#define BODY_SKIP_MAX (1u << 20)
#define BODY_SKIP_NS (SECOND_NS / 5)
/* With the line and libfcgi's records less than a socket has room for that can be written at all. */
#define PARKED_BYTES_MAX 2048

struct fcgi_server {
	struct connections *connections;
	struct seats *seats;
	struct parking *parking; /* NULL: who has to wait for the disk does so on his thread */
	struct fcgi_settings settings;
	pthread_mutex_t lock; /* of `free` */
	struct exchange *free;
};

/* One request and its answer, with one thread at a time. */
struct exchange {
	struct fcgi_server *server;
	FCGX_Request fcgx;
	struct connection *connection;
	struct web_request request; /* 4 KB with its texts: not on each call's stack */
	struct fcgi_answer answered;
	int64_t body_left_ns; /* how long the body may still be waited for */
	bool body_ended;      /* all of the body has been read, or the connection broke */
	struct parked parked;
	struct exchange *next; /* that is free, too */
};

/* What one thread needs. */
struct server_thread {
	struct fcgi_server *server;
	fcgi_answer_fn *answer;
	void *context;
	struct seat seat;
	struct exchange *exchange;
};

static parking_leave_fn leave_parking;

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
	pthread_mutex_init(&server->lock, NULL); /* on Linux it does not fail */
	bool parks = settings->parked > 0;
	server->parking = parks && server->seats != NULL ? parking_new(settings->parked, leave_parking, server) : NULL;
	if (server->seats != NULL && (server->parking != NULL || !parks))
		server->connections = connections_new(listen_fd, settings->connections);
	if (server->connections == NULL) {
		int saved = errno;
		fcgi_server_free(&server);
		errno = saved;
	}
	return server;
}

void fcgi_server_free(struct fcgi_server **server)
{
	struct fcgi_server *gone = *server;
	*server = NULL;
	if (gone == NULL)
		return;
	parking_free(&gone->parking);
	connections_free(&gone->connections);
	seats_free(&gone->seats);
	for (struct exchange *next; gone->free != NULL; gone->free = next) {
		next = gone->free->next;
		FCGX_Free(&gone->free->fcgx, 0);
		free(gone->free);
	}
	pthread_mutex_destroy(&gone->lock);
	free(gone);
}

/* NULL: out of memory. */
static struct exchange *take_exchange(struct fcgi_server *server)
{
	pthread_mutex_lock(&server->lock);
	struct exchange *exchange = server->free;
	if (exchange != NULL)
		server->free = exchange->next;
	pthread_mutex_unlock(&server->lock);
	if (exchange != NULL)
		return exchange;
	exchange = calloc(1, sizeof(*exchange));
	if (exchange != NULL && FCGX_InitRequest(&exchange->fcgx, -1, FCGI_FAIL_ACCEPT_ON_INTR) != 0) {
		free(exchange);
		return NULL;
	}
	if (exchange != NULL)
		exchange->server = server;
	return exchange;
}

static void leave_exchange(struct exchange *exchange)
{
	struct fcgi_server *server = exchange->server;
	pthread_mutex_lock(&server->lock);
	exchange->next = server->free;
	server->free = exchange;
	pthread_mutex_unlock(&server->lock);
}

/* ---- deadlines --------------------------------------------------------------------------- */

/* From now on, whatever is waited for must be over within the time. */
static void begin_wait(struct exchange *exchange, int64_t within_ns, bool also_writing)
{
	connections_deadline(exchange->server->connections, exchange->connection, connections_now_ns() + within_ns,
	    also_writing);
}

static void end_wait(struct exchange *exchange)
{
	connections_deadline(exchange->server->connections, exchange->connection, 0, false);
}

static int64_t timeout_ns(const struct exchange *exchange)
{
	return exchange->server->settings.timeout_ms * (SECOND_NS / 1000);
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
	struct exchange *exchange = context;
	int64_t began_ns = connections_now_ns();
	begin_wait(exchange, exchange->body_left_ns, false);
	int got = take_what_is_there(exchange->fcgx.in, to, most);
	end_wait(exchange);
	exchange->body_left_ns -= connections_now_ns() - began_ns;
	if (got > 0) {
		exchange->body_left_ns += got * (SECOND_NS / exchange->server->settings.bytes_per_s);
		return got;
	}
	exchange->body_ended = true;
	return FCGX_GetError(exchange->fcgx.in) == 0 ? 0 : -1;
}

/* Reading fails with EAGAIN when nothing has come for so long; 0: never. */
static void set_patience(const struct exchange *exchange, int64_t ns)
{
	const struct timeval most = { .tv_usec = (suseconds_t)(ns / 1000) };
	(void)setsockopt(exchange->fcgx.ipcFd, SOL_SOCKET, SO_RCVTIMEO, &most, sizeof(most)); /* cannot fail on a socket */
}

/*
 * What the web layer left of the body would be taken for the connection's next request: a short
 * rest is read here. Who was refused must not hold a thread by sending on slowly, so a rest that takes its time counts
 * as a long one; and nothing is shut down: Apache reads no answer before it has passed the body on. False: the
 * connection broke.
 */
static bool skip_body(struct exchange *exchange)
{
	char scratch[16384];
	size_t skipped = 0;
	if (exchange->body_ended)
		return FCGX_GetError(exchange->fcgx.in) == 0;
	int64_t until_ns = connections_now_ns() + BODY_SKIP_NS;
	set_patience(exchange, BODY_SKIP_NS);
	while (!exchange->body_ended && skipped < BODY_SKIP_MAX && connections_now_ns() < until_ns) {
		ssize_t got = read_body(exchange, scratch, sizeof(scratch));
		skipped += got > 0 ? (size_t)got : 0;
	}
	set_patience(exchange, 0);
	bool late = FCGX_GetError(exchange->fcgx.in) == EAGAIN;
	if (late)
		exchange->body_ended = false;
	return late || FCGX_GetError(exchange->fcgx.in) == 0;
}

/* ---- one request ------------------------------------------------------------------------- */

static void read_head(struct exchange *exchange)
{
	struct request_head head = request_head_of(exchange->fcgx.envp, exchange->server->settings.user_parameter);
	request_head_read(&head, &exchange->request);
	exchange->request.source = (struct web_source){ .read = read_body, .context = exchange };
	exchange->body_ended = false;
	exchange->body_left_ns = timeout_ns(exchange);
}

/* False: the connection is of no further use. */
static bool write_answer(struct exchange *exchange)
{
	struct fcgi_answer *answer = &exchange->answered;
	/* One that was too slow is told so; one that broke off hears nothing. */
	bool whole = answer->bytes != NULL && (skip_body(exchange) || exchange->body_left_ns <= 0);
	begin_wait(exchange, timeout_ns(exchange), true);
	if (whole && answer->line[0] != '\0')
		FCGX_PutS(answer->line, exchange->fcgx.err);
	bool written = whole && FCGX_PutStr(answer->bytes, (int)answer->count, exchange->fcgx.out) == (int)answer->count;
	free(answer->bytes);
	answer->bytes = NULL;
	/* The rest of a long body: libfcgi reads on, after the answer, until the web server has understood. */
	if (!exchange->body_ended)
		exchange->fcgx.keepConnection = 0;
	return written;
}

/*
 * The head of a stream has been written: it is sent, libfcgi forgets the request without ending it, and
 * the rest of it is the streamer's. (What libfcgi has read ahead on the connection is lost: nothing, or
 * that the web server has given up so soon, which it then shows by closing, too.) False: it broke.
 */
static bool hand_over(struct exchange *exchange)
{
	struct stream_listener *listener = exchange->answered.listener;
	exchange->answered.listener = NULL;
	if (FCGX_FFlush(exchange->fcgx.err) != 0 || FCGX_FFlush(exchange->fcgx.out) != 0 || !exchange->body_ended) {
		stream_listener_free(&listener);
		return false;
	}
	uint16_t request = (uint16_t)exchange->fcgx.requestId;
	FCGX_Free(&exchange->fcgx, 0);
	end_wait(exchange);
	exchange->fcgx.ipcFd = -1; /* lent: closed with the connection's row */
	streamer_adopt(listener, connections_leave(exchange->server->connections, exchange->connection), request);
	return true;
}

enum connection_end { CONNECTION_KEPT, CONNECTION_ENDED, CONNECTION_LEFT, CONNECTION_PARKED };

/* libfcgi has done with it, and closed its descriptor where it is not kept. */
static enum connection_end take_back(struct exchange *exchange)
{
	end_wait(exchange);
	bool kept = exchange->fcgx.ipcFd >= 0;
	if (!kept)
		connection_was_closed(exchange->connection);
	exchange->fcgx.ipcFd = -1;
	return kept ? CONNECTION_KEPT : CONNECTION_ENDED;
}

/* `served`: the answer was written. */
static enum connection_end finish(struct exchange *exchange, bool served)
{
	if (served && exchange->answered.listener != NULL) {
		served = hand_over(exchange);
		if (served)
			return CONNECTION_LEFT;
	}
	stream_listener_free(&exchange->answered.listener);
	if (!served) {
		/* Closed at once: libfcgi would first read on for as long as the other side sends. */
		exchange->fcgx.keepConnection = 0;
		FCGX_Detach(&exchange->fcgx);
	}
	FCGX_Finish_r(&exchange->fcgx);
	return take_back(exchange);
}

/* The exchange needs its connection no more. */
static void settle_connection(struct exchange *exchange, enum connection_end end)
{
	if (end == CONNECTION_KEPT)
		connections_give_back(exchange->server->connections, exchange->connection);
	else if (end == CONNECTION_ENDED)
		connections_end(exchange->server->connections, exchange->connection);
}

/* ---- what waits for the disk ------------------------------------------------------------- */

/* True: the exchange is the parking's. */
static bool park(struct exchange *exchange)
{
	struct fcgi_server *server = exchange->server;
	const struct fcgi_answer *answer = &exchange->answered;
	/* Who leaves the parking must never have to wait for the web server. */
	if (server->parking == NULL || answer->bytes == NULL || answer->count > PARKED_BYTES_MAX ||
	    !skip_body(exchange) || !exchange->body_ended)
		return false;
	exchange->parked = (struct parked){
		.ring = exchange->request.ring,
		.position = exchange->request.durable.position,
		.until_ns = connections_now_ns() + server->settings.durable_timeout_ms * (SECOND_NS / 1000),
	};
	connections_park(server->connections);
	if (parking_enter(server->parking, &exchange->parked))
		return true;
	connections_unpark(server->connections);
	return false;
}

static void settle(struct exchange *exchange, enum tr_result result)
{
	const struct fcgi_settings *settings = &exchange->server->settings;
	settings->settle(settings->settle_context, &exchange->request, &exchange->answered, result);
}

/* A web server that has not even taken what it was sent before has asked too early, and is cut off. */
static bool takes_at_once(const struct exchange *exchange)
{
	struct pollfd room = { .fd = exchange->fcgx.ipcFd, .events = POLLOUT };
	if (poll(&room, 1, 0) == 1)
		return true; /* or it has gone, which writing tells */
	shutdown(exchange->fcgx.ipcFd, SHUT_RDWR); /* libfcgi would write the request's end */
	return false;
}

static void leave_parking(void *context, struct parked *parked)
{
	struct fcgi_server *server = context;
	struct exchange *exchange = (struct exchange *)(void *)((char *)parked - offsetof(struct exchange, parked));
	settle(exchange, parked->result);
	bool written = takes_at_once(exchange) && write_answer(exchange);
	free(exchange->answered.bytes);
	settle_connection(exchange, finish(exchange, written));
	connections_unpark(server->connections);
	leave_exchange(exchange);
}

/* ---- from the connection to its end ------------------------------------------------------ */

static enum connection_end serve_request(struct server_thread *thread, struct exchange *exchange)
{
	struct fcgi_answer *answer = &exchange->answered;
	read_head(exchange);
	answer->bytes = NULL;
	answer->count = 0;
	answer->line[0] = '\0';
	answer->listener = NULL;
	thread->answer(thread->context, &exchange->request, answer);
	if (exchange->request.durable.wanted) {
		if (park(exchange))
			return CONNECTION_PARKED;
		settle(exchange, durable_wait(exchange->request.ring, exchange->request.durable.position,
		    exchange->server->settings.durable_timeout_ms));
	}
	return finish(exchange, write_answer(exchange));
}

/* A request has arrived on the connection, or its other end was closed. */
static enum connection_end serve_connection(struct server_thread *thread, struct exchange *exchange)
{
	exchange->fcgx.ipcFd = connection_lend(exchange->connection);
	if (exchange->fcgx.ipcFd < 0) {
		log_event(LOG_ERR, "serve-failed", "errno=%d", errno);
		return CONNECTION_ENDED;
	}
	/* FCGX_Accept_r() begins by finishing what was before, and must not close the connection. */
	exchange->fcgx.keepConnection = 1;
	begin_wait(exchange, timeout_ns(exchange), false);
	/* An error means that no request came; the connection is closed then. */
	if (FCGX_Accept_r(&exchange->fcgx) != 0)
		return take_back(exchange);
	end_wait(exchange);
	/* libfcgi takes parameters that broke off for all there are. */
	return FCGX_GetError(exchange->fcgx.in) == 0 ? serve_request(thread, exchange) : finish(exchange, false);
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

/* False: out of memory. */
static bool has_exchange(struct server_thread *thread)
{
	if (thread->exchange == NULL)
		thread->exchange = take_exchange(thread->server);
	return thread->exchange != NULL;
}

void fcgi_server_run(struct fcgi_server *server, fcgi_answer_fn *answer, void *context)
{
	struct server_thread thread = { .server = server, .answer = answer, .context = context };
	struct connection *connection;
	seats_join(server->seats, &thread.seat);
	while (has_exchange(&thread) && (connection = next_connection(&thread)) != NULL) {
		struct exchange *exchange = thread.exchange;
		exchange->connection = connection;
		enum connection_end end = serve_connection(&thread, exchange);
		if (end == CONNECTION_PARKED)
			thread.exchange = NULL;
		else
			settle_connection(exchange, end);
	}
	seats_leave(server->seats, &thread.seat);
	if (thread.exchange != NULL)
		leave_exchange(thread.exchange);
	else
		log_event(LOG_ERR, "thread-failed", "errno=%d", errno);
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
