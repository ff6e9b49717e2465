/*
 * The journal's file before SQLite may touch it. Enters: a path. Leaves: a file that is new or
 * has a journal's header, locked against a second taskd; or the reason why not. Called by journal_db.c.
 */
#include "taskd/journal_db.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEADER_BYTES 100
/* Offsets in the file's header, numbers big-endian: https://www.sqlite.org/fileformat2.html */
#define HEADER_USER_VERSION 60
#define HEADER_APPLICATION_ID 68

enum tr_result journal_refuse(struct tr_error *error, enum tr_result result, const char *format, ...)
{
	va_list values;

	va_start(values, format);
	vsnprintf(error->text, sizeof error->text, format, values);
	va_end(values);
	return result;
}

static uint32_t header_number(const unsigned char *header, int at)
{
	return (uint32_t)header[at] << 24 | (uint32_t)header[at + 1] << 16 | (uint32_t)header[at + 2] << 8 | header[at + 3];
}

enum tr_result journal_file_newer(const char *path, int64_t version, struct tr_error *error)
{
	return journal_refuse(error, TR_VERSION_MISMATCH, "%.*s has schema %lld, this taskd knows up to %d; run the newer taskd, "
	    "or move the file and its -wal away", JOURNAL_PATH_SHOWN, path, (long long)version, JOURNAL_SCHEMA);
}

/*
 * Opening a foreign file with SQLite can already change it (it replays what a crash left), so its
 * header is read first. application_id is in the file from its first commit on, never in a WAL.
 */
static enum tr_result check_header(const char *path, int fd, struct tr_error *error)
{
	unsigned char header[HEADER_BYTES];
	ssize_t got = pread(fd, header, sizeof header, 0);

	if (got < 0)
		return journal_refuse(error, TR_SYSTEM, "%.*s cannot be read: %s", JOURNAL_PATH_SHOWN, path, strerror(errno));
	if (got < HEADER_BYTES || memcmp(header, "SQLite format 3", 16) != 0)
		return journal_refuse(error, TR_INVALID, "%.*s is no journal: not an SQLite file; move it away or configure another "
		    "path", JOURNAL_PATH_SHOWN, path);
	if (header_number(header, HEADER_APPLICATION_ID) != JOURNAL_APPLICATION_ID)
		return journal_refuse(error, TR_INVALID, "%.*s is no journal but another program's SQLite file (application_id %#x); "
		    "move it away or configure another path", JOURNAL_PATH_SHOWN, path,
		    header_number(header, HEADER_APPLICATION_ID));
	uint32_t version = header_number(header, HEADER_USER_VERSION);
	return version > JOURNAL_SCHEMA ? journal_file_newer(path, version, error) : TR_OK;
}

/* A WAL without its file holds the newest tasks of a journal that lies elsewhere; SQLite would delete it. */
static enum tr_result check_no_wal(const char *path, struct tr_error *error)
{
	struct stat status;
	char wal[PATH_MAX];

	int bytes = snprintf(wal, sizeof wal, "%s-wal", path);
	if (bytes < 0 || (size_t)bytes >= sizeof wal)
		return journal_refuse(error, TR_SYSTEM, "%.*s: the path is too long", JOURNAL_PATH_SHOWN, path);
	if (stat(wal, &status) != 0 || status.st_size == 0)
		return TR_OK;
	return journal_refuse(error, TR_INVALID, "%.*s is missing or empty, but its -wal is there and holds tasks; "
	    "bring the file back, or move the -wal away", JOURNAL_PATH_SHOWN, path);
}

enum tr_result journal_file_take(struct journal_file *file, const char *path, struct tr_error *error)
{
	struct stat status;

	*file = (struct journal_file){ .fd = open(path, O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK) };
	if (file->fd < 0 && errno == ENOENT) {
		enum tr_result result = check_no_wal(path, error);
		if (result != TR_OK)
			return result;
		file->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		file->made = file->fd >= 0;
	}
	if (file->fd < 0 || fstat(file->fd, &status) != 0)
		return journal_refuse(error, TR_SYSTEM, "%.*s cannot be opened for writing: %s", JOURNAL_PATH_SHOWN, path,
		    strerror(errno));
	if (!S_ISREG(status.st_mode))
		return journal_refuse(error, TR_INVALID, "%.*s is not a regular file; configure another path",
		    JOURNAL_PATH_SHOWN, path);
	if (flock(file->fd, LOCK_EX | LOCK_NB) != 0)
		return journal_refuse(error, TR_SYSTEM, "%.*s: %s", JOURNAL_PATH_SHOWN, path,
		    errno == EWOULDBLOCK ? "another taskd that runs now keeps its journal there" : strerror(errno));
	file->bytes = status.st_size;
	file->is_new = status.st_size == 0;
	return file->is_new ? check_no_wal(path, error) : check_header(path, file->fd, error);
}
