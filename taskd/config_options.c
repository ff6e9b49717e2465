/*
 * The table of options, and the one place where a value of each type is read and described. Values
 * come in as the texts that stand in the file; what is stored is in the field's unit.
 */
#include "taskd/config_option.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

#include "shared/board.h"
#include "taskd/config.h"
#include "taskd/http_arguments.h"
#include "taskd/mailbox.h"

#define SECOND_MS 1000LL
#define DAY_MS (24 * 3600 * SECOND_MS)
#define MIB (1LL << 20)
#define TIB (1LL << 40)

#define IN_CONFIG(field) .at = offsetof(struct config, field), .bytes = sizeof(((struct config *)0)->field)
#define IN_PROGRAM(field) .section = "exec", .at = offsetof(struct config_program, field), \
	.bytes = sizeof(((struct config_program *)0)->field)
#define IN_POOL(field) .section = "pool", .at = offsetof(struct config_pool, field), \
	.bytes = sizeof(((struct config_pool *)0)->field)

const struct option config_options[] = {
	{ IN_CONFIG(instance), .section = "", .name = "instance", .type = OPTION_NAME, .initial = "taskring", .restart = true,
	    .help = "The instance's name: of its ring and board in shared memory, and what producers open." },
	{ IN_CONFIG(user), .section = "", .name = "user", .type = OPTION_TEXT, .unset = "stay who one is", .restart = true,
	    .help = "Started as root, taskd becomes this user before it opens anything but this file." },
	{ IN_CONFIG(journal), .section = "", .name = "journal", .type = OPTION_PATH, .initial = "/var/lib/taskring/%i/journal.db",
	    .restart = true, .help = "The journal, a SQLite file; its directory must be writable." },
	{ IN_CONFIG(spool_dir), .section = "", .name = "spool_dir", .type = OPTION_PATH, .initial = "/var/lib/taskring/%i/spool",
	    .restart = true, .help = "Directory of arguments too large for the ring, and of files that tasks own; producers write it too." },
	{ IN_CONFIG(lock_file), .section = "", .name = "lock_file", .type = OPTION_PATH, .initial = "/run/taskring/%i.lock",
	    .restart = true, .help = "Locked while taskd runs, so that an instance has only one." },
	{ IN_CONFIG(plugin_dir), .section = "", .name = "plugin_dir", .type = OPTION_PATH, .initial = "%l/handlers",
	    .help = "Every *.so in this directory is loaded as a plug-in." },
	{ IN_CONFIG(exec_keeper), .section = "", .name = "exec_keeper", .type = OPTION_PATH, .initial = "%l/modules/exec_keeper",
	    .help = "The program that watches over each program of the sections exec." },
	{ IN_CONFIG(transfer_module), .section = "", .name = "transfer_module", .type = OPTION_PATH, .initial = "%l/modules/transfer.so",
	    .help = "The shared object with libcurl, which a worker opens with its first mail to a server or HTTP request." },
	{ IN_CONFIG(commit_interval_ms), .section = "", .name = "commit_interval", .type = OPTION_DURATION, .unit_ms = 1,
	    .least = 1, .most = 50, .initial = "5ms", .help = "The journal is written this often while tasks change." },
	{ IN_CONFIG(sync_interval_ms), .section = "", .name = "sync_interval", .type = OPTION_DURATION, .unit_ms = 1,
	    .least = 10, .most = 1000, .initial = "500ms", .help = "What was written is on disk after this at the latest." },
	{ IN_CONFIG(history), .section = "", .name = "history", .type = OPTION_CHOICE, .choices = "all failed none",
	    .initial = "all", .first_choice = HISTORY_ALL, .help = "Which ended tasks and attempts the journal keeps." },
	{ IN_CONFIG(drain_timeout_ms), .section = "", .name = "drain_timeout", .type = OPTION_DURATION, .unit_ms = 1,
	    .least = 0, .most = 3600 * SECOND_MS, .initial = "30s", .help = "How long running tasks may go on when taskd is told to stop." },
	{ IN_CONFIG(hard_timeout_ms), .section = "", .name = "hard_timeout", .type = OPTION_DURATION, .unit_ms = 1, .zero = true,
	    .least = 100, .most = TR_TIMEOUT_MS_MAX, .initial = "1h", .help = "An attempt of a task that names no hard timeout is killed after this." },
	{ IN_CONFIG(callback_timeout_ms), .section = "", .name = "callback_timeout", .type = OPTION_DURATION, .unit_ms = 1,
	    .least = 10, .most = 3600 * SECOND_MS, .initial = "10s", .help = "An on-failure callback is killed after this; the default then decides." },
	{ IN_CONFIG(cancel_term_ms), .section = "", .name = "cancel_term", .type = OPTION_DURATION, .unit_ms = 1,
	    .least = 0, .most = 3600 * SECOND_MS, .initial = "10s",
	    .help = "A cancelled task that has been told and still runs costs its worker a SIGTERM after this. Other tasks of that worker run again." },
	{ IN_CONFIG(cancel_kill_ms), .section = "", .name = "cancel_kill", .type = OPTION_DURATION, .unit_ms = 1,
	    .least = 0, .most = 3600 * SECOND_MS, .initial = "2s", .help = "After that SIGTERM, the worker is killed when this has passed." },
	{ IN_CONFIG(queue_window), .section = "", .name = "queue_window", .type = OPTION_NUMBER, .least = 64, .most = 1000000,
	    .initial = "10000", .help = "Waiting tasks of one queue held in memory; more rest in the journal." },
	{ IN_CONFIG(log_level), .section = "", .name = "log_level", .type = OPTION_CHOICE, .choices = "error warning notice info debug",
	    .initial = "info", .first_choice = LOG_ERR, .help = "Less important lines are not logged." },

	{ IN_CONFIG(ring.lanes), .section = "ring", .name = "lanes", .type = OPTION_NUMBER, .least = 1, .most = 512, .restart = true,
	    .unset = "as the ring that exists, else 64", .help = "Twice as many as there are producer threads: one whose lane is full takes more while half are free." },
	{ IN_CONFIG(ring.slots_per_lane), .section = "ring", .name = "slots_per_lane", .type = OPTION_NUMBER, .least = 64, .most = 32768,
	    .power_of_two = true, .restart = true, .unset = "as the ring that exists, else 1024", .help = "Slots of one producer." },
	{ IN_CONFIG(ring.slot_bytes), .section = "ring", .name = "slot_bytes", .type = OPTION_NUMBER, .least = 128, .most = 4096,
	    .multiple_of = 64, .restart = true, .unset = "as the ring that exists, else 256", .help = "Bytes of a slot; a task takes as many slots as it needs." },
	{ IN_CONFIG(ring.cells), .section = "ring", .name = "cells", .type = OPTION_NUMBER, .least = 16384, .most = 1048576,
	    .power_of_two = true, .restart = true, .unset = "as the ring that exists, else 16384", .help = "Batches that can wait in the ring." },
	{ IN_CONFIG(ring_mode), .section = "ring", .name = "mode", .type = OPTION_MODE, .least = 0600, .most = 0666, .initial = "0600",
	    .restart = true, .help = "Permission bits of ring and board: 0660 when responders run as another user of one's group." },

	{ IN_CONFIG(board_entries), .section = "board", .name = "entries", .type = OPTION_NUMBER, .least = 64, .most = 1048576,
	    .multiple_of = BOARD_BUCKET, .initial = "4096", .restart = true, .help = "Tasks whose status is shown, live and recently ended (984 bytes each)." },
	{ IN_CONFIG(board_events), .section = "board", .name = "events", .type = OPTION_NUMBER, .least = 64, .most = 1048576,
	    .initial = "16384", .restart = true, .help = "Events that a reader may be behind before it misses some (about 200 bytes each, with their texts)." },

	{ IN_CONFIG(retention_age_ms), .section = "retention", .name = "age", .type = OPTION_DURATION, .unit_ms = 1, .zero = true,
	    .least = SECOND_MS, .most = 3660 * DAY_MS, .initial = "7d", .help = "Ended tasks older than this are removed from the journal, with what they logged and, of dead ones, their files." },
	{ IN_CONFIG(retention_count), .section = "retention", .name = "count", .type = OPTION_NUMBER, .zero = true, .least = 1,
	    .most = 1000000000000LL, .initial = "1000000", .help = "All but the newest this many ended tasks are removed." },

	{ IN_CONFIG(mail.server), .section = "mail", .name = "server", .type = OPTION_TEXT, .choices = "smtp:// smtps://",
	    .unset = "mail is written to the maildir", .help = "The SMTP server, as smtp://HOST[:PORT] or smtps://HOST[:PORT]." },
	{ IN_CONFIG(mail.user), .section = "mail", .name = "user", .type = OPTION_TEXT, .unset = "no authentication",
	    .help = "Authenticate as this user." },
	{ IN_CONFIG(mail.password_file), .section = "mail", .name = "password_file", .type = OPTION_PATH, .unset = "no authentication",
	    .help = "The first line of this file is the password." },
	{ IN_CONFIG(mail.from), .section = "mail", .name = "from", .type = OPTION_TEXT, .initial = "taskring@localhost",
	    .help = "The sender of mail that names none." },
	{ IN_CONFIG(mail.maildir), .section = "mail", .name = "maildir", .type = OPTION_PATH, .initial = "/var/lib/taskring/%i/mail",
	    .help = "The maildir that mail goes to when there is no server." },
	{ IN_CONFIG(mail.require_tls), .section = "mail", .name = "require_tls", .type = OPTION_YESNO, .initial = "yes",
	    .help = "Refuse to send without TLS." },
	{ IN_CONFIG(mail.ca_file), .section = "mail", .name = "ca_file", .type = OPTION_PATH, .unset = "the system's",
	    .help = "Certificates to trust." },
	{ IN_CONFIG(mail.timeout_ms), .section = "mail", .name = "timeout", .type = OPTION_DURATION, .unit_ms = 1, .least = 100,
	    .most = 3600 * SECOND_MS, .initial = "30s", .help = "Sending one mail may take this long." },
	{ IN_CONFIG(mail.connections), .section = "mail", .name = "connections", .type = OPTION_NUMBER, .least = 1, .most = 64, .initial = "2",
	    .help = "Connections to the server at the same time, of each worker thread; further mails wait for one." },

	{ IN_CONFIG(http.addresses.allow_private), .section = "http", .name = "allow_private", .type = OPTION_YESNO, .initial = "no",
	    .help = "Whether requests may go to loopback, private, link-local and shared addresses." },
	{ IN_CONFIG(http.addresses.allowed), .section = "http", .name = "allow_networks", .type = OPTION_NETWORKS, .unset = "none",
	    .help = "Networks that requests may go to, whatever their addresses are." },
	{ IN_CONFIG(http.ca_file), .section = "http", .name = "ca_file", .type = OPTION_PATH, .unset = "the system's",
	    .help = "Certificates to trust." },
	{ IN_CONFIG(http.timeout_ms), .section = "http", .name = "timeout", .type = OPTION_DURATION, .unit_ms = 1, .least = 1,
	    .most = HTTP_TIMEOUT_MAX_MS, .initial = "30s", .help = "A request whose task does not say may take this long." },
	{ IN_CONFIG(http.connect_timeout_ms), .section = "http", .name = "connect_timeout", .type = OPTION_DURATION, .unit_ms = 1,
	    .least = 1, .most = HTTP_TIMEOUT_MAX_MS, .initial = "10s", .help = "And its connection this long: the name, TCP and TLS." },
	{ IN_CONFIG(http.retry_after_most_ms), .section = "http", .name = "retry_after", .type = OPTION_DURATION, .unit_ms = 1,
	    .least = 0, .most = 7 * DAY_MS, .initial = "1h", .help = "How long a server's Retry-After may put off the next attempt." },

	{ IN_PROGRAM(program), .name = "program", .type = OPTION_TEXT, .choices = "/", .unset = "a fault",
	    .help = "The program's absolute path, of an executable file that not everybody may write." },
	{ IN_PROGRAM(args), .name = "args", .type = OPTION_TEXTS, .unset = "none",
	    .help = "Its arguments, as they are: no shell reads them." },
	{ IN_PROGRAM(directory), .name = "directory", .type = OPTION_PATH, .initial = "/",
	    .help = "The directory that it is started in." },
	{ IN_PROGRAM(environment), .name = "environment", .type = OPTION_VARIABLES, .unset = "PATH, LANG and what tells of the task",
	    .help = "Further environment variables; nothing is inherited." },
	{ IN_PROGRAM(max_output_bytes), .name = "max_output", .type = OPTION_SIZE, .least = 1024, .most = TIB, .initial = "16M",
	    .help = "A program that writes more than this, to standard output and error together, is killed." },
	{ IN_PROGRAM(kill_after_ms), .name = "kill_after", .type = OPTION_DURATION, .unit_ms = 1, .least = 0, .most = 60 * SECOND_MS,
	    .initial = "3s", .help = "Its process group gets SIGTERM when the task is to stop, and SIGKILL after this." },
	{ IN_PROGRAM(limit_memory_bytes), .name = "limit_memory", .type = OPTION_SIZE, .zero = true, .least = MIB, .most = TIB, .initial = "0",
	    .help = "Address space of each of its processes (RLIMIT_AS)." },
	{ IN_PROGRAM(limit_files), .name = "limit_files", .type = OPTION_NUMBER, .zero = true, .least = 8, .most = 1048576, .initial = "0",
	    .help = "Open files of each of its processes (RLIMIT_NOFILE)." },
	{ IN_PROGRAM(limit_cpu_s), .name = "limit_cpu", .type = OPTION_DURATION, .unit_ms = SECOND_MS, .zero = true, .least = 1,
	    .most = 30 * DAY_MS / SECOND_MS, .initial = "0", .help = "Processor time of each of its processes (RLIMIT_CPU); SIGXCPU ends it then." },

	{ .section = "pool", .name = "queues", .type = OPTION_QUEUES, .initial = "*",
	    .help = "The queues that this pool runs; \"*\" takes every queue that no pool names, and exactly one pool has it." },
	{ IN_POOL(processes), .name = "processes", .type = OPTION_NUMBER, .least = 1, .most = 256, .initial = "2",
	    .help = "Worker processes." },
	{ IN_POOL(threads), .name = "threads", .type = OPTION_NUMBER, .least = 1, .most = MAILBOX_THREADS_MAX, .initial = "1",
	    .help = "Threads of each, one running task on each." },
	{ IN_POOL(concurrency), .name = "concurrency", .type = OPTION_NUMBER, .least = 1, .most = MAILBOX_PENDING_MAX, .initial = "1024",
	    .help = "Tasks in one thread's hands: the running one, those given to it ahead, and the pending ones of asynchronous handlers." },
	{ IN_POOL(max_tasks), .name = "max_tasks", .type = OPTION_NUMBER, .zero = true, .least = 1, .most = 1000000000, .initial = "0",
	    .help = "A process is replaced after this many tasks." },
	{ IN_POOL(max_memory_bytes), .name = "max_memory", .type = OPTION_SIZE, .zero = true, .least = 16 * MIB, .most = TIB, .initial = "0",
	    .help = "A process is replaced when its resident memory is above this." },
	{ IN_POOL(limit_memory_bytes), .name = "limit_memory", .type = OPTION_SIZE, .zero = true, .least = 64 * MIB, .most = TIB, .initial = "0",
	    .help = "Address space of a process (RLIMIT_AS); what goes beyond fails." },
	{ IN_POOL(limit_files), .name = "limit_files", .type = OPTION_NUMBER, .zero = true, .least = 16, .most = 1048576, .initial = "0",
	    .help = "Open files of a process (RLIMIT_NOFILE)." },
	{ IN_POOL(limit_cpu_s), .name = "limit_cpu", .type = OPTION_DURATION, .unit_ms = SECOND_MS, .zero = true, .least = 1,
	    .most = 30 * DAY_MS / SECOND_MS, .initial = "0", .help = "Processor time of a process (RLIMIT_CPU); the kernel kills it then." },
};
const size_t config_option_count = sizeof(config_options) / sizeof(*config_options);

static_assert(offsetof(struct config_pool, name) == 0 && offsetof(struct config_program, name) == 0,
    "a record of a titled section begins with its name");
static_assert(CONFIG_POOLS_MAX <= CONFIG_RECORDS_MAX && CONFIG_PROGRAMS_MAX <= CONFIG_RECORDS_MAX, "room in struct loading");
const struct titled config_titled[CONFIG_TITLED] = {
	{ "exec", CONFIG_PROGRAMS_MAX, sizeof(struct config_program), offsetof(struct config, programs),
	    offsetof(struct config, program_count) },
	{ "pool", CONFIG_POOLS_MAX, sizeof(struct config_pool), offsetof(struct config, pools),
	    offsetof(struct config, pool_count) },
};

/* ---- describing -------------------------------------------------------------------------- */

struct suffix {
	const char *name;
	int64_t factor;
};
static const struct suffix size_suffixes[] = {
	{ "T", TIB }, { "G", 1LL << 30 }, { "M", MIB }, { "k", 1LL << 10 }, { "", 1 }, { NULL, 0 },
};
static const struct suffix duration_suffixes[] = {
	{ "d", DAY_MS }, { "h", 3600 * SECOND_MS }, { "m", 60 * SECOND_MS }, { "s", SECOND_MS }, { "ms", 1 }, { NULL, 0 },
};
static const struct suffix no_suffixes[] = { { "", 1 }, { NULL, 0 } };

static const struct suffix *suffixes_of(const struct option *option)
{
	if (option->type == OPTION_DURATION)
		return duration_suffixes;
	return option->type == OPTION_SIZE ? size_suffixes : no_suffixes;
}

/* A value as one would write it: with the largest suffix that leaves it whole. */
static const char *show_value(const struct option *option, int64_t value, char text[32])
{
	const struct suffix *suffix = suffixes_of(option);
	if (option->type == OPTION_DURATION)
		value *= option->unit_ms;
	while (suffix[1].name != NULL && (value < suffix->factor || value % suffix->factor != 0))
		suffix++;
	snprintf(text, 32, "%" PRId64 "%s", value / suffix->factor, suffix->name);
	return text;
}

static void allowed_range(const struct option *option, char *text, size_t room)
{
	const char *what = option->power_of_two ? "a power of two" : "a number";
	char multiple[40];
	if (option->multiple_of > 0) {
		snprintf(multiple, sizeof(multiple), "a multiple of %" PRId32, option->multiple_of);
		what = multiple;
	}
	if (option->type == OPTION_DURATION)
		what = "a time (ms, s, m, h, d)";
	else if (option->type == OPTION_SIZE)
		what = "a size (k, M, G, T)";
	char least[32], most[32];
	snprintf(text, room, "%s from %s to %s%s", what, show_value(option, option->least, least),
	    show_value(option, option->most, most), option->zero ? ", or 0 for none" : "");
}

const char *option_allowed(const struct option *option, char text[OPTION_ALLOWED_SIZE])
{
	switch (option->type) {
	case OPTION_NUMBER:
	case OPTION_SIZE:
	case OPTION_DURATION:
		allowed_range(option, text, OPTION_ALLOWED_SIZE);
		break;
	case OPTION_MODE:
		snprintf(text, OPTION_ALLOWED_SIZE, "permission bits (octal) from 0%" PRIo64 " to 0%" PRIo64,
		    (uint64_t)option->least, (uint64_t)option->most);
		break;
	case OPTION_YESNO:
		snprintf(text, OPTION_ALLOWED_SIZE, "yes or no");
		break;
	case OPTION_CHOICE:
		snprintf(text, OPTION_ALLOWED_SIZE, "one of: %s", option->choices);
		break;
	case OPTION_NAME:
		snprintf(text, OPTION_ALLOWED_SIZE, "1 to %d of A-Z a-z 0-9 . _ -, no leading dot", TR_NAME_MAX);
		break;
	case OPTION_TEXT:
		snprintf(text, OPTION_ALLOWED_SIZE, "%s%s", option->choices != NULL ? "what begins with one of: " : "any text",
		    option->choices != NULL ? option->choices : "");
		break;
	case OPTION_PATH:
		snprintf(text, OPTION_ALLOWED_SIZE, "a path");
		break;
	case OPTION_NETWORKS:
		snprintf(text, OPTION_ALLOWED_SIZE, "at most %d networks like 10.0.0.0/8 or fd00::/8, no bits set behind their length",
		    CONFIG_NETWORKS_MAX);
		break;
	case OPTION_QUEUES:
		snprintf(text, OPTION_ALLOWED_SIZE, "at most %d names, each 1 to %d of A-Z a-z 0-9 . _ -, or \"*\"",
		    CONFIG_QUEUES_MAX, TR_NAME_MAX);
		break;
	case OPTION_TEXTS:
		snprintf(text, OPTION_ALLOWED_SIZE, "at most %d texts", CONFIG_TEXTS_MAX);
		break;
	case OPTION_VARIABLES:
		snprintf(text, OPTION_ALLOWED_SIZE, "at most %d times NAME=VALUE, each NAME once, of A-Z a-z 0-9 _, not beginning with a digit or TASKRING_",
		    CONFIG_TEXTS_MAX);
		break;
	}
	return text;
}

/* ---- reading ----------------------------------------------------------------------------- */

/* Digits, then one of the suffixes. Without digits, with anything else, or too large: false. */
static bool read_number(const char *text, const struct suffix *suffixes, int64_t *number)
{
	if (text[0] < '0' || text[0] > '9')
		return false;
	char *end;
	errno = 0;
	long long digits = strtoll(text, &end, 10);
	if (errno != 0)
		return false;
	if (digits == 0 && *end == '\0') {
		*number = 0;
		return true;
	}
	for (; suffixes->name != NULL; suffixes++)
		if (strcmp(end, suffixes->name) == 0)
			return !__builtin_mul_overflow((int64_t)digits, suffixes->factor, number);
	return false;
}

static void store(const struct option *option, void *record, int64_t value)
{
	char *field = (char *)record + option->at;
	switch (option->bytes) {
	case 1: *(bool *)field = value != 0; break;
	case 4: *(uint32_t *)field = (uint32_t)value; break;
	case 8: *(uint64_t *)field = (uint64_t)value; break;
	default: assert(false && "a field that no number fits"); break;
	}
}

static bool set_number(const struct option *option, void *record, const char *text)
{
	int64_t value;
	if (!read_number(text, suffixes_of(option), &value))
		return false;
	if (option->type == OPTION_DURATION) {
		if (value % option->unit_ms != 0)
			return false;
		value /= option->unit_ms;
	}
	bool fits = value >= option->least && value <= option->most &&
	    (!option->power_of_two || (value & (value - 1)) == 0) &&
	    (option->multiple_of == 0 || value % option->multiple_of == 0);
	if (!fits && !(option->zero && value == 0))
		return false;
	store(option, record, value);
	return true;
}

static bool set_mode(const struct option *option, void *record, const char *text)
{
	char *end;
	if (text[0] < '0' || text[0] > '7')
		return false;
	unsigned long mode = strtoul(text, &end, 8);
	/* Every bit of `least` has to be there, and none that `most` does not have. */
	if (*end != '\0' || (mode & (unsigned long)option->least) != (unsigned long)option->least ||
	    (mode & ~(unsigned long)option->most) != 0)
		return false;
	store(option, record, (int64_t)mode);
	return true;
}

static bool set_yesno(const struct option *option, void *record, const char *text)
{
	bool yes = strcmp(text, "yes") == 0;
	if (!yes && strcmp(text, "no") != 0)
		return false;
	store(option, record, yes);
	return true;
}

static bool set_choice(const struct option *option, void *record, const char *text)
{
	int32_t value = option->first_choice;
	size_t bytes = strlen(text);
	for (const char *word = option->choices; *word != '\0'; value++) {
		size_t length = strcspn(word, " ");
		if (length == bytes && memcmp(word, text, bytes) == 0) {
			store(option, record, value);
			return true;
		}
		word += length + (word[length] == ' ');
	}
	return false;
}

/* True when `text` begins with one of the words and goes on after it. */
static bool begins_with_one_of(const char *text, const char *words)
{
	while (*words != '\0') {
		size_t length = strcspn(words, " ");
		if (strncmp(text, words, length) == 0 && text[length] != '\0')
			return true;
		words += length + (words[length] == ' ');
	}
	return false;
}

static bool set_text(const struct option *option, void *record, const char *text)
{
	if (text[0] == '\0' || (option->choices != NULL && !begins_with_one_of(text, option->choices)))
		return false;
	char *copy = strdup(text);
	if (copy == NULL)
		return false;
	char **field = (char **)(void *)((char *)record + option->at);
	free(*field);
	*field = copy;
	return true;
}

static bool set_name(const struct option *option, void *record, const char *text)
{
	size_t bytes = strlen(text);
	if (!record_name_ok(text, bytes))
		return false;
	memcpy((char *)record + option->at, text, bytes + 1);
	return true;
}

/* Adds one queue to the pool's list. */
static bool add_queue(struct config_pool *pool, const char *text)
{
	size_t bytes = strlen(text);
	if (pool->queue_count == CONFIG_QUEUES_MAX || (strcmp(text, "*") != 0 && !record_name_ok(text, bytes)))
		return false;
	char (*more)[TR_NAME_MAX + 1] = realloc(pool->queues, (pool->queue_count + 1) * sizeof(*more));
	if (more == NULL)
		return false;
	pool->queues = more;
	memcpy(more[pool->queue_count++], text, bytes + 1);
	return true;
}

static bool add_text(struct config_texts *list, const char *text)
{
	if (list->count == CONFIG_TEXTS_MAX)
		return false;
	char **more = realloc(list->texts, (list->count + 1) * sizeof(*more));
	if (more == NULL)
		return false;
	list->texts = more;
	more[list->count] = strdup(text);
	if (more[list->count] == NULL)
		return false;
	list->count++;
	return true;
}

/* TASKRING_... is what tells of the task. */
static bool add_variable(struct config_texts *list, const char *text)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789";
	size_t bytes = strspn(text, letters);
	if (bytes == 0 || text[bytes] != '=' || (text[0] >= '0' && text[0] <= '9') || strncmp(text, "TASKRING_", 9) == 0)
		return false;
	for (size_t i = 0; i < list->count; i++)
		if (strncmp(list->texts[i], text, bytes + 1) == 0)
			return false;
	return add_text(list, text);
}

/* Adds one network to those allowed. */
static bool add_network(struct http_address_rules *rules, const char *text)
{
	struct http_network network;
	if (rules->allowed_count == CONFIG_NETWORKS_MAX || !http_network_parse(&network, text))
		return false;
	struct http_network *more = realloc(rules->allowed, (rules->allowed_count + 1) * sizeof(*more));
	if (more == NULL)
		return false;
	rules->allowed = more;
	more[rules->allowed_count++] = network;
	return true;
}

bool option_set(const struct option *option, void *record, const char *text)
{
	struct config_texts *list = (struct config_texts *)(void *)((char *)record + option->at);
	errno = 0;
	bool well = false;
	switch (option->type) {
	case OPTION_NUMBER:
	case OPTION_SIZE:
	case OPTION_DURATION: well = set_number(option, record, text); break;
	case OPTION_MODE: well = set_mode(option, record, text); break;
	case OPTION_YESNO: well = set_yesno(option, record, text); break;
	case OPTION_CHOICE: well = set_choice(option, record, text); break;
	case OPTION_NAME: well = set_name(option, record, text); break;
	case OPTION_TEXT:
	case OPTION_PATH: well = set_text(option, record, text); break;
	case OPTION_QUEUES: well = add_queue(record, text); break;
	case OPTION_TEXTS: well = add_text(list, text); break;
	case OPTION_VARIABLES: well = add_variable(list, text); break;
	case OPTION_NETWORKS: well = add_network(&((struct config *)record)->http.addresses, text); break;
	}
	if (!well && errno != ENOMEM)
		errno = 0;
	return well;
}

void option_clear(const struct option *option, void *record)
{
	char *field = (char *)record + option->at;
	if (option->type == OPTION_TEXT || option->type == OPTION_PATH) {
		free(*(char **)(void *)field);
	} else if (option->type == OPTION_TEXTS || option->type == OPTION_VARIABLES) {
		const struct config_texts *list = (const struct config_texts *)(const void *)field;
		for (size_t i = 0; i < list->count; i++)
			free(list->texts[i]);
		free(list->texts);
	} else if (option->type == OPTION_QUEUES) {
		free(((struct config_pool *)record)->queues);
	}
}
