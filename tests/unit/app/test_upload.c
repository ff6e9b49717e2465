/*
 * app/upload.c and POST /files over a real ring and spool directory: what a body holds ends up in
 * one file, once; whatever goes wrong leaves none, and no descriptor.
 */
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/request_head.h"
#include "app/web.h"
#include "tests/unit/runner.h"

#define FORM "multipart/form-data; boundary=B"
#define PART(parameters) "--B\r\nContent-Disposition: form-data; " parameters "\r\n\r\n"
#define LIMIT 100000

static char instance[64], spool[64];
static struct taskring *ring;
static struct background_tasks *background;
static const struct upload_limits limits = { .most_bytes = LIMIT, .free_bytes = 1, .at_once = 1 };

/* A body: its text, then `more` letters 'x', then `tail`, a few at a time; or a break instead of its end. */
struct script {
	const char *text;
	size_t more;
	const char *tail;
	bool breaks;
	sem_t *reached, *go_on; /* not NULL: at the end of text, say so and wait */
};

static ssize_t read_script(void *context, char *to, size_t most)
{
	struct script *script = context;
	if (script->text != NULL && *script->text == '\0' && script->reached != NULL) {
		sem_post(script->reached);
		sem_wait(script->go_on);
		script->reached = NULL;
	}
	most = most < 1000 ? most : 1000;
	const char **text = script->text != NULL && *script->text != '\0' ? &script->text :
	    script->more == 0 && script->tail != NULL ? &script->tail : NULL;
	if (text != NULL) {
		size_t bytes = strnlen(*text, most);
		memcpy(to, *text, bytes);
		*text += bytes;
		if (bytes > 0)
			return (ssize_t)bytes;
	}
	size_t bytes = script->more < most ? script->more : most;
	memset(to, 'x', bytes);
	script->more -= bytes;
	return bytes == 0 && script->breaks ? -1 : (ssize_t)bytes;
}

/* Fills a request; `declared` SIZE_MAX: no Content-Length. */
static void make_request(struct web_request *request, const char *type, const char *disposition, size_t declared,
    struct script *script)
{
	char length[32];
	snprintf(length, sizeof(length), "%zu", declared);
	const struct request_head head = { .method = "POST", .uri = "/files", .content_type = type,
		.content_disposition = disposition, .content_length = declared != SIZE_MAX ? length : NULL };
	request_head_read(&head, request);
	request->source = (struct web_source){ .read = read_script, .context = script };
	request->ring = ring;
}

static unsigned entries_of(const char *directory)
{
	unsigned count = 0;
	DIR *opened = opendir(directory);
	CU_ASSERT_PTR_NOT_NULL_FATAL(opened);
	for (const struct dirent *entry; (entry = readdir(opened)) != NULL;)
		count += entry->d_name[0] != '.';
	closedir(opened);
	return count;
}

/* Receives it; what was not taken must have left nothing. */
static enum upload_result receive(struct upload *upload, const struct upload_limits *some_limits, const char *type,
    const char *disposition, size_t declared, struct script script)
{
	static struct web_request request;
	unsigned descriptors = entries_of("/proc/self/fd");
	make_request(&request, type, disposition, declared, &script);
	enum upload_result result = upload_receive(&request, some_limits, upload);
	CU_ASSERT_EQUAL(upload->fd >= 0, result == UPLOAD_OK);
	CU_ASSERT_EQUAL(entries_of("/proc/self/fd"), descriptors + (result == UPLOAD_OK));
	CU_ASSERT_EQUAL(entries_of(spool), 0);
	return result;
}

static enum upload_result receive_form(struct upload *upload, const char *text)
{
	return receive(upload, &limits, FORM, NULL, SIZE_MAX, (struct script){ .text = text });
}

static void expect_content(int fd, const char *content)
{
	char read_back[4096] = "";
	ssize_t got = pread(fd, read_back, sizeof(read_back) - 1, 0);
	CU_ASSERT_EQUAL(got, (ssize_t)strlen(content));
	CU_ASSERT_STRING_EQUAL(read_back, content);
}

static void test_plain(void)
{
	struct upload upload;
	CU_ASSERT_EQUAL(receive(&upload, &limits, "text/csv", "attachment; filename=\"a b.csv\"", 5,
	    (struct script){ .text = "1,2,3" }), UPLOAD_OK);
	expect_content(upload.fd, "1,2,3");
	CU_ASSERT_EQUAL(upload.bytes, 5);
	CU_ASSERT_STRING_EQUAL(upload.name, "a b.csv");
	CU_ASSERT_STRING_EQUAL(upload.content_type, "text/csv");
	upload_clear(&upload);
	CU_ASSERT_EQUAL(upload.fd, -1);
	CU_ASSERT_EQUAL(receive(&upload, &limits, NULL, NULL, SIZE_MAX, (struct script){ .text = "x" }), UPLOAD_OK);
	CU_ASSERT_STRING_EQUAL(upload.name, "unnamed");
	CU_ASSERT_STRING_EQUAL(upload.content_type, "application/octet-stream");
	upload_clear(&upload);
	CU_ASSERT_EQUAL(receive(&upload, &limits, "a\tb", NULL, SIZE_MAX, (struct script){ .text = "x" }), UPLOAD_OK);
	CU_ASSERT_STRING_EQUAL(upload.content_type, "application/octet-stream");
	upload_clear(&upload);
	CU_ASSERT_EQUAL(receive(&upload, &limits, "a/b", NULL, 0, (struct script){ .text = "" }), UPLOAD_NO_FILE);
	CU_ASSERT_EQUAL(receive(&upload, &limits, "a/b", NULL, 4, (struct script){ .text = "12345" }), UPLOAD_MALFORMED);
	CU_ASSERT_EQUAL(receive(&upload, &limits, "a/b", NULL, 6, (struct script){ .text = "12345" }), UPLOAD_MALFORMED);
	CU_ASSERT_EQUAL(receive(&upload, &limits, "a/b", "x; filename=\"", 6, (struct script){ .text = "12345" }), UPLOAD_BAD_NAME);
}

static void test_forms(void)
{
	static const struct {
		const char *body;
		enum upload_result result;
		const char *content;
	} rows[] = {
		{ PART("name=\"file\"; filename=\"a\"") "hello\r\n--B--\r\n", UPLOAD_OK, "hello" },
		{ PART("name=\"file\"; filename=\"a\"") "\r\n--B--\r\n", UPLOAD_OK, "" },
		{ PART("name=\"note\"") "n\r\n" PART("name=\"file\"; filename=\"a\"") "hello\r\n" PART("name=\"x\"") "\r\n--B--", UPLOAD_OK, "hello" },
		/* A second file field that nobody filled. */
		{ PART("name=\"file\"; filename=\"a\"") "hello\r\n" PART("name=\"other\"; filename=\"\"") "\r\n--B--", UPLOAD_OK, "hello" },
		{ "--B--\r\n", UPLOAD_NO_FILE, NULL },
		{ PART("name=\"file\"; filename=\"\"") "\r\n--B--\r\n", UPLOAD_NO_FILE, NULL },
		{ PART("name=\"file\"") "text\r\n--B--\r\n", UPLOAD_NO_FILE, NULL },
		{ PART("name=\"other\"; filename=\"a\"") "x\r\n--B--\r\n", UPLOAD_SEVERAL, NULL },
		{ PART("name=\"file\"; filename=\"a\"") "1\r\n" PART("name=\"file\"; filename=\"b\"") "2\r\n--B--\r\n", UPLOAD_SEVERAL, NULL },
		{ PART("name=\"file\"; filename=\"a\"") "hello", UPLOAD_MALFORMED, NULL },
		{ PART("name=\"file\"; filename=\"a\"") "hello\r\n--B--\r\nmore", UPLOAD_MALFORMED, NULL },
		{ "", UPLOAD_MALFORMED, NULL },
	};
	struct upload upload;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		CU_ASSERT_EQUAL(receive_form(&upload, rows[i].body), rows[i].result);
		if (upload.fd >= 0)
			expect_content(upload.fd, rows[i].content);
		upload_clear(&upload);
	}
	CU_ASSERT_EQUAL(receive(&upload, &limits, "multipart/form-data", NULL, SIZE_MAX, (struct script){ .text = "x" }), UPLOAD_MALFORMED);
}

/* A name is data. */
static void test_names(void)
{
	char longest[UPLOAD_NAME_MAX + 1], longer[UPLOAD_NAME_MAX + 2];
	memset(longest, 'n', sizeof(longest) - 1);
	memset(longer, 'n', sizeof(longer) - 1);
	longest[UPLOAD_NAME_MAX] = longer[UPLOAD_NAME_MAX + 1] = '\0';
	const struct {
		const char *sent, *name;
	} rows[] = {
		{ "a.txt", "a.txt" }, { "../../etc/passwd", "passwd" }, { "/etc/passwd", "passwd" },
		{ "C:\\Users\\ada\\x.doc", "x.doc" }, { "a/..\\b", "b" }, { ".hidden", ".hidden" },
		{ "r\xc3\xa9sum\xc3\xa9", "r\xc3\xa9sum\xc3\xa9" }, { "%2e%2e%2fx", "%2e%2e%2fx" }, { "a;b=c", "a;b=c" },
		{ longest, longest }, { longer, NULL }, { "..", NULL }, { ".", NULL }, { "a/", NULL }, { "a/..", NULL },
		{ "\xff", NULL }, { "\xc2\x85", NULL }, { "\xed\xa0\x80", NULL },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char body[1000], disposition[1000];
		struct upload upload;
		enum upload_result expected = rows[i].name != NULL ? UPLOAD_OK : UPLOAD_BAD_NAME;
		snprintf(body, sizeof(body), PART("name=file; filename=\"%s\"") "x\r\n--B--", rows[i].sent);
		CU_ASSERT_EQUAL(receive_form(&upload, body), expected);
		if (upload.fd >= 0)
			CU_ASSERT_STRING_EQUAL(upload.name, rows[i].name);
		upload_clear(&upload);
		snprintf(disposition, sizeof(disposition), "attachment; filename=\"%s\"", rows[i].sent);
		CU_ASSERT_EQUAL(receive(&upload, &limits, "", disposition, SIZE_MAX, (struct script){ .text = "x" }), expected);
		upload_clear(&upload);
	}
	/* Control characters do not even come through the form's parser. */
	struct upload upload;
	CU_ASSERT_EQUAL(receive_form(&upload, PART("name=file; filename=\"a\x01\"") "x\r\n--B--"), UPLOAD_MALFORMED);
	CU_ASSERT_EQUAL(receive(&upload, &limits, "", "attachment; filename=\"a\x01\"", SIZE_MAX, (struct script){ .text = "x" }), UPLOAD_BAD_NAME);
}

static void test_size(void)
{
	struct upload upload;
	const size_t sizes[] = { LIMIT - 1, LIMIT, LIMIT + 1, 10 * LIMIT };
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		enum upload_result expected = sizes[i] <= LIMIT ? UPLOAD_OK : UPLOAD_TOO_LARGE;
		const struct script plain = { .text = "", .more = sizes[i] };
		const struct script form = { .text = PART("name=file; filename=a"), .more = sizes[i], .tail = "\r\n--B--" };
		const struct script endless = { .text = PART("name=file; filename=a"), .more = sizes[i], .breaks = true };
		CU_ASSERT_EQUAL(receive(&upload, &limits, "a/b", NULL, sizes[i], plain), expected);
		upload_clear(&upload);
		CU_ASSERT_EQUAL(receive(&upload, &limits, "a/b", NULL, SIZE_MAX, plain), expected);
		CU_ASSERT_EQUAL(upload.bytes, sizes[i] <= LIMIT ? sizes[i] : upload.bytes);
		upload_clear(&upload);
		CU_ASSERT_EQUAL(receive(&upload, &limits, FORM, NULL, SIZE_MAX, form), expected);
		upload_clear(&upload);
		CU_ASSERT_EQUAL(receive(&upload, &limits, FORM, NULL, SIZE_MAX, endless),
		    sizes[i] <= LIMIT + 1 ? UPLOAD_BROKEN : UPLOAD_TOO_LARGE); /* the last bytes may begin a delimiter */
	}
	/* What is declared too large is not read at all. */
	const struct script never = { .text = NULL, .breaks = true };
	CU_ASSERT_EQUAL(receive(&upload, &limits, "a/b", NULL, LIMIT + 1, never), UPLOAD_TOO_LARGE);
	CU_ASSERT_EQUAL(receive(&upload, &limits, FORM, NULL, LIMIT + (2u << 20), never), UPLOAD_TOO_LARGE);
	/* Fields that are no file are not read for ever. */
	const struct script field = { .text = PART("name=note"), .more = 8u << 20, .tail = "\r\n--B--" };
	CU_ASSERT_EQUAL(receive(&upload, &limits, FORM, NULL, SIZE_MAX, field), UPLOAD_TOO_LARGE);
}

static void test_broken(void)
{
	struct upload upload;
	const struct script plain = { .text = "some", .breaks = true };
	const struct script form = { .text = PART("name=file; filename=a") "some", .breaks = true };
	const struct script head = { .text = "--B\r\nContent-Dis", .breaks = true };
	CU_ASSERT_EQUAL(receive(&upload, &limits, "a/b", NULL, 100, plain), UPLOAD_BROKEN);
	CU_ASSERT_EQUAL(receive(&upload, &limits, FORM, NULL, 100, form), UPLOAD_BROKEN);
	CU_ASSERT_EQUAL(receive(&upload, &limits, FORM, NULL, SIZE_MAX, head), UPLOAD_BROKEN);
}

static void test_space(void)
{
	struct upload upload;
	const struct script script = { .text = "", .more = 50000 };
	/* What must stay free is more than there is, before a byte is read and while it is. */
	const struct upload_limits none_left = { .most_bytes = LIMIT, .free_bytes = UINT64_MAX, .at_once = 1 };
	CU_ASSERT_EQUAL(receive(&upload, &none_left, "a/b", NULL, SIZE_MAX, script), UPLOAD_NO_SPACE);
	const struct upload_limits much = { .most_bytes = UINT64_MAX / 2, .free_bytes = 0, .at_once = 1 };
	CU_ASSERT_EQUAL(receive(&upload, &much, "a/b", NULL, SIZE_MAX / 4, script), UPLOAD_NO_SPACE);
	/* The system refuses. */
	struct rlimit before, small = { .rlim_cur = 30000 };
	CU_ASSERT_EQUAL_FATAL(getrlimit(RLIMIT_FSIZE, &before), 0);
	small.rlim_max = before.rlim_max;
	signal(SIGXFSZ, SIG_IGN);
	CU_ASSERT_EQUAL(setrlimit(RLIMIT_FSIZE, &small), 0);
	enum upload_result result = receive(&upload, &limits, "a/b", NULL, SIZE_MAX, script);
	setrlimit(RLIMIT_FSIZE, &before);
	CU_ASSERT_EQUAL(result, UPLOAD_NO_SPACE);
}

static sem_t reached, go_on;

static void *receive_slowly(void *context)
{
	static struct web_request request;
	static struct upload upload;
	struct script script = { .text = "slow", .reached = &reached, .go_on = &go_on };
	make_request(&request, "a/b", NULL, SIZE_MAX, &script);
	*(enum upload_result *)context = upload_receive(&request, &limits, &upload);
	upload_clear(&upload);
	return NULL;
}

/* So that uploads cannot hold all threads. */
static void test_at_once(void)
{
	pthread_t thread;
	enum upload_result first = UPLOAD_BROKEN;
	struct upload upload;
	sem_init(&reached, 0, 0);
	sem_init(&go_on, 0, 0);
	CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, receive_slowly, &first), 0);
	sem_wait(&reached);
	CU_ASSERT_EQUAL(receive(&upload, &limits, "a/b", NULL, SIZE_MAX, (struct script){ .text = "x" }), UPLOAD_BUSY);
	sem_post(&go_on);
	pthread_join(thread, NULL);
	CU_ASSERT_EQUAL(first, UPLOAD_OK);
	CU_ASSERT_EQUAL(receive(&upload, &limits, "a/b", NULL, SIZE_MAX, (struct script){ .text = "x" }), UPLOAD_OK);
	upload_clear(&upload);
	sem_destroy(&reached);
	sem_destroy(&go_on);
}

/* ---- the endpoint ------------------------------------------------------------------------ */

static struct web_answer post(const char *type, const char *text)
{
	static struct web_request request;
	const struct web_settings settings = { .durability = TR_MEMORY, .upload = limits };
	struct script script = { .text = text };
	make_request(&request, type, NULL, SIZE_MAX, &script);
	struct web_answer answer = web_serve(&settings, &request, background);
	if (answer.status == 202)
		answer.body = json_loadb(answer.content.bytes, answer.content.count, JSON_REJECT_DUPLICATES, NULL);
	return answer;
}

static void test_endpoint(void)
{
	unsigned descriptors = entries_of("/proc/self/fd");
	struct web_answer answer = post(FORM, PART("name=file; filename=a") "hello\r\n--B--");
	CU_ASSERT_EQUAL_FATAL(answer.status, 202);
	const json_t *task = json_array_get(json_object_get(answer.body, "tasks"), 0);
	CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(task, "handler")), "digest_file");
	/* The file has got the task's name. */
	char path[200];
	snprintf(path, sizeof(path), "%s/%s.file", spool, json_string_value(json_object_get(task, "id")));
	int fd = open(path, O_RDONLY);
	CU_ASSERT_FATAL(fd >= 0);
	expect_content(fd, "hello");
	close(fd);
	CU_ASSERT_EQUAL(entries_of(spool), 1);
	unlink(path);
	answer_clear(&answer);

	answer = post(FORM, "--B--");
	CU_ASSERT_EQUAL(answer.status, 422);
	char *text = json_dumps(answer.body, JSON_COMPACT);
	CU_ASSERT_STRING_EQUAL(text, "{\"detail\":[{\"loc\":[\"body\",\"file\"],\"msg\":\"Field required\",\"type\":\"missing\"}]}");
	free(text);
	answer_clear(&answer);
	CU_ASSERT_EQUAL(entries_of("/proc/self/fd"), descriptors);
}

static void test_refusals(void)
{
	static const int statuses[UPLOAD_RESULTS] = { [UPLOAD_NO_FILE] = 422, [UPLOAD_SEVERAL] = 422,
		[UPLOAD_BAD_NAME] = 422, [UPLOAD_MALFORMED] = 400, [UPLOAD_TOO_LARGE] = 413, [UPLOAD_BROKEN] = 408,
		[UPLOAD_NO_SPACE] = 507, [UPLOAD_BUSY] = 503, [UPLOAD_NO_SPOOL] = 503, [UPLOAD_NO_MEMORY] = 503 };
	for (enum upload_result result = UPLOAD_OK + 1; result < UPLOAD_RESULTS; result++) {
		struct web_answer answer;
		upload_refuse(result, &answer);
		CU_ASSERT_EQUAL(answer.status, statuses[result]);
		CU_ASSERT_EQUAL(answer.retry_after_s != 0, answer.status == 503);
		CU_ASSERT_PTR_NOT_NULL(answer.body);
		answer_clear(&answer);
	}
}

/* Last: nobody empties the ring again. The file of a task that cannot be published is gone with it. */
static void test_full_ring(void)
{
	struct web_answer answer = { .status = 202 };
	unsigned published = 0;
	for (; answer.status == 202 && published < 1000; published++) {
		answer_clear(&answer);
		answer = post("a/b", "content");
	}
	CU_ASSERT_EQUAL(answer.status, 503);
	answer_clear(&answer);
	CU_ASSERT_EQUAL(entries_of(spool), published - 1);
}

static int open_world(void)
{
	/* Small, so that it can be filled. */
	const struct tr_open_options options = { .geometry = { .lanes = 2, .slots_per_lane = 64, .slot_bytes = 256 },
		.spool_dir = spool };
	struct tr_error error;
	snprintf(instance, sizeof(instance), "test-upload-%ld", (long)getpid());
	snprintf(spool, sizeof(spool), "/tmp/test-upload-%ld", (long)getpid());
	return mkdir(spool, 0700) != 0 || tr_open(&ring, instance, &options, &error) != TR_OK ||
	    background_tasks_new(&background, ring) != TR_OK;
}

static int close_world(void)
{
	static const char *const kinds[] = { "ring", "board", "wake" };
	background_tasks_free(&background);
	tr_close(&ring);
	char path[512];
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		snprintf(path, sizeof(path), "/dev/shm/%s.%s", instance, kinds[i]);
		unlink(path);
	}
	DIR *opened = opendir(spool);
	for (const struct dirent *entry; opened != NULL && (entry = readdir(opened)) != NULL;) {
		snprintf(path, sizeof(path), "%s/%s", spool, entry->d_name);
		unlink(path);
	}
	closedir(opened);
	return rmdir(spool);
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(test_plain),
		SUITE_TEST(test_forms),
		SUITE_TEST(test_names),
		SUITE_TEST(test_size),
		SUITE_TEST(test_broken),
		SUITE_TEST(test_space),
		SUITE_TEST(test_at_once),
		SUITE_TEST(test_endpoint),
		SUITE_TEST(test_refusals),
		SUITE_TEST(test_full_ring),
	};

	return RUN_TESTS_WITHIN("upload", open_world, close_world, tests);
}
