/* The socket on which the web server finds the responder. Called by the master. */
#ifndef APP_LISTEN_H
#define APP_LISTEN_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Opens `address`: a path (anything with a slash), HOST:PORT ([HOST]:PORT for IPv6), fd:N, a
 * listening socket that was inherited, or "inherited": systemd's one if there is one, else
 * descriptor 0. Before there are threads. A path left over by a responder that was killed is taken
 * over; one that answers is not. Returns a non-blocking, close-on-exec descriptor, or -1 after
 * writing why to the log. `mode`: permission bits of a path.
 */
int listen_open(const char *address, uint32_t mode);

/* Closes it; a path is removed. */
void listen_close(int fd, const char *address);

#endif
