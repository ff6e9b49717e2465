/* See static.h. The order is that of a file's life: found, read, sorted, looked up, freed. */
#include "app/static.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/etag.h"

#define FILES_MAX 256
#define FILE_BYTES_MAX (8u << 20)
#define DEPTH_MAX 4
#define PATH_SIZE 256
#define HOME "dashboard/" /* where "/" leads to */

/*
 * What a page may load and where it may stand: our own files and this server only, no script that is
 * written into it. Styles are set by scripts one by one (the CSSOM), which needs no 'unsafe-inline';
 * Swagger UI's style sheet has its icons as data: URLs.
 */
static const char page_policy[] = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

static const struct kind {
	const char *ending, *type;
	bool is_page;
} kinds[] = {
	{ ".html", "text/html; charset=utf-8", true },
	{ ".js", "text/javascript; charset=utf-8", false },
	{ ".css", "text/css; charset=utf-8", false },
	{ ".svg", "image/svg+xml", true }, /* may hold scripts, when it is opened by itself */
	{ ".png", "image/png", false },
	{ ".txt", "text/plain; charset=utf-8", false },
};

struct file {
	char path[PATH_SIZE]; /* as a client asks for it: "/docs/index.html" */
	const struct kind *kind;
	char *bytes;
	size_t count;
	char etag[ETAG_SIZE];
};

struct static_files {
	size_t count;
	struct file rows[FILES_MAX]; /* sorted by path */
};

/* ---- finding and reading ----------------------------------------------------------------- */

static bool is_file_name(const char *name)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
	return name[0] != '.' && name[0] != '-' && strspn(name, allowed) == strlen(name);
}

static const struct kind *kind_of(const char *name)
{
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		size_t bytes = strlen(name), ending = strlen(kinds[i].ending);
		if (bytes > ending && strcmp(name + bytes - ending, kinds[i].ending) == 0)
			return &kinds[i];
	}
	return NULL;
}

__attribute__((format(printf, 2, 3))) static bool refuse(struct tr_error *error, const char *format, ...)
{
	va_list list;
	va_start(list, format);
	vsnprintf(error->text, sizeof(error->text), format, list);
	va_end(list);
	return false;
}

/* All of it into row->bytes. */
static bool read_all(int fd, struct file *row, size_t count)
{
	row->bytes = malloc(count + 1);
	while (row->bytes != NULL && row->count < count) {
		ssize_t got = read(fd, row->bytes + row->count, count - row->count);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return false;
		if (got == 0) /* it has become shorter meanwhile */
			break;
		row->count += (size_t)got;
	}
	if (row->bytes == NULL)
		errno = ENOMEM;
	return row->bytes != NULL;
}

/* `fd` stays the caller's. */
static bool add_file(struct static_files *files, int fd, const struct stat *about, const char *path,
    struct tr_error *error)
{
	if (files->count == FILES_MAX)
		return refuse(error, "%s: more than %d files", path, FILES_MAX);
	if (about->st_size > (off_t)FILE_BYTES_MAX)
		return refuse(error, "%s: larger than %u MiB", path, FILE_BYTES_MAX >> 20);
	struct file *row = &files->rows[files->count];
	*row = (struct file){ .kind = kind_of(path) };
	memcpy(row->path, path, strlen(path) + 1); /* the caller saw to it that it fits */
	if (!read_all(fd, row, (size_t)about->st_size)) {
		free(row->bytes);
		return refuse(error, "%s: %s", path, strerror(errno));
	}
	etag_make(row->etag, row->bytes, row->count);
	files->count++;
	return true;
}

static bool add_directory(struct static_files *files, int fd, const char *path, int depth, struct tr_error *error);

/* Of a directory that is open as `in`. What is neither a file nor a directory is passed over. */
static bool add_name(struct static_files *files, int in, const char *parent, const char *name, int depth,
    struct tr_error *error)
{
	char path[PATH_SIZE];
	struct stat about;
	int length = snprintf(path, sizeof(path), "%s/%s", parent, name);
	if (!is_file_name(name) || length < 0 || (size_t)length >= sizeof(path))
		return true;
	int fd = openat(in, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO would not let us go */
	if (fd < 0 || fstat(fd, &about) != 0) {
		int saved = errno;
		if (fd >= 0)
			close(fd);
		return refuse(error, "%s: %s", path, strerror(saved));
	}
	if (S_ISDIR(about.st_mode) && depth < DEPTH_MAX)
		return add_directory(files, fd, path, depth + 1, error);
	bool well = !S_ISREG(about.st_mode) || kind_of(name) == NULL || add_file(files, fd, &about, path, error);
	close(fd);
	return well;
}

/* Takes `fd` over. */
static bool add_directory(struct static_files *files, int fd, const char *path, int depth, struct tr_error *error)
{
	DIR *directory = fdopendir(fd);
	if (directory == NULL) {
		int saved = errno;
		close(fd);
		return refuse(error, "%s: %s", path, strerror(saved));
	}
	bool well = true;
	const struct dirent *entry;
	while (well && (entry = readdir(directory)) != NULL)
		well = add_name(files, fd, path, entry->d_name, depth, error);
	closedir(directory);
	return well;
}

static int by_path(const void *left, const void *right)
{
	return strcmp(((const struct file *)left)->path, ((const struct file *)right)->path);
}

struct static_files *static_read(const char *directory, struct tr_error *error)
{
	struct static_files *files = calloc(1, sizeof(*files));
	int fd = files != NULL ? open(directory, O_RDONLY | O_CLOEXEC | O_DIRECTORY) : -1;
	if (fd < 0) {
		refuse(error, "%s: %s", directory, strerror(errno));
		free(files);
		return NULL;
	}
	if (!add_directory(files, fd, "", 0, error)) {
		static_free(&files);
		return NULL;
	}
	qsort(files->rows, files->count, sizeof(*files->rows), by_path);
	return files;
}

void static_free(struct static_files **files)
{
	if (*files == NULL)
		return;
	for (size_t i = 0; i < (*files)->count; i++)
		free((*files)->rows[i].bytes);
	free(*files);
	*files = NULL;
}

size_t static_count(const struct static_files *files)
{
	return files->count;
}

/* ---- answering --------------------------------------------------------------------------- */

/* The row of `path` with `more` behind it. */
static const struct file *find(const struct static_files *files, const char *path, const char *more)
{
	struct file wanted = { .bytes = NULL };
	int length = snprintf(wanted.path, sizeof(wanted.path), "%s%s", path, more);
	if (length < 0 || (size_t)length >= sizeof(wanted.path))
		return NULL;
	return bsearch(&wanted, files->rows, files->count, sizeof(*files->rows), by_path);
}

static struct web_answer file_answer(const struct file *file)
{
	struct web_answer answer = answer_content((struct web_content){ .type = file->kind->type, .bytes = file->bytes,
		.count = file->count });
	answer.etag = file->etag;
	answer.cache_control = "no-cache"; /* but asked for again with its tag */
	answer.csp = file->kind->is_page ? page_policy : NULL;
	return answer;
}

/* Relative, so that it is right under any prefix. */
static struct web_answer redirect(const char *name, const char *more)
{
	struct web_answer answer = answer_detail(307, "see the Location header");
	int length = snprintf(answer.location, sizeof(answer.location), "%s%s", name, more);
	if (length >= 0 && (size_t)length < sizeof(answer.location))
		return answer;
	answer_clear(&answer);
	return answer_detail(404, "there is nothing at this path");
}

bool static_serve(const struct static_files *files, const struct web_request *request, struct web_answer *answer)
{
	const char *path = request->path, *last = strrchr(path, '/');
	if (files == NULL || last == NULL)
		return false;
	bool is_directory = last[1] == '\0', is_root = strcmp(path, "/") == 0 && find(files, "/" HOME, "index.html") != NULL;
	const struct file *file = find(files, path, is_directory ? "index.html" : "");
	bool is_above = file == NULL && (is_root || (!is_directory && find(files, path, "/index.html") != NULL));
	if (file == NULL && !is_above)
		return false;
	if (request->method != METHOD_GET && request->method != METHOD_HEAD) {
		*answer = request->method == METHOD_OPTIONS ? answer_empty(204) : answer_detail(405, "this is only for reading");
		answer->allow = 1u << METHOD_GET | 1u << METHOD_HEAD | 1u << METHOD_OPTIONS;
	} else if (file != NULL) {
		*answer = file_answer(file);
	} else {
		*answer = is_root ? redirect(HOME, "") : redirect(last + 1, "/");
	}
	return true;
}
