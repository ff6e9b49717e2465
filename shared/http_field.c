/* See http_field.h. */
#include "http_field.h"

#include <stddef.h>
#include <string.h>
#include <strings.h>

/* A task that set them could say two things at once. */
static const char *const reserved[] = { "Host", "Content-Length", "Transfer-Encoding", "Connection", "Keep-Alive",
	"Upgrade", "TE", "Trailer", "Expect", "HTTP2-Settings", "Accept-Encoding" };
static const char reserved_prefix[] = "Proxy-";

bool http_field_is_reserved(const char *name)
{
	for (size_t i = 0; i < sizeof reserved / sizeof *reserved; i++)
		if (strcasecmp(name, reserved[i]) == 0)
			return true;
	return strncasecmp(name, reserved_prefix, strlen(reserved_prefix)) == 0;
}
