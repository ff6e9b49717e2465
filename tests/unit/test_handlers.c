/*
 * The demonstration's plug-ins count_primes and digest_file in a real worker: exact results, bounded
 * arguments, progress, and that they stop when told.
 */
#include "play_dispatcher.h"
#include "tests/unit/runner.h"

#include <errno.h>
#include <sys/stat.h>

static void start_worker(struct play *play)
{
	play_prepare(play);
	play_beside(play->plugin_dir, "../handlers");
	play_start(play);
	play_ready(play);
}

/* ---- count_primes ------------------------------------------------------------------------ */

static void expect_primes(struct play *play, uint64_t limit, uint64_t primes)
{
	char args[64], result[96];
	snprintf(args, sizeof args, "{\"limit\":%llu}", (unsigned long long)limit);
	snprintf(result, sizeof result, "{\"limit\":%llu,\"primes\":%llu}", (unsigned long long)limit, (unsigned long long)primes);
	const struct seen *seen = play_run(play, "count_primes", args);
	play_expect_end(seen, TR_SUCCESS, "");
	CU_ASSERT_STRING_EQUAL(seen->result, result);
	if (strcmp(seen->result, result) != 0)
		printf("\n  got %s\n  want %s\n", seen->result, result);
	if (limit > 3)
		CU_ASSERT(seen->progress.number == limit && seen->progress.number2 == limit);
}

/* By trial division: nothing of a sieve in it. */
static bool is_prime(uint64_t number)
{
	for (uint64_t divisor = 2; divisor * divisor <= number; divisor++)
		if (number % divisor == 0)
			return false;
	return number > 1;
}

static void test_small_limits(void)
{
	struct play play;
	uint64_t primes = 0;
	start_worker(&play);
	for (uint64_t limit = 0; limit <= 300; limit++) {
		primes += limit > 0 && is_prime(limit - 1);
		expect_primes(&play, limit, primes);
	}
	play_stop(&play);
}

/* Where a segment of 65,536 numbers, counted from 3, ends; and around squares of primes. */
static void test_edges_of_segments(void)
{
	static const uint64_t edges[] = { 65539, 131075, 196611, 257 * 257, 509 * 509, 65521ull * 7 };
	struct play play;
	uint64_t primes = 0, next = 0;
	start_worker(&play);
	for (size_t i = 0; i < sizeof edges / sizeof *edges; i++) {
		if (next > edges[i]) {
			next = 0;
			primes = 0;
		}
		for (; next < edges[i] - 2; next++)
			primes += is_prime(next);
		for (uint64_t limit = edges[i] - 2; limit <= edges[i] + 3; limit++, next++) {
			expect_primes(&play, limit, primes);
			primes += is_prime(limit);
		}
	}
	play_stop(&play);
}

/* Known values of pi(x), e.g. OEIS A006880. */
static void test_known_counts(void)
{
	struct play play;
	start_worker(&play);
	expect_primes(&play, 1000000, 78498);
	expect_primes(&play, 10000000, 664579);
	expect_primes(&play, 100000000, 5761455);
	play_stop(&play);
}

static void test_limits_refused(void)
{
	static const char *const refused[] = { "{}", "{\"limit\":-1}", "{\"limit\":1000000000001}", "{\"limit\":1.5}",
		"{\"limit\":\"7\"}", "[]", "{\"limit\":99999999999999999999}" };
	struct play play;
	start_worker(&play);
	for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
		play_expect_end(play_run(&play, "count_primes", refused[i]), TR_PERMANENT_FAILURE, i + 1 < sizeof refused / sizeof *refused ?
		    "\"limit\" must be an integer from 0 to 1000000000000" : "the arguments cannot be read: too big integer");
	play_stop(&play);
}

/* Pushes, waits until it says progress for the first time, and tells it; then its end. */
static const struct seen *run_and_tell(struct play *play, const struct record *record, enum mailbox_stop stop)
{
	static char text[MAILBOX_MESSAGE_MAX + 1];
	static struct seen seen;
	struct message_head head;

	memset(&seen, 0, sizeof seen);
	play_push(play, 0, record, NULL, NULL);
	while (!seen.ended && play_next(play, 0, &head, text)) {
		if (head.kind == MESSAGE_PROGRESS && seen.progressed == 0)
			mailbox_tell(play->mailbox, 0, play->serial, stop);
		play_take(&seen, &head, text);
	}
	return &seen;
}

static const char long_one[] = "{\"limit\":1000000000000}";

static void test_count_stops(void)
{
	struct play play;
	start_worker(&play);
	struct record record = play_record(&play, "count_primes", long_one);
	play_expect_end(run_and_tell(&play, &record, STOP_CANCEL), TR_FAILURE, ": cancelled");
	const struct seen *seen = run_and_tell(&play, &record, STOP_DRAIN);
	play_expect_end(seen, TR_SNOOZE, "");
	CU_ASSERT_EQUAL(seen->last.number, 0);
	struct work_head work = { .kind = WORK_RUN, .attempt = 1, .soft_timeout_ms = 100 };
	play_push(&play, 0, &record, &work, NULL);
	play_expect_end(play_collect(&play, 0), TR_FAILURE, ": out of time");
	play_stop(&play);
}

/* ---- digest_file ------------------------------------------------------------------------- */

static char path[PATH_MAX + TR_ID_TEXT_SIZE + 8];

/* The file that a task owns, as the library leaves it. */
static struct record file_record(struct play *play, const char *args, const char *bytes, size_t count, unsigned times)
{
	char id[TR_ID_TEXT_SIZE];
	struct record record = play_record(play, "digest_file", args);
	record.flags |= RECORD_FILE;
	CU_ASSERT_FATAL(mkdir(play->spool_dir, 0700) == 0 || errno == EEXIST);
	snprintf(path, sizeof path, "%s/%s.file", play->spool_dir, tr_id_format(&record.id, id));
	FILE *file = fopen(path, "w");
	CU_ASSERT_PTR_NOT_NULL_FATAL(file);
	for (unsigned i = 0; i < times; i++)
		CU_ASSERT_EQUAL(fwrite(bytes, 1, count, file), count);
	CU_ASSERT_EQUAL(fclose(file), 0);
	return record;
}

static const struct seen *run_file(struct play *play, const char *args, const char *bytes, size_t count, unsigned times)
{
	struct record record = file_record(play, args, bytes, count, times);
	play_push(play, 0, &record, NULL, NULL);
	const struct seen *seen = play_collect(play, 0);
	CU_ASSERT_EQUAL(unlink(path), 0);
	return seen;
}

static void test_digest(void)
{
	/* The vectors of FIPS 180-4 and of NIST's examples. */
	static const struct { const char *args, *bytes; unsigned times; const char *result; } files[] = {
		{ "{}", "", 0,
		    "{\"sha256\":\"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\",\"bytes\":0,\"lines\":0,\"name\":null}" },
		{ "{\"name\":\"a \\\"b\\\".txt\"}", "abc", 1,
		    "{\"sha256\":\"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\",\"bytes\":3,\"lines\":0,\"name\":\"a \\\"b\\\".txt\"}" },
		{ "[1]", "a", 1000000,
		    "{\"sha256\":\"cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0\",\"bytes\":1000000,\"lines\":0,\"name\":null}" },
		/* printf '1\n22\n' | sha256sum */
		{ "{\"name\":7}", "1\n22\n", 1,
		    "{\"sha256\":\"b779e8f248c5a6ba9dea44fae25e1cf6ce42b0045246bb6eef443c75cc652b0c\",\"bytes\":5,\"lines\":2,\"name\":null}" },
	};
	struct play play;
	start_worker(&play);
	for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
		const struct seen *seen = run_file(&play, files[i].args, files[i].bytes, strlen(files[i].bytes), files[i].times);
		play_expect_end(seen, TR_SUCCESS, "");
		CU_ASSERT_STRING_EQUAL(seen->result, files[i].result);
		if (strcmp(seen->result, files[i].result) != 0)
			printf("\n  got %s\n", seen->result);
		if (files[i].times > 0)
			CU_ASSERT(seen->progress.number == strlen(files[i].bytes) * files[i].times && seen->progress.number2 == seen->progress.number);
	}
	play_stop(&play);
}

static void test_digest_fails(void)
{
	struct play play;
	start_worker(&play);
	play_expect_end(play_run(&play, "digest_file", "{}"), TR_PERMANENT_FAILURE, "the task owns no file");
	struct record record = file_record(&play, "{}", "x", 1, 1);
	CU_ASSERT_EQUAL(unlink(path), 0);
	play_push(&play, 0, &record, NULL, NULL);
	play_expect_end(play_collect(&play, 0), TR_FAILURE, "the file cannot be opened: No such file or directory");
	CU_ASSERT_EQUAL(mkdir(path, 0700), 0);
	play_push(&play, 0, &record, NULL, NULL);
	play_expect_end(play_collect(&play, 0), TR_FAILURE, "the file cannot be read: Is a directory");
	CU_ASSERT_EQUAL(rmdir(path), 0);
	play_stop(&play);
}

/* A sparse file of 1 TB, of which nobody reads much. */
static void test_digest_stops(void)
{
	struct play play;
	start_worker(&play);
	struct record record = file_record(&play, "{}", "x", 1, 1);
	if (truncate(path, 1ll << 40) != 0) /* not all file systems can */
		CU_ASSERT_EQUAL_FATAL(truncate(path, 1ll << 33), 0);
	play_expect_end(run_and_tell(&play, &record, STOP_CANCEL), TR_FAILURE, " bytes: cancelled");
	const struct seen *seen = run_and_tell(&play, &record, STOP_DRAIN);
	play_expect_end(seen, TR_SNOOZE, "");
	CU_ASSERT_EQUAL(seen->last.number, 0);
	CU_ASSERT_EQUAL(unlink(path), 0);
	play_stop(&play);
	CU_ASSERT_EQUAL(rmdir(play.spool_dir), 0);
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(test_small_limits),
		SUITE_TEST(test_edges_of_segments),
		SUITE_TEST(test_known_counts),
		SUITE_TEST(test_limits_refused),
		SUITE_TEST(test_count_stops),
		SUITE_TEST(test_digest),
		SUITE_TEST(test_digest_fails),
		SUITE_TEST(test_digest_stops),
	};

	return RUN_TESTS("the demonstration's handlers", tests);
}
