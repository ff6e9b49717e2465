/*
 * The SMTP client against a real server (tests/system/smtp_sink.py): what arrives, and which
 * failures are worth another try.
 */
#include <dlfcn.h>
#include <libgen.h>
#include <time.h>

#include "play_sink.h"
#include "taskd/mail_transport.h"

#define TASK_ID "019424f8-6088-7000-8000-00000000002a"
#define TIMEOUT_MS 10000
#define SHORT_TIMEOUT_MS 300 /* where the test is that it passes */

static const struct mail_transport *transport;
static char certificate[96], key[96];

/* ---- sending ----------------------------------------------------------------------------- */

static const char plain[] = "{\"to\": \"ada@example.org\", \"cc\": \"b@example.org\", \"bcc\": \"c@example.org\","
                            " \"subject\": \"s\", \"text\": \".\\n..\\nend\"}";

static bool never(void *context)
{
	(void)context;
	return false;
}

static bool third_time(void *context)
{
	unsigned *asked = context;
	return ++*asked >= 3;
}

static int64_t now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static struct mail_message composed(const char *args)
{
	static const struct mail_origin origin = { .task_id = TASK_ID, .default_from = "from@example.net", .now_s = 0 };
	struct mail_message message;
	struct tr_error error;
	CU_ASSERT_EQUAL_FATAL(mail_message_compose(&message, args, &origin, &error), TR_OK);
	return message;
}

static void expect(const struct mail_server *server, enum mail_sent sent, const char *text)
{
	struct mail_message message = composed(plain);
	struct mail_report report = { "" };
	CU_ASSERT_EQUAL(transport->send(server, &message, never, NULL, &report), sent);
	CU_ASSERT_PTR_NOT_NULL(strstr(report.text, text));
	if (strstr(report.text, text) == NULL)
		printf("\n%s\n", report.text);
	mail_message_clear(&message);
}

static struct mail_server server_at(const struct sink *sink)
{
	return (struct mail_server){ .url = sink->url, .timeout_ms = TIMEOUT_MS };
}

static void test_arrives_once_and_exactly(void)
{
	struct sink sink = sink_start(NULL);
	struct mail_server server = server_at(&sink);
	expect(&server, MAIL_SENT, "250 2.0.0 kept as 000001");
	sink_expect_kept(&sink, 1);

	struct mail_message message = composed(plain);
	char *bytes = sink_kept(&sink, 1);
	CU_ASSERT_PTR_NOT_NULL_FATAL(bytes);
	CU_ASSERT_STRING_EQUAL(bytes, message.text);
	CU_ASSERT_PTR_NOT_NULL(strstr(bytes, "\r\n\r\n.\r\n..\r\nend\r\n"));
	free(bytes);
	mail_message_clear(&message);

	json_t *is = sink_envelope(&sink, 1);
	json_t *should = json_pack("{s:s, s:[s, s, s], s:b, s:n}", "mail_from", "from@example.net", "rcpt_to",
	    "ada@example.org", "b@example.org", "c@example.org", "tls", 0, "user");
	CU_ASSERT_TRUE(json_equal(is, should));
	json_decref(is);
	json_decref(should);
	sink_stop(&sink);
}

/* More than one buffer of libcurl's (64 KiB), with dots at every line's start. */
static void test_large_message(void)
{
	struct sink sink = sink_start(NULL);
	struct mail_server server = server_at(&sink);
	char *args = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&args, &size);
	CU_ASSERT_PTR_NOT_NULL_FATAL(out);
	fputs("{\"to\": \"ada@example.org\", \"subject\": \"s\", \"text\": \"", out);
	for (int i = 0; i < 40000; i++)
		fputs(i % 3 == 0 ? "..x\\n" : ".\\n", out);
	fputs("\"}", out);
	CU_ASSERT_EQUAL_FATAL(fclose(out), 0);
	struct mail_message message = composed(args);
	struct mail_report report;
	CU_ASSERT_EQUAL(transport->send(&server, &message, never, NULL, &report), MAIL_SENT);
	char *bytes = sink_kept(&sink, 1);
	CU_ASSERT_PTR_NOT_NULL_FATAL(bytes);
	CU_ASSERT_TRUE(strcmp(bytes, message.text) == 0);
	free(bytes);
	mail_message_clear(&message);
	free(args);
	sink_stop(&sink);
}

static void test_starttls(void)
{
	const char *options[] = { "--starttls", certificate, key, NULL };
	struct sink sink = sink_start(options);
	struct mail_server server = server_at(&sink);
	server.require_tls = true;
	expect(&server, MAIL_TRY_AGAIN, "certificate");
	/* Without require_tls an offered TLS is taken too, and not if it cannot be trusted. */
	server.require_tls = false;
	expect(&server, MAIL_TRY_AGAIN, "certificate");
	sink_expect_kept(&sink, 0);

	server.ca_file = certificate;
	server.require_tls = true;
	expect(&server, MAIL_SENT, "250");
	json_t *is = sink_envelope(&sink, 1);
	CU_ASSERT_TRUE(json_is_true(json_object_get(is, "tls")));
	json_decref(is);
	sink_stop(&sink);
}

static void test_tls_from_the_start(void)
{
	const char *options[] = { "--tls", certificate, key, NULL };
	struct sink sink = sink_start(options);
	char url[sizeof sink + 1];
	snprintf(url, sizeof url, "smtps%s", sink.url + strlen("smtp"));
	struct mail_server server = { .url = url, .timeout_ms = TIMEOUT_MS, .require_tls = true };
	expect(&server, MAIL_TRY_AGAIN, "certificate");
	server.ca_file = certificate;
	expect(&server, MAIL_SENT, "250");
	sink_expect_kept(&sink, 1);
	sink_stop(&sink);
}

static void test_tls_required_but_not_offered(void)
{
	struct sink sink = sink_start(NULL);
	struct mail_server server = server_at(&sink);
	server.require_tls = true;
	expect(&server, MAIL_TRY_AGAIN, "STARTTLS");
	sink_expect_kept(&sink, 0);
	sink_stop(&sink);
}

static void test_authentication(void)
{
	const char *options[] = { "--auth", "taskring:s3cret:with colon", NULL };
	struct sink sink = sink_start(options);
	struct mail_server server = server_at(&sink);
	expect(&server, MAIL_TRY_AGAIN, "refused MAIL FROM:<from@example.net> SIZE=");
	server.user = "taskring";
	server.password = "wrong";
	expect(&server, MAIL_TRY_AGAIN, "refused: 535 5.7.8");
	sink_expect_kept(&sink, 0);
	server.password = "s3cret:with colon";
	expect(&server, MAIL_SENT, "250");
	json_t *is = sink_envelope(&sink, 1);
	CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(is, "user")), "taskring");
	json_decref(is);
	sink_stop(&sink);
}

/* One recipient that is refused: the others get nothing either. */
static void test_recipient_refused(void)
{
	const char *options[] = { "--reject", "c@example.org=550 5.1.1 no such user", NULL };
	struct sink sink = sink_start(options);
	struct mail_server server = server_at(&sink);
	expect(&server, MAIL_REFUSED, "the mail server refused RCPT TO:<c@example.org>: 550 5.1.1 no such user");
	sink_expect_kept(&sink, 0);
	sink_stop(&sink);

	options[1] = "ada@example.org=451 4.7.1 grey-listed";
	sink = sink_start(options);
	server = server_at(&sink);
	expect(&server, MAIL_TRY_AGAIN, "the mail server refused RCPT TO:<ada@example.org>: 451 4.7.1 grey-listed");
	sink_expect_kept(&sink, 0);
	sink_stop(&sink);
}

static void test_message_refused(void)
{
	const char *options[] = { "--data-reply", "554 5.6.0 looks like spam\x01", NULL };
	struct sink sink = sink_start(options);
	struct mail_server server = server_at(&sink);
	expect(&server, MAIL_REFUSED, "the mail server refused DATA: 554 5.6.0 looks like spam?");
	sink_stop(&sink);

	options[0] = "--fail-first";
	options[1] = "1";
	sink = sink_start(options);
	server = server_at(&sink);
	expect(&server, MAIL_TRY_AGAIN, "the mail server refused DATA: 451 4.3.0 try again later");
	expect(&server, MAIL_SENT, "250");
	sink_expect_kept(&sink, 1);
	sink_stop(&sink);
}

static void test_connection_dropped(void)
{
	static const char *const where[] = { "ehlo", "mail", "rcpt", "data" };
	for (size_t i = 0; i < sizeof where / sizeof *where; i++) {
		const char *options[] = { "--drop", where[i], "--drop-first", "1", NULL };
		struct sink sink = sink_start(options);
		struct mail_server server = server_at(&sink);
		expect(&server, MAIL_TRY_AGAIN, "");
		sink_expect_kept(&sink, 0);
		expect(&server, MAIL_SENT, "250");
		sink_expect_kept(&sink, 1);
		sink_stop(&sink);
	}
}

/* The reply is lost after the server has taken the message: it comes twice, recognisably. */
static void test_last_reply_lost(void)
{
	const char *options[] = { "--drop", "kept", "--drop-first", "1", NULL };
	struct sink sink = sink_start(options);
	struct mail_server server = server_at(&sink);
	expect(&server, MAIL_TRY_AGAIN, "");
	expect(&server, MAIL_SENT, "250");
	sink_expect_kept(&sink, 2);
	for (unsigned number = 1; number <= 2; number++) {
		char *bytes = sink_kept(&sink, number);
		CU_ASSERT_PTR_NOT_NULL_FATAL(bytes);
		CU_ASSERT_PTR_NOT_NULL(strstr(bytes, "\r\nMessage-ID: <" TASK_ID "@example.net>\r\n"));
		free(bytes);
	}
	sink_stop(&sink);
}

static void test_server_stalls(void)
{
	static const char *const where[] = { "ehlo", "rcpt", "data" };
	for (size_t i = 0; i < sizeof where / sizeof *where; i++) {
		const char *options[] = { "--stall", where[i], NULL };
		struct sink sink = sink_start(options);
		struct mail_server server = server_at(&sink);
		server.timeout_ms = SHORT_TIMEOUT_MS;
		int64_t start_ms = now_ms();
		expect(&server, MAIL_TRY_AGAIN, "time");
		int64_t took_ms = now_ms() - start_ms;
		CU_ASSERT_TRUE(took_ms >= SHORT_TIMEOUT_MS - 50 && took_ms < TIMEOUT_MS);
		sink_expect_kept(&sink, 0);
		sink_stop(&sink);
	}
}

/* All is well, but the server does not answer the good-bye: it is not waited for. */
static void test_quit_is_not_waited_for(void)
{
	const char *options[] = { "--stall", "quit", "--reject", "ada@example.org=550 no", NULL };
	for (int refused = 0; refused < 2; refused++) {
		options[2] = refused ? "--reject" : NULL;
		struct sink sink = sink_start(options);
		struct mail_server server = server_at(&sink);
		int64_t start_ms = now_ms();
		expect(&server, refused ? MAIL_REFUSED : MAIL_SENT, refused ? ": 550 no" : "250");
		CU_ASSERT_TRUE(now_ms() - start_ms < TIMEOUT_MS);
		sink_expect_kept(&sink, refused ? 0 : 1);
		sink_stop(&sink);
	}
}

/* The task is cancelled, or out of time, while the server says nothing. */
static void test_stopped(void)
{
	static const char *const where[] = { "rcpt", "data" };
	for (size_t i = 0; i < sizeof where / sizeof *where; i++) {
		const char *options[] = { "--stall", where[i], NULL };
		struct sink sink = sink_start(options);
		struct mail_server server = server_at(&sink);
		struct mail_message message = composed(plain);
		struct mail_report report;
		unsigned asked = 0;
		int64_t start_ms = now_ms();
		CU_ASSERT_EQUAL(transport->send(&server, &message, third_time, &asked, &report), MAIL_TRY_AGAIN);
		CU_ASSERT_TRUE(now_ms() - start_ms < TIMEOUT_MS - 1000);
		CU_ASSERT_EQUAL(asked, 3);
		CU_ASSERT_STRING_EQUAL(report.text, "stopped before the mail server had taken the message");
		mail_message_clear(&message);
		sink_stop(&sink);
	}
}

static void test_no_server(void)
{
	struct sink sink = sink_start(NULL);
	struct mail_server server = server_at(&sink);
	sink_stop(&sink);
	expect(&server, MAIL_TRY_AGAIN, "Failed to connect to 127.0.0.1");
	server.url = "http://127.0.0.1:1";
	expect(&server, MAIL_TRY_AGAIN, "not supported");
}

/* ---- the run ----------------------------------------------------------------------------- */

static bool make_certificate(void)
{
	snprintf(certificate, sizeof certificate, "%s/cert.pem", directory);
	snprintf(key, sizeof key, "%s/key.pem", directory);
	const char *const arguments[] = { "/usr/bin/openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
		"ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=sink.test", "-addext",
		"subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate, NULL };
	int status = -1;
	pid_t pid = sink_program(arguments, -1);
	return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

/* The shared object lies beside this program's directory, as the Makefile builds both. */
static int set_up(void)
{
	char program[200], path[256];
	ssize_t bytes = readlink("/proc/self/exe", program, sizeof program - 1);
	if (bytes < 0 || !sink_directory_make())
		return 1;
	program[bytes] = '\0';
	snprintf(path, sizeof path, "%s/../modules/mail_smtp.so", dirname(program));
	void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	transport = module == NULL ? NULL : dlsym(module, MAIL_TRANSPORT_SYMBOL);
	if (transport == NULL || transport->abi != MAIL_TRANSPORT_ABI) {
		printf("%s: %s\n", path, transport == NULL ? dlerror() : "another version");
		return 1;
	}
	return make_certificate() ? 0 : 1;
}

static int tear_down(void)
{
	return sink_directory_remove();
}

int main(void)
{
	signal(SIGPIPE, SIG_IGN);
	if (CU_initialize_registry() != CUE_SUCCESS)
		return 2;
	CU_pSuite suite = CU_add_suite("mail by SMTP", set_up, tear_down);
	CU_ADD_TEST(suite, test_arrives_once_and_exactly);
	CU_ADD_TEST(suite, test_large_message);
	CU_ADD_TEST(suite, test_starttls);
	CU_ADD_TEST(suite, test_tls_from_the_start);
	CU_ADD_TEST(suite, test_tls_required_but_not_offered);
	CU_ADD_TEST(suite, test_authentication);
	CU_ADD_TEST(suite, test_recipient_refused);
	CU_ADD_TEST(suite, test_message_refused);
	CU_ADD_TEST(suite, test_connection_dropped);
	CU_ADD_TEST(suite, test_last_reply_lost);
	CU_ADD_TEST(suite, test_server_stalls);
	CU_ADD_TEST(suite, test_quit_is_not_waited_for);
	CU_ADD_TEST(suite, test_stopped);
	CU_ADD_TEST(suite, test_no_server);
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	unsigned failures = CU_get_number_of_failures();
	CU_cleanup_registry();
	return failures > 0;
}
