/* Its constructor ends the process, as if all were well. */
#include <stdlib.h>

#include "taskring/handler.h"

__attribute__((constructor)) static void leave(void)
{
	exit(0);
}

const struct tr_plugin taskring_plugin = { .abi = TR_PLUGIN_ABI };
