/* A JSON object comes in, the options of a task go out. Called by the endpoints that let clients choose them. */
#include "app/task_options.h"

#include "app/time_text.h"

static uint32_t small(const json_t *object, const char *name)
{
	return (uint32_t)json_integer_value(json_object_get(object, name)); /* the table has bounds for each */
}

struct task_options task_options_read(const json_t *object)
{
	const char *run_at = json_string_value(json_object_get(object, "run_at"));
	return (struct task_options){
		.queue = json_string_value(json_object_get(object, "queue")),
		.on_failure = json_string_value(json_object_get(object, "on_failure")),
		.max_attempts = small(object, "max_attempts"),
		.backoff_base_ms = small(object, "backoff_base_ms"),
		.backoff_cap_ms = small(object, "backoff_cap_ms"),
		.soft_timeout_ms = small(object, "soft_timeout_ms"),
		.hard_timeout_ms = small(object, "hard_timeout_ms"),
		.delay_ms = json_integer_value(json_object_get(object, "delay_ms")),
		.run_at_ms = run_at != NULL ? time_ms(run_at) : 0,
		.expires_after_ms = json_integer_value(json_object_get(object, "expires_after_ms")),
	};
}
