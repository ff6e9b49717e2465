/* Two resources of one name. */
#include "taskring/handler.h"

static bool light(void **handle, struct tr_error *error)
{
	(void)error;
	*handle = NULL;
	return true;
}

static const struct tr_resource resources[] = {
	{ "lamp", "the first", light, NULL, NULL },
	{ "lamp", "the second", light, NULL, NULL },
};

const struct tr_plugin taskring_plugin = { .abi = TR_PLUGIN_ABI, .resources = resources, .resource_count = 2 };
