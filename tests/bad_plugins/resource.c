/* A handler that needs what no plug-in has. */
#include "taskring/handler.h"

static enum tr_outcome run(struct tr_task *task)
{
	return tr_fail(task, "never loaded");
}

static const char *const needs[] = { "moonlight", NULL };
static const struct tr_handler handlers[] = { { "needy", "needs a resource", run, NULL, needs, NULL } };

const struct tr_plugin taskring_plugin = { .abi = TR_PLUGIN_ABI, .handlers = handlers, .handler_count = 1 };
