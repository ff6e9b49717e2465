/* A secret that is no name: it could not be kept. */
#include "taskring/handler.h"

static enum tr_outcome run(struct tr_task *task)
{
	(void)task;
	return TR_SUCCESS;
}

static const char *const secrets[] = { "token", "pass word", NULL };
static const struct tr_handler handlers[] = { { .name = "careless", .doc = "has a bad secret", .run = run, .secrets = secrets } };

const struct tr_plugin taskring_plugin = { .abi = TR_PLUGIN_ABI, .handlers = handlers, .handler_count = 1 };
