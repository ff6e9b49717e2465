/*
 * GET /healthz: is the ring there, is taskd alive, how old is the oldest waiting task. Read from
 * shared memory only, so it answers while taskd hangs or is dead.
 */
#include "app/time_text.h"
#include "app/web.h"

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
