/*
 * A program's output. In: bytes as they come out of its pipes; out: log lines, progress, a result.
 * Called by exec_run.c on the loop of the worker's thread.
 */
#include "taskd/exec_output.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "taskd/arguments.h"

/* ---- standard output --------------------------------------------------------------------- */

/* Room for `count` more; the buffer doubles, as most outputs are small. */
static bool make_room(struct exec_output *output, size_t count)
{
	size_t room = output->out_room > 0 ? output->out_room : 1024;
	while (room < output->out_kept + count)
		room *= 2;
	if (room == output->out_room)
		return true;
	char *more = realloc(output->out, room);
	if (more == NULL)
		return false;
	output->out = more;
	output->out_room = room;
	return true;
}

void exec_output_out(struct exec_output *output, const char *bytes, size_t count)
{
	/* One more than a result may have, so that one too large can be told. The rest is read and forgotten. */
	size_t wanted = TR_RESULT_MAX + 1 - output->out_kept;

	output->out_bytes += count;
	if (count < wanted)
		wanted = count;
	if (wanted == 0 || output->no_memory)
		return;
	if (!make_room(output, wanted)) {
		output->no_memory = true;
		return;
	}
	memcpy(output->out + output->out_kept, bytes, wanted);
	output->out_kept += wanted;
}

/* The first bytes as UTF-8, cut at a character; what is none becomes U+FFFD. NULL: out of memory. */
static json_t *as_text(const char *bytes, size_t count)
{
	static const char replacement[] = "\xef\xbf\xbd";
	size_t used = 0;
	bool whole = count <= EXEC_TEXT_RESULT_MAX;

	count = whole ? count : EXEC_TEXT_RESULT_MAX;
	char *text = malloc(count * (sizeof replacement - 1) + 1);
	if (text == NULL)
		return NULL;
	for (size_t at = 0; at < count;) {
		size_t length = text_character(bytes + at, count - at);
		const char *character = length > 0 ? bytes + at : replacement;
		size_t copied = length > 0 ? length : sizeof replacement - 1;
		if (length == 0 && !whole && count - at < 4)
			break; /* perhaps a character that the cut went through */
		memcpy(text + used, character, copied);
		used += copied;
		at += length > 0 ? length : 1;
	}
	json_t *string = json_stringn(text, used);
	free(text);
	return string;
}

static void keep_text(struct exec_output *output)
{
	json_t *result = json_pack("{s:o, s:I}", "output", as_text(output->out, output->out_kept), "bytes",
	    (json_int_t)output->out_bytes);
	char *text = result == NULL ? NULL : json_dumps(result, JSON_COMPACT);

	if (text == NULL)
		tr_log(output->task, TR_WARNING, "the result is missing: out of memory");
	else
		(void)tr_result_json(output->task, text);
	free(text);
	json_decref(result);
}

void exec_output_keep_result(struct exec_output *output)
{
	struct tr_error error;

	if (output->out_bytes == 0)
		return;
	if (output->no_memory) {
		tr_log(output->task, TR_WARNING, "the result is missing: out of memory");
		return;
	}
	/* A zero would end the text for tr_result_json(); in JSON it can only stand escaped. */
	bool is_json = output->out_bytes <= TR_RESULT_MAX && memchr(output->out, '\0', output->out_kept) == NULL &&
	    arguments_are_json(output->out, output->out_kept, &error);
	if (!is_json || !make_room(output, 1)) {
		keep_text(output);
		return;
	}
	/* Most programs end it with a newline, which says nothing. */
	while (output->out_kept > 0 && strchr(" \t\r\n", output->out[output->out_kept - 1]) != NULL)
		output->out_kept--;
	output->out[output->out_kept] = '\0';
	(void)tr_result_json(output->task, output->out);
}

void exec_output_log_result(const struct exec_output *output)
{
	if (output->out_kept > 0)
		tr_log(output->task, TR_INFO, "standard output: %.*s",
		    (int)(output->out_kept < TEXT_LINE_MAX ? output->out_kept : TEXT_LINE_MAX), output->out);
}

/* ---- standard error ---------------------------------------------------------------------- */

/* "<4>text": the level of syslog(3), as sd-daemon(3) has it. Steps over it. */
static enum tr_level take_level(const char **line)
{
	static const enum tr_level levels[8] = {
		TR_ERROR, TR_ERROR, TR_ERROR, TR_ERROR, TR_WARNING, TR_INFO, TR_INFO, TR_DEBUG,
	};
	const char *at = *line;

	if (at[0] != '<' || at[1] < '0' || at[1] > '7' || at[2] != '>')
		return TR_INFO;
	*line += 3;
	return levels[at[1] - '0'];
}

/* A number, then a space or the end. Steps over it and the space. */
static bool take_number(const char **line, uint64_t *number)
{
	const char *at = *line;

	*number = 0;
	for (; *at >= '0' && *at <= '9'; at++)
		if (__builtin_mul_overflow(*number, 10, number) || __builtin_add_overflow(*number, (uint64_t)(*at - '0'), number))
			return false;
	if (at == *line || (*at != ' ' && *at != '\0'))
		return false;
	*line = *at == ' ' ? at + 1 : at;
	return true;
}

/* "progress DONE TOTAL [TEXT]". */
static bool is_progress(const struct exec_output *output, const char *line)
{
	static const char word[] = "progress ";
	uint64_t done, total;

	if (strncmp(line, word, sizeof word - 1) != 0)
		return false;
	line += sizeof word - 1;
	if (!take_number(&line, &done) || !take_number(&line, &total))
		return false;
	tr_progress(output->task, done, total, *line != '\0' ? line : NULL);
	return true;
}

static void end_line(struct exec_output *output)
{
	const char *line = output->line;

	/* A zero within would end it; what stands behind is not to vanish. */
	for (size_t i = 0; i < output->line_bytes; i++)
		if (output->line[i] == '\0')
			output->line[i] = ' ';
	while (output->line_bytes > 0 && output->line[output->line_bytes - 1] == '\r')
		output->line_bytes--;
	output->line[output->line_bytes] = '\0';
	output->line_bytes = 0;
	if (*line == '\0' || is_progress(output, line))
		return;
	enum tr_level level = take_level(&line);
	memcpy(output->last_line, line, strlen(line) + 1);
	if (output->lines++ < EXEC_LOG_LINES_MAX)
		tr_log(output->task, level, "%s", line);
}

void exec_output_errors(struct exec_output *output, const char *bytes, size_t count)
{
	output->error_bytes += count;
	while (count > 0) {
		const char *newline = memchr(bytes, '\n', count);
		size_t length = newline != NULL ? (size_t)(newline - bytes) : count;
		size_t room = TEXT_LINE_MAX - output->line_bytes;
		size_t copied = length < room ? length : room;
		memcpy(output->line + output->line_bytes, bytes, copied);
		output->line_bytes += copied;
		if (newline == NULL)
			return;
		end_line(output);
		bytes += length + 1;
		count -= length + 1;
	}
}

void exec_output_end(struct exec_output *output)
{
	if (output->line_bytes > 0)
		end_line(output);
	if (output->lines > EXEC_LOG_LINES_MAX)
		tr_log(output->task, TR_WARNING, "%llu more lines of standard error were dropped",
		    (unsigned long long)(output->lines - EXEC_LOG_LINES_MAX));
}

void exec_output_free(struct exec_output *output)
{
	free(output->out);
	output->out = NULL;
}
