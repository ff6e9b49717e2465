/*
 * taskd's configuration file (libconfuse): read, checked, immutable. Every fault is reported with
 * file, line and what is allowed. Read by the supervisor; what it forks inherits the struct.
 */
#ifndef TASKD_CONFIG_H
#define TASKD_CONFIG_H

#include <stdio.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "shared/record.h"
#include "taskd/http_address.h"

#define CONFIG_POOLS_MAX 32
#define CONFIG_QUEUES_MAX 256
#define CONFIG_PROGRAMS_MAX 64
#define CONFIG_TEXTS_MAX 256 /* of one list */
#define CONFIG_NETWORKS_MAX 64

enum config_history { HISTORY_ALL, HISTORY_FAILED, HISTORY_NONE };

struct config_pool {
	char name[TR_NAME_MAX + 1];
	uint32_t processes; /* 1..256 */
	uint32_t threads;   /* 1..MAILBOX_THREADS_MAX */
	uint32_t concurrency; /* works in one thread's hands at most, 1..MAILBOX_PENDING_MAX */
	uint64_t max_tasks; /* a process is replaced after this many; 0: never */
	uint64_t max_memory_bytes; /* or when its resident memory is above this; 0: never */
	uint64_t limit_memory_bytes; /* RLIMIT_AS; 0: none */
	uint32_t limit_files;        /* RLIMIT_NOFILE; 0: as inherited */
	uint32_t limit_cpu_s;        /* RLIMIT_CPU; 0: none */
	size_t queue_count;
	char (*queues)[TR_NAME_MAX + 1]; /* "*" takes every queue that no pool names */
};

struct config_texts {
	size_t count;
	char **texts;
};

/* A program that tasks may name (the handler "exec"). */
struct config_program {
	char name[TR_NAME_MAX + 1];
	char *program;   /* an absolute path */
	struct config_texts args, environment; /* the latter NAME=VALUE each */
	char *directory; /* path */
	uint64_t max_output_bytes;   /* of both its streams */
	uint32_t kill_after_ms;      /* from SIGTERM to SIGKILL */
	uint64_t limit_memory_bytes; /* as a pool's, for each of its processes; 0: the pool's */
	uint32_t limit_files, limit_cpu_s;
};

struct config_mail {
	char *server;   /* smtp://host[:port] or smtps://...; NULL: write the maildir */
	char *user, *password_file;
	char *from;     /* default sender */
	char *maildir;  /* where mail goes without a server */
	bool require_tls;
	char *ca_file;  /* NULL: the system's */
	uint32_t timeout_ms;
	uint32_t connections; /* of each worker thread, at the same time */
};

struct config_http {
	struct http_address_rules addresses; /* the networks are freed with the configuration */
	char *ca_file; /* NULL: the system's */
	uint32_t timeout_ms, connect_timeout_ms; /* of tasks that name none */
	uint32_t retry_after_most_ms;
};

struct config {
	char instance[TR_NAME_MAX + 1];
	char *path;       /* the file that this was read from */
	struct stat file; /* and what it was like */
	char *user;       /* NULL: stay; used only when started as root */
	char *journal;    /* path */
	char *spool_dir;  /* path */
	char *lock_file;  /* path */
	char *plugin_dir; /* path; every *.so in it is loaded */
	char *transfer_module; /* path of the shared object with libcurl */
	struct tr_geometry ring; /* zero fields: whatever is there, or the default */
	uint32_t ring_mode;      /* permission bits of ring and board */
	uint32_t board_entries, board_events;
	uint32_t commit_interval_ms; /* 1..50 */
	uint32_t sync_interval_ms;   /* 10..1000: what was committed is on disk after this at the latest */
	enum config_history history;
	int64_t retention_age_ms, retention_count;
	uint32_t drain_timeout_ms;
	uint32_t hard_timeout_ms; /* for tasks that name none; 0: none */
	uint32_t callback_timeout_ms;
	uint32_t cancel_term_ms; /* from telling a cancelled task to SIGTERM for its worker */
	uint32_t cancel_kill_ms; /* from there to SIGKILL */
	uint32_t queue_window;    /* waiting tasks of one queue held in memory */
	int log_level;            /* syslog's, messages above it are dropped */
	struct config_mail mail;
	struct config_http http;
	size_t pool_count;
	struct config_pool *pools;
	char *exec_keeper; /* path of the program that watches over each of them */
	size_t program_count;
	struct config_program *programs;
};

/* NULL after an error: each fault has been written to standard error as "FILE:LINE: ...". */
struct config *config_load(const char *path);
void config_free(struct config **config);

/* The pool that runs `queue`: the one that names it, else the one with "*"; -1: none. */
int config_pool_of(const struct config *config, const char *queue, size_t bytes);

/* Whether the file is another one by now, or has been written to. */
bool config_file_changed(const struct config *config);

/*
 * NULL when `next` can take the place of `now` without a restart, else the option that differs and
 * cannot change while taskd runs (instance, journal, spool_dir, lock_file, ring, board, user).
 */
const char *config_restart_needed(const struct config *now, const struct config *next);

/* Every option with what it may hold and its default, from the table, as mdoc(7) for taskd.conf(5). */
void config_print_options(FILE *out);

#endif
