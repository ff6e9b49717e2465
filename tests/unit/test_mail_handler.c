/*
 * The handler "mail" and the demonstration's plug-in in a real worker: outcomes, what arrives, what
 * is said of it, and what running a task twice does.
 */
#include "play_dispatcher.h"
#include "play_sink.h"
#include "tests/unit/runner.h"

#include <dirent.h>
#include <sqlite3.h>

static struct config_mail mail;
static char maildir[96], module_there[PATH_MAX], database[96], password_file[96];
static char *module = module_there;

/* A worker with the demonstration's plug-in and `mail` as it stands. */
static void start_threads(struct play *play, uint32_t threads)
{
	play_prepare(play);
	play->pool.threads = threads;
	play_beside(play->plugin_dir, "../handlers");
	play->config.mail = mail;
	if (mail.connections == 0)
		play->config.mail.connections = 2;
	play->config.transfer_module = module;
	/* Some tests are about a configuration that is wrong; that it is logged is tested by reading it. */
	play->config.log_level = LOG_CRIT;
	play_start(play);
	play_ready(play);
}

static void start_worker(struct play *play)
{
	start_threads(play, 1);
}

/* Runs one task, and the same task again. */
static const struct seen *run_again(struct play *play, const struct record *record)
{
	struct work_head second = { .kind = WORK_RUN, .attempt = 2 };
	play_push(play, 0, record, &second, NULL);
	return play_collect(play, 0);
}

/* How many files lie in new/; the last one's text in `text` of 4,096 bytes. */
static unsigned count_mail(char *text)
{
	char path[512];
	unsigned count = 0;
	snprintf(path, sizeof path, "%s/new", maildir);
	DIR *new = opendir(path);
	CU_ASSERT_PTR_NOT_NULL_FATAL(new);
	const struct dirent *entry;
	text[0] = '\0';
	while (new != NULL && (entry = readdir(new)) != NULL) {
		if (entry->d_name[0] == '.')
			continue;
		count++;
		snprintf(path, sizeof path, "%s/new/%s", maildir, entry->d_name);
		FILE *file = fopen(path, "r");
		CU_ASSERT_PTR_NOT_NULL_FATAL(file);
		text[fread(text, 1, 4095, file)] = '\0';
		fclose(file);
		CU_ASSERT_EQUAL(unlink(path), 0);
	}
	if (new != NULL)
		closedir(new);
	return count;
}

/* What the query answers, columns joined by "|", rows by newlines. */
static void expect_rows(const char *query, const char *rows)
{
	sqlite3 *connection = NULL;
	sqlite3_stmt *statement = NULL;
	char *is = NULL;
	size_t bytes = 0;
	CU_ASSERT_EQUAL_FATAL(sqlite3_open_v2(database, &connection, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
	CU_ASSERT_EQUAL_FATAL(sqlite3_prepare_v2(connection, query, -1, &statement, NULL), SQLITE_OK);
	FILE *out = open_memstream(&is, &bytes);
	CU_ASSERT_PTR_NOT_NULL_FATAL(out);
	for (bool first = true; sqlite3_step(statement) == SQLITE_ROW; first = false) {
		for (int i = 0; i < sqlite3_column_count(statement); i++)
			fprintf(out, "%s%s", i > 0 ? "|" : first ? "" : "\n", (const char *)sqlite3_column_text(statement, i));
	}
	CU_ASSERT_EQUAL_FATAL(fclose(out), 0);
	sqlite3_finalize(statement);
	sqlite3_close(connection);
	CU_ASSERT_STRING_EQUAL(is, rows);
	free(is);
}

static const char plain[] = "{\"to\":\"ada@example.org\",\"subject\":\"s\",\"text\":\"t\"}";

static void test_into_the_maildir(void)
{
	struct play play;
	char id[TR_ID_TEXT_SIZE], expected[200], text[4096];
	mail = (struct config_mail){ .maildir = maildir, .from = "from@example.net" };
	start_worker(&play);

	struct record record = play_record(&play, "mail", plain);
	tr_id_format(&record.id, id);
	play_push(&play, 0, &record, NULL, NULL);
	const struct seen *seen = play_collect(&play, 0);
	play_expect_end(seen, TR_SUCCESS, "");
	snprintf(expected, sizeof expected, "{\"message_id\":\"<%s@example.net>\",\"recipients\":1}", id);
	CU_ASSERT_STRING_EQUAL(seen->result, expected);
	snprintf(expected, sizeof expected, "mail <%s@example.net> was put into the maildir\n", id);
	CU_ASSERT_STRING_EQUAL(seen->log, expected);

	seen = run_again(&play, &record);
	play_expect_end(seen, TR_SUCCESS, "");
	snprintf(expected, sizeof expected, "mail <%s@example.net> is in the maildir already, from an earlier run\n", id);
	CU_ASSERT_STRING_EQUAL(seen->log, expected);
	CU_ASSERT_EQUAL(count_mail(text), 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "\nTo: ada@example.org\n"));

	play_expect_end(play_run(&play, "mail", "{}"), TR_PERMANENT_FAILURE, "mail: \"to\" is missing");
	play_expect_end(play_run(&play, "mail", "{\"to\":\"a@b.c\",\"subject\":\"x\\ny\",\"text\":\"\"}"), TR_PERMANENT_FAILURE,
	    "mail: \"subject\" holds a line break or another control character");
	CU_ASSERT_EQUAL(count_mail(text), 0);
	play_stop(&play);
}

/* The reason for the module's being a shared object of its own. */
static void test_maildir_needs_no_libcurl(void)
{
	struct play play;
	char path[64], line[512];
	start_worker(&play);
	play_expect_end(play_run(&play, "mail", plain), TR_SUCCESS, "");
	snprintf(path, sizeof path, "/proc/%d/maps", (int)play.pid);
	FILE *maps = fopen(path, "r");
	CU_ASSERT_PTR_NOT_NULL_FATAL(maps);
	unsigned jansson = 0, curl = 0;
	while (fgets(line, sizeof line, maps) != NULL) {
		jansson += strstr(line, "libjansson") != NULL;
		curl += strstr(line, "libcurl") != NULL;
	}
	fclose(maps);
	CU_ASSERT_TRUE(jansson > 0);
	CU_ASSERT_EQUAL(curl, 0);
	play_stop(&play);
}

static void test_maildir_fails(void)
{
	struct play play;
	mail.maildir = "/dev/null";
	start_worker(&play);
	play_expect_end(play_run(&play, "mail", plain), TR_FAILURE, "mail: maildir /dev/null: cannot open: Not a directory");
	play_stop(&play);
}

/* ---- a server ---------------------------------------------------------------------------- */

static void test_to_a_server(void)
{
	struct play play;
	const char *options[] = { "--reject", "no@example.org=550 no such user", "--reject", "later@example.org=450 busy",
		NULL };
	struct sink sink = sink_start(options);
	mail = (struct config_mail){ .server = sink.url, .from = "from@example.net", .timeout_ms = 10000 };
	start_worker(&play);
	const struct seen *seen = play_run(&play, "mail", plain);
	play_expect_end(seen, TR_SUCCESS, "");
	CU_ASSERT_PTR_NOT_NULL(strstr(seen->log, "was taken by the server: 250 2.0.0 kept as 000001\n"));
	sink_expect_kept(&sink, 1);
	play_expect_end(play_run(&play, "mail", "{\"to\":\"no@example.org\",\"subject\":\"s\",\"text\":\"t\"}"), TR_PERMANENT_FAILURE,
	    "mail: the mail server refused RCPT TO:<no@example.org>: 550 no such user");
	play_expect_end(play_run(&play, "mail", "{\"to\":\"later@example.org\",\"subject\":\"s\",\"text\":\"t\"}"), TR_FAILURE,
	    "mail: the mail server refused RCPT TO:<later@example.org>: 450 busy");
	sink_expect_kept(&sink, 1);
	sink_stop(&sink);
	play_expect_end(play_run(&play, "mail", plain), TR_FAILURE, "Failed to connect");
	play_stop(&play);
}

/* Waits until `count` pieces of work have ended well, on whichever of the worker's threads. */
static void expect_successes(struct play *play, uint32_t count)
{
	static char text[MAILBOX_MESSAGE_MAX + 1];
	struct message_head head;
	uint32_t ended = 0;
	while (ended < count) {
		struct pollfd fd = { .fd = play->wake_fd, .events = POLLIN };
		uint64_t wakes;
		for (uint32_t lane = 0; lane < play->pool.threads; lane++) {
			while (mailbox_read(play->mailbox, lane, &head, text) == 1) {
				if (head.kind != MESSAGE_ENDED)
					continue;
				CU_ASSERT_EQUAL(head.code, TR_SUCCESS);
				CU_ASSERT_STRING_EQUAL(text, "");
				ended++;
			}
		}
		mailbox_dispatcher_sleeps(play->mailbox, true);
		int ready = ended == count || mailbox_has_messages(play->mailbox) ? 1 : poll(&fd, 1, DEADLINE_MS);
		mailbox_dispatcher_sleeps(play->mailbox, false);
		CU_ASSERT_FATAL(ready == 1);
		while (read(play->wake_fd, &wakes, sizeof wakes) > 0)
			continue;
	}
}

/* Threads share the module, its libcurl and the demonstration's database. */
static void test_threads(void)
{
	enum { THREADS = 4, TASKS = 10 };
	struct play play;
	struct sink sink = sink_start(NULL);
	mail.server = sink.url;
	start_threads(&play, THREADS);
	for (uint32_t i = 0; i < THREADS * TASKS; i++) {
		struct record record = i / THREADS % 2 == 0 ? play_record(&play, "mail", plain) :
		    play_record(&play, "record_signup", "{\"email\":\"ada@example.org\",\"name\":\"Ada\"}");
		play_push(&play, i % THREADS, &record, NULL, NULL);
	}
	expect_successes(&play, THREADS * TASKS);
	mailbox_retire(play.mailbox);
	CU_ASSERT_EQUAL(play_end(&play), 0);
	sink_expect_kept(&sink, THREADS * TASKS / 2);
	expect_rows("SELECT count(*) FROM signups", "20");
	CU_ASSERT_EQUAL(unlink(database), 0);
	sink_stop(&sink);
}

/* The soft timeout passes while the server says nothing. */
static void test_out_of_time(void)
{
	struct play play;
	const char *options[] = { "--stall", "rcpt", NULL };
	struct sink sink = sink_start(options);
	mail.server = sink.url;
	mail.timeout_ms = DEADLINE_MS;
	start_worker(&play);
	struct record record = play_record(&play, "mail", plain);
	struct work_head work = { .kind = WORK_RUN, .attempt = 1, .soft_timeout_ms = 100 };
	play_push(&play, 0, &record, &work, NULL);
	play_expect_end(play_collect(&play, 0), TR_FAILURE, "mail: stopped before the mail server had taken the message");
	play_stop(&play);
	sink_stop(&sink);
}

static void expect_failure(const char *text)
{
	struct play play;
	start_worker(&play);
	play_expect_end(play_run(&play, "mail", plain), TR_FAILURE, text);
	play_stop(&play);
}

static void write_password(const char *text, mode_t mode)
{
	FILE *file = fopen(password_file, "w");
	CU_ASSERT_PTR_NOT_NULL_FATAL(file);
	CU_ASSERT_TRUE(fputs(text, file) >= 0);
	CU_ASSERT_EQUAL(fclose(file), 0);
	CU_ASSERT_EQUAL(chmod(password_file, mode), 0);
}

static void test_password_file(void)
{
	struct play play;
	const char *options[] = { "--auth", "taskring:s3cret", NULL };
	struct sink sink = sink_start(options);
	mail = (struct config_mail){ .server = sink.url, .from = "from@example.net", .timeout_ms = 10000,
		.user = "taskring" };
	expect_failure("mail: user is configured, but password_file is not");
	mail.password_file = "/nowhere/password";
	expect_failure("mail: cannot open password_file /nowhere/password: No such file or directory");
	mail.password_file = password_file;
	write_password("s3cret\n", 0644);
	expect_failure("mail: password_file may be read or written by everybody (mode 0644)");
	write_password("\n", 0600);
	expect_failure("mail: the first line of password_file must have 1 to 1000 bytes");
	write_password("wrong\n", 0600);
	expect_failure("mail: the mail server refused: 535");
	sink_expect_kept(&sink, 0);

	write_password("s3cret\na second line\n", 0640);
	start_worker(&play);
	play_expect_end(play_run(&play, "mail", plain), TR_SUCCESS, "");
	play_stop(&play);
	sink_expect_kept(&sink, 1);
	sink_stop(&sink);
}

static void test_wrong_configuration(void)
{
	mail = (struct config_mail){ .from = "from@example.net" };
	expect_failure("mail: neither server nor maildir is configured");
	mail.server = "http://localhost";
	expect_failure("mail: server must begin with smtp:// or smtps://");
	mail.server = "smtp://127.0.0.1:1";
	static char nowhere[] = "/nowhere/transfer.so";
	module = nowhere;
	expect_failure("mail: the module cannot be loaded: /nowhere/transfer.so");
	module = module_there;
}

/* ---- the demonstration's plug-in --------------------------------------------------------- */

static void test_record_signup(void)
{
	struct play play;
	char id[TR_ID_TEXT_SIZE], expected[200];
	mail = (struct config_mail){ .maildir = maildir, .from = "from@example.net" };
	start_worker(&play);
	struct record record = play_record(&play, "record_signup", "{\"email\":\"ada@example.org\",\"name\":\"Ad\\u00e4 O'Neil\"}");
	play_push(&play, 0, &record, NULL, NULL);
	const struct seen *seen = play_collect(&play, 0);
	play_expect_end(seen, TR_SUCCESS, "");
	CU_ASSERT_STRING_EQUAL(seen->log, "");
	seen = run_again(&play, &record);
	play_expect_end(seen, TR_SUCCESS, "");
	CU_ASSERT_STRING_EQUAL(seen->log, "the signup was recorded by an earlier run\n");
	snprintf(expected, sizeof expected, "%s|ada@example.org|Ad\xc3\xa4 O'Neil|1", tr_id_format(&record.id, id));
	expect_rows("SELECT task_id, email, name, abs(julianday('now') - julianday(created_at)) < 0.1 FROM signups", expected);
	expect_rows("PRAGMA journal_mode", "wal");

	/* Another task is another registration, also with the same address. */
	play_expect_end(play_run(&play, "record_signup", "{\"email\":\"ada@example.org\",\"name\":\"Ada\"}"), TR_SUCCESS, "");
	expect_rows("SELECT count(*), count(DISTINCT email) FROM signups", "2|1");

	play_expect_end(play_run(&play, "record_signup", "{\"name\":\"Ada\"}"), TR_PERMANENT_FAILURE, "\"email\" must be a string");
	play_stop(&play);
}

/* The database cannot be written for a while: the task fails, and a later attempt succeeds. */
static void test_record_signup_fails_and_recovers(void)
{
	struct play play;
	start_worker(&play);
	char away[128];
	snprintf(away, sizeof away, "%s.away", database);
	CU_ASSERT_EQUAL(rename(database, away), 0);
	CU_ASSERT_EQUAL(mkdir(database, 0700), 0);
	struct record record = play_record(&play, "record_signup", "{\"email\":\"b@example.org\",\"name\":\"B\"}");
	play_push(&play, 0, &record, NULL, NULL);
	play_expect_end(play_collect(&play, 0), TR_FAILURE, "resource \"signups\": unable to open database file");
	CU_ASSERT_EQUAL(rmdir(database), 0);
	CU_ASSERT_EQUAL(rename(away, database), 0);
	play_expect_end(run_again(&play, &record), TR_SUCCESS, "");
	expect_rows("SELECT count(*) FROM signups", "3");
	play_stop(&play);
}

/* Somebody removes the database from under an open connection: the next task makes a new one. */
static void test_record_signup_sees_a_removed_database(void)
{
	static const char *const suffixes[] = { "", "-wal", "-shm" };
	struct play play;
	char path[128];
	start_worker(&play);
	play_expect_end(play_run(&play, "record_signup", "{\"email\":\"c@example.org\",\"name\":\"C\"}"), TR_SUCCESS, "");
	expect_rows("SELECT count(*) FROM signups", "4");
	for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
		snprintf(path, sizeof path, "%s%s", database, suffixes[i]);
		CU_ASSERT_EQUAL(unlink(path), 0);
	}
	play_expect_end(play_run(&play, "record_signup", "{\"email\":\"d@example.org\",\"name\":\"D\"}"), TR_SUCCESS, "");
	expect_rows("SELECT email FROM signups", "d@example.org");
	play_stop(&play);
}

static void test_send_email_notification(void)
{
	struct play play;
	char text[4096];
	(void)count_mail(text);
	start_worker(&play);
	struct record record = play_record(&play, "send_email_notification",
	    "{\"email\":\"ada@example.org\",\"name\":\"Ada \\\"Countess\\\" Lovelace\"}");
	play_push(&play, 0, &record, NULL, NULL);
	play_expect_end(play_collect(&play, 0), TR_SUCCESS, "");
	play_expect_end(run_again(&play, &record), TR_SUCCESS, "");
	CU_ASSERT_EQUAL(count_mail(text), 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "\nFrom: from@example.net\n"
	                                    "To: \"Ada \\\"Countess\\\" Lovelace\" <ada@example.org>\n"
	                                    "Subject: Welcome, Ada \"Countess\" Lovelace\n"));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "\n\nHello Ada \"Countess\" Lovelace,\n\nyour registration is complete. Welcome!\n"));
	play_expect_end(play_run(&play, "send_email_notification", "{\"email\":\"ada@example.org\",\"name\":\"x\\ny\"}"),
	    TR_PERMANENT_FAILURE, "mail: \"to\" holds a line break");

	struct work_head callback = { .kind = WORK_CALLBACK, .attempt = 2, .failure_kind = TR_FAILED_RETURNED };
	play_push(&play, 0, &record, &callback, "no route to host");
	const struct seen *seen = play_collect(&play, 0);
	CU_ASSERT_EQUAL(seen->verdicts, 1);
	CU_ASSERT_EQUAL(seen->last.code, TR_VERDICT_RETRY);
	CU_ASSERT_EQUAL(seen->last.flag, 0);
	CU_ASSERT_STRING_EQUAL(seen->log, "the welcome mail failed (returned, attempt 2 of 5): no route to host\n");
	play_stop(&play);
}

/* ---- the run ----------------------------------------------------------------------------- */

static int set_up(void)
{
	if (!sink_directory_make())
		return 1;
	snprintf(maildir, sizeof maildir, "%s/mail", directory);
	snprintf(password_file, sizeof password_file, "%s/password", directory);
	snprintf(database, sizeof database, "%s/signups.db", directory);
	return setenv("TASKRING_SIGNUP_DB", database, 1);
}

static void test_start(void)
{
	play_beside(module_there, "../modules/transfer.so");
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(test_start),
		SUITE_TEST(test_into_the_maildir),
		SUITE_TEST(test_maildir_needs_no_libcurl),
		SUITE_TEST(test_maildir_fails),
		SUITE_TEST(test_to_a_server),
		SUITE_TEST(test_threads),
		SUITE_TEST(test_out_of_time),
		SUITE_TEST(test_password_file),
		SUITE_TEST(test_wrong_configuration),
		SUITE_TEST(test_record_signup),
		SUITE_TEST(test_record_signup_fails_and_recovers),
		SUITE_TEST(test_record_signup_sees_a_removed_database),
		SUITE_TEST(test_send_email_notification),
	};

	return RUN_TESTS_WITHIN("mail handler", set_up, sink_directory_remove, tests);
}
