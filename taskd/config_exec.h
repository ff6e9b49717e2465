/* Whether a program of the configuration can be run, as far as its file can tell. Only config.c includes this. */
#ifndef TASKD_CONFIG_EXEC_H
#define TASKD_CONFIG_EXEC_H

#include "taskd/config.h"

struct config_fault {
	const char *option; /* its name in the table */
	const char *value;  /* NULL: it was not given */
	char text[160];     /* what is wrong, as the end of a sentence */
};

/* False: *fault. */
bool config_exec_check(const struct config_program *program, struct config_fault *fault);
bool config_exec_check_keeper(const char *path, struct config_fault *fault);

#endif
