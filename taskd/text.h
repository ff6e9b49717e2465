/* Texts that handlers give us, made fit for logs, terminals, JSON and the board. */
#ifndef TASKD_TEXT_H
#define TASKD_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#define TEXT_LINE_MAX 1000 /* bytes of a log line or a failure's message */

/*
 * Writes one line of clean UTF-8, cut at a character, of at most `most` bytes and a zero, and
 * returns its length. Newlines at the end are dropped; other control characters become Unicode's
 * pictures of them (U+2400..), what is not UTF-8 becomes U+FFFD. Never shorter than what it is made
 * of, up to the cut.
 */
size_t text_clean(char *to, size_t most, const char *from, size_t bytes);

/* How long the UTF-8 character at `text` is; 0: it is none, or it is cut short. bytes > 0. */
size_t text_character(const char *text, size_t bytes);

/* True: what text_clean() would write unchanged. */
bool text_is_line(const char *text, size_t bytes);
bool text_is_utf8(const char *text, size_t bytes);

#endif
