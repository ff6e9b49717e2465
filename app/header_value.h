/*
 * Values of header fields with parameters, as Content-Type and Content-Disposition have them:
 *   form-data; name="file"; filename="report.csv"
 * Hostile text comes in, the type and single parameters go out. Called by upload.c and multipart.c.
 */
#ifndef APP_HEADER_VALUE_H
#define APP_HEADER_VALUE_H

#include <stdbool.h>
#include <stddef.h>

/* Whether what stands before the first ';' is `type`, in any case. */
bool header_value_is(const char *value, const char *type);

enum header_parameter { PARAMETER_FOUND, PARAMETER_ABSENT, PARAMETER_BAD };

/*
 * The parameter `name` (in any case), unquoted, written to text[size]; "" unless FOUND. BAD: the
 * value as a whole is not well-formed, the parameter stands there twice or does not fit.
 */
enum header_parameter header_value_parameter(const char *value, const char *name, char *text, size_t size);

#endif
