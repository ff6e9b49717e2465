/* Is a text JSON? Only asked, never built: arguments of 16 MiB must not cost 600 MiB of values. */
#ifndef TASKD_JSONTEXT_H
#define TASKD_JSONTEXT_H

#include <stddef.h>

#define JSONTEXT_DEPTH_MAX 2048 /* arrays and objects in each other; as jansson's */

/*
 * NULL: the text is one value and white space as RFC 8259 has it, in UTF-8, with \u surrogates in
 * pairs only (RFC 7493) and nothing nested deeper than JSONTEXT_DEPTH_MAX. Else what is wrong, in
 * static storage, and *at is the offset of the byte where. Allocates nothing.
 */
const char *jsontext_fault(const char *text, size_t bytes, size_t *at);

#endif
