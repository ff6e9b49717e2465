/* taskctl's main() and the table of its commands. */
#include "shared/tools/taskctl.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct command *const commands[] = {
	&command_push, &command_list, &command_show, &command_tail, &command_explain,
	&command_cancel, &command_retry, &command_discard, &command_run, &command_purge,
	&command_pause, &command_resume, &command_drain,
};
#define COMMANDS (sizeof commands / sizeof *commands)

static void print_commands(FILE *to)
{
	fputs("usage: taskctl COMMAND [OPTION...] [OPERAND...]\n\n", to);
	for (size_t i = 0; i < COMMANDS; i++)
		fprintf(to, "  %-8s %s\n", commands[i]->name, commands[i]->summary);
	fputs("\ntaskctl COMMAND --help shows the command's options; taskctl --version the version. All is in taskctl(1).\n", to);
}

static const struct command *find(const char *name)
{
	for (size_t i = 0; i < COMMANDS; i++)
		if (strcmp(commands[i]->name, name) == 0)
			return commands[i];
	return NULL;
}

static int run(int argc, char **argv)
{
	struct request request = { .command = argc > 1 ? find(argv[1]) : NULL };

	if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
		print_commands(stdout);
		return EXIT_DONE;
	}
	if (argc == 2 && (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0)) {
		puts("taskctl " TASKRING_VERSION);
		return EXIT_DONE;
	}
	if (request.command == NULL) {
		if (argc > 1)
			say("\"%s\" is no command", argv[1]);
		print_commands(stderr);
		return EXIT_USAGE;
	}
	if (!options_read(&request, argc - 1, argv + 1))
		return EXIT_USAGE;
	if (request.help) {
		options_print(request.command);
		return EXIT_DONE;
	}
	int status = request.command->run(&request);
	tr_close(&request.ring);
	return status;
}

/* A pipe that nobody reads any more: somebody like head has seen enough. */
static bool is_closed(int fd)
{
	struct pollfd out = { .fd = fd };

	return poll(&out, 1, 0) == 1 && (out.revents & POLLERR) != 0;
}

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN); /* what has begun is brought to its end */
	int status = run(argc, argv);
	errno = 0;
	if (fflush(stdout) == 0 && !ferror(stdout))
		return status;
	int error = errno;
	if (!is_closed(STDOUT_FILENO))
		say("standard output: %s", error ? strerror(error) : "not all was written");
	return status == EXIT_DONE ? EXIT_FAILED : status;
}
