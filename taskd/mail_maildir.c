/* Enters: a composed message. Leaves: a file in new/. Called by mail.c. */
#include "taskd/mail_maildir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shared/id.h"

/* "seconds.key.taskring": seconds of the task's making, as readers of maildirs sort by them. */
#define FILE_NAME_SIZE (MAIL_KEY_SIZE + 40)

struct delivery {
	const char *maildir;
	char name[FILE_NAME_SIZE];
	int tmp, new, cur; /* directories */
	struct tr_error *error;
};

static bool failed(const struct delivery *delivery, int code, const char *what)
{
	char reason[96];
	snprintf(delivery->error->text, sizeof delivery->error->text, "maildir %.120s: %s: %s", delivery->maildir, what,
	    strerror_r(code, reason, sizeof reason));
	return false;
}

/* -1 and *error: it cannot be made or opened. */
static int open_directory(const struct delivery *delivery, int parent, const char *path, const char *what)
{
	if (mkdirat(parent, path, 0700) != 0 && errno != EEXIST) {
		failed(delivery, errno, what);
		return -1;
	}
	int fd = openat(parent, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		failed(delivery, errno, what);
	return fd;
}

static bool open_maildir(struct delivery *delivery)
{
	int top = open_directory(delivery, AT_FDCWD, delivery->maildir, "cannot open");
	if (top < 0)
		return false;
	delivery->tmp = open_directory(delivery, top, "tmp", "cannot open tmp");
	if (delivery->tmp >= 0)
		delivery->new = open_directory(delivery, top, "new", "cannot open new");
	if (delivery->new >= 0)
		delivery->cur = open_directory(delivery, top, "cur", "cannot open cur");
	close(top);
	return delivery->cur >= 0;
}

static void close_maildir(const struct delivery *delivery)
{
	if (delivery->tmp >= 0)
		close(delivery->tmp);
	if (delivery->new >= 0)
		close(delivery->new);
	if (delivery->cur >= 0)
		close(delivery->cur);
}

/* In cur/ a reader has put ":2," and flags behind the name. False with errno 0: not there. */
static bool is_in_cur(const struct delivery *delivery)
{
	int fd = openat(delivery->cur, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *directory = fd < 0 ? NULL : fdopendir(fd);
	if (directory == NULL) {
		int code = errno;
		if (fd >= 0)
			close(fd);
		errno = code;
		return false;
	}
	size_t bytes = strlen(delivery->name);
	bool found = false;
	const struct dirent *entry;
	errno = 0;
	while (!found && (entry = readdir(directory)) != NULL) {
		char after = strncmp(entry->d_name, delivery->name, bytes) == 0 ? entry->d_name[bytes] : 'x';
		found = after == '\0' || after == ':';
	}
	int code = found ? 0 : errno;
	closedir(directory);
	errno = code;
	return found;
}

/* Whether an earlier run has delivered. False with *error empty: not yet. */
static bool was_delivered(const struct delivery *delivery)
{
	struct stat status;
	if (fstatat(delivery->new, delivery->name, &status, AT_SYMLINK_NOFOLLOW) == 0)
		return true;
	if (errno != ENOENT)
		return failed(delivery, errno, "cannot look into new");
	if (is_in_cur(delivery))
		return true;
	if (errno != 0)
		return failed(delivery, errno, "cannot look into cur");
	return false;
}

/* Files have lines that end with LF only; the composer writes CR nowhere but before LF. */
static bool write_lines(FILE *file, const struct mail_message *message)
{
	const char *at = message->text;
	const char *end = at + message->bytes;
	while (at < end) {
		const char *stop = memchr(at, '\r', (size_t)(end - at));
		size_t bytes = (size_t)((stop == NULL ? end : stop) - at);
		if (fwrite(at, 1, bytes, file) != bytes)
			return false;
		at += bytes + (stop != NULL);
	}
	return fflush(file) == 0 && fsync(fileno(file)) == 0;
}

/* Writes tmp/NAME to the disk; after an error it is gone. */
static bool write_file(const struct delivery *delivery, const struct mail_message *message)
{
	/* What is there was left by a run that died: workers run a task one at a time. */
	if (unlinkat(delivery->tmp, delivery->name, 0) != 0 && errno != ENOENT)
		return failed(delivery, errno, "cannot remove an old file in tmp");
	int fd = openat(delivery->tmp, delivery->name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	FILE *file = fd < 0 ? NULL : fdopen(fd, "w");
	bool written = file != NULL && write_lines(file, message);
	int code = errno;
	if (file != NULL && fclose(file) != 0 && written) {
		written = false;
		code = errno;
	} else if (file == NULL && fd >= 0) {
		close(fd);
	}
	if (written)
		return true;
	if (fd >= 0)
		unlinkat(delivery->tmp, delivery->name, 0);
	return failed(delivery, code, "cannot write");
}

enum maildir_result maildir_deliver(const char *maildir, const struct mail_message *message,
    struct tr_error *error)
{
	struct delivery delivery = { .maildir = maildir, .tmp = -1, .new = -1, .cur = -1, .error = error };
	error->text[0] = '\0';
	struct tr_id id = { 0 };
	char id_text[TR_ID_TEXT_SIZE];
	snprintf(id_text, sizeof id_text, "%.36s", message->key);
	(void)tr_id_parse(id_text, &id); /* a key without an id only loses its place in the order */
	snprintf(delivery.name, sizeof delivery.name, "%lld.%s.taskring", (long long)(id_time_ms(&id) / 1000),
	    message->key);

	enum maildir_result result = MAILDIR_FAILED;
	if (open_maildir(&delivery)) {
		if (was_delivered(&delivery)) {
			result = MAILDIR_WAS_THERE;
		} else if (error->text[0] == '\0' && write_file(&delivery, message)) {
			if (renameat(delivery.tmp, delivery.name, delivery.new, delivery.name) != 0)
				failed(&delivery, errno, "cannot move from tmp to new");
			else if (fsync(delivery.new) != 0)
				failed(&delivery, errno, "cannot sync new");
			else
				result = MAILDIR_DELIVERED;
		}
	}
	close_maildir(&delivery);
	return result;
}
