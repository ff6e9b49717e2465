/* taskctl list: the tasks that match, the newest first. */
#include "shared/tools/taskctl.h"

#define LIMIT 50

struct listing {
	bool json, failed;
	bool headed;
	size_t columns;
};

static bool show(void *context, const struct tr_task_status *status)
{
	struct listing *listing = context;

	if (!listing->json && !listing->headed)
		print_row_head(listing->columns);
	listing->headed = true;
	if (!listing->json)
		print_row(status, listing->columns);
	else if (!print_json(status_json(status)))
		listing->failed = true;
	return !listing->failed && !ferror(stdout);
}

static int list(struct request *request)
{
	struct listing listing = { .json = request->json, .columns = terminal_columns() };
	int status = request_open(request, false);

	if (status != EXIT_DONE)
		return status;
	status = walk(request, request->limited ? request->limit : LIMIT, show, &listing);
	if (status == EXIT_DONE && !request->json && !listing.headed)
		print_row_head(listing.columns);
	return listing.failed ? EXIT_FAILED : status;
}

const struct command command_list = {
	.name = "list", .operands = "", .summary = "Lists tasks, the newest first; 50 without -L",
	.options = TAKES_FILTER | TAKES_LIMIT, .run = list,
};
