/* The responder's master process: listens, and keeps the responder processes alive. */
#ifndef APP_MASTER_H
#define APP_MASTER_H

#include "app/options.h"

/* Runs until it is told to stop; the exit status. */
int master_run(const struct options *options);

#endif
