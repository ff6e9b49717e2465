/*
 * An idle connection holds no thread; it takes a row and a file descriptor, and of both there are
 * only so many. So when few are left, whoever has been idle longest gives way to who comes. A
 * connection cannot just be closed: a request may be on its way, and the web server, which cannot
 * know whether it was served, would have to refuse it. It is done in two steps.
 *
 * 1. The web server is asked to let go: it is sent an FCGI_STDERR record without content for its
 *    request number 1. One that has nothing under way takes unexpected bytes as the end of the
 *    connection and closes it (nginx, Apache's mod_proxy_fcgi); one that has just sent a request
 *    finds an empty record before the answer, which means nothing, and gets the answer.
 * 2. Only where this does not make room in time, an idle connection is closed, and only one from
 *    which nothing can be lost: shutdown(SHUT_RD) comes first, after which the kernel lets the
 *    peer of a Unix socket add nothing (its write fails, so it knows that nothing was delivered),
 *    then what arrived before is looked for, and if there is any, it is served. (Over TCP a request
 *    that is still in the network is answered by a reset, as with every server that closes.)
 */
#include "app/connection_rows.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "app/connections.h"
#include "app/log.h"

void become_idle(struct connections *connections, struct connection *connection)
{
	connection->state = IDLE;
	connection->idle_since_ns = connections_now_ns();
	connection->newer = NULL;
	connection->older = connections->newest;
	if (connections->newest != NULL)
		connections->newest->newer = connection;
	else
		connections->oldest = connection;
	connections->newest = connection;
}

void leave_idle(struct connections *connections, struct connection *connection)
{
	if (connection->older != NULL)
		connection->older->newer = connection->newer;
	else
		connections->oldest = connection->newer;
	if (connection->newer != NULL)
		connection->newer->older = connection->older;
	else
		connections->newest = connection->older;
}

bool watch_connection(const struct connections *connections, int operation, const struct connection *connection)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLRDHUP | EPOLLONESHOT };
	event.data.u64 = (uint64_t)connection->turn << 32 | (uint64_t)(connection - connections->rows);
	return epoll_ctl(connections->epoll_fd, operation, connection->fd, &event) == 0;
}

/* Exclusive: one process is woken for a connection, not all. */
void set_listening(struct connections *connections, bool listening)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLEXCLUSIVE, .data.u64 = LISTENING };
	if (connections->listening == listening)
		return;
	if (epoll_ctl(connections->epoll_fd, listening ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, connections->listen_fd, &event) == 0)
		connections->listening = listening;
	else
		log_event(LOG_ERR, "listen-failed", "errno=%d", errno);
}

void become_free(struct connections *connections, struct connection *connection)
{
	if (connection->lent_fd >= 0)
		close(connection->lent_fd);
	if (connection->fd >= 0)
		close(connection->fd);
	connection->state = FREE;
	connection->turn++;
	connection->newer = connections->free;
	connections->free = connection;
	connections->open--;
	if (!atomic_load(&connections->stopping))
		set_listening(connections, true);
}

/* ---- giving way ------------------------------------------------------------------------ */

static bool has_arrived(const struct connection *connection)
{
	char byte;
	return recv(connection->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

void ask_to_let_go(struct connection *connection)
{
	/* Version 1, type FCGI_STDERR (7), request 1, no content, no padding. */
	static const unsigned char nothing[8] = { 1, 7, 0, 1, 0, 0, 0, 0 };
	if (connection->asked_ns == 0)
		(void)send(connection->fd, nothing, sizeof(nothing), MSG_DONTWAIT | MSG_NOSIGNAL);
	connection->asked_ns = connections_now_ns();
}

bool close_idle(struct connections *connections, struct connection *connection)
{
	if (has_arrived(connection))
		return false;
	shutdown(connection->fd, SHUT_RD);
	if (has_arrived(connection))
		return false;
	leave_idle(connections, connection);
	become_free(connections, connection);
	return true;
}

bool make_room(struct connections *connections)
{
	/* Ask early: a quarter of the rows is for who comes while the web server reacts. */
	struct connection *each = connections->oldest;
	if (connections->open >= connections->most - connections->most / 4) {
		while (each != NULL && (each->asked_ns != 0 || !each->served))
			each = each->newer;
		if (each != NULL)
			ask_to_let_go(each);
	}
	if (connections->free != NULL)
		return true;
	int64_t now_ns = connections_now_ns();
	for (each = connections->oldest; each != NULL; each = each->newer) {
		bool ripe = each->served ? each->asked_ns != 0 && each->asked_ns <= now_ns - GRACE_NS :
					   each->idle_since_ns <= now_ns - YOUNG_NS;
		if (ripe && close_idle(connections, each))
			return true;
	}
	return false;
}
