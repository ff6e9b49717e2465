/*
 * The log: an event name and its fields come in from every part of taskd, one line goes out to
 * standard error in one write(2). log_open() is called before there are threads; afterwards
 * log_event() only reads what it set, so any thread may call it. No line is longer than PIPE_BUF,
 * so lines of several processes on one pipe never mix.
 */
#include "taskd/log.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LINE_BYTES 4096 /* with the newline */
static_assert(LINE_BYTES <= PIPE_BUF, "longer writes to a pipe are not atomic");
/* What a cut line ends with: three dots, a quote where one is open, the newline. */
#define LINE_TAIL 5
#define VALUE_BYTES LINE_BYTES

static struct {
	int level;
	bool terminal;
	char origin[64]; /* "taskd[dispatcher 4711] " */
} setting = { .level = LOG_INFO, .origin = "taskd " };

struct line {
	size_t used;
	bool cut;  /* it is full: nothing more is added */
	bool dots; /* and says so */
	char bytes[LINE_BYTES];
};

/* One field's value before it is quoted. */
struct value {
	size_t used;
	char bytes[VALUE_BYTES];
};

void log_open(const char *role, int level)
{
	setting.level = level;
	setting.terminal = isatty(STDERR_FILENO) == 1;
	snprintf(setting.origin, sizeof(setting.origin), "taskd[%s %ld] ", role, (long)getpid());
}

/* All of it or nothing, so that neither an escape nor a character is cut in two. */
static void line_add(struct line *line, const char *bytes, size_t count)
{
	if (line->cut)
		return;
	if (count > LINE_BYTES - LINE_TAIL - line->used) {
		line->cut = true;
		return;
	}
	memcpy(line->bytes + line->used, bytes, count);
	line->used += count;
}

static void value_add(struct value *value, const char *bytes, size_t count)
{
	if (count > sizeof(value->bytes) - value->used)
		count = sizeof(value->bytes) - value->used;
	memcpy(value->bytes + value->used, bytes, count);
	value->used += count;
}

/*
 * The bytes of the character that `at` starts with, when it is printable: ASCII, or well-formed
 * UTF-8 (RFC 3629) above the C1 control characters. 0: it has to be escaped.
 */
static size_t printable(const unsigned char *at, size_t left)
{
	if (at[0] >= 0x20 && at[0] < 0x7f)
		return 1;
	size_t bytes = 0;
	if (at[0] >= 0xc2 && at[0] <= 0xdf)
		bytes = 2;
	else if (at[0] >= 0xe0 && at[0] <= 0xef)
		bytes = 3;
	else if (at[0] >= 0xf0 && at[0] <= 0xf4)
		bytes = 4;
	if (bytes == 0 || bytes > left)
		return 0;
	for (size_t i = 1; i < bytes; i++)
		if ((at[i] & 0xc0) != 0x80)
			return 0;
	if ((at[0] == 0xc2 && at[1] < 0xa0) || (at[0] == 0xe0 && at[1] < 0xa0) ||
	    (at[0] == 0xed && at[1] > 0x9f) || (at[0] == 0xf0 && at[1] < 0x90) ||
	    (at[0] == 0xf4 && at[1] > 0x8f))
		return 0;
	return bytes;
}

static bool is_plain_word(const struct value *value)
{
	for (size_t i = 0; i < value->used; i++) {
		unsigned char byte = (unsigned char)value->bytes[i];
		if (byte <= 0x20 || byte >= 0x7f || byte == '"' || byte == '\\' || byte == '=')
			return false;
	}
	return value->used > 0;
}

static void line_add_quoted(struct line *line, const struct value *value)
{
	line_add(line, "\"", 1);
	bool open = !line->cut;
	for (size_t i = 0; i < value->used && !line->cut;) {
		const char *at = value->bytes + i;
		size_t bytes = printable((const unsigned char *)at, value->used - i);
		if (bytes > 0 && *at != '"' && *at != '\\') {
			line_add(line, at, bytes);
			i += bytes;
			continue;
		}
		char escape[8];
		const char *letter = *at == '\0' ? NULL : strchr("\"\"\\\\\nn\rr\tt", *at);
		int length = letter != NULL ? snprintf(escape, sizeof(escape), "\\%c", letter[1])
					    : snprintf(escape, sizeof(escape), "\\x%02x", (unsigned)(unsigned char)*at);
		line_add(line, escape, (size_t)length);
		i++;
	}
	line_add(line, "\"", 1);
	if (open && line->cut) {
		/* LINE_TAIL keeps room for this. */
		memcpy(line->bytes + line->used, "...\"", 4);
		line->used += 4;
		line->dots = true;
	}
}

/* A conversion of printf(3): %[0][width|*][.precision|.*][hh|h|l|ll|j|z]type. */
struct conversion {
	bool zeros;
	int width, precision; /* -1: not given */
	char length;          /* 'L' stands for ll, 'H' for h and hh */
	char type;
};

/* The list lives behind a pointer, so that callees advance it (C11 7.16, note 253). */
struct arguments {
	va_list list;
};

static int read_number(const char **at, struct arguments *arguments)
{
	if (**at == '*') {
		++*at;
		return va_arg(arguments->list, int);
	}
	int number = 0;
	for (; **at >= '0' && **at <= '9'; ++*at)
		number = number * 10 + (**at - '0');
	return number;
}

/* `at` stands behind the '%'. Returns what follows the conversion. */
static const char *read_conversion(const char *at, struct conversion *conversion, struct arguments *arguments)
{
	*conversion = (struct conversion){ .width = 0, .precision = -1 };
	for (; *at == '0'; at++)
		conversion->zeros = true;
	conversion->width = read_number(&at, arguments);
	if (*at == '.') {
		at++;
		conversion->precision = read_number(&at, arguments);
	}
	if ((at[0] == 'l' && at[1] == 'l') || (at[0] == 'h' && at[1] == 'h')) {
		conversion->length = at[0] == 'l' ? 'L' : 'H';
		at += 2;
	} else if (*at != '\0' && strchr("hljz", *at) != NULL) {
		conversion->length = *at++;
	}
	conversion->type = *at;
	return *at == '\0' ? at : at + 1;
}

static intmax_t signed_argument(char length, struct arguments *arguments)
{
	switch (length) {
	case 'l': return va_arg(arguments->list, long);
	case 'L': return va_arg(arguments->list, long long);
	case 'j': return va_arg(arguments->list, intmax_t);
	default: return va_arg(arguments->list, int); /* what is shorter comes as one */
	case 'z': return va_arg(arguments->list, ssize_t);
	}
}

static uintmax_t unsigned_argument(char length, struct arguments *arguments)
{
	switch (length) {
	case 'l': return va_arg(arguments->list, unsigned long);
	case 'L': return va_arg(arguments->list, unsigned long long);
	case 'j': return va_arg(arguments->list, uintmax_t);
	default: return va_arg(arguments->list, unsigned);
	case 'z': return va_arg(arguments->list, size_t);
	}
}

static void value_add_text(struct value *value, const char *text, int precision)
{
	if (text == NULL)
		text = "(null)";
	value_add(value, text, precision >= 0 ? strnlen(text, (size_t)precision) : strlen(text));
}

/*
 * Does one conversion. Every number is printed by a constant format, at its widest type. `failed`
 * is the caller's errno, for %m. A type that is not here is our own bug.
 */
static void value_convert(struct value *value, const struct conversion *how, int failed,
    struct arguments *arguments)
{
	char text[400];
	int length = 0;
	int digits = how->zeros ? how->width : how->precision < 0 ? 1 : how->precision;
	int decimals = how->precision < 0 ? 6 : how->precision;

	switch (how->type) {
	case 'd':
	case 'i': length = snprintf(text, sizeof(text), "%.*jd", digits, signed_argument(how->length, arguments)); break;
	case 'u': length = snprintf(text, sizeof(text), "%.*ju", digits, unsigned_argument(how->length, arguments)); break;
	case 'x': length = snprintf(text, sizeof(text), "%.*jx", digits, unsigned_argument(how->length, arguments)); break;
	case 'o': length = snprintf(text, sizeof(text), "%.*jo", digits, unsigned_argument(how->length, arguments)); break;
	case 'f': length = snprintf(text, sizeof(text), "%.*f", decimals, va_arg(arguments->list, double)); break;
	case 'g': length = snprintf(text, sizeof(text), "%.*g", decimals, va_arg(arguments->list, double)); break;
	case 'p': length = snprintf(text, sizeof(text), "%p", va_arg(arguments->list, void *)); break;
	case 'c': length = snprintf(text, sizeof(text), "%c", va_arg(arguments->list, int)); break;
	case 's': value_add_text(value, va_arg(arguments->list, const char *), how->precision); break;
	case 'm': value_add_text(value, strerrordesc_np(failed), how->precision); break;
	case '%': value_add(value, "%", 1); break;
	default: assert(false && "a conversion that log_event() does not know"); break;
	}
	if (length > 0)
		value_add(value, text, (size_t)length < sizeof(text) ? (size_t)length : sizeof(text) - 1);
}

/* Adds one field; `at` is its first byte. Returns what follows it. */
static const char *line_add_field(struct line *line, const char *at, int failed, struct arguments *arguments)
{
	size_t key = strcspn(at, "= ");
	line_add(line, " ", 1);
	line_add(line, at, key);
	at += key;
	if (*at != '=')
		return at;
	line_add(line, at++, 1);

	struct value value;
	value.used = 0;
	while (*at != '\0' && *at != ' ') {
		if (*at != '%') {
			value_add(&value, at++, 1);
			continue;
		}
		struct conversion conversion;
		at = read_conversion(at + 1, &conversion, arguments);
		value_convert(&value, &conversion, failed, arguments);
	}
	if (is_plain_word(&value) && value.used <= LINE_BYTES - LINE_TAIL - line->used)
		line_add(line, value.bytes, value.used);
	else
		line_add_quoted(line, &value);
	return at;
}

void log_event(int priority, const char *event, const char *format, ...)
{
	if (priority > setting.level)
		return;
	int failed = errno;
	struct line line = { .used = 0 };
	if (!setting.terminal) {
		char mark[4] = { '<', (char)('0' + (priority & 7)), '>', '\0' };
		line_add(&line, mark, 3);
	}
	line_add(&line, setting.origin, strlen(setting.origin));
	line_add(&line, event, strlen(event));

	struct arguments arguments;
	va_start(arguments.list, format);
	for (const char *at = format; at != NULL && *at != '\0' && !line.cut;) {
		if (*at == ' ')
			at++;
		else
			at = line_add_field(&line, at, failed, &arguments);
	}
	va_end(arguments.list);

	if (line.cut && !line.dots) {
		memcpy(line.bytes + line.used, "...", 3);
		line.used += 3;
	}
	line.bytes[line.used++] = '\n';
	/* Nobody can be told that the log itself does not work: an unwritten line is lost. */
	while (write(STDERR_FILENO, line.bytes, line.used) < 0 && errno == EINTR)
		continue;
	errno = failed;
}
