/* taskd: reads the options, becomes the instance's user, takes its lock, and lets the supervisor run. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "taskd/config.h"
#include "taskd/instance.h"
#include "taskd/log.h"
#include "taskd/plugin.h"
#include "taskd/roles.h"
#include "taskd/supervisor.h"
#include "taskd/trial.h"

#define DEFAULT_FILE "/etc/taskring/taskd.conf"

static const char usage[] =
    "usage: taskd [-c FILE] [-t]\n"
    "       taskd -h | -o | -V\n"
    "  -c FILE  the configuration (" DEFAULT_FILE ")\n"
    "  -t       check it, load its plug-ins, say how it is, and exit with 0 or 1\n"
    "  -o       print every option with what it may hold, for the manual page\n"
    "  -V       print the version\n"
    "  -h       print this\n";

/* Also of the plug-ins, as far as they can be loaded: their start() may write what only taskd's user may. */
static int check(const char *path, const struct config *config)
{
	struct tr_error error = { "the configuration has faults" };
	static struct plugin_table *plugins; /* they stay loaded, as in workers */
	alarm(TRIAL_MOST_MS / 1000);
	bool well = config != NULL && (config->user == NULL || instance_drop_root(config)) &&
	    plugin_load(&plugins, config->plugin_dir, &error);
	fprintf(well ? stdout : stderr, "taskd: %s: %s\n", path, well ? "the configuration is well" : error.text);
	return well ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int serve(const char *path, bool only_check)
{
	static const struct supervisor_roles roles = { .dispatcher = dispatcher_run, .worker = worker_run, .trial = worker_try };
	static const struct supervisor_times times = {
		.backoff_first_ms = 100, .backoff_most_ms = 30000, .healthy_ms = 10000, .drain_extra_ms = 5000,
		.silence_ms = 30000, .hangup_ms = 1000, .trial_ms = TRIAL_MOST_MS,
	};
	struct config *config = config_load(path);
	if (only_check || config == NULL) {
		int status = check(path, config);
		config_free(&config);
		return status;
	}
	log_open("supervisor", config->log_level);
	int lock_fd = instance_drop_root(config) ? instance_lock(config, INSTANCE_WAIT_MS) : -1;
	if (lock_fd < 0) {
		config_free(&config);
		return EXIT_FAILURE;
	}
	return supervisor_run(config, lock_fd, &roles, &times);
}

int main(int argc, char **argv)
{
	const char *path = DEFAULT_FILE;
	bool only_check = false;
	int option;
	while ((option = getopt(argc, argv, "c:thoV")) != -1) {
		switch (option) {
		case 'c': path = optarg; break;
		case 't': only_check = true; break;
		case 'h': fputs(usage, stdout); return EXIT_SUCCESS;
		case 'o': config_print_options(stdout); return EXIT_SUCCESS;
		case 'V': puts("taskd " TASKRING_VERSION); return EXIT_SUCCESS;
		default: fputs(usage, stderr); return EXIT_FAILURE;
		}
	}
	if (optind != argc) {
		fputs(usage, stderr);
		return EXIT_FAILURE;
	}
	return serve(path, only_check);
}
