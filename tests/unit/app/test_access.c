/* Who may what: token files, each right with each role, forged requests, cookies, and who guesses. */
#include "tests/unit/app/web_fixture.h"

#include <sys/stat.h>

#include "app/guesses.h"
#include "tests/unit/runner.h"

static char reader[100], submitter[100], operator[100];
static struct tokens *tokens, *closed; /* the second without a line for anybody */

static void use(struct tokens *table)
{
	access_free(&settings.access);
	settings.access = table != NULL ? access_new(table, "shop", NULL) : NULL;
	authorization = NULL;
	caller = (struct request_head){ .peer = "192.0.2.1" };
}

static int set_up(void)
{
	char unused[100];
	const struct token_row rows[] = { { "# a comment", NULL }, { "", NULL }, { "grafana:reader", reader }, { "shop:submitter", submitter },
		{ "ada:ops:operator", operator }, { "grace operator user", NULL }, { "ed@example.org  reader\tuser", NULL },
		{ "anybody reader", NULL } };
	const struct token_row few[] = { { "ada:operator", unused } };
	tokens = make_tokens(rows, sizeof(rows) / sizeof(rows[0]));
	closed = make_tokens(few, 1);
	return tokens == NULL || closed == NULL || open_ring() != 0;
}

static int clean_up(void)
{
	use(NULL);
	tokens_free(&tokens);
	tokens_free(&closed);
	return close_ring();
}

/* ---- the file ---------------------------------------------------------------------------- */

#define HASH "sha256:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

/* The fault without the file's name; "" : none. */
static const char *fault_of(const char *text, size_t bytes, mode_t mode)
{
	static struct tr_error error;
	char path[] = "/tmp/test-access-XXXXXX";
	int fd = mkstemp(path);
	CU_ASSERT_TRUE_FATAL(fd >= 0);
	CU_ASSERT_EQUAL(write(fd, text, bytes), (ssize_t)bytes);
	CU_ASSERT_EQUAL(fchmod(fd, mode), 0);
	close(fd);
	error.text[0] = '\0';
	struct tokens *table = tokens_read(path, &error);
	unlink(path);
	CU_ASSERT_EQUAL(table == NULL, error.text[0] != '\0');
	CU_ASSERT_TRUE(table != NULL || strncmp(error.text, path, strlen(path)) == 0);
	tokens_free(&table);
	return error.text[0] != '\0' ? error.text + strlen(path) : "";
}

static void test_files(void)
{
	static const struct {
		const char *text, *fault;
	} rows[] = {
		{ "", "" }, { "a reader " HASH, "" }, { "\n# x\n  a   reader " HASH "\nanybody submitter\n", "" },
		{ "a reader " HASH "\na operator user\n", "" }, /* one name, two ways */
		{ "a\n", ":1: the role must be" }, { "a boss " HASH "\n", ":1: the role must be" }, { "\na nobody " HASH "\n", ":2: the role must be" },
		{ "a reader\n", ":1: after the role" }, { "a reader sha256:00\n", ":1: after the role" },
		{ "a reader sha256:00112233445566778899AABBCCDDEEFF00112233445566778899aabbccddeeff\n", ":1: after the role" },
		{ "a reader tr_0011\n", ":1: after the role" }, { "a reader " HASH " x\n", ":1: a line is NAME ROLE HASH" },
		{ "a\x01 reader " HASH "\n", ":1: a name is" }, { "\xc3\xa4 reader " HASH "\n", ":1: a name is" },
		{ "anybody\n", ":1: \"anybody\" may be" }, { "anybody operator\n", ":1: \"anybody\" may be" },
		{ "anybody reader " HASH "\n", ":1: \"anybody\" has a role and nothing else" },
		{ "anybody reader\nanybody reader\n", ":2: \"anybody\" stands there already" },
		{ "a reader " HASH "\nb operator " HASH "\n", ":2: this hash stands there already" },
		{ "a reader user\na operator user\n", ":2: this user stands there already" },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *fault = fault_of(rows[i].text, strlen(rows[i].text), 0600);
		CU_ASSERT_EQUAL(strncmp(fault, rows[i].fault, strlen(rows[i].fault)), 0);
		CU_ASSERT_EQUAL(fault[0] == '\0', rows[i].fault[0] == '\0');
	}
	CU_ASSERT_EQUAL(strncmp(fault_of("a reader \0user\n", 15, 0600), ":1: a line has", 14), 0);
	char text[400];
	memset(text, 'x', sizeof(text));
	CU_ASSERT_EQUAL(strncmp(fault_of(text, sizeof(text), 0600), ":1: a line has", 14), 0);
	CU_ASSERT_STRING_EQUAL(fault_of("", 0, 0640), "");
	CU_ASSERT_PTR_NOT_NULL(strstr(fault_of("", 0, 0604), "chmod o= it"));
	CU_ASSERT_PTR_NOT_NULL(strstr(fault_of("", 0, 0602), "chmod o= it"));
	struct tr_error error;
	CU_ASSERT_PTR_NULL(tokens_read("/tmp", &error));
	CU_ASSERT_PTR_NOT_NULL(strstr(error.text, "/tmp: "));
	CU_ASSERT_PTR_NULL(tokens_read("/nowhere/tokens", &error));
	CU_ASSERT_PTR_NOT_NULL(strstr(error.text, "No such file"));
}

static void test_too_many(void)
{
	static char text[(TOKENS_MAX + 1) * 32];
	size_t used = 0;
	for (int i = 0; i < TOKENS_MAX; i++)
		used += (size_t)snprintf(text + used, sizeof(text) - used, "u%d reader user\n", i);
	CU_ASSERT_STRING_EQUAL(fault_of(text, used, 0600), "");
	used += (size_t)snprintf(text + used, sizeof(text) - used, "more reader user\n");
	CU_ASSERT_EQUAL(strncmp(fault_of(text, used, 0600), ":1001: there are too many", 25), 0);
}

static void test_finding(void)
{
	const struct token_owner *owner = tokens_find(tokens, operator + 7);
	CU_ASSERT_PTR_NOT_NULL_FATAL(owner);
	CU_ASSERT_STRING_EQUAL(owner->name, "ada:ops");
	CU_ASSERT_EQUAL(owner->most, RIGHT_STEER);
	CU_ASSERT_PTR_NULL(tokens_find(closed, operator + 7));
	CU_ASSERT_STRING_EQUAL(tokens_find_user(tokens, "grace")->name, "grace");
	CU_ASSERT_PTR_NULL(tokens_find_user(tokens, "shop")); /* has a token, is no user */
	CU_ASSERT_PTR_NULL(tokens_find(tokens, ""));
	CU_ASSERT_PTR_NULL(tokens_find(tokens, "user"));
	/* The hash itself opens nothing, nor does the hash of something short that somebody has put into the file. */
	const struct token_row weak[] = { { "a operator sha256:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b", NULL } };
	struct tokens *table = make_tokens(weak, 1); /* of "secret" */
	CU_ASSERT_PTR_NULL(tokens_find(table, "secret"));
	CU_ASSERT_PTR_NULL(tokens_find(table, "sha256:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"));
	tokens_free(&table);
}

/* ---- each right with each role ----------------------------------------------------------- */

#define NO_TASK "/tasks/00000000-0000-7000-8000-000000000000"

/* What is answered to reading, submitting and steering: 404, 422 and 404 where it is allowed. */
static void expect_rights(int read, int submit, int steer)
{
	serve("GET", NO_TASK, "");
	CU_ASSERT_EQUAL(answer.status, read);
	serve("POST", "/register", "{}");
	CU_ASSERT_EQUAL(answer.status, submit);
	serve("DELETE", NO_TASK, "");
	CU_ASSERT_EQUAL(answer.status, steer);
	if (answer.status == 401)
		CU_ASSERT_TRUE(answer.challenge);
	serve("GET", "/healthz", "");
	CU_ASSERT_EQUAL(answer.status, 503); /* no taskd; but no right is asked for */
}

static void test_rights(void)
{
	use(NULL);
	expect_rights(404, 422, 403);
	CU_ASSERT_FALSE(answer.challenge);
	use(closed);
	expect_rights(401, 401, 401);
	use(tokens);
	expect_rights(404, 401, 401);
	static const struct {
		const char *token;
		int read, submit, steer;
	} rows[] = { { reader, 404, 403, 403 }, { submitter, 404, 422, 403 }, { operator, 404, 422, 404 } };
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		authorization = rows[i].token;
		expect_rights(rows[i].read, rows[i].submit, rows[i].steer);
	}
	authorization = "Basic YWRhOmFkYQ=="; /* not ours: the web server's */
	expect_rights(404, 401, 401);
	char other[120];
	snprintf(other, sizeof(other), "bEARER   %s", operator + 7);
	authorization = other;
	expect_rights(404, 422, 404);
	static const char *const wrong[] = { "Bearer", "Bearer ", "Bearer x", "Bearer tr_" };
	for (size_t i = 1; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		authorization = wrong[i];
		serve("GET", NO_TASK, ""); /* a wrong one is refused, even where none is needed */
		CU_ASSERT_EQUAL(answer.status, 401);
	}
	char longest[2000] = "Bearer ";
	memset(longest + 7, 'x', sizeof(longest) - 8);
	authorization = longest;
	serve("GET", NO_TASK, "");
	CU_ASSERT_EQUAL(answer.status, 401);
}

/* ---- what browsers send on their own ----------------------------------------------------- */

static const char *member(const char *name)
{
	const char *text = json_string_value(json_object_get(answer.body, name));
	return text != NULL ? text : "";
}

static void test_login(void)
{
	char body[200], cookie[400];
	use(NULL);
	serve("POST", "/login", "{\"token\":\"x\"}");
	CU_ASSERT_EQUAL(answer.status, 403);
	serve("GET", "/session", "");
	CU_ASSERT_STRING_EQUAL(member("role"), "submitter");
	CU_ASSERT_TRUE(json_is_false(json_object_get(answer.body, "login")));
	use(tokens);
	serve("GET", "/session", "");
	CU_ASSERT_STRING_EQUAL(member("role"), "reader");
	CU_ASSERT_TRUE(json_is_null(json_object_get(answer.body, "name")));
	serve("POST", "/login", "{\"token\":\"tr_x\"}");
	CU_ASSERT_EQUAL(answer.status, 401);
	CU_ASSERT_STRING_EQUAL(answer.set_cookie, "");
	snprintf(body, sizeof(body), "{\"token\":\"%s\"}", operator + 7);
	serve("POST", "/login", body);
	CU_ASSERT_EQUAL_FATAL(answer.status, 200);
	CU_ASSERT_STRING_EQUAL(member("name"), "ada:ops");
	CU_ASSERT_EQUAL(json_array_size(json_object_get(answer.body, "rights")), 3);
	snprintf(cookie, sizeof(cookie), "taskring-shop=%s; Path=/; HttpOnly; SameSite=Strict", operator + 7);
	CU_ASSERT_STRING_EQUAL(answer.set_cookie, cookie);
	caller.scheme = "https";
	settings.prefix = "/tools";
	serve("POST", "/tools/login", body);
	snprintf(cookie, sizeof(cookie), "taskring-shop=%s; Path=/tools/; HttpOnly; SameSite=Strict; Secure", operator + 7);
	CU_ASSERT_STRING_EQUAL(answer.set_cookie, cookie);
	settings.prefix = NULL;
	content_type = "text/plain"; /* what a form of another site could send */
	serve("POST", "/login", body);
	CU_ASSERT_EQUAL(answer.status, 415);
	content_type = "application/json";
}

/* By cookie, and by the web server's word. */
static void expect_no_forgeries(void)
{
	static const struct {
		const char *origin, *requested_with;
		int status;
	} rows[] = {
		{ NULL, NULL, 403 }, { "https://evil.example", NULL, 403 }, { "null", NULL, 403 }, { "", NULL, 403 },
		{ "https://shop.example.evil.example", NULL, 403 }, { "https://shop.example", NULL, 404 },
		{ "http://SHOP.example", NULL, 404 }, { "https://shop.example:8443", NULL, 403 },
		{ "https://proxy.example", "taskring", 404 }, { NULL, "XMLHttpRequest", 404 },
	};
	caller.host = "shop.example";
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		caller.origin = rows[i].origin;
		caller.requested_with = rows[i].requested_with;
		serve("DELETE", NO_TASK, "");
		CU_ASSERT_EQUAL(answer.status, rows[i].status);
		serve("GET", NO_TASK, ""); /* changes nothing */
		CU_ASSERT_EQUAL(answer.status, 404);
	}
	caller.host = NULL;
	caller.requested_with = NULL;
	caller.origin = "https://";
	serve("DELETE", NO_TASK, "");
	CU_ASSERT_EQUAL(answer.status, 403);
}

static void test_cookies(void)
{
	char cookie[400];
	use(tokens);
	snprintf(cookie, sizeof(cookie), "a=b; taskring-shop2=x; taskring-shop=%s;taskring-other=y", operator + 7);
	caller.cookie = cookie;
	serve("GET", "/session", "");
	CU_ASSERT_STRING_EQUAL(member("name"), "ada:ops");
	expect_no_forgeries();
	caller.origin = caller.requested_with = NULL;
	serve("POST", "/logout", "");
	CU_ASSERT_EQUAL(answer.status, 403);
	caller.requested_with = "x";
	serve("POST", "/logout", "");
	CU_ASSERT_EQUAL(answer.status, 204);
	CU_ASSERT_STRING_EQUAL(answer.set_cookie, "taskring-shop=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0");
	authorization = reader; /* a header counts more than the cookie, and needs no proof */
	caller.requested_with = NULL;
	serve("DELETE", NO_TASK, "");
	CU_ASSERT_EQUAL(answer.status, 403);
	CU_ASSERT_STRING_EQUAL(detail(), "this is for operators");
	authorization = NULL;
	caller.cookie = "taskring-shop=tr_old"; /* is forgotten, so that the next request is nobody's again */
	serve("GET", NO_TASK, "");
	CU_ASSERT_EQUAL(answer.status, 401);
	CU_ASSERT_STRING_EQUAL(answer.set_cookie, "taskring-shop=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0");
	serve("GET", "/healthz", ""); /* not even looked at */
	CU_ASSERT_EQUAL(answer.status, 503);
	static const char *const others[] = { "", ";", "; ;", "taskring-shop", "taskring-shop2=x", "xtaskring-shop=x", "=", "taskring-sho=x" };
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		caller.cookie = others[i];
		serve("GET", "/session", "");
		CU_ASSERT_EQUAL(answer.status, 200);
		CU_ASSERT_STRING_EQUAL(member("role"), "reader");
	}
	serve("POST", "/logout", ""); /* by nobody's cookie: nothing to forget */
	CU_ASSERT_STRING_EQUAL(answer.set_cookie, "");
}

static void test_users(void)
{
	use(tokens);
	caller.user = "grace";
	serve("GET", "/session", "");
	CU_ASSERT_STRING_EQUAL(member("role"), "operator");
	expect_no_forgeries();
	use(tokens);
	caller.user = "ed@example.org";
	caller.requested_with = "x";
	serve("DELETE", NO_TASK, "");
	CU_ASSERT_EQUAL(answer.status, 403);
	static const char *const strangers[] = { "mallory", "gracE", "anybody" };
	for (size_t i = 0; i < 3; i++) { /* known to the web server, but not here: may what anybody may */
		caller.user = strangers[i];
		serve("GET", "/session", "");
		CU_ASSERT_STRING_EQUAL(member("name"), strangers[i]);
		CU_ASSERT_STRING_EQUAL(member("role"), "reader");
		serve("DELETE", NO_TASK, "");
		CU_ASSERT_EQUAL(answer.status, 403);
	}
	static const char *const none[] = { "", "a b", "x\x01", "\xc3\xa4", "grace\n", "0123456789012345678901234567890123456789012345678901234567890123" };
	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
		caller.user = none[i];
		serve("GET", "/session", "");
		CU_ASSERT_TRUE(json_is_null(json_object_get(answer.body, "name")));
	}
}

/* ---- who guesses ------------------------------------------------------------------------- */

static void test_waits(void)
{
	static const unsigned waits_s[] = { 0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60 };
	struct guesses *guesses = guesses_new();
	CU_ASSERT_PTR_NOT_NULL_FATAL(guesses);
	int64_t now_ms = 1000;
	for (size_t i = 0; i < sizeof(waits_s) / sizeof(waits_s[0]); i++) {
		CU_ASSERT_EQUAL(guesses_wait_s(guesses, "192.0.2.1", now_ms), 0);
		guesses_wrong(guesses, "192.0.2.1", now_ms);
		CU_ASSERT_EQUAL(guesses_wait_s(guesses, "192.0.2.1", now_ms), waits_s[i]);
		CU_ASSERT_EQUAL(guesses_wait_s(guesses, "::ffff:192.0.2.1", now_ms), waits_s[i]); /* the same */
		CU_ASSERT_EQUAL(guesses_wait_s(guesses, "192.0.2.2", now_ms), 0);
		if (waits_s[i] > 0)
			CU_ASSERT_EQUAL(guesses_wait_s(guesses, "192.0.2.1", now_ms + waits_s[i] * 1000 - 1), 1);
		now_ms += waits_s[i] * 1000;
	}
	now_ms += GUESSES_KEPT_S * 1000;
	guesses_wrong(guesses, "192.0.2.1", now_ms); /* forgotten: the first one again */
	CU_ASSERT_EQUAL(guesses_wait_s(guesses, "192.0.2.1", now_ms), 0);
	static const char *const same[] = { "2001:db8::1", "2001:db8::2", "2001:db8:0:0:ffff::", "2001:db8::1", "2001:db8::9", "2001:db8::a" };
	for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++)
		guesses_wrong(guesses, same[i], now_ms);
	CU_ASSERT_EQUAL(guesses_wait_s(guesses, "2001:db8::ffff", now_ms), 1);
	CU_ASSERT_EQUAL(guesses_wait_s(guesses, "2001:db8:0:1::1", now_ms), 0);
	CU_ASSERT_EQUAL(guesses_wait_s(guesses, "::1", now_ms), 0);
	for (int i = 0; i < 6; i++)
		guesses_wrong(guesses, i % 2 == 0 ? "-" : "no address", now_ms);
	CU_ASSERT_EQUAL(guesses_wait_s(guesses, "", now_ms), 1);
	/* A flood from everywhere neither grows the table nor touches who is quiet. */
	char address[32];
	for (unsigned i = 0; i < 100000; i++) {
		snprintf(address, sizeof(address), "10.%u.%u.%u", i >> 16, i >> 8 & 255, i & 255);
		guesses_wrong(guesses, address, now_ms + 1);
	}
	CU_ASSERT_EQUAL(guesses_wait_s(guesses, "192.0.2.77", now_ms + 1), 0);
	guesses_free(&guesses);
	CU_ASSERT_PTR_NULL(guesses);
}

static void test_guessing(void)
{
	use(tokens);
	authorization = "Bearer tr_wrong";
	for (int i = 0; i <= GUESSES_FREE; i++) {
		serve("GET", NO_TASK, "");
		CU_ASSERT_EQUAL(answer.status, 401);
	}
	authorization = operator; /* by now not even the right one is looked at */
	serve("DELETE", NO_TASK, "");
	CU_ASSERT_EQUAL(answer.status, 429);
	CU_ASSERT_EQUAL(answer.retry_after_s, 1);
	serve("POST", "/login", "{\"token\":\"x\"}");
	CU_ASSERT_EQUAL(answer.status, 429);
	authorization = NULL; /* but who shows none gets what anybody gets */
	serve("GET", NO_TASK, "");
	CU_ASSERT_EQUAL(answer.status, 404);
	caller.peer = "192.0.2.2";
	authorization = operator;
	serve("DELETE", NO_TASK, "");
	CU_ASSERT_EQUAL(answer.status, 404);
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(test_files),
		SUITE_TEST(test_too_many),
		SUITE_TEST(test_finding),
		SUITE_TEST(test_rights),
		SUITE_TEST(test_login),
		SUITE_TEST(test_cookies),
		SUITE_TEST(test_users),
		SUITE_TEST(test_waits),
		SUITE_TEST(test_guessing),
	};

	return RUN_TESTS_WITHIN("access", set_up, clean_up, tests);
}
