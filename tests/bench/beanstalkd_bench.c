/*
 * Whole jobs through beanstalkd, as the reference for whole tasks: one process puts jobs of 200 bytes
 * over one connection, another reserves and deletes them over a second one. Enters: the socket's path,
 * how many. Leaves: jobs a second on standard output; 1 when beanstalkd answers something else.
 */
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "samples.h"

#define JOB_BYTES 200

static FILE *connect_to(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	if (strlen(path) >= sizeof address.sun_path)
		return NULL;
	memcpy(address.sun_path, path, strlen(path));
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof address) != 0)
		return NULL;
	return fdopen(fd, "r+");
}

/* Sends one command and reads the first line of its answer. */
static bool ask(FILE *server, const char *command, char *answer, int size)
{
	return fputs(command, server) >= 0 && fflush(server) == 0 && fgets(answer, size, server) != NULL;
}

static int put_all(const char *path, long count)
{
	char command[JOB_BYTES + 64], answer[64];
	FILE *server = connect_to(path);
	int head = snprintf(command, sizeof command, "put 1024 0 60 %d\r\n", JOB_BYTES);

	memset(command + head, 'x', JOB_BYTES);
	memcpy(command + head + JOB_BYTES, "\r\n", 3);
	for (long i = 0; i < count; i++)
		if (!server || !ask(server, command, answer, sizeof answer) || strncmp(answer, "INSERTED", 8) != 0)
			return 1;
	return 0;
}

static int take_all(const char *path, long count)
{
	char command[64], answer[JOB_BYTES + 64];
	FILE *server = connect_to(path);
	unsigned long long id;

	for (long i = 0; i < count; i++) {
		if (!server || !ask(server, "reserve\r\n", answer, sizeof answer) ||
		    sscanf(answer, "RESERVED %llu", &id) != 1 || !fgets(answer, sizeof answer, server))
			return 1;
		snprintf(command, sizeof command, "delete %llu\r\n", id);
		if (!ask(server, command, answer, sizeof answer) || strncmp(answer, "DELETED", 7) != 0)
			return 1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	long count = argc == 3 ? strtol(argv[2], NULL, 10) : 0;
	int status;

	if (count < 1) {
		fprintf(stderr, "usage: beanstalkd_bench SOCKET COUNT\n");
		return 2;
	}
	int64_t begun = samples_now_ns();
	pid_t producer = fork();
	if (producer == 0)
		_exit(put_all(argv[1], count));
	int failed = producer < 0 ? 1 : take_all(argv[1], count);
	if (failed || waitpid(producer, &status, 0) != producer || status != 0) {
		fprintf(stderr, "beanstalkd_bench: %s did not take or give all jobs\n", argv[1]);
		return 1;
	}
	printf("beanstalkd, whole jobs, one connection on each side: %.0f/s\n",
	    (double)count * 1e9 / (double)(samples_now_ns() - begun));
	return 0;
}
