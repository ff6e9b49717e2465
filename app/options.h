/* taskring-app's options: the command line comes in, a checked struct goes out. Called by main.c. */
#ifndef APP_OPTIONS_H
#define APP_OPTIONS_H

#include "app/fcgi.h"
#include "app/web.h"

/* Where the line about a request goes. Requests that failed here (500 and above) always have one. */
enum access_log { ACCESS_LOG_NONE, ACCESS_LOG_STDERR, ACCESS_LOG_SERVER };

struct options {
	const char *socket; /* as listen_open() takes it */
	unsigned processes; /* 0: no master, this process serves */
	unsigned threads;
	const char *instance;
	struct tr_open_options open; /* spool directory, journal, permission bits */
	struct web_settings web;
	const char *token_file;     /* read when the master starts, and at each SIGHUP; NULL: none */
	struct fcgi_settings fcgi;
	const char *pages;      /* the directory of docs/ and dashboard/, read by each process; NULL: none */
	unsigned listeners; /* to server-sent events, in each process */
	unsigned stop_timeout_s; /* requests in hand have this long to finish */
	enum access_log access_log;
	int log_level;
};

/*
 * -1: go on; anything else is the exit status: 0 after -h or -V, 2 after a fault that has been
 * written to standard error. Texts of *options point into argv.
 */
int options_read(int argc, char **argv, struct options *options);

#endif
