/*
 * Texts of the command line come in; numbers, times and sets of states go out. What is not wholly
 * understood is refused. Called by taskctl_options.c and by push, for the lines of its input.
 */
#include "shared/tools/taskctl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "shared/clock.h"

#define SECONDS_BELOW 100000000000ll /* a plain number from here on is milliseconds: as seconds, the year 5138 */
#define DAY_MS (24 * 3600 * 1000ll)
#define SPAN_MOST_MS (100 * 366 * DAY_MS)

int64_t now_ms(void)
{
	return clock_ms(CLOCK_REALTIME);
}

bool read_number(const char *text, uint64_t least, uint64_t most, uint64_t *number)
{
	char *end;

	if (text[0] < '0' || text[0] > '9')
		return false;
	errno = 0;
	unsigned long long value = strtoull(text, &end, 10);
	if (errno != 0 || *end != '\0' || value < least || value > most)
		return false;
	*number = value;
	return true;
}

bool read_duration(const char *text, int64_t most_ms, int64_t *ms)
{
	static const struct {
		const char *name;
		int64_t ms;
	} units[] = { { "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 }, { "d", DAY_MS } };
	char *unit;

	if (text[0] < '0' || text[0] > '9')
		return false;
	errno = 0;
	long long count = strtoll(text, &unit, 10);
	if (errno != 0)
		return false;
	if (count == 0 && *unit == '\0') {
		*ms = 0;
		return true;
	}
	for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
		if (strcmp(unit, units[i].name) != 0 || count > most_ms / units[i].ms)
			continue;
		*ms = count * units[i].ms;
		return true;
	}
	return false;
}

/* ---- times ------------------------------------------------------------------------------- */

/* So many digits, and a number of at most `most`. */
static bool take_digits(const char **at, unsigned digits, int least, int most, int *number)
{
	int value = 0;

	for (unsigned i = 0; i < digits; i++, (*at)++) {
		if (**at < '0' || **at > '9')
			return false;
		value = value * 10 + (**at - '0');
	}
	*number = value;
	return value >= least && value <= most;
}

static bool take(const char **at, char character)
{
	if (**at != character)
		return false;
	(*at)++;
	return true;
}

static bool take_date(const char **at, struct tm *tm)
{
	if (!take_digits(at, 4, 1970, 9999, &tm->tm_year) || !take(at, '-') || !take_digits(at, 2, 1, 12, &tm->tm_mon) ||
	    !take(at, '-') || !take_digits(at, 2, 1, 31, &tm->tm_mday))
		return false;
	tm->tm_year -= 1900;
	tm->tm_mon -= 1;
	struct tm normal = *tm;
	return timegm(&normal) != -1 && normal.tm_mday == tm->tm_mday; /* else the month has no such day */
}

static bool take_clock(const char **at, struct tm *tm, int *ms)
{
	if (!take_digits(at, 2, 0, 23, &tm->tm_hour) || !take(at, ':') || !take_digits(at, 2, 0, 59, &tm->tm_min))
		return false;
	if (!take(at, ':'))
		return true;
	if (!take_digits(at, 2, 0, 59, &tm->tm_sec))
		return false;
	if (!take(at, '.'))
		return true;
	const char *begin = *at;
	for (int unit = 100; **at >= '0' && **at <= '9'; (*at)++, unit /= 10)
		*ms += (**at - '0') * unit; /* beyond milliseconds the unit is 0 */
	return *at > begin;
}

/* The offset from UTC at the end, and nothing behind it. */
static bool take_zone(const char **at, int *offset_minutes)
{
	int hours, minutes, sign;

	if (**at == '\0' || take(at, 'Z'))
		return **at == '\0';
	sign = **at == '-' ? -1 : 1;
	if (!take(at, '+') && !take(at, '-'))
		return false;
	if (!take_digits(at, 2, 0, 23, &hours) || !take(at, ':') || !take_digits(at, 2, 0, 59, &minutes))
		return false;
	*offset_minutes = sign * (hours * 60 + minutes);
	return **at == '\0';
}

static bool read_calendar(const char *text, int64_t *time_ms)
{
	struct tm tm = { 0 };
	int ms = 0, offset_minutes = 0;

	if (!take_date(&text, &tm))
		return false;
	if ((take(&text, 'T') || take(&text, ' ')) && !take_clock(&text, &tm, &ms))
		return false;
	if (!take_zone(&text, &offset_minutes))
		return false;
	*time_ms = ((int64_t)timegm(&tm) - offset_minutes * 60) * 1000 + ms;
	return true;
}

bool read_time(const char *text, int64_t now, int64_t *time_ms)
{
	uint64_t number;
	int64_t span;

	if (strcmp(text, "now") == 0) {
		*time_ms = now;
		return true;
	}
	if (text[0] == '-' || text[0] == '+') {
		if (!read_duration(text + 1, SPAN_MOST_MS, &span))
			return false;
		*time_ms = text[0] == '-' ? now - span : now + span;
		return true;
	}
	if (read_number(text, 0, INT64_MAX / 1000, &number)) {
		*time_ms = (int64_t)number < SECONDS_BELOW ? (int64_t)number * 1000 : (int64_t)number;
		return true;
	}
	return read_calendar(text, time_ms);
}

/* ---- states and JSON --------------------------------------------------------------------- */

bool read_states(const char *text, unsigned *states)
{
	char name[32];

	if (*text == '\0')
		return false;
	while (*text != '\0') {
		size_t bytes = strcspn(text, ",");
		if (bytes == 0 || bytes >= sizeof name)
			return false;
		memcpy(name, text, bytes);
		name[bytes] = '\0';
		enum tr_state state = tr_state_by_name(name);
		if (strcmp(name, "waiting") == 0)
			*states |= 1u << TR_QUEUED | 1u << TR_SCHEDULED | 1u << TR_RETRYING;
		else if (state != TR_STATES)
			*states |= 1u << state;
		else
			return false;
		text += bytes;
		if (*text == ',' && *++text == '\0')
			return false;
	}
	return true;
}

bool read_json(const char *text, json_t **json, json_error_t *error)
{
	*json = json_loads(text, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, error);
	return *json != NULL;
}
