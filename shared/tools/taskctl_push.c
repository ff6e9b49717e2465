/*
 * taskctl push: tasks from the command line, or from JSON lines. Enters: a handler, arguments, options. Leaves:
 * tasks in the ring, their ids on standard output, and with --wait how they ended.
 */
#include "shared/tools/taskctl.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include "shared/client.h"
#include "shared/id.h"

#define DURABLE_WAIT_MS 30000 /* without --timeout */
#define END_LOOK_MS 50        /* --wait looks this often: for a task's end there is no futex */
#define LINE_MOST (TR_ARGS_MAX + 4096)
#define SENDFILE_MOST 0x7ffff000

/* What is pushed, line by line or at once. */
struct push {
	struct request *request;
	struct background_tasks *background;
	const struct board *board; /* NULL: there is none */
	char unknown[TR_NAME_MAX + 1]; /* the handler that was last warned of */
	struct tr_id *ids; /* to be waited for */
	size_t id_count, id_room;
};

/* ---- arguments --------------------------------------------------------------------------- */

/* All of it, zero-terminated, the caller's. NULL: said why not. */
static char *read_whole(const char *path)
{
	FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");

	if (file == NULL) {
		say("%s: %s", path, strerror(errno));
		return NULL;
	}
	char *text = malloc(TR_ARGS_MAX + 2);
	size_t bytes = text != NULL ? fread(text, 1, TR_ARGS_MAX + 1, file) : 0;
	const char *fault = text == NULL ? "out of memory" : ferror(file) ? "it cannot be read" :
	    bytes > TR_ARGS_MAX ? "larger than 16 MiB" :
	    memchr(text, '\0', bytes) != NULL ? "it holds a zero byte, which no JSON does" : NULL;
	if (file != stdin)
		fclose(file);
	if (fault != NULL) {
		say("%s: %s", path, fault);
		free(text);
		return NULL;
	}
	while (bytes > 0 && strchr(" \t\r\n", text[bytes - 1]) != NULL)
		bytes--; /* the end of a file's last line is no part of the arguments */
	text[bytes] = '\0';
	return text;
}

/* The operand, @FILE or - as a JSON text, the caller's. NULL: said why not. */
static char *read_arguments(const char *operand)
{
	char *text = operand[0] == '@' ? read_whole(operand + 1) : strcmp(operand, "-") == 0 ? read_whole(operand) : strdup(operand);
	json_error_t error;
	json_t *json;

	if (text == NULL)
		return NULL;
	if (read_json(text, &json, &error)) {
		json_decref(json);
		return text;
	}
	say("the arguments are no JSON: %s (line %d, column %d)", error.text, error.line, error.column);
	free(text);
	return NULL;
}

/* It is pushed none the less: its plug-in may be about to be loaded. */
static void warn_if_unknown(struct push *push, const char *handler)
{
	if (push->board == NULL || board_may_have_handler(push->board, handler) || strcmp(handler, push->unknown) == 0)
		return;
	say("no worker has a handler \"%s\" now", handler);
	snprintf(push->unknown, sizeof push->unknown, "%s", handler);
}

/* ---- publishing -------------------------------------------------------------------------- */

int publish(struct request *request, struct background_tasks *background)
{
	int64_t durable_ms = request->timeout_ms >= 0 ? request->timeout_ms : DURABLE_WAIT_MS;
	enum tr_result result = background_tasks_publish(background, (uint32_t)(durable_ms < UINT32_MAX ? durable_ms : UINT32_MAX));

	return result == TR_OK ? EXIT_DONE : say_result("publishing", result, background_tasks_error(background));
}

static bool keep_id(struct push *push, const struct tr_id *id)
{
	if (push->id_count == push->id_room) {
		size_t room = push->id_room ? push->id_room * 2 : 64;
		struct tr_id *larger = realloc(push->ids, room * sizeof *larger);
		if (larger == NULL)
			return false;
		push->ids = larger;
		push->id_room = room;
	}
	push->ids[push->id_count++] = *id;
	return true;
}

static bool show_id(struct push *push, const struct tr_id *id)
{
	char text[TR_ID_TEXT_SIZE];

	if (push->request->wait)
		return keep_id(push, id);
	tr_id_format(id, text);
	if (push->request->json)
		return print_json(json_pack("{s:s}", "id", text));
	puts(text);
	return true;
}

/* The batch, if there is something in it. */
static int publish_batch(struct push *push)
{
	size_t count = background_tasks_count(push->background);

	if (count == 0)
		return EXIT_DONE;
	const struct tr_id first = background_tasks_id(push->background, 0);
	int status = publish(push->request, push->background);
	if (background_tasks_count(push->background) > 0)
		return status; /* nothing of it was published */
	for (size_t i = 0; i < count; i++) {
		const struct tr_id id = id_step(&first, (int)i);
		if (!show_id(push, &id))
			return EXIT_FAILED;
	}
	return status;
}

/* ---- one task ---------------------------------------------------------------------------- */

int attach_file(struct request *request, struct background_tasks *background, int from, const char *name)
{
	struct tr_error error;
	int fd = tr_spool_file(request->ring, &error);
	ssize_t copied = 1;

	if (fd < 0)
		return say_result(name, TR_NO_SPACE, error.text);
	while (copied > 0)
		copied = sendfile(fd, from, NULL, SENDFILE_MOST);
	if (copied < 0) {
		int failed = errno;
		close(fd);
		return say_result(name, TR_SYSTEM, strerror(failed));
	}
	enum tr_result result = background_tasks_attach(background, fd);
	return result == TR_OK ? EXIT_DONE : say_result(name, result, background_tasks_error(background));
}

static int push_task(struct push *push, const char *handler, const char *args, int file)
{
	struct request *request = push->request;
	enum tr_result result = background_tasks_add(push->background, handler, args, &request->task);

	if (result != TR_OK)
		return say_result(handler, result, background_tasks_error(push->background));
	warn_if_unknown(push, handler);
	int status = file >= 0 ? attach_file(request, push->background, file, request->file) : EXIT_DONE;
	return status == EXIT_DONE ? publish_batch(push) : status;
}

/* ---- lines ------------------------------------------------------------------------------- */

/* Adds it; what does not fit into the batch any more makes it go out first, unless all is to be one. */
static int add_line(struct push *push, const struct task_line *line)
{
	char *args = line->args != NULL ? json_dumps(line->args, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
	int status = EXIT_DONE;

	if (line->args != NULL && args == NULL)
		return say_result("reading", TR_NO_MEMORY, NULL);
	enum tr_result result = background_tasks_add(push->background, line->handler, args, &line->options);
	if (result == TR_TOO_LARGE && background_tasks_count(push->background) > 0 && !push->request->sequence) {
		status = publish_batch(push);
		if (status == EXIT_DONE)
			result = background_tasks_add(push->background, line->handler, args, &line->options);
	}
	free(args);
	if (status == EXIT_DONE && result == TR_OK)
		warn_if_unknown(push, line->handler);
	if (status == EXIT_DONE && result != TR_OK)
		status = say_result(line->handler, result, background_tasks_error(push->background));
	return status;
}

static int push_line(struct push *push, const char *text)
{
	const struct request *request = push->request;
	json_error_t error;
	struct task_line line;
	json_t *json;
	int status = EXIT_USAGE;

	if (!read_json(text, &json, &error)) {
		say("no JSON: %s (column %d)", error.text, error.column);
		return EXIT_USAGE;
	}
	if (line_read(json, &request->task, &line))
		status = add_line(push, &line);
	json_decref(json);
	/* One by one they are out at once; for the disk's sake many go together. */
	if (status == EXIT_DONE && !request->sequence &&
	    (request->durability == TR_MEMORY || background_tasks_count(push->background) == TR_BATCH_MAX))
		status = publish_batch(push);
	return status;
}

static int push_lines(struct push *push, FILE *from)
{
	char *line = NULL;
	size_t room = 0, number = 0;
	ssize_t bytes;
	int status = EXIT_DONE;

	background_tasks_concurrent(push->background, !push->request->sequence);
	while (status == EXIT_DONE && (bytes = getline(&line, &room, from)) > 0) {
		number++;
		if (line[strspn(line, " \t\r\n")] == '\0' && strlen(line) == (size_t)bytes)
			continue;
		if (strlen(line) != (size_t)bytes || bytes > LINE_MOST) {
			say("a zero byte, or more than 16 MiB");
			status = EXIT_USAGE;
		} else {
			status = push_line(push, line);
		}
		if (status != EXIT_DONE)
			say("line %zu is where it stopped%s", number, push->request->sequence ? "; nothing was pushed" : "");
	}
	free(line);
	if (ferror(from)) {
		say("reading: %s", strerror(errno));
		status = EXIT_FAILED;
	}
	if (status != EXIT_DONE && push->request->sequence)
		return status;
	int published = publish_batch(push); /* whole lines that came before a faulty one are wanted */
	return status != EXIT_DONE ? status : published;
}

/* ---- waiting ----------------------------------------------------------------------------- */

static int print_end(const struct push *push, const struct tr_task_status *status)
{
	char id[TR_ID_TEXT_SIZE];

	if (push->request->json)
		return print_json(status_json(status)) ? EXIT_DONE : EXIT_FAILED;
	printf("%s %s", tr_id_format(&status->id, id), tr_state_name(status->state));
	const char *more = status->state == TR_SUCCEEDED ? status->result : status->error;
	if (more != NULL && *more != '\0') {
		putchar(' ');
		print_text(stdout, more, 0);
	}
	putchar('\n');
	return EXIT_DONE;
}

static int wait_for(const struct push *push, const struct tr_id *id, int64_t until_ms)
{
	char text[TR_ID_TEXT_SIZE];

	for (int pause_ms = 1;; pause_ms = pause_ms * 2 < END_LOOK_MS ? pause_ms * 2 : END_LOOK_MS) {
		struct tr_task_status status;
		enum tr_result result = tr_task_status(push->request->ring, id, &status);
		if (result != TR_OK)
			return say_result(tr_id_format(id, text), result, NULL);
		bool ended = tr_state_is_ended(status.state), late = now_ms() >= until_ms;
		int printed = ended || late ? print_end(push, &status) : EXIT_DONE;
		bool well = status.state == TR_SUCCEEDED;
		tr_task_status_clear(&status);
		if (printed != EXIT_DONE || late || ended)
			return printed != EXIT_DONE ? printed : !ended ? EXIT_TIMED_OUT : well ? EXIT_DONE : EXIT_ENDED_BADLY;
		poll(NULL, 0, pause_ms);
	}
}

static int wait_for_all(const struct push *push)
{
	int64_t until_ms = push->request->timeout_ms >= 0 ? now_ms() + push->request->timeout_ms : INT64_MAX;
	int status = EXIT_DONE;

	for (size_t i = 0; i < push->id_count; i++) {
		int one = wait_for(push, &push->ids[i], until_ms);
		fflush(stdout);
		if (status == EXIT_DONE)
			status = one;
	}
	return status;
}

/* ---- the command ------------------------------------------------------------------------- */

/* What it reads is opened, and read if it is not lines, before the program becomes another user. */
struct input {
	char *args;
	FILE *lines;
	int file;
};

static bool open_input(const struct request *request, struct input *input)
{
	const char *lines = request->operand_count > 0 ? request->operands[0] : "-";

	if (request->lines) {
		input->lines = strcmp(lines, "-") == 0 ? stdin : fopen(lines, "re");
		if (input->lines == NULL)
			say("%s: %s", lines, strerror(errno));
		return input->lines != NULL;
	}
	if (request->operand_count > 1 && (input->args = read_arguments(request->operands[1])) == NULL)
		return false;
	if (request->file != NULL && (input->file = open(request->file, O_RDONLY | O_CLOEXEC)) < 0) {
		say("%s: %s", request->file, strerror(errno));
		return false;
	}
	return true;
}

static int push_input(struct push *push, const struct input *input)
{
	enum tr_result result = background_tasks_new(&push->background, push->request->ring);

	if (result != TR_OK)
		return say_result("opening a batch", result, NULL);
	push->board = client_board(push->request->ring, &result);
	background_tasks_durability(push->background, push->request->durability);
	int status = input->lines != NULL ? push_lines(push, input->lines) :
	    push_task(push, push->request->operands[0], input->args, input->file);
	background_tasks_free(&push->background);
	return status;
}

static int push_tasks(struct request *request)
{
	struct push push = { .request = request };
	struct input input = { .file = -1 };
	int status = EXIT_USAGE;

	if (request->lines ? request->operand_count > 1 || request->file != NULL : request->operand_count == 0 || request->sequence) {
		say("wanted: push HANDLER [ARGUMENTS | @FILE | -], or push -l [FILE | -] without --file");
		return EXIT_USAGE;
	}
	if (open_input(request, &input))
		status = request_open(request, true);
	if (status == EXIT_DONE) {
		status = push_input(&push, &input);
		fflush(stdout);
		say_if_stopped(request);
	}
	if (push.id_count > 0) {
		int waited = wait_for_all(&push);
		status = status != EXIT_DONE ? status : waited;
	}
	if (input.lines != NULL && input.lines != stdin)
		fclose(input.lines);
	if (input.file >= 0)
		close(input.file);
	free(input.args);
	free(push.ids);
	return status;
}

const struct command command_push = {
	.name = "push", .operands = "HANDLER [ARGUMENTS | @FILE | -]", .summary = "Pushes a task, or with -l many, and prints ids",
	.options = TAKES_TASK | TAKES_TIMEOUT, .operands_most = 2, .run = push_tasks,
};
