/* taskring-app's options: the command line comes in, a checked struct goes out. Called by main.c. */
#ifndef APP_OPTIONS_H
#define APP_OPTIONS_H

#include "app/web.h"

struct options {
	const char *socket; /* a path, HOST:PORT, or fd:N for a socket that is inherited listening */
	unsigned processes, threads;
	const char *instance;
	struct tr_open_options open; /* spool directory, journal, permission bits */
	struct web_settings web;
	const char *token_file; /* where web.token comes from; read anew by each process; NULL: none */
	unsigned stop_timeout_s; /* requests in hand have this long to finish */
	int log_level;
};

/*
 * -1: go on; anything else is the exit status: 0 after -h or -V, 2 after a fault that has been
 * written to standard error. Texts of *options point into argv.
 */
int options_read(int argc, char **argv, struct options *options);

#endif
