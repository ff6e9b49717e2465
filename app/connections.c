/*
 *   listening socket ─ accept ─► IDLE (in epoll, one-shot) ─ readable ─► TAKEN by a thread
 *                                  ▲    │                                  │  │
 *                                  │    └─ gives way ─► FREE ◄─── ended ───┘  │     or left to the streamer
 *                                  └────────────── kept open ─────────────────┘
 *
 * An idle connection holds no thread; how it gives way to another one is said in connection_rows.c.
 *
 * Descriptors are moved above those that select(2), and with it libfcgi, can name; libfcgi is lent
 * a duplicate. So libfcgi may close what it has whenever it likes, and the number in a row is the
 * row's alone: whoever holds the lock may shut it down without hitting another connection. The
 * duplicate stays from one request to the next, unless such low numbers get rare.
 *
 * The watching thread shuts down what a thread waits on for too long. It sleeps until the earliest
 * deadline that it has seen, and for ever while there is none.
 */
#include "app/connections.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "app/connection_rows.h"
#include "app/log.h"
#include "shared/clock.h"

#define SELECT_MAX 1024      /* FD_SETSIZE */
#define LISTEN_AGAIN_NS 25000000ll
#define STOP_LOOK_MS 100     /* a stop looks this often for what the web server, though asked, has not let go of */

int64_t connections_now_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

/* ---- the watching thread ----------------------------------------------------------------- */

/* Ends what is out of time; the next moment at which something may be. Under the lock. */
static int64_t end_overdue(struct connections *connections)
{
	int64_t now_ns = connections_now_ns(), next_ns = INT64_MAX;
	for (unsigned i = 0; i < connections->most; i++) {
		struct connection *connection = &connections->rows[i];
		int64_t deadline_ns = connection->state == TAKEN ? atomic_load(&connection->deadline_ns) : 0;
		if (deadline_ns != 0 && deadline_ns <= now_ns) {
			shutdown(connection->fd, (deadline_ns & 1) != 0 ? SHUT_RDWR : SHUT_RD);
			atomic_store(&connection->deadline_ns, 0);
		} else if (deadline_ns != 0 && deadline_ns < next_ns) {
			next_ns = deadline_ns;
		}
	}
	/* Nobody could give way to who waits, or the system had no memory: is it better by now? */
	if (connections->listening || atomic_load(&connections->stopping)) {
		connections->listen_again_ns = 0;
	} else if (connections->listen_again_ns != 0 && connections->listen_again_ns <= now_ns) {
		connections->listen_again_ns = 0;
		set_listening(connections, true);
	} else {
		if (connections->listen_again_ns == 0)
			connections->listen_again_ns = now_ns + LISTEN_AGAIN_NS;
		next_ns = connections->listen_again_ns < next_ns ? connections->listen_again_ns : next_ns;
	}
	return next_ns;
}

static void *watcher_main(void *context)
{
	struct connections *connections = context;
	pthread_mutex_lock(&connections->lock);
	while (!connections->ended) {
		/* First that every deadline is told, then the look at those there are. */
		atomic_store(&connections->watched_until_ns, INT64_MAX);
		int64_t next_ns = end_overdue(connections);
		atomic_store(&connections->watched_until_ns, next_ns);
		struct timespec until = { .tv_sec = next_ns / 1000000000, .tv_nsec = next_ns % 1000000000 };
		if (next_ns == INT64_MAX)
			pthread_cond_wait(&connections->changed, &connections->lock);
		else
			pthread_cond_timedwait(&connections->changed, &connections->lock, &until);
	}
	pthread_mutex_unlock(&connections->lock);
	return NULL;
}

void connections_deadline(struct connections *connections, struct connection *connection, int64_t at_ns,
    bool also_writing)
{
	atomic_store(&connection->deadline_ns, at_ns == 0 ? 0 : (at_ns & ~1ll) | also_writing);
	if (at_ns == 0 || at_ns >= atomic_load(&connections->watched_until_ns))
		return;
	pthread_mutex_lock(&connections->lock);
	pthread_cond_signal(&connections->changed);
	pthread_mutex_unlock(&connections->lock);
}

/* ---- beginning and end ------------------------------------------------------------------- */

/* How many descriptors there can be for rows, and from which number on. */
static unsigned find_room(unsigned most, int *number_least)
{
	struct rlimit files;
	rlim_t limit = getrlimit(RLIMIT_NOFILE, &files) == 0 ? files.rlim_cur : SELECT_MAX;
	rlim_t least = limit >= 2 * SELECT_MAX ? SELECT_MAX : limit / 2;
	*number_least = (int)least;
	if (limit - least < most)
		most = (unsigned)(limit - least);
	return most > 0 ? most : 1;
}

static bool start_watcher(struct connections *connections)
{
	pthread_condattr_t attributes;
	int failure = pthread_condattr_init(&attributes);
	if (failure == 0)
		failure = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	if (failure == 0)
		failure = pthread_cond_init(&connections->changed, &attributes);
	if (failure == 0)
		failure = pthread_create(&connections->watcher, NULL, watcher_main, connections);
	errno = failure;
	return failure == 0;
}

/* False: errno says why; what is there is the caller's to close. */
static bool open_descriptors(struct connections *connections)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLONESHOT, .data.u64 = WAKE };
	connections->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	connections->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return connections->epoll_fd >= 0 && connections->wake_fd >= 0 &&
	    epoll_ctl(connections->epoll_fd, EPOLL_CTL_ADD, connections->wake_fd, &event) == 0;
}

static void close_descriptors(const struct connections *connections)
{
	if (connections->epoll_fd >= 0)
		close(connections->epoll_fd);
	if (connections->wake_fd >= 0)
		close(connections->wake_fd);
}

struct connections *connections_new(int listen_fd, unsigned most)
{
	int number_least;
	most = find_room(most, &number_least);
	struct connections *connections = calloc(1, sizeof(*connections) + most * sizeof(connections->rows[0]));
	if (connections == NULL)
		return NULL;
	connections->listen_fd = listen_fd;
	connections->number_least = number_least;
	connections->most = most;
	atomic_store(&connections->watched_until_ns, INT64_MAX);
	for (unsigned i = most; i-- > 0;) {
		connections->rows[i].newer = connections->free;
		connections->free = &connections->rows[i];
	}
	if (!open_descriptors(connections) || pthread_mutex_init(&connections->lock, NULL) != 0 ||
	    !start_watcher(connections)) {
		int saved = errno;
		close_descriptors(connections);
		free(connections);
		errno = saved;
		return NULL;
	}
	pthread_mutex_lock(&connections->lock);
	set_listening(connections, true);
	pthread_mutex_unlock(&connections->lock);
	return connections;
}

void connections_free(struct connections **connections)
{
	struct connections *gone = *connections;
	*connections = NULL;
	if (gone == NULL)
		return;
	pthread_mutex_lock(&gone->lock);
	gone->ended = true;
	pthread_cond_signal(&gone->changed);
	pthread_mutex_unlock(&gone->lock);
	pthread_join(gone->watcher, NULL);
	for (unsigned i = 0; i < gone->most; i++)
		if (gone->rows[i].state != FREE)
			become_free(gone, &gone->rows[i]);
	close_descriptors(gone);
	pthread_cond_destroy(&gone->changed);
	pthread_mutex_destroy(&gone->lock);
	free(gone);
}

/* ---- accepting --------------------------------------------------------------------------- */

/* Until a connection ends or is given back; or until the watching thread tries again. */
static void wait_to_listen(struct connections *connections, const char *event, int failed)
{
	if (event != NULL)
		log_event(LOG_ERR, event, "errno=%d", failed);
	set_listening(connections, false);
	pthread_cond_signal(&connections->changed);
}

/* -1: there is none now. */
static int accept_one(struct connections *connections)
{
	int yes = 1;
	int low = accept4(connections->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	int fd = low < 0 ? -1 : fcntl(low, F_DUPFD_CLOEXEC, connections->number_least);
	int failed = errno;
	if (low >= 0)
		close(low);
	if (fd >= 0)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes)); /* fails on a Unix socket */
	/* EAGAIN: another process was faster. A connection that ended in the queue is no matter. */
	else if (failed == EMFILE || failed == ENFILE || failed == ENOBUFS || failed == ENOMEM)
		wait_to_listen(connections, "accept-failed", failed);
	return fd;
}

/* All of it under the lock, so that nobody gives way to a connection that another thread accepts. */
static void accept_connection(struct connections *connections)
{
	pthread_mutex_lock(&connections->lock);
	struct pollfd waiting = { .fd = connections->listen_fd, .events = POLLIN };
	bool wanted = !atomic_load(&connections->stopping) && poll(&waiting, 1, 0) == 1;
	bool room = wanted && make_room(connections);
	if (wanted && !room)
		wait_to_listen(connections, NULL, 0);
	int fd = room ? accept_one(connections) : -1;
	if (fd >= 0) {
		struct connection *connection = connections->free;
		connections->free = connection->newer;
		connections->open++;
		connection->fd = fd;
		connection->lent_fd = -1;
		connection->served = false;
		connection->asked_ns = 0;
		become_idle(connections, connection);
		if (!watch_connection(connections, EPOLL_CTL_ADD, connection)) {
			log_event(LOG_ERR, "accept-failed", "errno=%d", errno);
			leave_idle(connections, connection);
			become_free(connections, connection);
		}
	}
	pthread_mutex_unlock(&connections->lock);
}

/* ---- a thread's turn --------------------------------------------------------------------- */

/* NULL: somebody else has it, or it has given way. */
static struct connection *take(struct connections *connections, uint64_t event)
{
	struct connection *connection = &connections->rows[(uint32_t)event];
	pthread_mutex_lock(&connections->lock);
	bool same = connection->turn == event >> 32;
	bool ours = same && connection->state == IDLE;
	if (ours) {
		leave_idle(connections, connection);
		connection->state = TAKEN;
		connection->missed = false;
		atomic_store(&connection->deadline_ns, 0);
	} else if (same && connection->state == TAKEN) {
		connection->missed = true;
	}
	pthread_mutex_unlock(&connections->lock);
	return ours ? connection : NULL;
}

/* Goes on with a stop. True: no connection is left to wait for. */
static bool close_lingering(struct connections *connections)
{
	int64_t since_ns = connections_now_ns() - GRACE_NS;
	pthread_mutex_lock(&connections->lock);
	for (struct connection *each = connections->oldest, *newer; each != NULL && each->idle_since_ns <= since_ns;
	    each = newer) {
		newer = each->newer;
		close_idle(connections, each);
	}
	bool none_left = connections->oldest == NULL && atomic_load(&connections->parked) == 0;
	pthread_mutex_unlock(&connections->lock);
	return none_left;
}

/* How many events: 0 or 1. Waits without limit until there is a stop, then for a moment. */
static int wait_for_event(struct connections *connections, struct epoll_event *event)
{
	/* Either the stop sees a sleeper here, or we see the stop. */
	atomic_fetch_add(&connections->sleepers, 1);
	bool stopping = atomic_load(&connections->stopping);
	int count = stopping ? 0 : epoll_wait(connections->epoll_fd, event, 1, -1);
	atomic_fetch_sub(&connections->sleepers, 1);
	return stopping ? epoll_wait(connections->epoll_fd, event, 1, STOP_LOOK_MS) : count;
}

/* One thread was woken to learn of the stop; it wakes the next one that sleeps. */
static void pass_on_wake(struct connections *connections)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLONESHOT, .data.u64 = WAKE };
	if (atomic_load(&connections->sleepers) > 0 &&
	    epoll_ctl(connections->epoll_fd, EPOLL_CTL_MOD, connections->wake_fd, &event) != 0)
		log_event(LOG_ERR, "stop-failed", "errno=%d", errno);
}

struct connection *connections_take(struct connections *connections)
{
	while (!atomic_load(&connections->cut_off)) {
		struct epoll_event event;
		int count = wait_for_event(connections, &event);
		struct connection *connection = NULL;
		if (count == 1 && event.data.u64 == LISTENING)
			accept_connection(connections);
		else if (count == 1 && event.data.u64 == WAKE)
			pass_on_wake(connections);
		else if (count == 1)
			connection = take(connections, event.data.u64);
		else if (atomic_load(&connections->stopping) && close_lingering(connections))
			return NULL;
		if (connection != NULL)
			return connection;
	}
	return NULL;
}

int connection_lend(struct connection *connection)
{
	if (connection->lent_fd < 0)
		connection->lent_fd = fcntl(connection->fd, F_DUPFD_CLOEXEC, 0);
	return connection->lent_fd;
}

void connection_was_closed(struct connection *connection)
{
	connection->lent_fd = -1;
}

void connections_give_back(struct connections *connections, struct connection *connection)
{
	/* A system call too many for the lock, and still ours: who learns of an event meanwhile leaves a note. */
	bool watched = watch_connection(connections, EPOLL_CTL_MOD, connection);
	if (connection->lent_fd >= connections->number_least / 2) {
		close(connection->lent_fd);
		connection->lent_fd = -1;
	}
	pthread_mutex_lock(&connections->lock);
	connection->served = true;
	connection->asked_ns = 0;
	become_idle(connections, connection);
	if (atomic_load(&connections->stopping))
		ask_to_let_go(connection);
	if (watched && connection->missed)
		watched = watch_connection(connections, EPOLL_CTL_MOD, connection);
	if (!watched || atomic_load(&connections->cut_off)) {
		leave_idle(connections, connection);
		become_free(connections, connection);
	} else if (!connections->listening && !atomic_load(&connections->stopping)) {
		set_listening(connections, true); /* one that can give way */
	}
	pthread_mutex_unlock(&connections->lock);
}

void connections_park(struct connections *connections)
{
	atomic_fetch_add(&connections->parked, 1);
}

void connections_unpark(struct connections *connections)
{
	atomic_fetch_sub(&connections->parked, 1);
}

int connections_leave(struct connections *connections, struct connection *connection)
{
	int fd = connection->fd;
	/* Cannot fail: it was added, and nobody takes it out but a close. */
	epoll_ctl(connections->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
	pthread_mutex_lock(&connections->lock);
	connection->fd = -1;
	become_free(connections, connection);
	pthread_mutex_unlock(&connections->lock);
	return fd;
}

void connections_end(struct connections *connections, struct connection *connection)
{
	pthread_mutex_lock(&connections->lock);
	become_free(connections, connection);
	pthread_mutex_unlock(&connections->lock);
}

/* ---- a stop ------------------------------------------------------------------------------ */

void connections_stop(struct connections *connections)
{
	pthread_mutex_lock(&connections->lock);
	atomic_store(&connections->stopping, true);
	set_listening(connections, false);
	for (struct connection *each = connections->oldest; each != NULL; each = each->newer)
		if (each->served)
			ask_to_let_go(each);
	pthread_mutex_unlock(&connections->lock);
	if (eventfd_write(connections->wake_fd, 1) != 0)
		log_event(LOG_ERR, "stop-failed", "errno=%d", errno);
}

void connections_cut_off(struct connections *connections)
{
	atomic_store(&connections->cut_off, true);
	pthread_mutex_lock(&connections->lock);
	for (unsigned i = 0; i < connections->most; i++)
		if (connections->rows[i].state == TAKEN)
			shutdown(connections->rows[i].fd, SHUT_RDWR);
	pthread_mutex_unlock(&connections->lock);
}
