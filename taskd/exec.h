/* The built-in handler "exec": runs a program that the configuration names. See docs/exec.md. */
#ifndef TASKD_EXEC_H
#define TASKD_EXEC_H

#include "taskd/config.h"
#include "taskring/handler.h"

extern const struct tr_handler exec_handler;

/* Once in a worker, before its first task. `config` lives as long as the worker. */
void exec_configure(const struct config *config);

#endif
