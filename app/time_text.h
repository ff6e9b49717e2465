/* Times as clients read them. */
#ifndef APP_TIME_TEXT_H
#define APP_TIME_TEXT_H

#include <jansson.h>
#include <stdint.h>

/* RFC 3339 in UTC with milliseconds, e.g. "2026-01-31T09:05:00.250Z"; JSON null for 0 (not yet). A
 * new reference, NULL when out of memory. */
json_t *time_json(int64_t time_ms);

/* And back: text that is a FORMAT_DATE_TIME. Fractions below a millisecond are left out. */
int64_t time_ms(const char *text);

#endif
