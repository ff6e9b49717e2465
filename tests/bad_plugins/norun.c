/* A handler without a function. */
#include "taskring/handler.h"

static const struct tr_handler handlers[] = { { "norun", "does not run", NULL, NULL, NULL, NULL } };

const struct tr_plugin taskring_plugin = { .abi = TR_PLUGIN_ABI, .handlers = handlers, .handler_count = 1 };
