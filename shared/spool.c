/* Large arguments on their way: see spool.h. Called by client.c (producers) and by taskd. */
#include "spool.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static enum tr_result refuse(struct tr_error *error, const char *tried, const char *path, int errnum)
{
	snprintf(error->text, sizeof error->text, "%s %.180s: %s", tried, path, strerror(errnum));
	return errnum == ENOSPC || errnum == EDQUOT || errnum == EFBIG ? TR_NO_SPACE : TR_SYSTEM;
}

int spool_write(const char *dir, const char *bytes, size_t count, enum tr_result *result, struct tr_error *error)
{
	int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd < 0) {
		*result = refuse(error, "making a spool file in", dir, errno);
		return -1;
	}
	while (count) {
		ssize_t written = write(fd, bytes, count);
		if (written < 0 && errno == EINTR)
			continue;
		if (written <= 0) {
			*result = refuse(error, "writing a spool file in", dir, errno);
			close(fd);
			return -1;
		}
		bytes += written;
		count -= (size_t)written;
	}
	*result = TR_OK;
	return fd;
}

/* False: the path is too long for the operating system. */
static bool spool_path(char path[PATH_MAX], const char *dir, const struct tr_id *id)
{
	char name[TR_ID_TEXT_SIZE];
	int length = snprintf(path, PATH_MAX, "%s/%s", dir, tr_id_format(id, name));

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

enum tr_result spool_link(int fd, const char *dir, const struct tr_id *id, bool durable, struct tr_error *error)
{
	char path[PATH_MAX], self[32];

	if (!spool_path(path, dir, id))
		return refuse(error, "naming a spool file in", dir, ENAMETOOLONG);
	if (durable && fsync(fd) != 0)
		return refuse(error, "syncing", path, errno);
	snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
	if (linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW) != 0)
		return refuse(error, "naming", path, errno);
	int errnum = durable ? sync_directory(dir) : 0;
	return errnum ? refuse(error, "syncing", dir, errnum) : TR_OK;
}

void spool_remove(const char *dir, const struct tr_id *id)
{
	char path[PATH_MAX];

	if (spool_path(path, dir, id))
		(void)unlink(path);
}
