/*
 * The connections of one responder process: they come in on the listening socket, wait without a
 * thread until something has arrived on them, are taken by a thread, and are given back or ended.
 * Called by fcgi.c; knows of FastCGI only how to ask a web server to let a connection go.
 */
#ifndef APP_CONNECTIONS_H
#define APP_CONNECTIONS_H

#include <stdbool.h>
#include <stdint.h>

#define CONNECTIONS_MAX 8192 /* of one process, if it may have that many open files */

struct connections;
struct connection; /* one that a thread has taken */

/*
 * `listen_fd` is listening, non-blocking and stays the caller's. `most`: connections that are
 * open at once, 1 to CONNECTIONS_MAX; fewer if fewer files may be open. Starts a thread. NULL:
 * errno says why.
 */
struct connections *connections_new(int listen_fd, unsigned most);
/* After every thread has left. NULL afterwards. */
void connections_free(struct connections **connections);

/*
 * Waits for a connection on which something has arrived, accepting new ones meanwhile. NULL: after
 * connections_stop() and none is left. Any thread.
 */
struct connection *connections_take(struct connections *connections);
/*
 * A descriptor for libfcgi, the lowest there is, since select(2) must be able to name it. libfcgi may
 * close it, and then connection_was_closed() must be told. Else it stays the connection's. -1: errno says why.
 */
int connection_lend(struct connection *connection);
void connection_was_closed(struct connection *connection);
/* The web server keeps it open for another request. */
void connections_give_back(struct connections *connections, struct connection *connection);
/*
 * It is no connection of ours any more: its descriptor, which is the caller's now and often above 1,023.
 * Nothing but what the caller does happens to it, also at a stop.
 */
int connections_leave(struct connections *connections, struct connection *connection);
/*
 * Around the time for which the thread that has taken it does other things: a stop waits until it has been given
 * back or ended. Unpark comes after that.
 */
void connections_park(struct connections *connections);
void connections_unpark(struct connections *connections);
/* Closes it. */
void connections_end(struct connections *connections, struct connection *connection);

/*
 * From `at_ns` (CLOCK_MONOTONIC) on, what the thread reads of it comes to its end, or, where
 * `also_writing`, what it writes fails too. 0: no such time. Only between take and give back.
 */
void connections_deadline(struct connections *connections, struct connection *connection, int64_t at_ns,
    bool also_writing);
int64_t connections_now_ns(void);

/*
 * Accepts no more, asks the web server to let go of what it keeps open, and serves on until it has
 * done so or has sent nothing for a moment. Any thread, once.
 */
void connections_stop(struct connections *connections);
/* Then, when that takes too long: ends every connection, whatever is done with it. Any thread. */
void connections_cut_off(struct connections *connections);

#endif
