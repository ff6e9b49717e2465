/*
 * Formats and patterns of strings: a text comes in from schema_validate(), a fault or NULL goes out.
 */
#include "app/schema.h"

#include <regex.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "app/email.h"
#include "app/uri.h"
#include "taskring/taskring.h"

/* ---- formats ----------------------------------------------------------------------------- */

/* Sets *type only where it is not the format's own. */
typedef const char *format_fn(const char *text, const char **type);

static const char *fault_of_email(const char *text, const char **type)
{
	(void)type;
	return email_fault(text);
}

static const char *fault_of_uri(const char *text, const char **type)
{
	(void)type;
	return uri_fault(text);
}

static const char *fault_of_http_url(const char *text, const char **type)
{
	bool scheme;
	const char *fault = uri_http_fault(text, &scheme);
	if (scheme)
		*type = "url_scheme";
	return fault;
}

static const char *fault_of_uuid(const char *text, const char **type)
{
	struct tr_id id;
	(void)type;
	return tr_id_parse(text, &id) ? NULL : "Input should be a valid UUID of 36 characters";
}

/* Two digits as a number, or -1. */
static int two_digits(const char *text)
{
	if (text[0] < '0' || text[0] > '9' || text[1] < '0' || text[1] > '9')
		return -1;
	return (text[0] - '0') * 10 + (text[1] - '0');
}

static bool is_between(int number, int least, int most)
{
	return number >= least && number <= most;
}

static bool date_ok(const char *text)
{
	static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	int century = two_digits(text), year = century < 0 ? -1 : two_digits(text + 2);
	if (year < 0 || text[4] != '-')
		return false;
	year += century * 100;
	int month = two_digits(text + 5);
	if (!is_between(month, 1, 12) || text[7] != '-')
		return false;
	bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
	return is_between(two_digits(text + 8), 1, days[month - 1] + (month == 2 && leap));
}

/* "hh:mm" with an hour up to 23. */
static bool hour_and_minute_ok(const char *text)
{
	return is_between(two_digits(text), 0, 23) && text[2] == ':' && is_between(two_digits(text + 3), 0, 59);
}

/* RFC 3339, section 5.6; a leap second may stand anywhere. Each step looks on only when the one before was well. */
static const char *fault_of_date_time(const char *text, const char **type)
{
	static const char fault[] = "Input should be a valid date and time of RFC 3339, such as 2026-01-31T09:05:00Z";
	(void)type;
	if (strnlen(text, 20) < 20 || !date_ok(text) || (text[10] != 'T' && text[10] != 't') ||
	    !hour_and_minute_ok(text + 11) || text[16] != ':' || !is_between(two_digits(text + 17), 0, 60))
		return fault;
	text += 19;
	if (*text == '.') {
		size_t digits = strspn(text + 1, "0123456789");
		if (digits == 0)
			return fault;
		text += 1 + digits;
	}
	if (*text == 'Z' || *text == 'z')
		return text[1] == '\0' ? NULL : fault;
	if (*text != '+' && *text != '-')
		return fault;
	return strlen(text) == 6 && hour_and_minute_ok(text + 1) ? NULL : fault;
}

static const char *fault_of_line(const char *text, const char **type)
{
	(void)type;
	for (const unsigned char *at = (const unsigned char *)text; *at != '\0'; at++)
		/* C0, DEL, and C1, which begins with 0xc2 in UTF-8. */
		if (*at < 0x20 || *at == 0x7f || (at[0] == 0xc2 && at[1] < 0xa0))
			return "String should not contain control characters";
	return NULL;
}

static const struct {
	const char *name;
	format_fn *fault;
	const char *type;
} formats[SCHEMA_FORMATS] = {
	[FORMAT_EMAIL] = { "email", fault_of_email, "value_error" },
	[FORMAT_URI] = { "uri", fault_of_uri, "url_parsing" },
	[FORMAT_HTTP_URL] = { "uri", fault_of_http_url, "url_parsing" },
	[FORMAT_UUID] = { "uuid", fault_of_uuid, "uuid_parsing" },
	[FORMAT_DATE_TIME] = { "date-time", fault_of_date_time, "datetime_parsing" },
	[FORMAT_LINE] = { "line", fault_of_line, "value_error" },
};

const char *schema_format_fault(enum schema_format format, const char *text, const char **type)
{
	if (format == FORMAT_NONE)
		return NULL;
	*type = formats[format].type;
	return formats[format].fault(text, type);
}

const char *schema_format_name(enum schema_format format)
{
	return formats[format].name;
}

/* ---- patterns ---------------------------------------------------------------------------- */

static void regex_free(regex_t *regex)
{
	regfree(regex);
	free(regex);
}

/* NULL: no memory, or not a regular expression, which schema_pattern_fault() has told at the start. */
static regex_t *compiled(struct schema_pattern *pattern)
{
	regex_t *regex = atomic_load_explicit(&pattern->compiled, memory_order_acquire);
	if (regex != NULL)
		return regex;
	regex = malloc(sizeof(*regex));
	if (regex == NULL)
		return NULL;
	if (regcomp(regex, pattern->text, REG_EXTENDED | REG_NOSUB) != 0) {
		free(regex);
		return NULL;
	}
	void *others = NULL;
	if (atomic_compare_exchange_strong(&pattern->compiled, &others, regex))
		return regex;
	regex_free(regex);
	return others;
}

bool schema_pattern_matches(struct schema_pattern *pattern, const char *text)
{
	const regex_t *regex = compiled(pattern);
	return regex != NULL && regexec(regex, text, 0, NULL, 0) == 0;
}

const char *schema_pattern_fault(struct schema_pattern *pattern)
{
	size_t bytes = strlen(pattern->text);
	if (bytes < 2 || pattern->text[0] != '^' || pattern->text[bytes - 1] != '$')
		return "a pattern begins with ^ and ends with $";
	if (strchr(pattern->text, '\\') != NULL || strstr(pattern->text, "[:") != NULL)
		return "a pattern has neither backslash nor [:class:]";
	int depth = 0;
	bool in_brackets = false;
	for (const char *at = pattern->text; *at != '\0'; at++) {
		if (*at == '[' || (*at == ']' && in_brackets))
			in_brackets = *at == '[';
		else if (!in_brackets)
			depth += *at == '(' ? 1 : *at == ')' ? -1 : 0;
		if (*at == '|' && depth == 0 && !in_brackets)
			return "alternatives stand in parentheses, so that ^ and $ hold for all of them";
	}
	return compiled(pattern) != NULL ? NULL : "a pattern does not compile";
}
