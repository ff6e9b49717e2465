/* Shared memory segments: see segment.h. Called by ring_attach.c and the board. */
#include "segment.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Where shm_open(3) of glibc and musl keeps its objects. */
#define SHM_DIRECTORY "/dev/shm"

void segment_name(char name[SEGMENT_NAME_SIZE], const char *instance, const char *what)
{
	snprintf(name, SEGMENT_NAME_SIZE, "/%.*s.%s", TR_NAME_MAX, instance, what);
}

/* Says what was tried on which segment, and errno's text. */
static enum tr_result refuse(struct tr_error *error, const char *tried, const char *name, int errnum)
{
	snprintf(error->text, sizeof error->text, "%s %s%s: %s", tried, SHM_DIRECTORY, name, strerror(errnum));
	if (errnum == ENOSPC || errnum == EFBIG)
		return TR_NO_SPACE;
	return errnum == ENOMEM ? TR_NO_MEMORY : TR_SYSTEM;
}

/* Allocates, fills and names the still nameless segment behind `fd`. */
static enum tr_result fill_and_link(int fd, const char *name, size_t bytes, uint32_t mode,
    void (*fill)(void *memory, const void *context), const void *context, bool *existed,
    struct tr_error *error)
{
	char path[sizeof SHM_DIRECTORY + SEGMENT_NAME_SIZE];
	char self[32];

	/* Every page now, or ENOSPC now: a full /dev/shm must not become a SIGBUS later. */
	int failed;
	do {
		failed = posix_fallocate(fd, 0, (off_t)bytes);
	} while (failed == EINTR);
	if (failed)
		return refuse(error, "allocating", name, failed);
	if (fchmod(fd, (mode_t)mode) != 0)
		return refuse(error, "setting the mode of", name, errno);

	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED)
		return refuse(error, "mapping", name, errno);
	fill(memory, context);
	munmap(memory, bytes);

	snprintf(path, sizeof path, SHM_DIRECTORY "%s", name);
	snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
	if (linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW) == 0)
		return TR_OK;
	if (errno != EEXIST)
		return refuse(error, "naming", name, errno);
	*existed = true;
	return TR_OK;
}

enum tr_result segment_create(const char *name, size_t bytes, uint32_t mode,
    void (*fill)(void *memory, const void *context), const void *context, bool *existed,
    struct tr_error *error)
{
	int fd = open(SHM_DIRECTORY, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	*existed = false;
	if (fd < 0)
		return refuse(error, "making", name, errno);
	enum tr_result result = fill_and_link(fd, name, bytes, mode, fill, context, existed, error);
	close(fd);
	return result;
}

enum tr_result segment_open(struct segment *segment, const char *name, bool writable,
    struct tr_error *error)
{
	struct stat status;
	int fd = shm_open(name, writable ? O_RDWR : O_RDONLY, 0);

	if (fd < 0 && errno == ENOENT) {
		snprintf(error->text, sizeof error->text, "%s%s does not exist", SHM_DIRECTORY, name);
		return TR_NOT_FOUND;
	}
	if (fd < 0)
		return refuse(error, "opening", name, errno);
	if (fstat(fd, &status) != 0 || status.st_size <= 0) {
		snprintf(error->text, sizeof error->text, "%s%s is empty: not a segment of taskring",
		    SHM_DIRECTORY, name);
		close(fd);
		return TR_VERSION_MISMATCH;
	}
	void *memory = mmap(NULL, (size_t)status.st_size, writable ? PROT_READ | PROT_WRITE : PROT_READ,
	    MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED) {
		int errnum = errno;
		close(fd);
		return refuse(error, "mapping", name, errnum);
	}
	*segment = (struct segment){ .fd = fd, .memory = memory, .bytes = (size_t)status.st_size };
	return TR_OK;
}

void segment_close(struct segment *segment)
{
	if (segment->memory)
		munmap(segment->memory, segment->bytes);
	if (segment->fd >= 0)
		close(segment->fd);
	*segment = (struct segment){ .fd = -1 };
}

bool segment_path_is_gone(int fd, const char *path)
{
	struct stat mine, named;

	if (stat(path, &named) != 0)
		return errno == ENOENT;
	return fstat(fd, &mine) == 0 && (named.st_ino != mine.st_ino || named.st_dev != mine.st_dev);
}

bool segment_is_stale(const struct segment *segment, const char *name)
{
	char path[sizeof SHM_DIRECTORY + SEGMENT_NAME_SIZE];

	snprintf(path, sizeof path, SHM_DIRECTORY "%s", name);
	return segment_path_is_gone(segment->fd, path);
}

void *segment_private(size_t bytes)
{
	void *made = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (made == MAP_FAILED)
		return NULL;
	if (madvise(made, bytes, MADV_WIPEONFORK) != 0) {
		munmap(made, bytes);
		return NULL;
	}
	return made;
}
