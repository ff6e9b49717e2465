/* POST /queues/{name}/pause and /resume: both only ask taskd, by a command through the ring: hence 202. */
#include "app/endpoints.h"

const struct schema queue_asked_schema = {
	.types = SCHEMA_OBJECT,
	.title = "QueueAsked",
	.fields = (const struct schema_field[]){
		{ "queue", REQUIRED, { .types = SCHEMA_STRING } },
		{ "paused", REQUIRED, { .types = SCHEMA_BOOLEAN, .description = "As it is going to be" } },
		{ 0 },
	},
};

static struct web_answer ask(const struct web_request *request, bool pause)
{
	const char *name = web_text(request, "name");
	enum tr_result result = pause ? tr_queue_pause(request->ring, name) : tr_queue_resume(request->ring, name);
	if (result == TR_INVALID)
		return answer_fault("path", "name", "value_error", "A queue's name is 1 to 63 of A-Z a-z 0-9 . _ -, not starting with a dot");
	return result == TR_OK ? answer_json(202, json_pack("{s:s, s:b}", "queue", name, "paused", (int)pause)) :
				 answer_result(result, NULL);
}

struct web_answer post_queue_pause(const struct web_request *request, struct background_tasks *background)
{
	(void)background;
	return ask(request, true);
}

struct web_answer post_queue_resume(const struct web_request *request, struct background_tasks *background)
{
	(void)background;
	return ask(request, false);
}
