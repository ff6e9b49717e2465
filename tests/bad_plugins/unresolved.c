/* Needs a function that nobody has. */
#include "taskring/handler.h"

extern enum tr_outcome nobody_has_this(struct tr_task *task);

static const struct tr_handler handlers[] = { { "unresolved", "cannot be bound", nobody_has_this, NULL, NULL, NULL } };

const struct tr_plugin taskring_plugin = { .abi = TR_PLUGIN_ABI, .handlers = handlers, .handler_count = 1 };
