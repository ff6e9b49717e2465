/* A resource that cannot be opened. */
#include "taskring/handler.h"

static const struct tr_resource resources[] = { { "door", "has no handle", NULL, NULL, NULL } };

const struct tr_plugin taskring_plugin = { .abi = TR_PLUGIN_ABI, .resources = resources, .resource_count = 1 };
