/* taskctl pause and taskctl resume: whether a queue's tasks start. */
#include "shared/tools/taskctl.h"

#include <inttypes.h>
#include <string.h>

#include "shared/client.h"

/* What is done to a queue. */
struct queue_verb {
	const char *name;       /* "pause" */
	const char *participle; /* "paused" */
	const char *already;    /* "is paused already" */
	bool pauses;
	enum tr_result (*ask)(struct taskring *ring, const char *queue);
};

/* What would be done, and to how many tasks. A queue that the board does not show has none. */
static enum tr_result try_one(const struct request *request, const struct queue_verb *verb, const char *name)
{
	enum tr_result result;
	struct board_queue queue;
	const struct board *board = client_board(request->ring, &result);

	if (board == NULL)
		return result;
	if (!record_name_ok(name, strnlen(name, TR_NAME_MAX + 1)))
		return TR_INVALID;
	if (!board_find_queue(board, name, &queue))
		queue = (struct board_queue){ .paused = 0 };
	if (request->json) {
		print_json(json_pack("{s:s, s:b, s:I, s:I, s:I, s:I, s:b}", "queue", name, "paused", (int)queue.paused,
		    "waiting", (json_int_t)queue.waiting, "running", (json_int_t)queue.running,
		    "scheduled", (json_int_t)queue.scheduled, "retrying", (json_int_t)queue.retrying, "dry_run", 1));
		return TR_OK;
	}
	bool already = (queue.paused != 0) == verb->pauses;
	printf("%s %s%s: %" PRIu64 " waiting, %" PRIu64 " running, %" PRIu64 " scheduled, %" PRIu64 " retrying\n", name,
	    already ? verb->already : "would be ", already ? "" : verb->participle, queue.waiting, queue.running,
	    queue.scheduled, queue.retrying);
	return TR_OK;
}

static int ask(struct request *request, const struct queue_verb *verb)
{
	int status = request_open(request, !request->dry_run);
	size_t asked = 0;

	for (size_t i = 0; i < request->operand_count && status == EXIT_DONE; i++) {
		const char *queue = request->operands[i];
		enum tr_result result = request->dry_run ? try_one(request, verb, queue) : verb->ask(request->ring, queue);
		if (result == TR_OK)
			asked++;
		else
			status = say_result(queue, result, result == TR_INVALID ? "no queue can have that name" : NULL);
	}
	if (request->ring == NULL || request->dry_run)
		return status;
	if (request->json)
		print_json(json_pack("{s:I}", "asked", (json_int_t)asked));
	else
		printf("%zu of %zu queue%s: asked taskd to %s\n", asked, request->operand_count, request->operand_count == 1 ? "" : "s",
		    verb->name);
	if (asked > 0)
		say_if_stopped(request);
	return status;
}

static int pause_queues(struct request *request)
{
	static const struct queue_verb verb = { .name = "pause", .participle = "paused", .already = "is paused already",
		.pauses = true, .ask = tr_queue_pause };

	return ask(request, &verb);
}

static int resume_queues(struct request *request)
{
	static const struct queue_verb verb = { .name = "resume", .participle = "resumed", .already = "is not paused",
		.ask = tr_queue_resume };

	return ask(request, &verb);
}

const struct command command_pause = {
	.name = "pause", .operands = "QUEUE...", .summary = "Pauses queues: what runs goes on, nothing more starts",
	.options = TAKES_DRY_RUN | TAKES_TIMEOUT, .operands_least = 1, .operands_most = SIZE_MAX, .run = pause_queues,
};
const struct command command_resume = {
	.name = "resume", .operands = "QUEUE...", .summary = "Resumes queues",
	.options = TAKES_DRY_RUN | TAKES_TIMEOUT, .operands_least = 1, .operands_most = SIZE_MAX, .run = resume_queues,
};
