/* Files of tasks in the spool directory: see spool.h. Called by batch.c (producers), detail.c and taskd. */
#include "spool.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#define COPY_AT_ONCE (1u << 30)

static enum tr_result refuse(struct tr_error *error, const char *tried, const char *path, int errnum)
{
	snprintf(error->text, sizeof error->text, "%s %.180s: %s", tried, path, strerror(errnum));
	return errnum == ENOSPC || errnum == EDQUOT || errnum == EFBIG ? TR_NO_SPACE : TR_SYSTEM;
}

int spool_make(const char *dir, enum tr_result *result, struct tr_error *error)
{
	int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	*result = fd < 0 ? refuse(error, "making a spool file in", dir, errno) : TR_OK;
	return fd;
}

/* What could not be filled is closed. */
static int give_up(int fd, const char *dir, enum tr_result *result, struct tr_error *error)
{
	*result = refuse(error, "writing a spool file in", dir, errno);
	close(fd);
	return -1;
}

int spool_write(const char *dir, const char *bytes, size_t count, enum tr_result *result, struct tr_error *error)
{
	int fd = spool_make(dir, result, error);

	while (fd >= 0 && count) {
		ssize_t written = write(fd, bytes, count);
		if (written < 0 && errno == EINTR)
			continue;
		if (written <= 0)
			return give_up(fd, dir, result, error);
		bytes += written;
		count -= (size_t)written;
	}
	return fd;
}

int spool_copy(const char *dir, int from, enum tr_result *result, struct tr_error *error)
{
	int fd = spool_make(dir, result, error);
	off_t at = 0;
	ssize_t copied = fd < 0 ? 0 : 1;

	/* Not copy_file_range(2): it does not go from any file system to any other. */
	while (copied > 0 || (copied < 0 && errno == EINTR))
		copied = sendfile(fd, from, &at, COPY_AT_ONCE);
	return copied < 0 ? give_up(fd, dir, result, error) : fd;
}

char *spool_name(const struct tr_id *id, enum spool_kind kind, char name[SPOOL_NAME_SIZE])
{
	tr_id_format(id, name);
	if (kind == SPOOL_FILE)
		memcpy(name + TR_ID_TEXT_SIZE - 1, ".file", sizeof ".file");
	return name;
}

bool spool_name_parse(const char *name, struct tr_id *id, enum spool_kind *kind)
{
	char text[TR_ID_TEXT_SIZE], same[SPOOL_NAME_SIZE];
	struct tr_id found;

	snprintf(text, sizeof text, "%.*s", (int)sizeof text - 1, name);
	if (!tr_id_parse(text, &found))
		return false;
	for (int each = 0; each < SPOOL_KINDS; each++) {
		if (strcmp(spool_name(&found, (enum spool_kind)each, same), name) != 0)
			continue;
		*id = found;
		*kind = (enum spool_kind)each;
		return true;
	}
	return false;
}

/* False: the path is too long for the operating system. */
static bool spool_path(char path[PATH_MAX], const char *dir, const struct tr_id *id, enum spool_kind kind)
{
	char name[SPOOL_NAME_SIZE];
	int length = snprintf(path, PATH_MAX, "%s/%s", dir, spool_name(id, kind, name));

	return length > 0 && length < PATH_MAX;
}

static int sync_directory(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return errno;
	int errnum = fsync(fd) == 0 ? 0 : errno;
	close(fd);
	return errnum;
}

enum tr_result spool_link(int fd, const char *dir, const struct tr_id *id, enum spool_kind kind, bool durable,
    struct tr_error *error)
{
	char path[PATH_MAX], self[32];

	if (!spool_path(path, dir, id, kind))
		return refuse(error, "naming a spool file in", dir, ENAMETOOLONG);
	if (durable && fsync(fd) != 0)
		return refuse(error, "syncing", path, errno);
	snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
	if (linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW) != 0)
		return refuse(error, "naming", path, errno);
	int errnum = durable ? sync_directory(dir) : 0;
	if (!errnum)
		return TR_OK;
	(void)unlink(path);
	return refuse(error, "syncing", dir, errnum);
}

static enum tr_result read_file(int fd, const char *path, size_t bytes, char **text, struct tr_error *error)
{
	struct stat status;
	size_t used = 0;

	if (fstat(fd, &status) != 0)
		return refuse(error, "reading", path, errno);
	if (!S_ISREG(status.st_mode) || status.st_size != (off_t)bytes) {
		snprintf(error->text, sizeof error->text, "reading %.120s: not a plain file of %zu bytes", path, bytes);
		return TR_SYSTEM;
	}
	*text = malloc(bytes + 1);
	if (!*text) {
		(void)refuse(error, "reading", path, ENOMEM);
		return TR_NO_MEMORY;
	}
	while (used < bytes) {
		ssize_t got = read(fd, *text + used, bytes - used);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return refuse(error, "reading", path, got < 0 ? errno : EIO); /* EIO: it became shorter meanwhile */
		used += (size_t)got;
	}
	(*text)[bytes] = '\0';
	return TR_OK;
}

enum tr_result spool_read(const char *dir, const struct tr_id *id, size_t bytes, char **text, struct tr_error *error)
{
	char path[PATH_MAX];

	*text = NULL;
	if (!spool_path(path, dir, id, SPOOL_ARGS))
		return refuse(error, "reading from", dir, ENAMETOOLONG);
	/* Producers write there: no link is followed, and no FIFO waited for. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0) {
		bool is_gone = errno == ENOENT;
		enum tr_result result = refuse(error, "reading", path, errno);
		return is_gone ? TR_NOT_FOUND : result;
	}
	enum tr_result result = read_file(fd, path, bytes, text, error);
	close(fd);
	if (result != TR_OK) {
		free(*text);
		*text = NULL;
	}
	return result;
}

void spool_remove(const char *dir, const struct tr_id *id, enum spool_kind kind)
{
	char path[PATH_MAX];

	if (spool_path(path, dir, id, kind))
		(void)unlink(path);
}
