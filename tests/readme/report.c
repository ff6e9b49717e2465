#include "taskring/handler.h"

#define PAGES 12

static enum tr_outcome make_report(struct tr_task *task)
{
	for (unsigned page = 1; page <= PAGES; page++) {
		if (tr_should_stop(task) != TR_GO_ON)
			return tr_fail(task, "stopped before page %u", page);
		/* ... the work on one page ... */
		tr_progress(task, page, PAGES, "writing");
	}
	tr_result_json(task, "{\"pages\":12}");
	return TR_SUCCESS;
}

/* Tries for an hour, every five minutes. A crash is for a person: buried at once, with a mail. */
static struct tr_verdict on_report_failure(struct tr_task *task, const struct tr_failure *failure)
{
	if (failure->kind == TR_FAILED_CRASHED)
		return tr_enqueue(task, "mail",
		    "{\"to\":\"ops@example.org\",\"subject\":\"A report crashed\",\"text\":\"See taskd's log.\"}", NULL);
	return failure->attempt < 12 ? tr_retry_after(5 * 60 * 1000) : tr_bury();
}

static const struct tr_handler handlers[] = {
	{ .name = "make_report", .doc = "Writes the monthly report", .run = make_report },
};
static const struct tr_callback callbacks[] = {
	{ .name = "patient", .doc = "Tries for an hour; tells of crashes", .call = on_report_failure },
};
const struct tr_plugin taskring_plugin = {
	.abi = TR_PLUGIN_ABI,
	.handlers = handlers, .handler_count = 1,
	.callbacks = callbacks, .callback_count = 1,
};
