/* What a task may be told, as the members of a JSON object: of POST /tasks, and of a retry with other arguments. */
#ifndef APP_TASK_OPTIONS_H
#define APP_TASK_OPTIONS_H

#include "app/web.h"

#define MS_FIELD(most, text) { .types = SCHEMA_INTEGER, .minimum = AT_LEAST(0), .maximum = AT_MOST(most), .description = (text) }

/* Needs app/task_filter.h, for its names. */
#define TASK_OPTION_FIELDS \
	{ "queue", OPTIONAL, NAME_FIELD("\"default\" where it is not named") }, \
	{ "on_failure", OPTIONAL, NAME_FIELD("The callback that decides after a failure") }, \
	{ "max_attempts", OPTIONAL, { .types = SCHEMA_INTEGER, .minimum = AT_LEAST(1), .maximum = AT_MOST(TR_ATTEMPTS_MAX), \
		.description = "5 where it is not named" } }, \
	{ "backoff_base_ms", OPTIONAL, MS_FIELD(TR_TIMEOUT_MS_MAX, "The first retry's upper bound; 0: 1000") }, \
	{ "backoff_cap_ms", OPTIONAL, MS_FIELD(TR_TIMEOUT_MS_MAX, "Any retry's upper bound; 0: 600000") }, \
	{ "soft_timeout_ms", OPTIONAL, MS_FIELD(TR_TIMEOUT_MS_MAX, "Then the handler is told; 0: a little before the hard one") }, \
	{ "hard_timeout_ms", OPTIONAL, MS_FIELD(TR_TIMEOUT_MS_MAX, "Then its worker is killed; 0: taskd's configured default") }, \
	{ "delay_ms", OPTIONAL, MS_FIELD(TR_DELAY_MS_MAX, "Not before this long from now") }, \
	{ "run_at", OPTIONAL, { .types = SCHEMA_STRING, .format = FORMAT_DATE_TIME, .description = "Not before this time" } }, \
	{ "expires_after_ms", OPTIONAL, MS_FIELD(TR_DELAY_MS_MAX, "It must have started by then; 0: never expires") }

/* Its texts are those of `object`, which has passed the table's check. */
struct task_options task_options_read(const json_t *object);

#endif
