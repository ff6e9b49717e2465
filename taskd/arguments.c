/*
 * Arguments. In: a decoded record; out: JSON text for the handler. Called by attempt.c before a
 * handler runs, and by task.c for JSON that handlers give.
 */
#include "taskd/arguments.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>


bool arguments_are_json(const char *text, size_t bytes, struct tr_error *error)
{
	json_error_t fault;

	if (bytes == 2 && memcmp(text, "{}", 2) == 0) /* what tasks without arguments have */
		return true;
	/* What is JSON but not what jansson can hold is the handler's affair: zeros in strings, long integers. */
	json_t *parsed = json_loadb(text, bytes, JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &fault);
	if (!parsed)
		snprintf(error->text, sizeof error->text, "not JSON: %s, at byte %d of %zu", fault.text, fault.position, bytes);
	json_decref(parsed);
	return parsed != NULL;
}

static char *fail(struct tr_error *error, const char *path, const char *reason)
{
	snprintf(error->text, sizeof error->text, "spool file %s: %s", path, reason);
	return NULL;
}

/* Exactly `bytes`, or false and errno (0: the file ended). */
static bool read_all(int fd, char *to, size_t bytes)
{
	while (bytes) {
		ssize_t got = read(fd, to, bytes);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0) {
			if (got == 0)
				errno = 0;
			return false;
		}
		to += got;
		bytes -= (size_t)got;
	}
	return true;
}

static char *read_file(int fd, const char *path, uint32_t bytes, struct tr_error *error)
{
	struct stat status;

	if (fstat(fd, &status) < 0)
		return fail(error, path, strerror(errno));
	if (!S_ISREG(status.st_mode))
		return fail(error, path, "not a plain file");
	if (status.st_size != (off_t)bytes) {
		snprintf(error->text, sizeof error->text, "spool file %s: %lld bytes; the record says %u", path,
		    (long long)status.st_size, bytes);
		return NULL;
	}
	char *text = malloc((size_t)bytes + 1);
	if (!text)
		return fail(error, path, "out of memory");
	if (!read_all(fd, text, bytes)) {
		fail(error, path, errno ? strerror(errno) : "became shorter while it was read");
		free(text);
		return NULL;
	}
	text[bytes] = '\0';
	return text;
}

char *arguments_read_spool(const char *spool_dir, const struct record *record, struct tr_error *error)
{
	char id[TR_ID_TEXT_SIZE];
	char *path;

	tr_id_format(&record->id, id);
	if (asprintf(&path, "%s/%s", spool_dir ? spool_dir : "", id) < 0)
		return fail(error, id, "out of memory");
	/* Producers write there: no link is followed, and no FIFO waited for. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	char *text = fd < 0 ? fail(error, path, strerror(errno)) : read_file(fd, path, record->args_bytes, error);
	if (fd >= 0)
		close(fd);
	free(path);
	return text;
}
