/* Enters: UTF-8 text. Leaves: the lines of a message. Called by mail_message.c. */
#include "taskd/mail_encode.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

#define LINE_MAX_WANTED 78     /* RFC 5322, 2.1.1 */
#define ENCODED_LINE_MAX 76    /* RFC 2047, 2, and RFC 2045, 6.7 */
#define UNFOLDED_MAX 900       /* with the longest header name still below RFC 5322's 998 */
#define QUOTED_NAME_MAX 60     /* a longer name goes into encoded words, which can be folded */
#define WORD_OPEN "=?UTF-8?Q?"
#define WORD_CLOSE "?="

static void write_hex(FILE *out, unsigned char byte)
{
	fprintf(out, "=%02X", byte);
}

/* Bytes of the UTF-8 character that begins here. */
static size_t character_bytes(const char *at)
{
	size_t bytes = 1;
	while (((unsigned char)at[bytes] & 0xc0) == 0x80)
		bytes++;
	return bytes;
}

/* What RFC 2047, 5 (3), allows in a phrase is allowed everywhere. */
static bool literal_in_word(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	    (c != 0 && strchr("!*+-/", c) != NULL);
}

/* Writes `text` as encoded words, never split inside a character. Returns the column after it. */
static size_t encoded_words(FILE *out, const char *text, size_t column)
{
	bool open = false;
	while (*text != '\0') {
		size_t bytes = character_bytes(text);
		bool literal = bytes == 1 && (literal_in_word((unsigned char)*text) || *text == ' ');
		size_t width = literal ? 1 : 3 * bytes;
		size_t opening = open ? 0 : strlen(WORD_OPEN);
		if (column + opening + width + strlen(WORD_CLOSE) > ENCODED_LINE_MAX) {
			fputs(open ? WORD_CLOSE "\r\n " : "\r\n ", out);
			column = 1;
			open = false;
		}
		if (!open) {
			fputs(WORD_OPEN, out);
			column += strlen(WORD_OPEN);
			open = true;
		}
		for (size_t i = 0; i < bytes; i++) {
			if (literal)
				fputc(*text == ' ' ? '_' : *text, out);
			else
				write_hex(out, (unsigned char)text[i]);
		}
		column += width;
		text += bytes;
	}
	if (open)
		fputs(WORD_CLOSE, out);
	return column + strlen(WORD_CLOSE);
}

/* Whether the text can stand as it is: what a reader would decode or strip must be encoded. */
static bool stands_as_is(const char *text)
{
	size_t bytes = strlen(text);
	if (bytes > 0 && (text[0] == ' ' || text[bytes - 1] == ' '))
		return false;
	if (strstr(text, "=?") != NULL)
		return false;
	size_t run = 0; /* spaces and the word behind them, which no fold divides; the first one has none */
	for (const char *at = text; *at != '\0'; at++) {
		if ((unsigned char)*at >= 0x80)
			return false;
		run = *at == ' ' && at[-1] != ' ' ? 1 : run + 1;
		if (run > UNFOLDED_MAX)
			return false;
	}
	return true;
}

void mail_encode_header(FILE *out, const char *name, const char *value)
{
	size_t column = strlen(name) + 2;
	fprintf(out, "%s: ", name);
	if (!stands_as_is(value)) {
		encoded_words(out, value, column);
		fputs("\r\n", out);
		return;
	}
	/* A fold goes before the spaces between two words, so that taking it out gives them back. */
	while (*value != '\0') {
		size_t spaces = strspn(value, " ");
		size_t run = spaces + strcspn(value + spaces, " ");
		if (spaces > 0 && column + run > LINE_MAX_WANTED) {
			fputs("\r\n", out);
			column = 0;
		}
		fwrite(value, 1, run, out);
		column += run;
		value += run;
	}
	fputs("\r\n", out);
}

/* The name beside an address: in quotes, which are right for every ASCII text, or encoded. */
static size_t write_name(FILE *out, const char *name, size_t column)
{
	if (!stands_as_is(name) || strlen(name) > QUOTED_NAME_MAX)
		return encoded_words(out, name, column);
	fputc('"', out);
	column += 2;
	for (; *name != '\0'; name++) {
		if (*name == '"' || *name == '\\') {
			fputc('\\', out);
			column++;
		}
		fputc(*name, out);
		column++;
	}
	fputc('"', out);
	return column;
}

void mail_encode_addresses(FILE *out, const char *name, const struct mail_address *addresses, size_t count)
{
	assert(count > 0);
	fprintf(out, "%s:", name);
	size_t column = strlen(name) + 1;
	for (size_t i = 0; i < count; i++) {
		const struct mail_address *each = &addresses[i];
		if (i > 0) {
			fputs(",\r\n", out);
			column = 0;
		}
		if (each->name[0] == '\0') {
			fprintf(out, " %s", each->address);
			continue;
		}
		fputc(' ', out);
		column = write_name(out, each->name, column + 1);
		bool fits = column + strlen(" <>,") + strlen(each->address) <= ENCODED_LINE_MAX;
		fprintf(out, "%s <%s>", fits ? "" : "\r\n", each->address);
	}
	fputs("\r\n", out);
}

/* Bytes of the line break that begins here; a text ends like a line. 0: something else. */
static size_t line_break(const char *at)
{
	if (at[0] == '\n')
		return 1;
	return at[0] == '\r' && at[1] == '\n' ? 2 : 0;
}

void mail_encode_body(FILE *out, const char *text)
{
	size_t column = 0;
	bool ended = false;
	while (*text != '\0') {
		size_t skip = line_break(text);
		if (skip > 0) {
			fputs("\r\n", out);
			column = 0;
			ended = true;
			text += skip;
			continue;
		}
		unsigned char c = (unsigned char)*text;
		bool before_end = text[1] == '\0' || line_break(text + 1) > 0;
		bool literal = (c > ' ' && c <= '~' && c != '=') || ((c == ' ' || c == '\t') && !before_end);
		size_t width = literal ? 1 : 3;
		if (column + width >= ENCODED_LINE_MAX) { /* the soft break's own "=" */
			fputs("=\r\n", out);
			column = 0;
		}
		if (literal)
			fputc(c, out);
		else
			write_hex(out, c);
		column += width;
		ended = false;
		text++;
	}
	if (!ended)
		fputs("\r\n", out);
}
