/*
 * The rows that connections.c keeps: one for each connection, and who gives way when they run out.
 * Everything here is called under the lock.
 */
#ifndef APP_CONNECTION_ROWS_H
#define APP_CONNECTION_ROWS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define YOUNG_NS 1000000000ll /* so long a new connection on which nothing has come is not closed */
#define GRACE_NS 500000000ll  /* so long a web server, on a busy machine, has to let go of one that it was asked for */

/* What epoll says of other descriptors than those in rows. */
#define LISTENING UINT64_MAX
#define WAKE (UINT64_MAX - 1)

enum connection_state { FREE, IDLE, TAKEN };

/* All but the deadline under the lock. */
struct connection {
	enum connection_state state;
	int fd;
	int lent_fd;         /* a low duplicate for libfcgi; the thread's that has taken it; -1: none */
	uint32_t turn;       /* counts the lives of this row: an event of a life before is none */
	bool served;         /* it has had a request */
	bool missed;         /* TAKEN: something arrived while it was being given back; epoll has told so already */
	int64_t asked_ns;    /* since when the web server has been asked to let go; 0: it has not */
	int64_t idle_since_ns;
	_Atomic int64_t deadline_ns; /* 0: none; odd: it ends writing, too */
	struct connection *older, *newer; /* IDLE: those that have been so for longer, shorter; FREE: newer is the next one */
};

struct connections {
	int listen_fd, epoll_fd, wake_fd;
	int number_least; /* of the descriptors in rows */
	unsigned most, open; /* rows, and those that are not FREE; `open` under the lock, as what follows */
	pthread_mutex_t lock;
	pthread_cond_t changed; /* for the watching thread */
	pthread_t watcher;
	bool listening; /* listen_fd is in epoll */
	int64_t listen_again_ns; /* when it is not: the watching thread puts it there then; 0: no time is set yet */
	bool ended;     /* for the watching thread */
	struct connection *oldest, *newest; /* IDLE ones */
	struct connection *free;
	_Atomic int64_t watched_until_ns; /* the watching thread sleeps until then */
	atomic_bool stopping, cut_off;
	_Atomic unsigned sleepers; /* threads that wait without limit */
	_Atomic unsigned parked;   /* TAKEN ones that are with no thread, and will be given back or ended */
	struct connection rows[];
};

/* Last in the list of idle ones; and out of it. */
void become_idle(struct connections *connections, struct connection *connection);
void leave_idle(struct connections *connections, struct connection *connection);
/* Closes it, unless its descriptor was taken out; there is room for another one. */
void become_free(struct connections *connections, struct connection *connection);

/* Waits for it in epoll, `operation` being EPOLL_CTL_ADD or EPOLL_CTL_MOD. False: errno says why not. */
bool watch_connection(const struct connections *connections, int operation, const struct connection *connection);
void set_listening(struct connections *connections, bool listening);

void ask_to_let_go(struct connection *connection);
/* False: a request has arrived. It will be served, and afterwards the connection ends by itself. */
bool close_idle(struct connections *connections, struct connection *connection);
/*
 * Sees that there is a free row. A new connection on which nothing has come yet, and one whose
 * request waits for a thread, do not give way. False: there is nobody who does, for now.
 */
bool make_room(struct connections *connections);

#endif
