/* It can be loaded, but does not start. */
#include "taskring/handler.h"

static int start(void)
{
	return 7;
}

const struct tr_plugin taskring_plugin = { .abi = TR_PLUGIN_ABI, .start = start };
