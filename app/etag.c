/* FNV-1a of 64 bits (Fowler, Noll, Vo; RFC 9923), and the length: it tells versions of a file, not attackers. */
#include "app/etag.h"

#include <inttypes.h>
#include <stdio.h>

void etag_make(char etag[ETAG_SIZE], const char *bytes, size_t count)
{
	uint64_t hash = 0xcbf29ce484222325u;
	for (size_t i = 0; i < count; i++)
		hash = (hash ^ (unsigned char)bytes[i]) * 0x100000001b3u;
	snprintf(etag, ETAG_SIZE, "\"%016" PRIx64 "%zx\"", hash, count);
}
