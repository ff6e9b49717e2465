/*
 * Text as mail carries it: headers folded and, where they are not plain ASCII, in encoded words
 * (RFC 2047); bodies in quoted-printable (RFC 2045, 6.7). All that is written is ASCII, every line
 * ends with CR LF and has at most 998 characters, and 78 wherever it can be folded. Called by
 * mail_message.c; errors of `out` are found there, once, at the end.
 */
#ifndef TASKD_MAIL_ENCODE_H
#define TASKD_MAIL_ENCODE_H

#include <stdio.h>

#include "taskd/mail_address.h"

/* "Name: value". The value has passed mail_header_text_ok(); unfolding gives it back exactly. */
void mail_encode_header(FILE *out, const char *name, const char *value);

/* "Name: first, second, ...", count > 0. */
void mail_encode_addresses(FILE *out, const char *name, const struct mail_address *addresses, size_t count);

/* A body in UTF-8; its line breaks may be LF or CR LF. Ends with a line break. */
void mail_encode_body(FILE *out, const char *text);

#endif
