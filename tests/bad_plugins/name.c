/* A handler's name that no task could name. */
#include "taskring/handler.h"

static enum tr_outcome run(struct tr_task *task)
{
	return tr_fail(task, "never loaded");
}

static const struct tr_handler handlers[] = { { "two words", "a bad name", run, NULL, NULL, NULL } };

const struct tr_plugin taskring_plugin = { .abi = TR_PLUGIN_ABI, .handlers = handlers, .handler_count = 1 };
