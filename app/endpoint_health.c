/*
 * GET /healthz: is the ring there, is taskd alive, how old is the oldest waiting task. Read from
 * shared memory only, so it answers while taskd hangs or is dead.
 */
#include "app/endpoints.h"
#include "app/time_text.h"

#define COUNT { .types = SCHEMA_INTEGER, .minimum = AT_LEAST(0) }

const struct schema health_schema = {
	.types = SCHEMA_OBJECT,
	.title = "Health",
	.fields = (const struct schema_field[]){
		{ "status", REQUIRED, { .types = SCHEMA_STRING, .choices = (const char *const[]){ "ok", "failing", NULL } } },
		{ "ring", REQUIRED, { .types = SCHEMA_STRING, .choices = (const char *const[]){ "ok", "missing", NULL } } },
		{ "taskd", REQUIRED, { .types = SCHEMA_STRING, .choices = (const char *const[]){ "alive", "not alive", NULL } } },
		{ "taskd_seen", REQUIRED, { .types = SCHEMA_STRING | SCHEMA_NULL, .format = FORMAT_DATE_TIME } },
		{ "oldest_waiting_ms", REQUIRED, COUNT },
		{ "waiting", REQUIRED, COUNT },
		{ "running", REQUIRED, COUNT },
		{ "ring_cells_used", REQUIRED, COUNT },
		{ "ring_cells", REQUIRED, COUNT },
		{ 0 },
	},
};

struct web_answer get_health(const struct web_request *request, struct background_tasks *background)
{
	(void)background;
	struct tr_health health = { .ring_ok = false };
	if (request->ring != NULL) {
		/* NO_BOARD and the like leave taskd_alive false, which says it all. */
		enum tr_result result = tr_health(request->ring, &health);
		if (result != TR_OK)
			health.taskd_alive = false;
	}
	bool well = health.ring_ok && health.taskd_alive;
	struct web_answer answer = answer_json(well ? 200 : 503,
	    json_pack("{s:s, s:s, s:s, s:o, s:I, s:I, s:I, s:I, s:I}",
		"status", well ? "ok" : "failing",
		"ring", health.ring_ok ? "ok" : "missing",
		"taskd", health.taskd_alive ? "alive" : "not alive",
		"taskd_seen", time_json(health.taskd_seen_ms),
		"oldest_waiting_ms", (json_int_t)health.oldest_waiting_ms,
		"waiting", (json_int_t)health.waiting,
		"running", (json_int_t)health.running,
		"ring_cells_used", (json_int_t)health.ring_cells_used,
		"ring_cells", (json_int_t)health.ring_cells));
	if (!well)
		answer.retry_after_s = WEB_RETRY_AFTER_S;
	return answer;
}
