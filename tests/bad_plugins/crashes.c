/* Its constructor crashes. */
#include <stdlib.h>

#include "taskring/handler.h"

__attribute__((constructor)) static void crash(void)
{
	abort();
}

const struct tr_plugin taskring_plugin = { .abi = TR_PLUGIN_ABI };
