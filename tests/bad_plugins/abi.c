/* Made for another taskd. */
#include "taskring/handler.h"

const struct tr_plugin taskring_plugin = { .abi = TR_PLUGIN_ABI + 1 };
