/* Mail: what is composed, to the byte; what is refused; delivery into a maildir. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "taskd/mail_maildir.h"
#include "taskd/mail_message.h"
#include "tests/unit/runner.h"

/* Its id says: made at 2025-01-02T03:04:05Z. */
#define TASK_ID "019424f8-6088-7000-8000-00000000002a"
#define MAIL_NAME "1735787045." TASK_ID ".taskring"

static const struct mail_origin origin = {
	.task_id = TASK_ID,
	.default_from = "Taskring <taskring@example.net>",
	.now_s = 1735787045,
};

static struct mail_message composed(const char *args)
{
	struct mail_message message;
	struct tr_error error = { "" };
	enum tr_result result = mail_message_compose(&message, args, &origin, &error);
	CU_ASSERT_EQUAL_FATAL(result, TR_OK);
	CU_ASSERT_STRING_EQUAL(error.text, "");
	CU_ASSERT_EQUAL(strlen(message.text), message.bytes);
	return message;
}

static void expect_text(const char *args, const char *text)
{
	struct mail_message message = composed(args);
	CU_ASSERT_STRING_EQUAL(message.text, text);
	if (strcmp(message.text, text) != 0)
		printf("\n--- is\n%s--- should be\n%s---\n", message.text, text);
	mail_message_clear(&message);
}

/* The value of a header, unfolded, as it stands between "Name: " and the line's end. */
static void expect_header(const char *args, const char *name, const char *value)
{
	struct mail_message message = composed(args);
	char start[80], is[8192] = "";
	snprintf(start, sizeof start, "\r\n%s: ", name);
	const char *at = strstr(message.text, start);
	size_t used = 0;
	for (at = at == NULL ? "" : at + strlen(start); *at != '\0' && used + 1 < sizeof is; at++) {
		if (at[0] == '\r' && at[2] != ' ')
			break;
		if (*at != '\r' && *at != '\n')
			is[used++] = *at;
	}
	CU_ASSERT_STRING_EQUAL(is, value);
	if (strcmp(is, value) != 0)
		printf("\n--- is\n%s\n--- should be\n%s\n", is, value);
	mail_message_clear(&message);
}

static void test_plain(void)
{
	expect_text("{\"to\": \"ada@example.org\", \"subject\": \"Welcome\", \"text\": \"Hello,\\nAda!\\n\"}",
	    "Date: Thu, 2 Jan 2025 03:04:05 +0000\r\n"
	    "From: \"Taskring\" <taskring@example.net>\r\n"
	    "To: ada@example.org\r\n"
	    "Subject: Welcome\r\n"
	    "Message-ID: <" TASK_ID "@example.net>\r\n"
	    "MIME-Version: 1.0\r\n"
	    "Content-Type: text/plain; charset=utf-8\r\n"
	    "Content-Transfer-Encoding: quoted-printable\r\n"
	    "\r\n"
	    "Hello,\r\n"
	    "Ada!\r\n");
}

static void test_everything(void)
{
	expect_text("{\"to\": [\"ada@example.org\", {\"address\": \"b@example.org\", \"name\": \"B \\\"x\\\" \\\\, Ltd.\"}],"
	            " \"cc\": \"\\\"Lovelace, A\\\" <c@example.org>\", \"bcc\": [\"secret@example.com\"],"
	            " \"from\": \"shop@example.com\", \"reply_to\": \"help@example.com\", \"part\": \"invoice-1\","
	            " \"subject\": \"Gr\\u00fc\\u00dfe\", \"text\": \"a=b \\n\\u20ac\\r\\n.\", \"html\": \"<p>\\u20ac</p>\\n\","
	            " \"headers\": {\"X-Order\": \"42\"}}",
	    "Date: Thu, 2 Jan 2025 03:04:05 +0000\r\n"
	    "From: shop@example.com\r\n"
	    "Reply-To: help@example.com\r\n"
	    "To: ada@example.org,\r\n"
	    " \"B \\\"x\\\" \\\\, Ltd.\" <b@example.org>\r\n"
	    "Cc: \"Lovelace, A\" <c@example.org>\r\n"
	    "Subject: =?UTF-8?Q?Gr=C3=BC=C3=9Fe?=\r\n"
	    "Message-ID: <" TASK_ID ".invoice-1@example.com>\r\n"
	    "X-Order: 42\r\n"
	    "MIME-Version: 1.0\r\n"
	    "Content-Type: multipart/alternative; boundary=\"=_" TASK_ID "\"\r\n"
	    "\r\n"
	    "--=_" TASK_ID "\r\n"
	    "Content-Type: text/plain; charset=utf-8\r\n"
	    "Content-Transfer-Encoding: quoted-printable\r\n"
	    "\r\n"
	    "a=3Db=20\r\n"
	    "=E2=82=AC\r\n"
	    ".\r\n"
	    "--=_" TASK_ID "\r\n"
	    "Content-Type: text/html; charset=utf-8\r\n"
	    "Content-Transfer-Encoding: quoted-printable\r\n"
	    "\r\n"
	    "<p>=E2=82=AC</p>\r\n"
	    "--=_" TASK_ID "--\r\n");
}

static void test_envelope(void)
{
	struct mail_message message = composed("{\"to\": [\"a@example.org\", \"b@example.org\"], \"cc\": \"a@example.org\","
	                                       " \"bcc\": [\"hidden@example.org\", \"B <b@example.org>\"], \"subject\": \"\","
	                                       " \"html\": \"\"}");
	CU_ASSERT_STRING_EQUAL(message.key, TASK_ID);
	CU_ASSERT_STRING_EQUAL(message.message_id, "<" TASK_ID "@example.net>");
	CU_ASSERT_STRING_EQUAL(message.sender, "taskring@example.net");
	CU_ASSERT_EQUAL_FATAL(message.recipient_count, 3);
	CU_ASSERT_STRING_EQUAL(message.recipients[0], "a@example.org");
	CU_ASSERT_STRING_EQUAL(message.recipients[1], "b@example.org");
	CU_ASSERT_STRING_EQUAL(message.recipients[2], "hidden@example.org");
	CU_ASSERT_PTR_NULL(strcasestr(message.text, "bcc"));
	CU_ASSERT_PTR_NULL(strstr(message.text, "hidden"));
	mail_message_clear(&message);
}

#define TO "{\"to\": \"ada@example.org\", \"text\": \"\", "
#define TEN "0123456789"
#define FIFTY TEN TEN TEN TEN TEN

static void test_headers_are_encoded_and_folded(void)
{
	/* What a reader would decode, strip or split must come back as it was given. */
	expect_header(TO "\"subject\": \"=?UTF-8?Q?x?=\"}", "Subject", "=?UTF-8?Q?=3D=3FUTF-8=3FQ=3Fx=3F=3D?=");
	expect_header(TO "\"subject\": \" x \"}", "Subject", "=?UTF-8?Q?_x_?=");
	expect_header(TO "\"subject\": \"a  b\"}", "Subject", "a  b");
	expect_header(TO "\"subject\": \"" FIFTY " " FIFTY "  " TEN "\"}", "Subject", FIFTY " " FIFTY "  " TEN);
	/* An encoded word has at most 75 characters and ends between two characters of the text. */
	expect_header(TO "\"subject\": \"" FIFTY "\\u20ac\\u20ac\"}", "Subject",
	    "=?UTF-8?Q?" FIFTY "?= =?UTF-8?Q?=E2=82=AC=E2=82=AC?=");
	expect_header(TO "\"subject\": \"s\", \"headers\": {\"X-Name\": \"\\u00e9\"}}", "X-Name", "=?UTF-8?Q?=C3=A9?=");
	expect_header("{\"to\": \"\\u00c9va <eva@example.org>\", \"subject\": \"s\", \"text\": \"\"}", "To",
	    "=?UTF-8?Q?=C3=89va?= <eva@example.org>");
}

static size_t longest_line(const struct mail_message *message)
{
	size_t longest = 0, column = 0;
	for (const char *each = message->text; *each != '\0'; each++) {
		CU_ASSERT_TRUE((unsigned char)*each < 0x80);
		column = *each == '\n' ? 0 : column + (*each != '\r');
		longest = column > longest ? column : longest;
	}
	return longest;
}

/* No line beyond what RFC 5322 and RFC 2045 allow, whatever comes in. */
static void test_lines_are_short(void)
{
	char *args = NULL;
	size_t bytes = 0;
	FILE *out = open_memstream(&args, &bytes);
	CU_ASSERT_PTR_NOT_NULL_FATAL(out);
	fputs("{\"to\": [", out);
	for (int i = 0; i < MAIL_RECIPIENTS_MAX; i++)
		fprintf(out, "%s{\"address\": \"a%d@" FIFTY ".example.org\", \"name\": \"\\u00dc" FIFTY "\"}", i == 0 ? "" : ",", i);
	fputs("], \"subject\": \"", out);
	for (int i = 0; i < 80; i++)
		fputs(FIFTY, out);
	fputs("\", \"text\": \"", out);
	for (int i = 0; i < 60; i++)
		fputs(FIFTY "\\u20ac", out);
	fputs("\"}", out);
	CU_ASSERT_EQUAL_FATAL(fclose(out), 0);

	struct mail_message message = composed(args);
	CU_ASSERT_EQUAL(message.recipient_count, MAIL_RECIPIENTS_MAX);
	CU_ASSERT_EQUAL(longest_line(&message), 76);
	mail_message_clear(&message);
	free(args);
}

/* A line is folded before spaces, which so many of them would not make shorter. */
static void test_spaces_are_short(void)
{
	char args[4096];
	snprintf(args, sizeof args, TO "\"subject\": \"a%2000sb\"}", "");
	struct mail_message message = composed(args);
	CU_ASSERT_TRUE(longest_line(&message) <= 78);
	CU_ASSERT_PTR_NOT_NULL(strstr(message.text, "Subject: =?UTF-8?Q?a___"));
	mail_message_clear(&message);
}

static void test_what_is_refused(void)
{
	static const struct {
		const char *args, *error;
	} rows[] = {
		{ "{", "the arguments cannot be read: " },
		{ "[]", "the arguments must be a JSON object" },
		{ "{\"to\": \"a@b.c\", \"to\": \"x@b.c\"}", "the arguments cannot be read: duplicate object key" },
		{ "{\"sbuject\": \"\"}", "\"sbuject\" is not a field of a mail" },
		{ "{\"subject\": \"s\", \"text\": \"\"}", "\"to\" is missing" },
		{ "{\"to\": []}", "\"to\" must be an address or 1 to 100 of them" },
		{ "{\"to\": 1}", "\"to\": an address must be a string or an object" },
		{ "{\"to\": {\"name\": \"x\"}}", "\"to\": an object must hold \"address\"" },
		{ "{\"to\": {\"address\": \"a@b.c\", \"nmae\": \"x\"}}", "\"to\": an object must hold \"address\"" },
		{ "{\"to\": \"a@b.c\", \"text\": \"\"}", "\"subject\" is missing" },
		{ "{\"to\": \"a@b.c\", \"subject\": \"s\"}", "\"text\" and \"html\" are missing" },
		{ TO "\"subject\": 1}", "\"subject\" must be a string" },
		/* Header injection, at every place where text enters a header. */
		{ TO "\"subject\": \"x\\r\\nBcc: eve@example.com\"}", "\"subject\" holds a line break" },
		{ TO "\"subject\": \"x\\ny\"}", "\"subject\" holds a line break" },
		{ TO "\"subject\": \"x\\u0085y\"}", "\"subject\" holds a line break" },
		{ "{\"to\": \"a@b.c\\nBcc: e@b.c\"}", "\"to\" holds a line break" },
		{ "{\"to\": {\"address\": \"a@b.c\", \"name\": \"x\\ny\"}}", "\"to\" holds a line break" },
		{ TO "\"cc\": \"x\\r <a@b.c>\"}", "\"cc\" holds a line break" },
		{ TO "\"from\": \"x\\u007f@b.c\"}", "\"from\" holds a line break" },
		{ TO "\"subject\": \"s\", \"headers\": {\"X-A\": \"b\\r\\nBcc: e@b.c\"}}", "\"headers\": the value of \"X-A\" holds a line break" },
		{ TO "\"subject\": \"s\", \"headers\": {\"X-A\\r\\nBcc\": \"e@b.c\"}}", "\"headers\": a name must be" },
		{ TO "\"subject\": \"s\", \"headers\": {\"X A\": \"b\"}}", "\"headers\": a name must be" },
		{ TO "\"subject\": \"s\", \"headers\": {\"bCC\": \"e@b.c\"}}", "\"headers\": \"bCC\" cannot be set there" },
		{ TO "\"subject\": \"s\", \"headers\": {\"content-type\": \"x\"}}", "\"headers\": \"content-type\" cannot be set there" },
		{ TO "\"subject\": \"s\", \"headers\": {\"X-A\": 1}}", "\"headers\": the value of \"X-A\" must be a string" },
		{ TO "\"subject\": \"s\", \"headers\": {\"X-A\": \"b\", \"x-a\": \"c\"}}", "\"headers\": \"X-A\" is given twice" },
		{ TO "\"subject\": \"s\", \"headers\": []}", "\"headers\" must be an object" },
		{ TO "\"subject\": \"s\", \"part\": \"a/b\"}", "\"part\" must be 1 to 32 of" },
		{ TO "\"subject\": \"s\", \"part\": \"\"}", "\"part\" must be 1 to 32 of" },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct mail_message message;
		struct tr_error error = { "" };
		CU_ASSERT_EQUAL(mail_message_compose(&message, rows[i].args, &origin, &error), TR_INVALID);
		CU_ASSERT_EQUAL(strncmp(error.text, rows[i].error, strlen(rows[i].error)), 0);
		if (strncmp(error.text, rows[i].error, strlen(rows[i].error)) != 0)
			printf("\n%s: %s\n", rows[i].args, error.text);
	}
	struct mail_message message;
	struct tr_error error;
	const struct mail_origin nobody = { .task_id = TASK_ID };
	CU_ASSERT_EQUAL(mail_message_compose(&message, TO "\"subject\": \"s\"}", &nobody, &error), TR_INVALID);
	CU_ASSERT_STRING_EQUAL(error.text, "\"from\" is missing, and no sender is configured");
}

static void test_addresses(void)
{
	static const char *const good[] = { "a@b", "a.b+c@x-y.example.org", "Ada <a@b.c>", "<a@b.c>", "  a@b.c ",
		"\"A, B <x>\" <a@b.c>", "o'neil_{x}@b.c", "1@2.3" };
	static const char *const bad[] = { "", "a", "@b.c", "a@", "a@b@c", "a b@c", ".a@b.c", "a.@b.c", "a..b@c", "a@b..c",
		"a@.b", "a@b.", "a@-b", "a@b-.c", "a@[127.0.0.1]", "\"a b\"@c", "a(b)@c", "a@b.c, d@e.f", "a@b.c;d@e.f",
		"A, B <a@b.c>", "A <b@c.d> <a@b.c>", "A \"B\" <a@b.c>", "\"A\\\" <a@b.c>", "<a@b.c", "<@x:a@b.c>", "a@b_c",
		"\xc3\xa4@b.c", "a@\xc3\xa4.c", "a@b.c> SIZE=1", FIFTY TEN "01234@b.c" };
	struct mail_address address;
	struct tr_error error;
	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		json_t *value = json_string(good[i]);
		CU_ASSERT_TRUE(mail_address_read(&address, value, "to", &error));
		json_decref(value);
	}
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		json_t *value = json_string(bad[i]);
		CU_ASSERT_PTR_NOT_NULL(value);
		bool taken = mail_address_read(&address, value, "to", &error);
		CU_ASSERT_FALSE(taken);
		if (taken)
			printf("\ntaken: %s\n", bad[i]);
		CU_ASSERT_EQUAL(strncmp(error.text, "\"to\"", 4), 0);
		json_decref(value);
	}
}

/* ---- the maildir ------------------------------------------------------------------------- */

static char directory[] = "/tmp/test_mail.XXXXXX";
static char maildir[64];

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *ftw)
{
	(void)status;
	(void)type;
	(void)ftw;
	return remove(path);
}

static int make_directory(void)
{
	if (mkdtemp(directory) == NULL)
		return 1;
	snprintf(maildir, sizeof maildir, "%s/mail", directory);
	return 0;
}

static int remove_directory(void)
{
	return nftw(directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static const char *inside(const char *path)
{
	static char whole[256];
	snprintf(whole, sizeof whole, "%s/%s", maildir, path);
	return whole;
}

static bool holds(const char *path, const char *text)
{
	char bytes[4096] = "";
	int fd = open(inside(path), O_RDONLY | O_CLOEXEC);
	ssize_t count = fd < 0 ? -1 : read(fd, bytes, sizeof bytes - 1);
	if (fd >= 0)
		close(fd);
	return count >= 0 && strcmp(bytes, text) == 0;
}

static enum maildir_result deliver(const char *text, struct tr_error *error)
{
	struct mail_message message = { .key = TASK_ID, .text = strdup(text), .bytes = strlen(text) };
	CU_ASSERT_PTR_NOT_NULL_FATAL(message.text);
	enum maildir_result result = maildir_deliver(maildir, &message, error);
	free(message.text);
	return result;
}

static void test_maildir_delivers_once(void)
{
	struct tr_error error;
	CU_ASSERT_EQUAL(deliver("X: 1\r\n\r\nbody\r\n", &error), MAILDIR_DELIVERED);
	CU_ASSERT_TRUE(holds("new/" MAIL_NAME, "X: 1\n\nbody\n"));
	CU_ASSERT_EQUAL(access(inside("tmp/" MAIL_NAME), F_OK), -1);
	struct stat status;
	CU_ASSERT_EQUAL(stat(inside("new/" MAIL_NAME), &status), 0);
	CU_ASSERT_EQUAL(status.st_mode & 07777, 0600);
	CU_ASSERT_EQUAL(stat(inside("cur"), &status), 0);
	CU_ASSERT_EQUAL(status.st_mode & 07777, 0700);

	CU_ASSERT_EQUAL(deliver("X: 2\r\n\r\n", &error), MAILDIR_WAS_THERE);
	CU_ASSERT_TRUE(holds("new/" MAIL_NAME, "X: 1\n\nbody\n"));

	/* A reader has seen it. */
	char from[256];
	snprintf(from, sizeof from, "%s", inside("new/" MAIL_NAME));
	CU_ASSERT_EQUAL(rename(from, inside("cur/" MAIL_NAME ":2,S")), 0);
	CU_ASSERT_EQUAL(deliver("X: 3\r\n\r\n", &error), MAILDIR_WAS_THERE);
	CU_ASSERT_EQUAL(access(from, F_OK), -1);
	CU_ASSERT_EQUAL(unlink(inside("cur/" MAIL_NAME ":2,S")), 0);
}

/* A run that died has left half a file. */
static void test_maildir_replaces_what_was_left(void)
{
	struct tr_error error;
	int fd = open(inside("tmp/" MAIL_NAME), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	CU_ASSERT_FATAL(fd >= 0);
	CU_ASSERT_EQUAL(write(fd, "half", 4), 4);
	close(fd);
	CU_ASSERT_EQUAL(deliver("X: 4\r\n\r\n", &error), MAILDIR_DELIVERED);
	CU_ASSERT_TRUE(holds("new/" MAIL_NAME, "X: 4\n\n"));
	CU_ASSERT_EQUAL(access(inside("tmp/" MAIL_NAME), F_OK), -1);
	CU_ASSERT_EQUAL(unlink(inside("new/" MAIL_NAME)), 0);
}

/* The disk takes no more: an error that names the reason, and nothing delivered or left behind. */
static void test_maildir_cannot_be_written(void)
{
	struct tr_error error;
	char text[4096];
	memset(text, 'x', sizeof text);
	text[sizeof text - 1] = '\0';
	struct rlimit before, small = { 1000, RLIM_INFINITY };
	CU_ASSERT_EQUAL_FATAL(getrlimit(RLIMIT_FSIZE, &before), 0);
	small.rlim_max = before.rlim_max;
	void (*action)(int) = signal(SIGXFSZ, SIG_IGN);
	CU_ASSERT_EQUAL_FATAL(setrlimit(RLIMIT_FSIZE, &small), 0);
	enum maildir_result result = deliver(text, &error);
	CU_ASSERT_EQUAL(setrlimit(RLIMIT_FSIZE, &before), 0);
	signal(SIGXFSZ, action);

	CU_ASSERT_EQUAL(result, MAILDIR_FAILED);
	CU_ASSERT_PTR_NOT_NULL(strstr(error.text, "cannot write: File too large"));
	CU_ASSERT_EQUAL(access(inside("tmp/" MAIL_NAME), F_OK), -1);
	CU_ASSERT_EQUAL(access(inside("new/" MAIL_NAME), F_OK), -1);
}

static void test_maildir_is_none(void)
{
	struct tr_error error;
	struct mail_message message = { .key = TASK_ID };
	CU_ASSERT_EQUAL(maildir_deliver("/dev/null", &message, &error), MAILDIR_FAILED);
	CU_ASSERT_STRING_EQUAL(error.text, "maildir /dev/null: cannot open: Not a directory");
	CU_ASSERT_EQUAL(maildir_deliver("/nowhere/at/all", &message, &error), MAILDIR_FAILED);
	CU_ASSERT_STRING_EQUAL(error.text, "maildir /nowhere/at/all: cannot open: No such file or directory");
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(test_plain),
		SUITE_TEST(test_everything),
		SUITE_TEST(test_envelope),
		SUITE_TEST(test_headers_are_encoded_and_folded),
		SUITE_TEST(test_lines_are_short),
		SUITE_TEST(test_spaces_are_short),
		SUITE_TEST(test_what_is_refused),
		SUITE_TEST(test_addresses),
		SUITE_TEST(test_maildir_delivers_once),
		SUITE_TEST(test_maildir_replaces_what_was_left),
		SUITE_TEST(test_maildir_cannot_be_written),
		SUITE_TEST(test_maildir_is_none),
	};

	return RUN_TESTS_WITHIN("mail", make_directory, remove_directory, tests);
}
