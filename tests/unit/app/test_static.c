/* Pages out of a directory: what is found in it, what a path gets, and that nothing else is to be had. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/static.h"
#include "tests/unit/runner.h"

static char directory[] = "/tmp/test-static-XXXXXX";
static struct static_files *files;
static struct web_request request;
static struct web_answer answer;

static void in_directory(char path[256], const char *name)
{
	snprintf(path, 256, "%s/%s", directory, name);
}

static void write_file(const char *name, const char *text)
{
	char path[256];
	in_directory(path, name);
	FILE *file = fopen(path, "w");
	if (file == NULL || fputs(text, file) < 0 || fclose(file) != 0)
		abort();
}

static void make_directory(const char *name)
{
	char path[256];
	in_directory(path, name);
	if (mkdir(path, 0700) != 0)
		abort();
}

static int set_up(void)
{
	if (mkdtemp(directory) == NULL)
		return 1;
	make_directory("dashboard");
	make_directory("docs");
	make_directory("docs/deep");
	make_directory("empty");
	make_directory(".hidden");
	write_file("dashboard/index.html", "<title>board</title>");
	write_file("docs/index.html", "<title>docs</title>");
	write_file("docs/a.js", "1;");
	write_file("docs/b.css", "");
	write_file("docs/deep/icon-1.svg", "<svg/>");
	write_file("docs/deep/c.txt", "text");
	write_file("docs/key.pem", "secret");
	write_file("docs/.secret.js", "secret");
	write_file("docs/a b.js", "no");
	write_file(".hidden/a.js", "secret");
	write_file("secret.js", "a file beside");
	char fifo[256];
	in_directory(fifo, "docs/fifo.js");
	return mkfifo(fifo, 0600) != 0;
}

static int tear_down(void)
{
	char command[300];
	answer_clear(&answer);
	static_free(&files);
	snprintf(command, sizeof(command), "rm -rf '%s'", directory);
	return system(command) != 0; /* NOLINT(cert-env33-c): a name of our own */
}

static bool ask(enum method method, const char *path)
{
	request = (struct web_request){ .method = method, .if_none_match = "" };
	snprintf(request.path, sizeof(request.path), "%s", path);
	answer_clear(&answer);
	return static_serve(files, &request, &answer);
}

static void test_reading(void)
{
	struct tr_error error;
	files = static_read(directory, &error);
	CU_ASSERT_PTR_NOT_NULL_FATAL(files);
	CU_ASSERT_EQUAL(static_count(files), 7);
	CU_ASSERT_PTR_NULL(static_read("/nowhere/at/all", &error));
	CU_ASSERT_STRING_EQUAL(error.text, "/nowhere/at/all: No such file or directory");
}

static void test_files(void)
{
	static const struct {
		const char *path, *type, *bytes;
		bool is_page;
	} rows[] = {
		{ "/docs/", "text/html; charset=utf-8", "<title>docs</title>", true },
		{ "/docs/index.html", "text/html; charset=utf-8", "<title>docs</title>", true },
		{ "/dashboard/", "text/html; charset=utf-8", "<title>board</title>", true },
		{ "/docs/a.js", "text/javascript; charset=utf-8", "1;", false },
		{ "/docs/b.css", "text/css; charset=utf-8", "", false },
		{ "/docs/deep/icon-1.svg", "image/svg+xml", "<svg/>", true },
		{ "/docs/deep/c.txt", "text/plain; charset=utf-8", "text", false },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		CU_ASSERT_TRUE_FATAL(ask(METHOD_GET, rows[i].path));
		CU_ASSERT_EQUAL(answer.status, 200);
		CU_ASSERT_STRING_EQUAL(answer.content.type, rows[i].type);
		CU_ASSERT_EQUAL(answer.content.count, strlen(rows[i].bytes));
		CU_ASSERT_EQUAL(memcmp(answer.content.bytes, rows[i].bytes, answer.content.count), 0);
		CU_ASSERT_STRING_EQUAL(answer.cache_control, "no-cache");
		CU_ASSERT_EQUAL(answer.csp != NULL, rows[i].is_page);
	}
}

static void test_nothing_else(void)
{
	static const char *const paths[] = { "", "*", "//", "/nothing", "/docs/nothing.js", "/docs/key.pem", "/docs/.secret.js",
		"/docs/a b.js", "/docs/fifo.js", "/.hidden/a.js", "/.hidden/", "/empty", "/empty/", "/docs/deep", "/docs/deep/",
		"/docs/../secret.js", "/../secret.js", "/docs/./a.js", "//docs/a.js", "/docs//a.js", "/docs/a.js/", "docs/a.js",
		"/docs/deep/../../../../etc/passwd", "/etc/passwd", "/docs/a.js\nX: y", "/DOCS/a.js", "/docs/%2e%2e/secret.js" };
	char longest[WEB_PATH_MAX + 1];
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		CU_ASSERT_FALSE(ask(METHOD_GET, paths[i]));
	memset(longest, 'a', WEB_PATH_MAX);
	longest[0] = '/';
	longest[WEB_PATH_MAX] = '\0';
	CU_ASSERT_FALSE(ask(METHOD_GET, longest));
	CU_ASSERT_TRUE(ask(METHOD_GET, "/secret.js")); /* it lies in the directory: it is meant to be served */
	CU_ASSERT_FALSE(static_serve(NULL, &request, &answer));
}

static void test_ways_there(void)
{
	static const struct {
		const char *path, *location;
	} rows[] = { { "/docs", "docs/" }, { "/dashboard", "dashboard/" }, { "/", "dashboard/" } };
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		CU_ASSERT_TRUE_FATAL(ask(METHOD_GET, rows[i].path));
		CU_ASSERT_EQUAL(answer.status, 307);
		CU_ASSERT_STRING_EQUAL(answer.location, rows[i].location);
	}
}

static void test_methods(void)
{
	CU_ASSERT_TRUE(ask(METHOD_HEAD, "/docs/a.js"));
	CU_ASSERT_EQUAL(answer.status, 200);
	CU_ASSERT_TRUE(ask(METHOD_POST, "/docs/a.js"));
	CU_ASSERT_EQUAL(answer.status, 405);
	CU_ASSERT_EQUAL(answer.allow, 1u << METHOD_GET | 1u << METHOD_HEAD | 1u << METHOD_OPTIONS);
	CU_ASSERT_TRUE(ask(METHOD_OPTIONS, "/docs/"));
	CU_ASSERT_EQUAL(answer.status, 204);
	CU_ASSERT_FALSE(ask(METHOD_POST, "/docs/nothing"));
}

static void test_tags(void)
{
	char tag[64];
	CU_ASSERT_TRUE_FATAL(ask(METHOD_GET, "/docs/a.js"));
	snprintf(tag, sizeof(tag), "%s", answer.etag);
	request.if_none_match = tag;
	answer_revalidate(&answer, &request);
	CU_ASSERT_EQUAL(answer.status, 304);
	/* Another content has another tag; the same, read again, the same. */
	struct tr_error error;
	for (int i = 0; i < 2; i++) {
		answer_clear(&answer);
		static_free(&files);
		files = static_read(directory, &error);
		CU_ASSERT_PTR_NOT_NULL_FATAL(files);
		CU_ASSERT_TRUE_FATAL(ask(METHOD_GET, "/docs/a.js"));
		CU_ASSERT_EQUAL(strcmp(answer.etag, tag) == 0, i == 0);
		write_file("docs/a.js", "2;");
	}
}

static void test_limits(void)
{
	char path[256], name[64];
	struct tr_error error;
	write_file("docs/large.js", "");
	in_directory(path, "docs/large.js");
	CU_ASSERT_EQUAL(truncate(path, (8 << 20) + 1), 0);
	CU_ASSERT_PTR_NULL(static_read(directory, &error));
	CU_ASSERT_STRING_EQUAL(error.text, "/docs/large.js: larger than 8 MiB");
	unlink(path);
	for (int i = 0; i < 250; i++) {
		snprintf(name, sizeof(name), "empty/%d.js", i);
		write_file(name, "");
	}
	CU_ASSERT_PTR_NULL(static_read(directory, &error));
	CU_ASSERT_PTR_NOT_NULL(strstr(error.text, "more than 256 files"));
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(test_reading),
		SUITE_TEST(test_files),
		SUITE_TEST(test_nothing_else),
		SUITE_TEST(test_ways_there),
		SUITE_TEST(test_methods),
		SUITE_TEST(test_tags),
		SUITE_TEST(test_limits),
	};

	return RUN_TESTS_WITHIN("static", set_up, tear_down, tests);
}
