/* Milliseconds since 1970 come in, RFC 3339 text goes out. Called by the endpoints. */
#include "app/time_text.h"

#include <stdio.h>
#include <time.h>

json_t *time_json(int64_t time_ms)
{
	if (time_ms <= 0)
		return json_null();
	time_t seconds = (time_t)(time_ms / 1000);
	struct tm utc;
	char text[64];
	/* Fails only for years that do not fit into an int. */
	if (gmtime_r(&seconds, &utc) == NULL)
		return json_null();
	size_t used = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &utc);
	if (used == 0)
		return json_null();
	snprintf(text + used, sizeof(text) - used, ".%03dZ", (int)(time_ms % 1000));
	return json_string(text);
}
