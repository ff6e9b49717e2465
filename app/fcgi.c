/*
 * The responder's event loop. libfcgi reads and writes the protocol; who waits for what is ours:
 *
 *   listening socket ─ accept ─► idle (in epoll, one-shot) ─ readable ─► a thread serves it
 *                                  ▲                                       │ kept open
 *                                  └───────────────────────────────────────┘
 *
 * FCGX_Accept_r() left to itself blocks a thread on each connection that the web server keeps
 * open, for as long as it keeps it: more kept connections than threads lock everybody else out,
 * and nothing but closing them ends the wait. So a connection is accepted here, waits in epoll, and
 * is handed to FCGX_Accept_r() only when a request has arrived on it: a thread is never held by an
 * idle connection, and a stop never waits for one. libfcgi accepts nothing itself: it is given no
 * listening socket, so where it would fall back to accept(2) it returns an error instead.
 *
 * This uses two fields of FCGX_Request, ipcFd and keepConnection, whose meaning has not changed
 * since libfcgi 2.2 and is part of its binary interface.
 */
#include "app/fcgi.h"

#include <errno.h>
#include <fcgiapp.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "app/log.h"
#include "app/request_head.h"

#define CONNECTIONS_MAX 800  /* libfcgi uses select(2): file descriptors must stay below 1,024 */
#define THREADS_MAX 257      /* the draining one included */
#define SWEEP 64             /* events taken at once while draining */
#define LINGER_MS 100        /* a connection that was idle this long is closed at the end of a stop */
#define READ_TIMEOUT_S 15    /* a web server that sends half a request holds a thread this long */
#define ACCEPT_PAUSE_MS 50   /* after the system has refused a connection for want of memory or files */
#define BODY_CHUNK 16384
#define BODY_SKIP_MAX (1u << 20) /* a rest of a body up to this is read and forgotten, and the connection kept */

struct fcgi_server {
	int listen_fd, epoll_fd, stop_fd;
	atomic_bool stopping;
	pthread_mutex_t lock;
	unsigned connections; /* open ones; under the lock */
	bool listening;       /* listen_fd is in epoll; under the lock */
	_Atomic unsigned threads; /* rows given out */
	_Atomic int serving[THREADS_MAX]; /* the connection that a thread serves, -1: none */
};

/* What one thread needs. */
struct server_thread {
	struct fcgi_server *server;
	fcgi_answer_fn *answer;
	void *context;
	_Atomic int *serving;
	FCGX_Request fcgx;
	struct web_request request; /* 4 KB with its texts: not on each call's stack */
	bool body_ended; /* all of the body has been read, or the connection broke */
};

#ifdef __SANITIZE_THREAD__
/*
 * A thread that gives a connection back into epoll may still be in epoll_ctl(2) when another one,
 * woken by just that call, closes it. The kernel allows it; ThreadSanitizer, which does not know
 * that the wake-up comes after EPOLL_CTL_MOD, reports the close(2) in libfcgi.
 */
__attribute__((visibility("default"))) const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
	return "race:FCGX_Free\n";
}
#endif

/* ---- the listening socket ---------------------------------------------------------------- */

static bool watch(int epoll_fd, int operation, int fd, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.fd = fd };
	return epoll_ctl(epoll_fd, operation, fd, &event) == 0;
}

/* Under the lock. Exclusive: one process is woken for a connection, not all. */
static void set_listening(struct fcgi_server *server, bool listening)
{
	if (server->listening == listening)
		return;
	int operation = listening ? EPOLL_CTL_ADD : EPOLL_CTL_DEL;
	if (watch(server->epoll_fd, operation, server->listen_fd, EPOLLIN | EPOLLEXCLUSIVE))
		server->listening = listening;
	else
		log_event(LOG_ERR, "listen-failed", "errno=%d", errno);
}

struct fcgi_server *fcgi_server_new(int listen_fd)
{
	if (FCGX_Init() != 0) {
		errno = EINVAL;
		return NULL;
	}
	struct fcgi_server *server = calloc(1, sizeof(*server));
	if (server == NULL)
		return NULL;
	server->listen_fd = listen_fd;
	server->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	server->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int failure = pthread_mutex_init(&server->lock, NULL);
	if (server->epoll_fd < 0 || server->stop_fd < 0 || failure != 0 ||
	    !watch(server->epoll_fd, EPOLL_CTL_ADD, server->stop_fd, EPOLLIN)) {
		int saved = failure != 0 ? failure : errno;
		fcgi_server_free(&server);
		errno = saved;
		return NULL;
	}
	for (size_t i = 0; i < THREADS_MAX; i++)
		atomic_init(&server->serving[i], -1);
	set_listening(server, true);
	return server;
}

void fcgi_server_free(struct fcgi_server **server)
{
	if (*server == NULL)
		return;
	if ((*server)->epoll_fd >= 0)
		close((*server)->epoll_fd);
	if ((*server)->stop_fd >= 0)
		close((*server)->stop_fd);
	pthread_mutex_destroy(&(*server)->lock);
	free(*server);
	*server = NULL;
}

static void connection_ended(struct fcgi_server *server)
{
	pthread_mutex_lock(&server->lock);
	server->connections--;
	if (!atomic_load(&server->stopping))
		set_listening(server, true);
	pthread_mutex_unlock(&server->lock);
}

static void accept_connection(struct fcgi_server *server)
{
	int fd = accept4(server->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	if (fd < 0) {
		/* EAGAIN: another thread or process was faster. A connection that ended in the queue is no matter. */
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
			log_event(LOG_ERR, "accept-failed", "errno=%d", errno);
			poll(NULL, 0, ACCEPT_PAUSE_MS);
		}
		return;
	}
	struct timeval timeout = { .tv_sec = READ_TIMEOUT_S };
	int yes = 1;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes)); /* fails on a Unix socket */

	pthread_mutex_lock(&server->lock);
	server->connections++;
	if (server->connections >= CONNECTIONS_MAX)
		set_listening(server, false);
	pthread_mutex_unlock(&server->lock);
	if (!watch(server->epoll_fd, EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLRDHUP | EPOLLONESHOT)) {
		log_event(LOG_ERR, "accept-failed", "errno=%d", errno);
		close(fd);
		connection_ended(server);
	}
}

/* ---- one request ------------------------------------------------------------------------- */

/* struct web_source: the body as it arrives. */
static ssize_t read_body(void *context, char *to, size_t most)
{
	struct server_thread *thread = context;
	if (most > BODY_CHUNK)
		most = BODY_CHUNK;
	int got = FCGX_GetStr(to, (int)most, thread->fcgx.in);
	if (got > 0)
		return got;
	thread->body_ended = true;
	return FCGX_GetError(thread->fcgx.in) == 0 ? 0 : -1;
}

/*
 * What the web layer left of the body would be taken for the connection's next request: a short
 * rest is read here. False: the connection broke.
 */
static bool skip_body(struct server_thread *thread)
{
	char scratch[BODY_CHUNK];
	size_t skipped = 0;
	ssize_t got = 1;
	while (!thread->body_ended && skipped < BODY_SKIP_MAX && got > 0) {
		got = read_body(thread, scratch, sizeof(scratch));
		skipped += got > 0 ? (size_t)got : 0;
	}
	return FCGX_GetError(thread->fcgx.in) == 0;
}

/* False: the connection is of no further use. */
static bool serve_request(struct server_thread *thread)
{
	FCGX_ParamArray environment = thread->fcgx.envp;
	const struct request_head head = {
		.method = FCGX_GetParam("REQUEST_METHOD", environment),
		.uri = FCGX_GetParam("REQUEST_URI", environment),
		.content_type = FCGX_GetParam("CONTENT_TYPE", environment),
		.content_length = FCGX_GetParam("CONTENT_LENGTH", environment),
		.authorization = FCGX_GetParam("HTTP_AUTHORIZATION", environment),
		.traceparent = FCGX_GetParam("HTTP_TRACEPARENT", environment),
		.client_request_id = FCGX_GetParam("HTTP_X_REQUEST_ID", environment),
		.server_request_id = FCGX_GetParam("REQUEST_ID", environment),
	};
	request_head_read(&head, &thread->request);
	thread->request.source = (struct web_source){ .read = read_body, .context = thread };
	thread->body_ended = false;
	size_t bytes = 0;
	char *answer = thread->answer(thread->context, &thread->request, &bytes);
	if (answer == NULL)
		return false;
	bool written = skip_body(thread) && FCGX_PutStr(answer, (int)bytes, thread->fcgx.out) == (int)bytes;
	free(answer);
	/* The rest of a long body: libfcgi reads on, after the answer, until the web server has understood. */
	if (!thread->body_ended)
		thread->fcgx.keepConnection = 0;
	return written;
}

/* A request has arrived on `fd`, or its other end was closed. */
static void serve_connection(struct server_thread *thread, int fd)
{
	struct fcgi_server *server = thread->server;
	/* FCGX_Accept_r() begins by finishing what was before, and must not close the connection. */
	thread->fcgx.ipcFd = fd;
	thread->fcgx.keepConnection = 1;
	atomic_store(thread->serving, fd);
	/* An error means that no request came; the connection is closed then. */
	if (FCGX_Accept_r(&thread->fcgx) == 0) {
		if (!serve_request(thread)) {
			/* Closed at once: libfcgi would first read on for as long as the other side sends. */
			thread->fcgx.keepConnection = 0;
			FCGX_Detach(&thread->fcgx);
		}
		/* The web server learns that we leave while it has nothing else on this connection. */
		if (atomic_load(&server->stopping))
			thread->fcgx.keepConnection = 0;
		FCGX_Finish_r(&thread->fcgx);
	}
	atomic_store(thread->serving, -1);
	if (thread->fcgx.ipcFd >= 0) {
		/* From here on another thread may have it. */
		thread->fcgx.ipcFd = -1;
		if (watch(server->epoll_fd, EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLRDHUP | EPOLLONESHOT))
			return;
		log_event(LOG_ERR, "keep-failed", "errno=%d", errno);
		close(fd);
	}
	connection_ended(server);
}

/* ---- a thread's life --------------------------------------------------------------------- */

static void serve_events(struct server_thread *thread, const struct epoll_event *events, int count)
{
	struct fcgi_server *server = thread->server;
	for (int i = 0; i < count; i++) {
		int fd = events[i].data.fd;
		if (fd == server->stop_fd)
			continue;
		if (fd != server->listen_fd)
			serve_connection(thread, fd);
		else if (!atomic_load(&server->stopping))
			accept_connection(server);
	}
}

/* NULL: out of memory, or more threads than there are rows for. */
static struct server_thread *thread_new(struct fcgi_server *server, fcgi_answer_fn *answer, void *context)
{
	unsigned row = atomic_fetch_add(&server->threads, 1);
	struct server_thread *thread = row < THREADS_MAX ? calloc(1, sizeof(*thread)) : NULL;
	if (thread == NULL || FCGX_InitRequest(&thread->fcgx, -1, FCGI_FAIL_ACCEPT_ON_INTR) != 0) {
		free(thread);
		log_event(LOG_ERR, "thread-failed", "row=%u", row);
		return NULL;
	}
	thread->server = server;
	thread->answer = answer;
	thread->context = context;
	thread->serving = &server->serving[row];
	return thread;
}

static void thread_free(struct server_thread *thread)
{
	FCGX_Free(&thread->fcgx, 0);
	free(thread);
}

void fcgi_server_run(struct fcgi_server *server, fcgi_answer_fn *answer, void *context)
{
	struct server_thread *thread = thread_new(server, answer, context);
	if (thread == NULL)
		return;
	while (!atomic_load(&server->stopping)) {
		struct epoll_event event;
		int count = epoll_wait(server->epoll_fd, &event, 1, -1);
		serve_events(thread, &event, count);
	}
	thread_free(thread);
}

void fcgi_server_drain(struct fcgi_server *server, fcgi_answer_fn *answer, void *context)
{
	struct server_thread *thread = thread_new(server, answer, context);
	if (thread == NULL)
		return;
	epoll_ctl(server->epoll_fd, EPOLL_CTL_DEL, server->stop_fd, NULL);
	/* Each connection is served once at most, so this ends. */
	struct epoll_event events[SWEEP];
	int count;
	while ((count = epoll_wait(server->epoll_fd, events, SWEEP, LINGER_MS)) > 0)
		serve_events(thread, events, count);
	thread_free(thread);
}

void fcgi_server_stop(struct fcgi_server *server)
{
	atomic_store(&server->stopping, true);
	pthread_mutex_lock(&server->lock);
	set_listening(server, false);
	pthread_mutex_unlock(&server->lock);
	/* Never read again: it wakes each thread that looks. */
	if (eventfd_write(server->stop_fd, 1) != 0)
		log_event(LOG_ERR, "stop-failed", "errno=%d", errno);
}

void fcgi_server_cut_off(struct fcgi_server *server)
{
	for (size_t i = 0; i < THREADS_MAX; i++) {
		int fd = atomic_load(&server->serving[i]);
		/* By now it may be another connection under the same number: those are cut off too. */
		if (fd >= 0)
			shutdown(fd, SHUT_RDWR);
	}
}
