/* Its constructor does not come back. */
#include <unistd.h>

#include "taskring/handler.h"

__attribute__((constructor)) static void hang(void)
{
	for (;;)
		pause();
}

const struct tr_plugin taskring_plugin = { .abi = TR_PLUGIN_ABI };
