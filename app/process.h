/* One responder process. Forked by the master. */
#ifndef APP_PROCESS_H
#define APP_PROCESS_H

#include "app/options.h"

struct tokens;

/*
 * Opens the instance, serves the listening socket with its threads until SIGTERM, SIGINT or
 * SIGQUIT, finishes the requests in hand and returns the exit status. The signals are blocked.
 * `tokens`, NULL: none are configured.
 */
int process_run(const struct options *options, const struct tokens *tokens, int listen_fd);

#endif
