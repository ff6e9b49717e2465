/*
 * taskctl cancel, discard, run, purge, and what retry shares with them: one task, several, or all that match.
 * Enters: ids or a filter. Leaves: a command in the ring for each task. Whether taskd then does it is
 * its own to judge; what board and journal show now is looked at first, so that one hears at once what cannot be.
 */
#include "shared/tools/taskctl.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define IS(state) (1u << (state))
#define COUNT_MOST 100000 /* tasks that are counted before one is asked */

struct steering {
	struct request *request;
	const struct verb *verb;
	uint64_t matched, asked;
	int status; /* of the first that failed */
};

static void failed(struct steering *steering, int status)
{
	if (steering->status == EXIT_DONE)
		steering->status = status;
}

/* ---- by id ------------------------------------------------------------------------------- */

static int steer_one(struct steering *steering, const char *text)
{
	const struct verb *verb = steering->verb;
	struct tr_task_status status;
	struct tr_id id;

	if (!read_id(text, &id))
		return EXIT_USAGE;
	enum tr_result result = tr_task_status(steering->request->ring, &id, &status);
	if (result != TR_OK)
		return say_result(text, result, NULL);
	enum tr_state state = status.state;
	tr_task_status_clear(&status);
	steering->matched++;
	if (verb->states & IS(state) && !steering->request->dry_run)
		result = verb->ask(steering->request->ring, &id);
	if (!(verb->states & IS(state)) || result == TR_INVALID) {
		say("%s: it is %s and cannot be %s", text, tr_state_name(state), verb->participle);
		return EXIT_NOT_POSSIBLE;
	}
	if (result != TR_OK)
		return say_result(text, result, NULL);
	steering->asked += !steering->request->dry_run;
	return EXIT_DONE;
}

/* A line each from standard input. */
static void steer_lines(struct steering *steering)
{
	char *line = NULL;
	size_t room = 0;

	while (getline(&line, &room, stdin) > 0) {
		line[strcspn(line, "\r\n")] = '\0';
		if (*line != '\0')
			failed(steering, steer_one(steering, line));
	}
	free(line);
}

static void steer_operands(struct steering *steering)
{
	for (size_t i = 0; i < steering->request->operand_count; i++) {
		const char *text = steering->request->operands[i];
		if (strcmp(text, "-") == 0)
			steer_lines(steering);
		else
			failed(steering, steer_one(steering, text));
	}
}

/* ---- by filter --------------------------------------------------------------------------- */

static bool count_one(void *context, const struct tr_task_status *status)
{
	struct steering *steering = context;

	(void)status;
	return ++steering->matched < COUNT_MOST || steering->request->dry_run;
}

static bool ask_one(void *context, const struct tr_task_status *status)
{
	struct steering *steering = context;
	char id[TR_ID_TEXT_SIZE];

	steering->matched++;
	enum tr_result result = steering->verb->ask(steering->request->ring, &status->id);
	if (result == TR_OK) {
		steering->asked++;
		return true;
	}
	if (result == TR_INVALID || result == TR_NOT_FOUND)
		return true; /* it has become another's since it was listed; the counts tell */
	failed(steering, say_result(tr_id_format(&status->id, id), result, NULL));
	return false; /* the counts tell of the rest, too */
}

static bool confirm(const struct steering *steering, uint64_t count)
{
	char answer[16] = "";

	fprintf(stderr, "%s %s%" PRIu64 " task%s? [y/N] ", steering->verb->name, count >= COUNT_MOST ? "at least " : "", count,
	    count == 1 ? "" : "s");
	return fgets(answer, sizeof answer, stdin) != NULL && (answer[0] == 'y' || answer[0] == 'Y');
}

static int steer_matching(struct steering *steering)
{
	struct request *request = steering->request;
	struct tr_task_filter *filter = &request->filter;
	unsigned wanted = filter->states ? filter->states & steering->verb->states : steering->verb->states;

	if (wanted == 0) {
		say("a task in such a state cannot be %s", steering->verb->participle);
		return EXIT_NOT_POSSIBLE;
	}
	filter->states = wanted;
	/* Without a terminal nobody is there to be asked. */
	bool asks = !request->dry_run && !request->yes && isatty(STDIN_FILENO);
	int status = request->dry_run || asks ? walk(request, request->limit, count_one, steering) : EXIT_DONE;
	if (status != EXIT_DONE || request->dry_run)
		return status;
	if (asks && (steering->matched == 0 || !confirm(steering, steering->matched)))
		return steering->matched == 0 ? EXIT_DONE : EXIT_FAILED;
	steering->matched = 0;
	return walk(request, request->limit, ask_one, steering);
}

/* ---- all of them ------------------------------------------------------------------------- */

static void print_counts(const struct steering *steering)
{
	const struct request *request = steering->request;

	if (request->json)
		print_json(json_pack("{s:I, s:I, s:b}", "matched", (json_int_t)steering->matched, "asked",
		    (json_int_t)steering->asked, "dry_run", (int)request->dry_run));
	else if (request->dry_run)
		printf("%" PRIu64 " task%s would be %s\n", steering->matched, steering->matched == 1 ? "" : "s",
		    steering->verb->participle);
	else
		printf("%" PRIu64 " of %" PRIu64 " task%s: asked taskd to %s\n", steering->asked, steering->matched,
		    steering->matched == 1 ? "" : "s", steering->verb->name);
}

int steer(struct request *request, const struct verb *verb)
{
	struct steering steering = { .request = request, .verb = verb };
	bool by_filter = request->filtered || request->all;

	if (by_filter == (request->operand_count > 0)) {
		say(by_filter ? "either ids or a filter" : "which? ids, a filter (--state, --handler, ...), or --all");
		return EXIT_USAGE;
	}
	int status = request_open(request, !request->dry_run);
	if (status != EXIT_DONE)
		return status;
	if (by_filter)
		failed(&steering, steer_matching(&steering));
	else
		steer_operands(&steering);
	/* Of ids that there are not enough was said. */
	if (by_filter || request->json || steering.matched > 0)
		print_counts(&steering);
	if (steering.asked > 0)
		say_if_stopped(request);
	return steering.status;
}

/* ---- the commands ------------------------------------------------------------------------ */

#define STEERS (TAKES_FILTER | TAKES_LIMIT | TAKES_MANY | TAKES_DRY_RUN | TAKES_TIMEOUT)
#define WAITING (IS(TR_SCHEDULED) | IS(TR_QUEUED) | IS(TR_RETRYING))

static int cancel(struct request *request)
{
	static const struct verb verb = { .name = "cancel", .participle = "cancelled", .states = WAITING | IS(TR_RUNNING),
		.ask = tr_task_cancel };

	return steer(request, &verb);
}

const struct command command_cancel = {
	.name = "cancel", .operands = "[ID... | -]", .summary = "Cancels tasks, waiting or running",
	.options = STEERS, .operands_most = SIZE_MAX, .run = cancel,
};

static int discard(struct request *request)
{
	static const struct verb verb = { .name = "discard", .participle = "discarded", .states = WAITING | IS(TR_DEAD),
		.ask = tr_task_discard };

	return steer(request, &verb);
}

const struct command command_discard = {
	.name = "discard", .operands = "[ID... | -]", .summary = "Discards tasks that are dead or wait: they end as cancelled",
	.options = STEERS, .operands_most = SIZE_MAX, .run = discard,
};

static int run(struct request *request)
{
	static const struct verb verb = { .name = "run", .participle = "run now", .states = IS(TR_SCHEDULED) | IS(TR_RETRYING),
		.ask = tr_task_run };

	return steer(request, &verb);
}

const struct command command_run = {
	.name = "run", .operands = "[ID... | -]", .summary = "Runs scheduled and retrying tasks now",
	.options = STEERS, .operands_most = SIZE_MAX, .run = run,
};

static int purge(struct request *request)
{
	static const struct verb verb = { .name = "purge", .participle = "removed",
		.states = IS(TR_SUCCEEDED) | IS(TR_DEAD) | IS(TR_CANCELLED) | IS(TR_EXPIRED), .ask = tr_task_purge };

	return steer(request, &verb);
}

const struct command command_purge = {
	.name = "purge", .operands = "[ID... | -]", .summary = "Removes ended tasks with all that is kept of them",
	.options = STEERS | TAKES_OLDER, .operands_most = SIZE_MAX, .run = purge,
};
