/* taskd/config*.c: what is read, what is refused and how the refusal reads, and what a reload may change. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include "taskd/config.h"
#include "tests/unit/runner.h"

static char directory[] = "/tmp/test_config.XXXXXX";
static char file[64], errors_file[64];
static char errors[16384]; /* what the last load() wrote to standard error, without the directory */

static int begin(void)
{
	if (mkdtemp(directory) == NULL)
		return 1;
	snprintf(file, sizeof(file), "%s/c", directory);
	snprintf(errors_file, sizeof(errors_file), "%s/errors", directory);
	return 0;
}

static int end(void)
{
	unlink(file);
	unlink(errors_file);
	return rmdir(directory);
}

static void write_file(const char *text, size_t bytes)
{
	FILE *out = fopen(file, "w");
	CU_ASSERT_PTR_NOT_NULL_FATAL(out);
	CU_ASSERT_EQUAL(fwrite(text, 1, bytes, out), bytes);
	CU_ASSERT_EQUAL(fclose(out), 0);
}

/* Loads with standard error going to a file, then takes the directory's name out of what it says. */
static struct config *load_path(const char *path)
{
	fflush(stderr);
	int before = dup(STDERR_FILENO);
	int to = open(errors_file, O_RDWR | O_CREAT | O_TRUNC, 0600);
	CU_ASSERT_FATAL(before >= 0 && to >= 0);
	dup2(to, STDERR_FILENO);
	struct config *config = config_load(path);
	fflush(stderr);
	dup2(before, STDERR_FILENO);
	ssize_t got = pread(to, errors, sizeof(errors) - 1, 0);
	errors[got > 0 ? got : 0] = '\0';
	close(before);
	close(to);
	size_t length = strlen(directory) + 1;
	for (char *at; (at = strstr(errors, directory)) != NULL;)
		memmove(at, at + length, strlen(at + length) + 1);
	return config;
}

static struct config *load(const char *text)
{
	write_file(text, strlen(text));
	return load_path(file);
}

/* Refused, with exactly these lines. */
static void refuses(const char *text, const char *lines)
{
	struct config *config = load(text);
	CU_ASSERT_PTR_NULL(config);
	CU_ASSERT_STRING_EQUAL(errors, lines);
	if (strcmp(errors, lines) != 0)
		fprintf(stderr, "\n got: %s\nwant: %s\n", errors, lines);
	config_free(&config);
}

static void test_defaults(void)
{
	struct config *config = load("");
	CU_ASSERT_STRING_EQUAL(errors, "");
	if (config == NULL) {
		CU_FAIL("refused");
		return;
	}
	CU_ASSERT_STRING_EQUAL(config->instance, "taskring");
	CU_ASSERT_STRING_EQUAL(config->path, file);
	CU_ASSERT_PTR_NULL(config->user);
	CU_ASSERT_STRING_EQUAL(config->journal, "/var/lib/taskring/taskring/journal.db");
	CU_ASSERT_STRING_EQUAL(config->plugin_dir, "/usr/local/lib/taskring/handlers");
	CU_ASSERT_STRING_EQUAL(config->lock_file, "/run/taskring/taskring.lock");
	CU_ASSERT_EQUAL(config->ring.lanes, 0);
	CU_ASSERT_EQUAL(config->ring_mode, 0600);
	CU_ASSERT_EQUAL(config->commit_interval_ms, 5);
	CU_ASSERT_EQUAL(config->sync_interval_ms, 500);
	CU_ASSERT_EQUAL(config->history, HISTORY_ALL);
	CU_ASSERT_EQUAL(config->retention_age_ms, 7LL * 24 * 3600 * 1000);
	CU_ASSERT_EQUAL(config->drain_timeout_ms, 30000);
	CU_ASSERT_EQUAL(config->hard_timeout_ms, 3600000);
	CU_ASSERT_EQUAL(config->log_level, LOG_INFO);
	CU_ASSERT_TRUE(config->mail.require_tls);
	CU_ASSERT_PTR_NULL(config->mail.server);
	CU_ASSERT_EQUAL(config->mail.connections, 2);
	CU_ASSERT_FALSE(config->http.addresses.allow_private);
	CU_ASSERT_EQUAL(config->http.addresses.allowed_count, 0);
	CU_ASSERT_EQUAL(config->http.timeout_ms, 30000);
	CU_ASSERT_EQUAL(config->http.connect_timeout_ms, 10000);
	CU_ASSERT_EQUAL(config->http.retry_after_most_ms, 3600000);
	CU_ASSERT_EQUAL_FATAL(config->pool_count, 1);
	CU_ASSERT_STRING_EQUAL(config->pools[0].name, "default");
	CU_ASSERT_EQUAL(config->pools[0].processes, 2);
	CU_ASSERT_EQUAL(config->pools[0].threads, 1);
	CU_ASSERT_EQUAL(config->pools[0].concurrency, 1024);
	CU_ASSERT_EQUAL(config->cancel_term_ms, 10000);
	CU_ASSERT_EQUAL(config->cancel_kill_ms, 2000);
	CU_ASSERT_EQUAL(config_pool_of(config, "anything", 8), 0);
	config_free(&config);
	CU_ASSERT_PTR_NULL(config);
}

static const char everything[] =
    "exec_keeper = \"/bin/true\"\n"
    "exec true { program = \"/bin/true\" args = { a, \"b c\" } environment = { \"A=1\" } }\n"
    "# a comment\n"
    "journal = \"data/%i.db\"\n"
    "instance = shop\n"
    "history = failed\n"
    "drain_timeout = 90s\n"
    "hard_timeout = 0\n"
    "log_level = debug\n"
    "ring { lanes = 8  slots_per_lane = 128\n slot_bytes = 192  cells = 32768  mode = 0660 }\n"
    "board { entries = 128 events = 100 }\n"
    "retention { age = 2h count = 0 }\n"
    "mail { server = \"smtp://localhost:2525\" user = u password_file = secret require_tls = no timeout = 250ms connections = 9 }\n"
    "http { allow_private = yes allow_networks = { \"10.0.0.0/8\", \"::1\" } ca_file = ca timeout = 5s connect_timeout = 1s retry_after = 0 }\n"
    "pool fast { processes = 3 threads = 4 concurrency = 7 queues = { high, default } max_tasks = 1000 max_memory = 64M limit_cpu = 5m }\n"
    "pool rest { limit_memory = 1G limit_files = 256 }\n";

static void test_everything(void)
{
	struct config *config = load(everything);
	CU_ASSERT_STRING_EQUAL(errors, "");
	if (config == NULL) {
		CU_FAIL("refused");
		return;
	}
	char path[96];
	snprintf(path, sizeof(path), "%s/data/shop.db", directory);
	CU_ASSERT_STRING_EQUAL(config->journal, path);
	snprintf(path, sizeof(path), "%s/secret", directory);
	CU_ASSERT_STRING_EQUAL(config->mail.password_file, path);
	CU_ASSERT_STRING_EQUAL(config->spool_dir, "/var/lib/taskring/shop/spool");
	CU_ASSERT_EQUAL(config->history, HISTORY_FAILED);
	CU_ASSERT_EQUAL(config->drain_timeout_ms, 90000);
	CU_ASSERT_EQUAL(config->hard_timeout_ms, 0);
	CU_ASSERT_EQUAL(config->log_level, LOG_DEBUG);
	CU_ASSERT_EQUAL(config->ring.lanes, 8);
	CU_ASSERT_EQUAL(config->ring.slots_per_lane, 128);
	CU_ASSERT_EQUAL(config->ring.slot_bytes, 192);
	CU_ASSERT_EQUAL(config->ring.cells, 32768);
	CU_ASSERT_EQUAL(config->ring_mode, 0660);
	CU_ASSERT_EQUAL(config->board_entries, 128);
	CU_ASSERT_EQUAL(config->board_events, 100);
	CU_ASSERT_EQUAL(config->retention_age_ms, 7200000);
	CU_ASSERT_EQUAL(config->retention_count, 0);
	CU_ASSERT_STRING_EQUAL(config->mail.server, "smtp://localhost:2525");
	CU_ASSERT_FALSE(config->mail.require_tls);
	CU_ASSERT_EQUAL(config->mail.timeout_ms, 250);
	CU_ASSERT_EQUAL(config->mail.connections, 9);
	CU_ASSERT_TRUE(config->http.addresses.allow_private);
	CU_ASSERT_EQUAL(config->http.addresses.allowed_count, 2);
	CU_ASSERT_EQUAL(config->http.addresses.allowed[0].bits, 104);
	CU_ASSERT_EQUAL(config->http.addresses.allowed[1].bits, 128);
	snprintf(path, sizeof(path), "%s/ca", directory);
	CU_ASSERT_STRING_EQUAL(config->http.ca_file, path);
	CU_ASSERT_EQUAL(config->http.timeout_ms, 5000);
	CU_ASSERT_EQUAL(config->http.connect_timeout_ms, 1000);
	CU_ASSERT_EQUAL(config->http.retry_after_most_ms, 0);
	CU_ASSERT_EQUAL_FATAL(config->pool_count, 2);
	CU_ASSERT_STRING_EQUAL(config->pools[0].name, "fast");
	CU_ASSERT_EQUAL(config->pools[0].processes, 3);
	CU_ASSERT_EQUAL(config->pools[0].threads, 4);
	CU_ASSERT_EQUAL(config->pools[0].concurrency, 7);
	CU_ASSERT_EQUAL(config->pools[0].max_tasks, 1000);
	CU_ASSERT_EQUAL(config->pools[0].max_memory_bytes, 64u << 20);
	CU_ASSERT_EQUAL(config->pools[0].limit_cpu_s, 300);
	CU_ASSERT_EQUAL(config->pools[0].queue_count, 2);
	CU_ASSERT_EQUAL(config->pools[1].limit_memory_bytes, 1u << 30);
	CU_ASSERT_EQUAL(config->pools[1].limit_files, 256);
	CU_ASSERT_EQUAL(config_pool_of(config, "high", 4), 0);
	CU_ASSERT_EQUAL(config_pool_of(config, "default and more", 7), 0);
	CU_ASSERT_EQUAL(config_pool_of(config, "defaul", 6), 1);
	config_free(&config);
}

static void test_values_refused(void)
{
	refuses("\ncommit_interval = 51ms\n", "c:2: commit_interval: got \"51ms\", allowed a time (ms, s, m, h, d) from 1ms to 50ms\n");
	refuses("sync_interval = 100", "c:1: sync_interval: got \"100\", allowed a time (ms, s, m, h, d) from 10ms to 1s\n");
	refuses("queue_window = -1", "c:1: queue_window: got \"-1\", allowed a number from 64 to 1000000\n");
	refuses("queue_window = 64k", "c:1: queue_window: got \"64k\", allowed a number from 64 to 1000000\n");
	refuses("queue_window = 99999999999999999999",
	    "c:1: queue_window: got \"99999999999999999999\", allowed a number from 64 to 1000000\n");
	refuses("drain_timeout = 9223372036854775807d",
	    "c:1: drain_timeout: got \"9223372036854775807d\", allowed a time (ms, s, m, h, d) from 0ms to 1h\n");
	refuses("ring {\n\n slots_per_lane = 100 }",
	    "c:3: slots_per_lane: got \"100\", allowed a power of two from 64 to 32768\n");
	refuses("ring { slot_bytes = 100 }", "c:1: slot_bytes: got \"100\", allowed a multiple of 64 from 128 to 4096\n");
	refuses("ring { mode = 0777 }", "c:1: mode: got \"0777\", allowed permission bits (octal) from 0600 to 0666\n");
	refuses("history = some", "c:1: history: got \"some\", allowed one of: all failed none\n");
	refuses("history = \"all failed\"", "c:1: history: got \"all failed\", allowed one of: all failed none\n");
	refuses("mail { require_tls = maybe }", "c:1: require_tls: got \"maybe\", allowed yes or no\n");
	refuses("mail { server = \"http://x\" }",
	    "c:1: server: got \"http://x\", allowed what begins with one of: smtp:// smtps://\n");
	refuses("http { allow_networks = { \"10.0.0.0/8\",\n\"10.0.0.1/8\" } }",
	    "c:2: allow_networks: got \"10.0.0.1/8\", allowed at most 64 networks like 10.0.0.0/8 or fd00::/8, "
	    "no bits set behind their length\n");
	refuses("mail {\nuser = u }", "c:2: user: got it alone, allowed only together with password_file\n");
	refuses("instance = \".hidden\"", "c:1: instance: got \".hidden\", allowed 1 to 63 of A-Z a-z 0-9 . _ -, no leading dot\n");
	refuses("pool p { max_memory = 1M }", "c:1: max_memory: got \"1M\", allowed a size (k, M, G, T) from 16M to 1T, or 0 for none\n");
	refuses("pool p { limit_cpu = 1500ms }", "c:1: limit_cpu: got \"1500ms\", allowed a time (ms, s, m, h, d) from 1s to 30d, or 0 for none\n");
	refuses("pool \"a/b\" {\n}", "c:2: pool: got the name \"a/b\", allowed 1 to 63 of A-Z a-z 0-9 . _ -, no leading dot\n");
	refuses("log_level = info\n\nlog_level = debug", "c:3: log_level: got it again, allowed once (line 1)\n");
}

/* Every fault is told, each with its line, also where libconfuse then gives up. */
static void test_all_faults_at_once(void)
{
	refuses("history = x\nring { lanes = 0 }\npool p { processes = 257\n threads = 65 }\n",
	    "c:1: history: got \"x\", allowed one of: all failed none\n"
	    "c:2: lanes: got \"0\", allowed a number from 1 to 512\n"
	    "c:3: processes: got \"257\", allowed a number from 1 to 256\n"
	    "c:4: threads: got \"65\", allowed a number from 1 to 64\n");
	refuses("history = x\ncolour = red\n",
	    "c:1: history: got \"x\", allowed one of: all failed none\n"
	    "c:2: no such option 'colour'\n");
	refuses("pool p {\n\tqueue = { a }\n}\n", "c:2: no such option 'queue'\n");
	refuses("ring { lanes 5 }", "c:1: missing equal sign after option 'lanes'\n");
	/* The scanner is in order again afterwards. */
	refuses("instance = \"open", "c:1: premature end of file\n");
	test_everything();
}

static void test_queues(void)
{
	refuses("pool a { queues = { x, y } }\npool b {\n queues = { \"*\", x }\n}\n",
	    "c:3: queues: got \"x\" in pool b, allowed once: pool a has it\n");
	refuses("pool a { queues = { x, x, \"*\" } }", "c:1: queues: got \"x\" in pool a, allowed once: pool a has it\n");
	refuses("pool a { }\npool b { processes = 1 }\n",
	    "c: queues: got \"*\" in pool b, allowed once: pool a has it\n");
	refuses("cancel_term = 2h\ncancel_kill = none\npool a { concurrency = 1025 }\npool b { concurrency = 0 }\n",
	    "c:1: cancel_term: got \"2h\", allowed a time (ms, s, m, h, d) from 0ms to 1h\n"
	    "c:2: cancel_kill: got \"none\", allowed a time (ms, s, m, h, d) from 0ms to 1h\n"
	    "c:3: concurrency: got \"1025\", allowed a number from 1 to 1024\n"
	    "c:4: concurrency: got \"0\", allowed a number from 1 to 1024\n");
	refuses("pool a { queues = { x } }",
	    "c: queues: got no pool with \"*\", allowed exactly one: it runs the queues that no pool names\n");
	refuses("pool a { queues = { \"no way\" } }",
	    "c:1: queues: got \"no way\", allowed at most 256 names, each 1 to 63 of A-Z a-z 0-9 . _ -, or \"*\"\n");
	refuses("pool a { }\npool a { }", "c:2: found duplicate title 'a'\n");
	char many[4096] = "";
	for (int i = 0; i <= CONFIG_POOLS_MAX; i++)
		snprintf(many + strlen(many), sizeof(many) - strlen(many), "pool p%d { queues = { q%d } }\n", i, i);
	refuses(many, "c:33: pool: got one more, allowed at most 32 pools\n");
}

/* A file in the test's directory, named by `name`. */
static void make_file(const char *name, mode_t mode)
{
	char path[96];
	snprintf(path, sizeof(path), "%s/%s", directory, name);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	CU_ASSERT_FATAL(fd >= 0);
	CU_ASSERT_EQUAL(fchmod(fd, mode), 0);
	close(fd);
}

static void remove_file(const char *name)
{
	char path[96];
	snprintf(path, sizeof(path), "%s/%s", directory, name);
	CU_ASSERT_EQUAL(unlink(path), 0);
}

#define KEEPER "exec_keeper = \"/bin/true\" "

static void test_programs(void)
{
	struct config *config = load(KEEPER
	    "exec resize { program = \"/bin/sh\" args = { \"-c\", \"\", \"$1 a  b\" } environment = { \"HOME=/\", \"X=a=b c\", \"_Y1=\" }\n"
	    " directory = \".\" max_output = 64k kill_after = 250ms limit_memory = 1G limit_files = 16 limit_cpu = 2m }\n"
	    "exec plain { program = \"/bin/true\" }\n");
	CU_ASSERT_STRING_EQUAL(errors, "");
	CU_ASSERT_PTR_NOT_NULL_FATAL(config);
	CU_ASSERT_STRING_EQUAL(config->exec_keeper, "/bin/true");
	CU_ASSERT_EQUAL_FATAL(config->program_count, 2);
	const struct config_program *program = &config->programs[0];
	CU_ASSERT_STRING_EQUAL(program->name, "resize");
	CU_ASSERT_STRING_EQUAL(program->program, "/bin/sh");
	CU_ASSERT_EQUAL_FATAL(program->args.count, 3);
	CU_ASSERT_STRING_EQUAL(program->args.texts[0], "-c");
	CU_ASSERT_STRING_EQUAL(program->args.texts[1], "");
	CU_ASSERT_STRING_EQUAL(program->args.texts[2], "$1 a  b");
	CU_ASSERT_EQUAL_FATAL(program->environment.count, 3);
	CU_ASSERT_STRING_EQUAL(program->environment.texts[1], "X=a=b c");
	CU_ASSERT_STRING_EQUAL(program->environment.texts[2], "_Y1=");
	char path[96];
	snprintf(path, sizeof(path), "%s/.", directory);
	CU_ASSERT_STRING_EQUAL(program->directory, path);
	CU_ASSERT_EQUAL(program->max_output_bytes, 64 << 10);
	CU_ASSERT_EQUAL(program->kill_after_ms, 250);
	CU_ASSERT_EQUAL(program->limit_memory_bytes, 1u << 30);
	CU_ASSERT_EQUAL(program->limit_files, 16);
	CU_ASSERT_EQUAL(program->limit_cpu_s, 120);
	program = &config->programs[1];
	CU_ASSERT_STRING_EQUAL(program->directory, "/");
	CU_ASSERT_EQUAL(program->args.count, 0);
	CU_ASSERT_EQUAL(program->max_output_bytes, 16 << 20);
	CU_ASSERT_EQUAL(program->kill_after_ms, 3000);
	CU_ASSERT_EQUAL(program->limit_cpu_s, 0);
	config_free(&config);
}

#define PROGRAM_ALLOWED "allowed an executable file that not everybody may write"

static void test_programs_refused(void)
{
	char text[512];
	refuses(KEEPER "\nexec a {\n}\n", "c:3: program: got none in section exec a, " PROGRAM_ALLOWED "\n");
	refuses(KEEPER "exec a { program = true }", "c:1: program: got \"true\", allowed what begins with one of: /\n"
	    "c:1: program: got none in section exec a, " PROGRAM_ALLOWED "\n");
	refuses(KEEPER "exec a {\n args = { x }\n program = \"/nowhere/p\" }",
	    "c:3: program: got \"/nowhere/p\", " PROGRAM_ALLOWED ": No such file or directory\n");
	refuses(KEEPER "exec a { program = \"/usr\" }", "c:1: program: got \"/usr\", " PROGRAM_ALLOWED ": it is no file\n");
	refuses(KEEPER "exec a { program = \"/bin/true\"\ndirectory = \"/bin/true\" }",
	    "c:2: directory: got \"/bin/true\", allowed a directory that exists\n");
	refuses("exec_keeper = \"/nowhere/k\"\nexec a { program = \"/bin/true\" }",
	    "c:1: exec_keeper: got \"/nowhere/k\", " PROGRAM_ALLOWED ": No such file or directory\n");
	/* Both faults of two programs, where a file is readable only, and writable by everybody. */
	make_file("readable", 0644);
	make_file("open", 0777);
	snprintf(text, sizeof(text), KEEPER "\nexec a { program = \"%s/readable\" }\nexec b { program = \"%s/open\" }\n",
	    directory, directory);
	refuses(text, "c:2: program: got \"readable\", " PROGRAM_ALLOWED ": Permission denied\n"
	    "c:3: program: got \"open\", " PROGRAM_ALLOWED ": everybody may write it\n");
	remove_file("readable");
	remove_file("open");
	refuses(KEEPER "exec a { program = \"/bin/true\" }\nexec a { program = \"/bin/true\" }", "c:2: found duplicate title 'a'\n");
	refuses(KEEPER "exec \"a b\" { program = \"/bin/true\" }",
	    "c:1: exec: got the name \"a b\", allowed 1 to 63 of A-Z a-z 0-9 . _ -, no leading dot\n");
	refuses(KEEPER "exec a { program = \"/bin/true\" kill_after = 61s }",
	    "c:1: kill_after: got \"61s\", allowed a time (ms, s, m, h, d) from 0ms to 1m\n");
	static const char *const variables[] = { "X", "=1", "1X=1", "A-B=1", "TASKRING_TASK_ID=1", "X=1\", \"X=2" };
	for (size_t i = 0; i < sizeof(variables) / sizeof(*variables); i++) {
		snprintf(text, sizeof(text), KEEPER "exec a { program = \"/bin/true\" environment = { \"%s\" } }", variables[i]);
		struct config *config = load(text);
		CU_ASSERT_PTR_NULL(config);
		CU_ASSERT_PTR_NOT_NULL(strstr(errors, "allowed at most 256 times NAME=VALUE, each NAME once"));
		config_free(&config);
	}
	/* Without programs the keeper need not be there. */
	struct config *config = load("exec_keeper = \"/nowhere/k\"");
	CU_ASSERT_PTR_NOT_NULL(config);
	config_free(&config);
}

static void test_not_a_text(void)
{
	write_file("a\0b", 3);
	CU_ASSERT_PTR_NULL(load_path(file));
	CU_ASSERT_STRING_EQUAL(errors, "c: got a zero byte, allowed text\n");
	CU_ASSERT_PTR_NULL(load_path(directory));
	CU_ASSERT_PTR_NOT_NULL(strstr(errors, "Is a directory"));
	CU_ASSERT_PTR_NULL(load_path("/nonexistent/c"));
	CU_ASSERT_STRING_EQUAL(errors, "/nonexistent/c: No such file or directory\n");
	char *large = malloc((1 << 20) + 1);
	if (large == NULL) {
		CU_FAIL("out of memory");
		return;
	}
	memset(large, '\n', (1 << 20) + 1);
	write_file(large, (1 << 20) + 1);
	CU_ASSERT_PTR_NULL(load_path(file));
	CU_ASSERT_STRING_EQUAL(errors, "c: got a file of more than 1048576 bytes, allowed 1048576\n");
	write_file(large, 1 << 20);
	struct config *config = load_path(file);
	CU_ASSERT_PTR_NOT_NULL(config);
	config_free(&config);
	free(large);
}

/* Every prefix of a file that is well, and every byte of it damaged: refused or read, never more. */
static void test_damaged(void)
{
	char text[sizeof(everything)];
	unsigned read = 0;
	for (size_t i = 0; i + 1 < sizeof(everything); i++) {
		memcpy(text, everything, sizeof(everything));
		if (i % 2 == 0)
			text[i] = '\0';
		else
			text[i] = "\"{}=,\\'/$\377"[i / 2 % 10];
		struct config *config = load(text);
		read += config != NULL;
		config_free(&config);
	}
	CU_ASSERT_TRUE(read > 10 && read < sizeof(everything) - 10);
}

static void test_restart_needed(void)
{
	static const struct { const char *text, *differs; } cases[] = {
		{ "", NULL },
		{ "history = none pool a { processes = 5 }", NULL },
		{ "mail { server = \"smtp://h\" }", NULL },
		{ "user = nobody", "user" },
		{ "journal = j", "journal" },
		{ "spool_dir = \"/\"", "spool_dir" },
		{ "lock_file = l", "lock_file" },
		{ "ring { cells = 16384 }", "ring" },
		{ "ring { mode = 0660 }", "ring" },
		{ "board { events = 65 }", "board" },
		{ "instance = other", "instance" },
	};
	struct config *now = load("");
	CU_ASSERT_PTR_NOT_NULL_FATAL(now);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct config *next = load(cases[i].text);
		CU_ASSERT_PTR_NOT_NULL_FATAL(next);
		const char *differs = config_restart_needed(now, next);
		CU_ASSERT_STRING_EQUAL(differs != NULL ? differs : "nothing",
		    cases[i].differs != NULL ? cases[i].differs : "nothing");
		config_free(&next);
	}
	config_free(&now);
}

/* The manual page's list, from the same rows. */
static void test_manual(void)
{
	char *options = NULL;
	size_t bytes = 0;
	FILE *out = open_memstream(&options, &bytes);
	CU_ASSERT_PTR_NOT_NULL_FATAL(out);
	config_print_options(out);
	CU_ASSERT_EQUAL(fclose(out), 0);
	CU_ASSERT_PTR_EQUAL(strstr(options, ".Ss Outside of sections\n.Bl -tag -width Ds\n.It Ic instance\n"), options);
	CU_ASSERT_PTR_NOT_NULL(strstr(options, ".It Ic age\n"
	    "Ended tasks older than this are removed from the journal, with what they logged and, of dead ones, their files.\n"
	    "Allowed: a time (ms, s, m, h, d) from 1s to 3660d, or 0 for none.\n"
	    "Default:\n.Ql 7d .\n.It Ic count\n"));
	CU_ASSERT_PTR_NOT_NULL(strstr(options, ".El\n.Ss Section pool\n.Bl -tag -width Ds\n.It Ic queues\n"));
	CU_ASSERT_PTR_NOT_NULL(strstr(options, ".It Ic cells\nBatches that can wait in the ring.\n"
	    "Allowed: a power of two from 16384 to 1048576.\n"
	    "When not given: as the ring that exists, else 16384.\nCannot change while taskd runs.\n"));
	free(options);
}

int main(void)
{
	static const struct suite_test tests[] = {
		{ "defaults", test_defaults },
		{ "every kind of option", test_everything },
		{ "values refused, with line and what is allowed", test_values_refused },
		{ "all faults at once", test_all_faults_at_once },
		{ "queues and pools", test_queues },
		{ "programs", test_programs },
		{ "programs refused", test_programs_refused },
		{ "files that are no text", test_not_a_text },
		{ "damaged files", test_damaged },
		{ "what needs a restart", test_restart_needed },
		{ "the manual page's list", test_manual },
	};

	return RUN_TESTS_WITHIN("config", begin, end, tests);
}
