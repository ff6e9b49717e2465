/*
 * Waits until the board's numbers are as asked, for the system tests and the benchmarks:
 *   await [-n INSTANCE] [-t TIMEOUT_S] NAME=VALUE ... (equal)  NAME+VALUE ... (at least)
 * Leaves: "N.NNNNNN" seconds waited on standard output and status 0; or, after the timeout, what
 * is not as asked on standard error and status 1.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "shared/board.h"

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* The row's number, or -1; `end` is where the name ends in `text`. */
static int find_stat(const char *text, size_t *end)
{
	*end = strcspn(text, "=+");
	for (int row = 0; row < STATS; row++)
		if (strlen(stat_info[row].name) == *end && strncmp(stat_info[row].name, text, *end) == 0)
			return row;
	return -1;
}

static bool holds(const struct board *board, const char *condition, uint64_t *now)
{
	size_t end;
	int row = find_stat(condition, &end);

	if (row < 0 || !condition[end]) {
		fprintf(stderr, "await: \"%s\" is no condition\n", condition);
		exit(2);
	}
	uint64_t wanted = strtoull(condition + end + 1, NULL, 10);
	*now = atomic_load(&board->stats[row]);
	return condition[end] == '=' ? *now == wanted : *now >= wanted;
}

static bool all_hold(const struct board *board, char **conditions, bool say)
{
	bool all = true;

	for (; *conditions; conditions++) {
		uint64_t now = 0;
		if (board && holds(board, *conditions, &now))
			continue;
		all = false;
		if (say)
			fprintf(stderr, "await: %s, but it is %llu%s\n", *conditions, (unsigned long long)now,
			    board ? "" : " (no board)");
	}
	return all;
}

int main(int argc, char **argv)
{
	const struct timespec pause = { .tv_nsec = 500000 };
	const char *instance = "taskring";
	const struct board *board = NULL;
	struct tr_error error;
	double timeout = 30;
	int option;

	while ((option = getopt(argc, argv, "n:t:")) != -1) {
		if (option == 'n')
			instance = optarg;
		else if (option == 't')
			timeout = atof(optarg);
		else
			return 2;
	}
	double begun = seconds();
	for (;;) {
		if (board && board_replaced(board, instance))
			board_close(&board);
		if (!board && board_open(&board, instance, &error) != TR_OK)
			board = NULL;
		if (all_hold(board, argv + optind, false))
			break;
		if (seconds() - begun > timeout) {
			all_hold(board, argv + optind, true);
			return 1;
		}
		nanosleep(&pause, NULL);
	}
	printf("%.6f\n", seconds() - begun);
	return 0;
}
