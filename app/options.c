/* One table says what there is: letter, argument, help and what an argument sets. */
#include "app/options.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/connections.h"
#include "app/log.h"
#include "app/tokens.h"

#define THREADS_MEMORY 4 /* by default */
#define THREADS_DISK 32
#define AWAKE_LEAST 2 /* one may be held up for a moment */

typedef bool set_fn(struct options *options, const char *argument);

static bool read_number(const char *text, int base, unsigned long least, unsigned long most, unsigned long *number)
{
	char *end;
	errno = 0;
	unsigned long value = strtoul(text, &end, base);
	if (errno != 0 || end == text || *end != '\0' || strchr(text, '-') != NULL || value < least || value > most)
		return false;
	*number = value;
	return true;
}

static bool read_unsigned(const char *text, unsigned least, unsigned most, unsigned *number)
{
	unsigned long value;
	if (!read_number(text, 10, least, most, &value))
		return false;
	*number = (unsigned)value;
	return true;
}

static bool set_socket(struct options *options, const char *argument)
{
	options->socket = argument;
	return argument[0] != '\0';
}

static bool set_processes(struct options *options, const char *argument)
{
	return read_unsigned(argument, 0, 256, &options->processes);
}

static bool set_threads(struct options *options, const char *argument)
{
	return read_unsigned(argument, 1, 256, &options->threads);
}

static bool set_instance(struct options *options, const char *argument)
{
	/* Its letters are checked where it is opened, and said in the log. */
	options->instance = argument;
	return argument[0] != '\0' && strlen(argument) <= TR_NAME_MAX;
}

static bool set_spool(struct options *options, const char *argument)
{
	options->open.spool_dir = argument;
	return argument[0] != '\0';
}

static bool set_journal(struct options *options, const char *argument)
{
	options->open.journal = argument;
	return argument[0] != '\0';
}

static bool set_mode(struct options *options, const char *argument)
{
	unsigned long mode;
	if (!read_number(argument, 8, 0, 0666, &mode) || (mode & 0600) != 0600)
		return false;
	options->open.mode = (uint32_t)mode;
	return true;
}

static bool set_durability(struct options *options, const char *argument)
{
	bool disk = strcmp(argument, "disk") == 0;
	options->web.durability = disk ? TR_DISK : TR_MEMORY;
	return disk || strcmp(argument, "memory") == 0;
}

static bool set_durable_timeout(struct options *options, const char *argument)
{
	unsigned value = 0;
	if (!read_unsigned(argument, 1, 600000, &value))
		return false;
	options->web.durable_timeout_ms = value;
	return true;
}

static bool set_body_limit(struct options *options, const char *argument)
{
	unsigned value = 0;
	if (!read_unsigned(argument, 1, 1u << 20, &value))
		return false;
	options->web.body_limit_bytes = (size_t)value * 1024;
	return true;
}

static bool set_token_file(struct options *options, const char *argument)
{
	options->token_file = argument;
	return argument[0] != '\0';
}

/* A number of binary units, as bytes. */
static bool read_bytes(const char *argument, unsigned least, unsigned most, uint64_t unit_bytes, uint64_t *bytes)
{
	unsigned value = 0;
	if (!read_unsigned(argument, least, most, &value))
		return false;
	*bytes = value * unit_bytes;
	return true;
}

static bool set_upload_limit(struct options *options, const char *argument)
{
	return read_bytes(argument, 1, 1u << 20, 1u << 20, &options->web.upload.most_bytes);
}

static bool set_upload_free(struct options *options, const char *argument)
{
	return read_bytes(argument, 0, UINT_MAX, 1u << 20, &options->web.upload.free_bytes);
}

static bool set_uploads(struct options *options, const char *argument)
{
	return read_unsigned(argument, 1, 256, &options->web.upload.at_once);
}

static bool set_connections(struct options *options, const char *argument)
{
	return read_unsigned(argument, 1, CONNECTIONS_MAX, &options->fcgi.connections);
}

static bool set_listeners(struct options *options, const char *argument)
{
	return read_unsigned(argument, 0, STREAM_LISTENERS_MAX, &options->listeners);
}

static bool set_timeout(struct options *options, const char *argument)
{
	unsigned seconds = 0;
	if (!read_unsigned(argument, 1, 3600, &seconds))
		return false;
	options->fcgi.timeout_ms = seconds * 1000;
	return true;
}

static bool set_rate(struct options *options, const char *argument)
{
	return read_unsigned(argument, 1, 1u << 30, &options->fcgi.bytes_per_s);
}

static bool set_access_log(struct options *options, const char *argument)
{
	static const char *const names[] = { [ACCESS_LOG_NONE] = "none", [ACCESS_LOG_STDERR] = "stderr",
		[ACCESS_LOG_SERVER] = "server" };
	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(argument, names[i]) == 0) {
			options->access_log = (enum access_log)i;
			return true;
		}
	}
	return false;
}

static bool set_pages(struct options *options, const char *argument)
{
	options->pages = argument;
	return argument[0] != '\0';
}

/* "/a/b": names without a slash at the end, and none that a path is not looked up by. */
static bool set_prefix(struct options *options, const char *argument)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._~-";
	options->web.prefix = argument;
	if (argument[0] != '/' || strlen(argument) > WEB_PREFIX_MAX || web_begins_a_path(argument))
		return false;
	for (const char *at = argument; *at == '/'; at += strcspn(at + 1, "/") + 1) {
		size_t bytes = strcspn(at + 1, "/");
		if (bytes == 0 || at[1] == '.' || strspn(at + 1, letters) < bytes)
			return false;
	}
	return true;
}

/*
 * REMOTE_USER is the web server's own word. A parameter that begins with HTTP_ is a header line, which any client can
 * send: it is taken only where the administrator says that the web server overwrites it in each request.
 */
static bool set_user_parameter(struct options *options, const char *argument)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_", overwritten[] = "overwritten:";
	bool said = strncmp(argument, overwritten, strlen(overwritten)) == 0;
	const char *name = said ? argument + strlen(overwritten) : argument;
	options->fcgi.user_parameter = name;
	return name[0] != '\0' && strspn(name, letters) == strlen(name) && (said || strncmp(name, "HTTP_", 5) != 0);
}

static bool set_stop_timeout(struct options *options, const char *argument)
{
	return read_unsigned(argument, 1, 3600, &options->stop_timeout_s);
}

static bool set_log_level(struct options *options, const char *argument)
{
	options->log_level = log_level_by_name(argument);
	return options->log_level >= 0;
}

static const struct {
	char letter;
	const char *argument;
	set_fn *set;
	const char *help; /* with the default, and what is allowed */
} rows[] = {
	{ 's', "SOCKET", set_socket, "where the web server finds us: a path, HOST:PORT, fd:N or inherited (inherited)" },
	{ 'p', "PROCESSES", set_processes, "responder processes, 1 to 256; 0: this one serves, without a master (2)" },
	{ 't', "THREADS", set_threads, "threads in each, 1 to 256 (4; with -d disk 32)" },
	{ 'n', "NAME", set_instance, "the instance, at most 63 letters (taskring)" },
	{ 'S', "DIRECTORY", set_spool, "where arguments above 16 KiB go (none: they are refused)" },
	{ 'J', "FILE", set_journal, "taskd's journal, read for tasks that ended long ago (none)" },
	{ 'm', "MODE", set_mode, "octal permission bits of the socket and of a ring made here (600)" },
	{ 'd', "memory|disk", set_durability, "what an answer waits for: the ring, or the journal's fsync (memory)" },
	{ 'w', "MS", set_durable_timeout, "with -d disk, the longest wait for it, 1 to 600000 (5000)" },
	{ 'b', "KIB", set_body_limit, "the largest body of a request in KiB, 1 to 1048576 (1024)" },
	{ 'T', "FILE", set_token_file, "whose tokens may do what (none: all may read and submit, nobody may steer)" },
	{ 'A', "PARAMETER", set_user_parameter, "whom the web server has recognized, as REMOTE_USER, or overwritten:HTTP_NAME (none)" },
	{ 'u', "MIB", set_upload_limit, "the largest file that is uploaded in MiB, 1 to 1048576 (1024)" },
	{ 'f', "MIB", set_upload_free, "what uploads must leave free of the spool's disk in MiB (64)" },
	{ 'k', "FILES", set_uploads, "uploads that a process receives at a time (half of its threads)" },
	{ 'c', "CONNECTIONS", set_connections, "open in a process at once, kept ones included, 1 to 8192 (8192)" },
	{ 'e', "LISTENERS", set_listeners, "to events, in a process at once, beside its connections, 0 to 8192 (2000)" },
	{ 'r', "SECONDS", set_timeout, "what the web server has for a request's head, its body, the answer, 1 to 3600 (15)" },
	{ 'R', "BYTES", set_rate, "of a body, for each of which in a second it has more time (16384)" },
	{ 'a', "WHERE", set_access_log, "the line about each request: none, stderr, or server, by FCGI_STDERR (none)" },
	{ 'W', "DIRECTORY", set_pages, "holds the pages /docs and /dashboard (none: there are none)" },
	{ 'P', "PREFIX", set_prefix, "what clients see before all paths, as /tools; none that a path here begins with" },
	{ 'g', "SECONDS", set_stop_timeout, "how long a stop waits for requests in hand, 1 to 3600 (10)" },
	{ 'l', "LEVEL", set_log_level, "error, warning, notice, info or debug (notice)" },
	{ 'N', "NAME:ROLE", NULL, "print a new token of a reader, submitter or operator, and its line for -T's file" },
	{ 'V', NULL, NULL, "print the version" },
	{ 'h', NULL, NULL, "print this" },
};
#define ROWS (sizeof(rows) / sizeof(rows[0]))

static void print_help(FILE *to)
{
	fputs("usage: taskring-app [options]\nAnswers FastCGI requests and publishes their background tasks.\n\n", to);
	for (size_t i = 0; i < ROWS; i++)
		fprintf(to, "  -%c %-12s %s\n", rows[i].letter, rows[i].argument != NULL ? rows[i].argument : "", rows[i].help);
	fputs("\nSignals: TERM, INT and QUIT stop, a second one at once; HUP replaces the processes one by one;\n"
	      "USR2 ends the streams of events; USR1 stops like TERM, and so does HUP with -p 0.\n", to);
}

static int read_option(struct options *options, int letter)
{
	for (size_t i = 0; i < ROWS; i++) {
		if (rows[i].letter != letter || rows[i].set == NULL)
			continue;
		if (rows[i].set(options, optarg))
			return -1;
		fprintf(stderr, "taskring-app: -%c \"%s\" is not allowed; it is %s\n", letter, optarg, rows[i].help);
		return 2;
	}
	if (letter == 'V') {
		puts("taskring-app " TASKRING_VERSION);
		return 0;
	}
	if (letter == 'N') {
		struct tr_error error;
		if (token_make(optarg, stdout, &error))
			return 0;
		fprintf(stderr, "taskring-app: %s\n", error.text);
		return 2;
	}
	if (letter == 'h')
		print_help(stdout);
	else
		fputs("taskring-app: see taskring-app -h\n", stderr);
	return letter == 'h' ? 0 : 2;
}

/* More threads than processors would only wake each other up. */
static unsigned count_awake(void)
{
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	return processors > AWAKE_LEAST ? (unsigned)processors : AWAKE_LEAST;
}

int options_read(int argc, char **argv, struct options *options)
{
	*options = (struct options){
		.socket = "inherited",
		.processes = 2,
		.instance = "taskring",
		.open = { .mode = 0600, .room_wait_ms = 1000 * WEB_RETRY_AFTER_S }, /* a refused client would wait as long */
		.web = { .durability = TR_MEMORY, .durable_timeout_ms = 5000, .body_limit_bytes = 1u << 20,
			.upload = { .most_bytes = 1ull << 30, .free_bytes = 64ull << 20 } },
		.fcgi = { .connections = CONNECTIONS_MAX, .timeout_ms = 15000, .bytes_per_s = 16384 },
		.listeners = 2000,
		.stop_timeout_s = 10,
		.log_level = LOG_NOTICE,
	};
	char letters[2 * ROWS + 1];
	size_t used = 0;
	for (size_t i = 0; i < ROWS; i++) {
		letters[used++] = rows[i].letter;
		if (rows[i].argument != NULL)
			letters[used++] = ':';
	}
	letters[used] = '\0';
	for (int letter; (letter = getopt(argc, argv, letters)) != -1;) {
		int status = read_option(options, letter);
		if (status >= 0)
			return status;
	}
	/* Uploads are synced by their threads, and what finds no room in the parking waits on its own. */
	if (options->threads == 0)
		options->threads = options->web.durability == TR_DISK ? THREADS_DISK : THREADS_MEMORY;
	options->fcgi.awake = count_awake();
	if (options->web.upload.at_once == 0)
		options->web.upload.at_once = options->threads / 2 > 0 ? options->threads / 2 : 1;
	if (optind == argc && options->fcgi.user_parameter != NULL && options->token_file == NULL) {
		fputs("taskring-app: -A needs -T, whose file says what the users may do\n", stderr);
		return 2;
	}
	if (optind == argc)
		return -1;
	fprintf(stderr, "taskring-app: \"%s\" is not an option; see taskring-app -h\n", argv[optind]);
	return 2;
}
