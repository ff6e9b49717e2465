/* One responder process. Forked by the master. */
#ifndef APP_PROCESS_H
#define APP_PROCESS_H

#include "app/options.h"

/*
 * Opens the instance, serves the listening socket with its threads until SIGTERM, SIGINT or
 * SIGQUIT, finishes the requests in hand and returns the exit status. The signals are blocked.
 */
int process_run(const struct options *options, int listen_fd);

#endif
