/*
 * Cleaning and checking text. In: what handlers said, or what a worker wrote into its mailbox. Out:
 * valid UTF-8 of one line. Called by task.c (worker) and mailbox.c (dispatcher).
 */
#include "taskd/text.h"

#include <stdint.h>
#include <string.h>

#define REPLACEMENT 0xfffdu
#define INVALID UINT32_MAX

/*
 * The first character's code and length; INVALID and the length of the run to replace as one
 * (Unicode 15, section 3.9, table 3-7 and "maximal subparts"). bytes > 0.
 */
static size_t first_character(const char *text, size_t bytes, uint32_t *code)
{
	const unsigned char *at = (const unsigned char *)text;
	unsigned char low = 0x80, high = 0xbf; /* what the second byte may be */
	size_t length;

	*code = at[0];
	if (at[0] < 0x80)
		return 1;
	if (at[0] >= 0xc2 && at[0] <= 0xdf) {
		length = 2;
		*code = at[0] & 0x1f;
	} else if (at[0] >= 0xe0 && at[0] <= 0xef) {
		length = 3;
		*code = at[0] & 0x0f;
		low = at[0] == 0xe0 ? 0xa0 : low;    /* no overlong forms */
		high = at[0] == 0xed ? 0x9f : high;  /* no surrogates */
	} else if (at[0] >= 0xf0 && at[0] <= 0xf4) {
		length = 4;
		*code = at[0] & 0x07;
		low = at[0] == 0xf0 ? 0x90 : low;
		high = at[0] == 0xf4 ? 0x8f : high; /* nothing above U+10FFFF */
	} else {
		*code = INVALID;
		return 1;
	}
	for (size_t i = 1; i < length; i++, low = 0x80, high = 0xbf) {
		if (i >= bytes || at[i] < low || at[i] > high) {
			*code = INVALID;
			return i;
		}
		*code = *code << 6 | (at[i] & 0x3f);
	}
	return length;
}

size_t text_character(const char *text, size_t bytes)
{
	uint32_t code;
	size_t length = first_character(text, bytes, &code);

	return code == INVALID ? 0 : length;
}

static bool is_control(uint32_t code)
{
	return code < 0x20 || (code >= 0x7f && code < 0xa0);
}

/* The picture of a control character (U+2400 block), U+FFFD where there is none. */
static uint32_t picture(uint32_t code)
{
	if (code < 0x20)
		return 0x2400 + code;
	return code == 0x7f ? 0x2421 : REPLACEMENT;
}

size_t text_clean(char *to, size_t most, const char *from, size_t bytes)
{
	size_t written = 0;

	while (bytes && (from[bytes - 1] == '\n' || from[bytes - 1] == '\r'))
		bytes--;
	while (bytes) {
		uint32_t code;
		size_t length = first_character(from, bytes, &code);
		char replaced[3];
		const char *source = from;
		size_t size = length;
		if (code == INVALID || is_control(code)) {
			code = code == INVALID ? REPLACEMENT : picture(code);
			replaced[0] = (char)(0xe0 | code >> 12);
			replaced[1] = (char)(0x80 | (code >> 6 & 0x3f));
			replaced[2] = (char)(0x80 | (code & 0x3f));
			source = replaced;
			size = sizeof replaced;
		}
		if (written + size > most)
			break;
		memcpy(to + written, source, size);
		written += size;
		from += length;
		bytes -= length;
	}
	to[written] = '\0';
	return written;
}

static bool all_well(const char *text, size_t bytes, bool controls)
{
	while (bytes) {
		uint32_t code;
		size_t length = first_character(text, bytes, &code);
		if (code == INVALID || (!controls && is_control(code)))
			return false;
		text += length;
		bytes -= length;
	}
	return true;
}

bool text_is_line(const char *text, size_t bytes)
{
	return all_well(text, bytes, false);
}

bool text_is_utf8(const char *text, size_t bytes)
{
	return all_well(text, bytes, true);
}
