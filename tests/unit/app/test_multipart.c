/*
 * app/multipart.c and app/header_value.c: what browsers send is read, however it is cut into reads;
 * everything else is refused.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/header_value.h"
#include "app/multipart.h"
#include "tests/unit/runner.h"

#define TYPE "multipart/form-data; boundary=XyZ"
#define HEAD(field) "Content-Disposition: form-data; name=\"" field "\""
#define FILE_HEAD HEAD("file") "; filename=\"a.txt\"\r\nContent-Type: text/plain\r\n\r\n"

/* A body that comes `piece` bytes at a time, the first read having `first`. */
struct script {
	const char *bytes;
	size_t left, first, piece;
	bool breaks; /* instead of ending */
};

static ssize_t read_script(void *context, char *to, size_t most)
{
	struct script *script = context;
	size_t bytes = script->first > 0 ? script->first : script->piece;
	script->first = 0;
	bytes = bytes < most ? bytes : most;
	bytes = bytes < script->left ? bytes : script->left;
	if (bytes == 0)
		return script->breaks ? -1 : 0;
	memcpy(to, script->bytes, bytes);
	script->bytes += bytes;
	script->left -= bytes;
	return (ssize_t)bytes;
}

/*
 * What comes out, as text: "field[|filename]{content}" for each part, then the result's letter:
 * '.' well, '!' malformed, '~' broken.
 */
static char shown[200000];

static const char *parse(struct script script, const char *content_type)
{
	struct multipart *multipart;
	struct multipart_part part;
	struct web_source source = { .read = read_script, .context = &script };
	size_t used = 0;
	shown[0] = '\0';
	enum multipart_result result = multipart_new(&multipart, content_type, &source);
	while (result == MULTIPART_OK && (result = multipart_part(multipart, &part)) == MULTIPART_OK) {
		used += (size_t)sprintf(shown + used, "%s%s%s{", part.field, part.is_file ? "|" : "", part.file_name);
		const char *data;
		size_t bytes;
		while ((result = multipart_data(multipart, &data, &bytes)) == MULTIPART_OK) {
			CU_ASSERT(bytes > 0);
			memcpy(shown + used, data, bytes);
			used += bytes;
		}
		if (result != MULTIPART_END)
			break;
		shown[used++] = '}';
		result = MULTIPART_OK;
	}
	shown[used++] = result == MULTIPART_END ? '.' : result == MULTIPART_BROKEN ? '~' : '!';
	shown[used] = '\0';
	multipart_free(&multipart);
	CU_ASSERT_PTR_NULL(multipart);
	return shown;
}

static const char *parse_text(const char *body)
{
	return parse((struct script){ .bytes = body, .left = strlen(body), .piece = 100000 }, TYPE);
}

static const char browser[] = "--XyZ\r\n" HEAD("comment") "\r\n\r\nhello\r\n--XyZ\r\n" FILE_HEAD
    "line\r\n--Xy\r\n-XyZ\r\n\r\n--\r\n\r\n--XyZ\r\n" HEAD("file2") "; filename=\"\"\r\n"
    "Content-Type: application/octet-stream\r\n\r\n\r\n--XyZ--\r\n";
static const char browser_shown[] = "comment{hello}file|a.txt{line\r\n--Xy\r\n-XyZ\r\n\r\n--\r\n}file2|{}.";

/* Each place at which the body may be cut in two, and each size of the reads. */
static void test_every_split(void)
{
	size_t all = sizeof(browser) - 1;
	for (size_t first = 1; first <= all; first++) {
		const struct script script = { .bytes = browser, .left = all, .first = first, .piece = all };
		CU_ASSERT_STRING_EQUAL(parse(script, TYPE), browser_shown);
	}
	for (size_t piece = 1; piece <= all; piece++) {
		const struct script script = { .bytes = browser, .left = all, .piece = piece };
		CU_ASSERT_STRING_EQUAL(parse(script, TYPE), browser_shown);
	}
}

/* A body that ends early is malformed, one whose connection breaks is broken; never well. */
static void test_every_end(void)
{
	size_t all = sizeof(browser) - 1;
	for (size_t left = 0; left < all - 1; left++) {
		struct script script = { .bytes = browser, .left = left, .piece = 7 };
		const char *text = parse(script, TYPE);
		/* Without the CRLF behind it, the end is an end all the same. */
		CU_ASSERT_EQUAL(text[strlen(text) - 1], left == all - 2 ? '.' : '!');
		script.breaks = true;
		text = parse(script, TYPE);
		CU_ASSERT_EQUAL(text[strlen(text) - 1], '~');
	}
}

static void test_look_alikes(void)
{
	static const struct { const char *body, *shown; } rows[] = {
		{ "--XyZ--", "." },
		{ "--XyZ--\r\n", "." },
		{ "", "!" },
		{ "\r\n--XyZ--", "!" },
		{ "preamble\r\n--XyZ--", "!" },
		{ "--XyZ--\r\nepilogue", "!" },
		{ "--XyZ--x", "!" },
		{ "--XyZ", "!" },
		{ "--XyZ-", "!" },
		{ "--XyZ \r\n" FILE_HEAD "\r\n--XyZ--", "!" },
		{ "--XyZ\n" FILE_HEAD "\r\n--XyZ--", "!" },
		{ "--XyZ\r\n" FILE_HEAD "\r\n--XyZ--", "file|a.txt{}." },
		{ "--XyZ\r\n" FILE_HEAD "--XyZ--", "file|a.txt{-!" },
		{ "--XyZ\r\n" FILE_HEAD "\n--XyZ--\r\n--XyZ--", "file|a.txt{\n--XyZ--}." },
		{ "--XyZ\r\n" FILE_HEAD "\r\r\n--XyZ--", "file|a.txt{\r}." },
		{ "--XyZ\r\n" FILE_HEAD "\r\n\r\n--XyZ--", "file|a.txt{\r\n}." },
		{ "--XyZ\r\n" FILE_HEAD "a\r\n--XyZA\r\n--XyZ--", "file|a.txt{a}!" },
		{ "--XyZ\r\n" FILE_HEAD "a\r\n--xyz\r\n--XyZ--", "file|a.txt{a\r\n--xyz}." },
		{ "--XyZ\r\n" FILE_HEAD "a\r\n--Xy\r\n--XyZ--", "file|a.txt{a\r\n--Xy}." },
		{ "--XyZ\r\n" FILE_HEAD "a\r\n--XyZ\r\n\r\n\r\n--XyZ--", "file|a.txt{a}!" },
		{ "--XyZ\r\n" FILE_HEAD "a\r\n--XyZ--\r\n--XyZ--", "file|a.txt{a}!" },
		/* A multipart in a part is content. */
		{ "--XyZ\r\n" HEAD("file") "; filename=\"a\"\r\nContent-Type: multipart/mixed; boundary=In\r\n\r\n"
		  "--In\r\n\r\nx\r\n--In--\r\n--XyZ--", "file|a{--In\r\n\r\nx\r\n--In--}." },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		CU_ASSERT_STRING_EQUAL(parse_text(rows[i].body), rows[i].shown);
}

static void test_heads(void)
{
	static const struct { const char *head, *shown; } rows[] = {
		{ HEAD("a"), "a{x}." },
		{ "CONTENT-disposition:form-data;name=a", "a{x}." },
		{ "X-Other: 1\r\n" HEAD("a") "\r\nContent-Transfer-Encoding: binary", "a{x}." },
		{ "Content-Disposition: form-data; name=a; filename=b.c", "a|b.c{x}." },
		{ "Content-Disposition: form-data; name=\"a\\\"b\"; filename=\"C:\\dir\\f\"", "a\"b|C:\\dir\\f{x}." },
		{ "Content-Disposition: form-data; name=a; filename=\"x;name=b\"", "a|x;name=b{x}." },
		{ "Content-Disposition: form-data; name=a; filename*=UTF-8''b", "a{x}." },
		{ "", "!" },
		{ "X-Other: 1", "!" },
		{ "Content-Disposition: attachment; name=a", "!" },
		{ "Content-Disposition: form-data", "!" },
		{ "Content-Disposition: form-data; name=\"\"", "!" },
		{ "Content-Disposition: form-data; name=a; name=b", "!" },
		{ "Content-Disposition: form-data; name=a; filename=a; filename=b", "!" },
		{ "Content-Disposition: form-data; name=\"a", "!" },
		{ "Content-Disposition: form-data; name=a b", "!" },
		{ "Content-Disposition: form-data; name=", "!" },
		{ "Content-Disposition: form-data; name", "!" },
		{ HEAD("a") "\r\n" HEAD("b"), "!" },
		{ HEAD("a") "\r\n folded", "!" },
		{ "Content-Disposition: form-data;\r\n name=a", "!" },
		{ "Content-Disposition : form-data; name=a", "!" },
		{ ": form-data", "!" },
		{ "no colon", "!" },
		{ HEAD("a\001"), "!" },
		{ HEAD("a\n"), "!" },
		{ HEAD("a\r"), "!" },
		{ HEAD("a\177"), "!" },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char body[1000];
		snprintf(body, sizeof(body), "--XyZ\r\n%s%s\r\nx\r\n--XyZ--\r\n", rows[i].head, rows[i].head[0] != '\0' ? "\r\n" : "");
		CU_ASSERT_STRING_EQUAL(parse_text(body), rows[i].shown);
	}
	static const char zero[] = "--XyZ\r\n" HEAD("a") "\r\nX: \0\r\n\r\nx\r\n--XyZ--";
	CU_ASSERT_STRING_EQUAL(parse((struct script){ .bytes = zero, .left = sizeof(zero) - 1, .piece = 9 }, TYPE), "!");
}

static void test_limits(void)
{
	static char body[300000];
	size_t used = 0;
	/* A head as large as is taken, and one byte more. */
	for (size_t more = 0; more < 2; more++) {
		size_t frame = strlen("\r\n" HEAD("a") "\r\nX: \r\n\r\n");
		snprintf(body, sizeof(body), "--XyZ\r\n" HEAD("a") "\r\nX: %0*d\r\n\r\nx\r\n--XyZ--\r\n",
		    (int)(MULTIPART_HEAD_MAX - frame + more), 0);
		CU_ASSERT_STRING_EQUAL(parse_text(body), more == 0 ? "a{x}." : "!");
	}
	/* Header lines without an end. */
	memset(body, 'x', sizeof(body) - 1);
	memcpy(body, "--XyZ\r\n", 7);
	CU_ASSERT_STRING_EQUAL(parse_text(body), "!");
	/* A name that does not fit. */
	snprintf(body, sizeof(body), "--XyZ\r\nContent-Disposition: form-data; name=\"%0*d\"\r\n\r\nx\r\n--XyZ--",
	    MULTIPART_NAME_MAX + 1, 0);
	CU_ASSERT_STRING_EQUAL(parse_text(body), "!");
	/* As many parts as are taken, and one more. */
	for (unsigned parts = MULTIPART_PARTS_MAX; parts < MULTIPART_PARTS_MAX + 2; parts++) {
		used = 0;
		for (unsigned i = 0; i < parts; i++)
			used += (size_t)sprintf(body + used, "--XyZ\r\n" HEAD("a") "\r\n\r\n\r\n");
		sprintf(body + used, "--XyZ--");
		const char *text = parse_text(body);
		CU_ASSERT_EQUAL(strlen(text), MULTIPART_PARTS_MAX * 3 + 1);
		CU_ASSERT_EQUAL(text[strlen(text) - 1], parts == MULTIPART_PARTS_MAX ? '.' : '!');
	}
	/* A content much larger than the buffer, of nothing but beginnings of a delimiter. */
	used = (size_t)sprintf(body, "--XyZ\r\n" HEAD("a") "\r\n\r\n");
	size_t content = used;
	while (used < 150000)
		used += (size_t)sprintf(body + used, "\r\n--Xy\r\n--X\r\n-\r");
	body[used] = '\0';
	static char expected[sizeof(shown)];
	sprintf(expected, "a{%s}.", body + content);
	sprintf(body + used, "\r\n--XyZ--");
	for (size_t piece = 1; piece < 70000; piece = piece * 3 + 1) {
		const struct script script = { .bytes = body, .left = strlen(body), .piece = piece };
		CU_ASSERT_STRING_EQUAL(parse(script, TYPE), expected);
	}
}

/* Bodies damaged at random: whatever comes of it comes without a fault of memory, and ends. */
static void test_damage(void)
{
	char body[sizeof(browser)];
	srand(1);
	for (int round = 0; round < 20000; round++) {
		memcpy(body, browser, sizeof(browser));
		size_t left = sizeof(browser) - 1;
		for (int change = rand() % 4; change >= 0; change--) {
			static const char letters[] = "\r\n-XyZ:;=\"\\\0a ";
			size_t place = (size_t)rand() % left;
			if (rand() % 3 == 0) {
				memmove(body + place, body + place + 1, left - place);
				left--;
			} else {
				body[place] = letters[(size_t)rand() % (sizeof(letters) - 1)];
			}
		}
		const struct script script = { .bytes = body, .left = left, .piece = 1 + (size_t)rand() % 40 };
		const char *text = parse(script, TYPE);
		CU_ASSERT_FATAL(strlen(text) > 0);
	}
}

static void test_boundaries(void)
{
	static const struct { const char *type; bool well; } rows[] = {
		{ "multipart/form-data; boundary=a", true },
		{ "Multipart/Form-Data;Boundary=\"a\"", true },
		{ "multipart/form-data; charset=x; boundary=a;", true },
		{ "multipart/form-data; boundary=0123456789012345678901234567890123456789012345678901234567890123456789", true },
		{ "multipart/form-data; boundary=01234567890123456789012345678901234567890123456789012345678901234567890", false },
		{ "multipart/form-data", false },
		{ "multipart/form-data; boundary=", false },
		{ "multipart/form-data; boundary=\"\"", false },
		{ "multipart/form-data; boundary=\"a ", false },
		{ "multipart/form-data; boundary=\"a \"", false },
		{ "multipart/form-data; boundary=\"a\r\nb\"", false },
		{ "multipart/form-data; boundary=\"a@b\"", false },
		{ "multipart/form-data; boundary=a; boundary=b", false },
		{ "multipart/mixed; boundary=a", false },
		{ "multipart/form-datax; boundary=a", false },
		{ "", false },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct multipart *multipart;
		const struct web_source source = { .read = read_script };
		enum multipart_result result = multipart_new(&multipart, rows[i].type, &source);
		CU_ASSERT_EQUAL(result, rows[i].well ? MULTIPART_OK : MULTIPART_MALFORMED);
		CU_ASSERT_EQUAL(multipart != NULL, rows[i].well);
		multipart_free(&multipart);
	}
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(test_every_split),
		SUITE_TEST(test_every_end),
		SUITE_TEST(test_look_alikes),
		SUITE_TEST(test_heads),
		SUITE_TEST(test_limits),
		SUITE_TEST(test_damage),
		SUITE_TEST(test_boundaries),
	};

	return RUN_TESTS("multipart", tests);
}
