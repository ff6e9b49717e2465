/* taskctl pause and taskctl resume: whether a queue's tasks start. */
#include "shared/tools/taskctl.h"

static int ask(struct request *request, enum tr_result (*give)(struct taskring *ring, const char *queue), const char *verb)
{
	int status = request_open(request, true);
	size_t asked = 0;

	for (size_t i = 0; i < request->operand_count && status == EXIT_DONE; i++) {
		const char *queue = request->operands[i];
		enum tr_result result = give(request->ring, queue);
		if (result == TR_OK)
			asked++;
		else
			status = say_result(queue, result, result == TR_INVALID ? "no queue can have that name" : NULL);
	}
	if (request->ring == NULL)
		return status;
	if (request->json)
		print_json(json_pack("{s:I}", "asked", (json_int_t)asked));
	else
		printf("%zu of %zu queue%s: asked taskd to %s\n", asked, request->operand_count, request->operand_count == 1 ? "" : "s", verb);
	if (asked > 0)
		say_if_stopped(request);
	return status;
}

static int pause_queues(struct request *request)
{
	return ask(request, tr_queue_pause, "pause");
}

static int resume_queues(struct request *request)
{
	return ask(request, tr_queue_resume, "resume");
}

const struct command command_pause = {
	.name = "pause", .operands = "QUEUE...", .summary = "Pauses queues: what runs goes on, nothing more starts",
	.options = TAKES_TIMEOUT, .operands_least = 1, .operands_most = SIZE_MAX, .run = pause_queues,
};
const struct command command_resume = {
	.name = "resume", .operands = "QUEUE...", .summary = "Resumes queues",
	.options = TAKES_TIMEOUT, .operands_least = 1, .operands_most = SIZE_MAX, .run = resume_queues,
};
