/*
 * Walking over the tasks that match, page after page, by id. Enters: a request's filter. Leaves: one task
 * after the other, the newest first. Called by list and by all that steers many.
 */
#include "shared/tools/taskctl.h"

#include <stdlib.h>
#include <string.h>

#define PAGE 250 /* tasks: one call's work and memory are bounded by it */

static bool is_zero(const struct tr_id *id)
{
	static const struct tr_id zero;

	return memcmp(id, &zero, sizeof zero) == 0;
}

int walk(const struct request *request, uint64_t limit, task_fn *take, void *context)
{
	struct tr_task_status *rows = calloc(PAGE, sizeof *rows);
	struct tr_id before, next;
	uint64_t left = limit ? limit : UINT64_MAX;
	bool go_on = true, first = true;
	int status = EXIT_DONE;

	if (rows == NULL)
		return say_result("listing", TR_NO_MEMORY, NULL);
	while (go_on && left > 0) {
		size_t count, most = left < PAGE ? (size_t)left : PAGE;
		enum tr_result result = tr_tasks_list(request->ring, &request->filter, first ? NULL : &before, most, rows, &count, &next);
		if (result != TR_OK) {
			status = say_result("listing", result, result == TR_INVALID ? "the filter names what no task can have" : NULL);
			break;
		}
		for (size_t i = 0; i < count; i++) {
			go_on = go_on && take(context, &rows[i]);
			tr_task_status_clear(&rows[i]);
		}
		left -= count;
		go_on = go_on && !is_zero(&next);
		before = next;
		first = false;
	}
	free(rows);
	return status;
}
