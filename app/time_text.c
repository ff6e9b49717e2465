/* Milliseconds since 1970 come in, RFC 3339 text goes out, and the other way round. Called by the endpoints. */
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

static int number(const char *text, size_t digits)
{
	int value = 0;
	for (size_t i = 0; i < digits; i++)
		value = value * 10 + (text[i] - '0');
	return value;
}

int64_t time_ms(const char *text)
{
	struct tm utc = { .tm_year = number(text, 4) - 1900, .tm_mon = number(text + 5, 2) - 1, .tm_mday = number(text + 8, 2),
		.tm_hour = number(text + 11, 2), .tm_min = number(text + 14, 2), .tm_sec = number(text + 17, 2) };
	int64_t ms = (int64_t)timegm(&utc) * 1000;
	text += 19;
	if (*text == '.') {
		int unit = 100;
		for (text++; *text >= '0' && *text <= '9'; text++, unit /= 10)
			ms += (*text - '0') * unit;
	}
	if (*text == '+' || *text == '-')
		ms -= (*text == '-' ? -60000 : 60000) * (int64_t)(number(text + 1, 2) * 60 + number(text + 4, 2));
	return ms;
}
