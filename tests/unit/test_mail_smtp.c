/*
 * The SMTP client against a real server (tests/system/smtp_sink.py): what arrives, and which
 * failures are worth another try.
 */
#include <time.h>

#include "play_sink.h"
#include "play_transfers.h"
#include "tests/unit/runner.h"

#define TASK_ID "019424f8-6088-7000-8000-00000000002a"
#define TIMEOUT_MS 10000
#define SHORT_TIMEOUT_MS 300 /* where the test is that it passes */

static char certificate[96], key[96];

/* ---- sending ----------------------------------------------------------------------------- */

static const char plain[] = "{\"to\": \"ada@example.org\", \"cc\": \"b@example.org\", \"bcc\": \"c@example.org\","
                            " \"subject\": \"s\", \"text\": \".\\n..\\nend\"}";

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

/* One delivery, and what came of it. */
struct delivered {
	bool done;
	enum mail_sent sent;
	char text[512];
};

static void on_done(void *context, enum mail_sent sent, const char *text)
{
	struct delivered *delivered = context;
	CU_ASSERT_FALSE(delivered->done);
	*delivered = (struct delivered){ .sent = sent };
	play_done(&delivered->done);
	snprintf(delivered->text, sizeof delivered->text, "%s", text);
}

static struct delivery *start(const struct mail_server *server, const struct mail_message *message,
    struct delivered *delivered)
{
	struct tr_error error = { "" };
	*delivered = (struct delivered){ 0 };
	struct delivery *delivery = module->mail(transfers, server, message, on_done, delivered, &error);
	CU_ASSERT_PTR_NOT_NULL_FATAL(delivery);
	CU_ASSERT_FALSE(delivered->done);
	return delivery;
}

static void expect_delivered(const struct delivered *delivered, enum mail_sent sent, const char *text)
{
	CU_ASSERT_TRUE(delivered->done);
	CU_ASSERT_EQUAL(delivered->sent, sent);
	CU_ASSERT_PTR_NOT_NULL(strstr(delivered->text, text));
	if (strstr(delivered->text, text) == NULL || delivered->sent != sent)
		printf("\n  %d \"%s\", not \"%s\"\n", delivered->sent, delivered->text, text);
}

static void expect(const struct mail_server *server, enum mail_sent sent, const char *text)
{
	struct mail_message message = composed(plain);
	struct delivered delivered;
	start(server, &message, &delivered);
	play_loop(&delivered.done);
	expect_delivered(&delivered, sent, text);
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
	struct delivered delivered;
	start(&server, &message, &delivered);
	play_loop(&delivered.done);
	expect_delivered(&delivered, MAIL_SENT, "250");
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

static void on_timer(uv_timer_t *timer)
{
	play_done(timer->data);
}

/* Turns the loop for so long. */
static void wait_ms(uint64_t ms)
{
	bool over = false;
	uv_timer_t timer = { .data = &over };
	uv_timer_init(&loop, &timer);
	uv_update_time(&loop);
	uv_timer_start(&timer, on_timer, ms, 0);
	play_loop(&over);
	uv_close((uv_handle_t *)&timer, NULL);
	uv_run(&loop, UV_RUN_NOWAIT);
}

/* The task is cancelled, or out of time, while the server says nothing: nothing is waited for or said. */
static void test_aborted(void)
{
	static const char *const where[] = { "rcpt", "data" };
	for (size_t i = 0; i < sizeof where / sizeof *where; i++) {
		const char *options[] = { "--stall", where[i], NULL };
		struct sink sink = sink_start(options);
		struct mail_server server = server_at(&sink);
		struct mail_message message = composed(plain);
		struct delivered delivered;
		struct delivery *delivery = start(&server, &message, &delivered);
		wait_ms(100);
		CU_ASSERT_FALSE_FATAL(delivered.done);
		int64_t start_ms = now_ms();
		module->abort_mail(delivery);
		CU_ASSERT_TRUE(now_ms() - start_ms < 1000);
		mail_message_clear(&message);
		wait_ms(10);
		CU_ASSERT_FALSE(delivered.done);
		sink_expect_kept(&sink, 0);
		sink_stop(&sink);
	}
}

/* ---- connections ------------------------------------------------------------------------- */

static void test_connections_are_reused(void)
{
	enum { MAILS = 100 };
	static struct delivered delivered[MAILS];
	struct sink sink = sink_start(NULL);
	struct mail_server server = server_at(&sink);
	struct mail_message message = composed(plain);
	for (int i = 0; i < MAILS; i++)
		start(&server, &message, &delivered[i]);
	for (int i = 0; i < MAILS; i++) {
		play_loop(&delivered[i].done);
		expect_delivered(&delivered[i], MAIL_SENT, "250");
	}
	sink_expect_kept(&sink, MAILS);
	CU_ASSERT_TRUE(sink_connections(&sink) <= PLAY_MAIL_CONNECTIONS);
	mail_message_clear(&message);
	sink_stop(&sink);
}

/* Those that wait for their turn can be aborted, first, last and between. */
static void test_aborted_in_the_queue(void)
{
	enum { MAILS = 7 };
	static struct delivered delivered[MAILS];
	struct delivery *deliveries[MAILS];
	struct sink sink = sink_start(NULL);
	struct mail_server server = server_at(&sink);
	struct mail_message message = composed(plain);
	for (int i = 0; i < MAILS; i++)
		deliveries[i] = start(&server, &message, &delivered[i]);
	for (int i = 0; i < MAILS; i += 2)
		module->abort_mail(deliveries[i]);
	for (int i = 1; i < MAILS; i += 2) {
		play_loop(&delivered[i].done);
		expect_delivered(&delivered[i], MAIL_SENT, "250");
	}
	for (int i = 0; i < MAILS; i += 2)
		CU_ASSERT_FALSE(delivered[i].done);
	/* Some of the first may have been on their way when they were aborted. */
	char *last = sink_kept(&sink, MAILS / 2), *beyond = sink_kept(&sink, MAILS / 2 + PLAY_MAIL_CONNECTIONS + 1);
	CU_ASSERT_PTR_NOT_NULL(last);
	CU_ASSERT_PTR_NULL(beyond);
	free(last);
	free(beyond);
	mail_message_clear(&message);
	sink_stop(&sink);
}

/* The server closes a kept connection, or says that it has had enough: that costs the next mail nothing. */
static void test_kept_connection_has_gone(void)
{
	static const char *const how[] = { "--drop-after", "--enough-after" };
	for (size_t i = 0; i < sizeof how / sizeof *how; i++) {
		const char *options[] = { how[i], "2", NULL };
		struct sink sink = sink_start(options);
		struct mail_server server = server_at(&sink);
		for (int mail = 0; mail < 5; mail++)
			expect(&server, MAIL_SENT, "250");
		sink_expect_kept(&sink, 5);
		CU_ASSERT_EQUAL(sink_connections(&sink), 3);
		sink_stop(&sink);
	}
	/* The server has gone for good: no second try that hides it. */
	struct sink sink = sink_start(NULL);
	struct mail_server server = server_at(&sink);
	expect(&server, MAIL_SENT, "250");
	sink_stop(&sink);
	expect(&server, MAIL_TRY_AGAIN, "Failed to connect");
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

static int set_up(void)
{
	return sink_directory_make() && play_transfers_open() && make_certificate() ? 0 : 1;
}

static int tear_down(void)
{
	bool nothing_left = play_transfers_close();
	return sink_directory_remove() == 0 && nothing_left ? 0 : 1;
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(test_arrives_once_and_exactly),
		SUITE_TEST(test_large_message),
		SUITE_TEST(test_starttls),
		SUITE_TEST(test_tls_from_the_start),
		SUITE_TEST(test_tls_required_but_not_offered),
		SUITE_TEST(test_authentication),
		SUITE_TEST(test_recipient_refused),
		SUITE_TEST(test_message_refused),
		SUITE_TEST(test_connection_dropped),
		SUITE_TEST(test_last_reply_lost),
		SUITE_TEST(test_server_stalls),
		SUITE_TEST(test_quit_is_not_waited_for),
		SUITE_TEST(test_aborted),
		SUITE_TEST(test_connections_are_reused),
		SUITE_TEST(test_aborted_in_the_queue),
		SUITE_TEST(test_kept_connection_has_gone),
		SUITE_TEST(test_no_server),
	};

	signal(SIGPIPE, SIG_IGN);
	return RUN_TESTS_WITHIN("mail by SMTP", set_up, tear_down, tests);
}
