/*
 * taskctl retry: dead tasks are queued again; with --args one of them as a new task with other arguments,
 * whereupon the dead one is discarded. In that order: whoever is cut off between the two leaves a dead task too
 * many, never one too few.
 */
#include "shared/tools/taskctl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATH_SIZE 4096

/* The dead one's file, or -1: it has none, or *status says why not. */
static int open_file(const struct request *request, const struct tr_task_detail *detail, int *status)
{
	char path[PATH_SIZE], id[TR_ID_TEXT_SIZE];

	if (!detail->has_file)
		return -1;
	snprintf(path, sizeof path, "%s/%s.file", request->spool_dir, tr_id_format(&detail->status.id, id));
	int file = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (file < 0)
		*status = say_result(path, TR_SYSTEM, strerror(errno));
	return file;
}

static int push_again(struct request *request, const struct tr_task_detail *detail, struct tr_id *made)
{
	const struct task_options options = {
		.queue = detail->status.queue, .on_failure = *detail->on_failure ? detail->on_failure : NULL,
		.trace = *detail->trace ? detail->trace : NULL, .max_attempts = detail->status.max_attempts,
		.backoff_base_ms = detail->backoff_base_ms, .backoff_cap_ms = detail->backoff_cap_ms,
		.soft_timeout_ms = detail->soft_timeout_ms, .hard_timeout_ms = detail->hard_timeout_ms,
	};
	struct background_tasks *background;
	int status = EXIT_DONE, file = open_file(request, detail, &status);

	if (status != EXIT_DONE)
		return status;
	enum tr_result result = background_tasks_new(&background, request->ring);
	if (result == TR_OK)
		result = background_tasks_add(background, detail->status.handler, request->args, &options);
	if (result != TR_OK)
		status = say_result(detail->status.handler, result, background ? background_tasks_error(background) : NULL);
	if (status == EXIT_DONE && file >= 0)
		status = attach_file(request, background, file, "the task's file");
	if (status == EXIT_DONE) {
		*made = background_tasks_id(background, 0);
		status = publish(request, background);
	}
	background_tasks_free(&background);
	if (file >= 0)
		close(file);
	return status;
}

/* Who copies what is shown would give the handler the stars that stand for a secret. */
static bool has_stars(json_t *args)
{
	const char *name;
	json_t *value;

	if (json_is_string(args))
		return strcmp(json_string_value(args), "***") == 0;
	json_object_foreach(args, name, value)
		if (has_stars(value))
			return true;
	return false;
}

static int edit(struct request *request, const struct tr_id *id, const struct tr_task_detail *detail)
{
	char text[TR_ID_TEXT_SIZE], old[TR_ID_TEXT_SIZE];
	struct tr_id made;

	tr_id_format(id, old);
	if (detail->status.state != TR_DEAD) {
		say("%s: it is %s and cannot be retried", old, tr_state_name(detail->status.state));
		return EXIT_NOT_POSSIBLE;
	}
	if (request->dry_run) {
		if (request->json)
			print_json(json_pack("{s:i, s:i, s:b}", "matched", 1, "asked", 0, "dry_run", 1));
		else
			puts("1 task would be pushed anew, and 1 discarded");
		return EXIT_DONE;
	}
	int status = push_again(request, detail, &made);
	if (status != EXIT_DONE)
		return status;
	enum tr_result result = tr_task_discard(request->ring, id);
	tr_id_format(&made, text);
	if (request->json)
		print_json(json_pack("{s:s, s:s}", "id", text, "instead_of", old));
	else
		puts(text);
	say_if_stopped(request);
	return result == TR_OK ? EXIT_DONE : say_result(old, result, NULL);
}

static int edit_and_retry(struct request *request)
{
	struct tr_task_detail detail = { 0 };
	json_error_t error;
	struct tr_id id;
	json_t *json;

	if (request->filtered || request->all || request->operand_count != 1) {
		say("--args goes with one ID");
		return EXIT_USAGE;
	}
	if (!read_json(request->args, &json, &error)) {
		say("--args is no JSON: %s (column %d)", error.text, error.column);
		return EXIT_USAGE;
	}
	bool stars = has_stars(json);
	json_decref(json);
	if (!read_id(request->operands[0], &id))
		return EXIT_USAGE;
	int status = request_open(request, true);
	if (status != EXIT_DONE)
		return status;
	enum tr_result result = tr_task_detail(request->ring, &id, &detail);
	if (result != TR_OK) {
		status = say_result(request->operands[0], result, NULL);
	} else if (stars && detail.redacted) {
		say("--args: *** stands for a secret of the task and is not its value");
		status = EXIT_USAGE;
	} else {
		status = edit(request, &id, &detail);
	}
	tr_task_detail_clear(&detail);
	return status;
}

static int retry(struct request *request)
{
	static const struct verb verb = { .name = "retry", .participle = "retried", .states = 1u << TR_DEAD, .ask = tr_task_retry };

	return request->args != NULL ? edit_and_retry(request) : steer(request, &verb);
}

const struct command command_retry = {
	.name = "retry", .operands = "[ID... | -]", .summary = "Queues dead tasks again, with fresh attempts",
	.options = TAKES_FILTER | TAKES_LIMIT | TAKES_MANY | TAKES_DRY_RUN | TAKES_TIMEOUT | TAKES_ARGS, .operands_most = SIZE_MAX, .run = retry,
};
