/* What taskctl makes of its command line, and of texts that others have written. */
#include <stdlib.h>
#include <string.h>

#include "shared/tools/taskctl.h"
#include "tests/unit/runner.h"

#define NOW 1769853600123ll /* 2026-01-31T10:00:00.123Z */
#define DAY (24 * 3600 * 1000ll)

static void test_times(void)
{
	static const struct {
		const char *text;
		int64_t time_ms;
	} well[] = {
		{ "now", NOW }, { "-2h", NOW - 7200000 }, { "+5m", NOW + 300000 }, { "-250ms", NOW - 250 }, { "-7d", NOW - 7 * DAY },
		{ "-0", NOW }, { "1769853600", 1769853600000 }, { "1769853600123", 1769853600123 }, { "0", 0 },
		{ "99999999999", 99999999999000 }, { "100000000000", 100000000000 },
		{ "2026-01-31T10:00Z", 1769853600000 }, { "2026-01-31T10:00", 1769853600000 }, { "2026-01-31 10:00", 1769853600000 },
		{ "2026-01-31T10:00:00.123Z", NOW }, { "2026-01-31T10:00:00.123456Z", NOW }, { "2026-01-31T10:00:00.1Z", NOW - 23 },
		{ "2026-01-31T11:00+01:00", 1769853600000 }, { "2026-01-31T04:30:00-05:30", 1769853600000 },
		{ "2026-01-31", 1769817600000 }, { "2026-01-31Z", 1769817600000 }, { "2024-02-29", 1709164800000 },
		{ "1970-01-01", 0 },
	};
	static const char *const wrong[] = { "", "x", "2h", "-", "+", "-h", "-2", "-2x", "-2hh", "--2h", "- 2h", "yesterday", "12:00",
		"2026-02-29", "2026-04-31", "2026-13-01", "2026-00-10", "2026-01-00", "2026-1-31", "2026-01-31T", "2026-01-31T1:00",
		"2026-01-31T24:00", "2026-01-31T10:60", "2026-01-31T10:00:60", "2026-01-31T10:00:", "2026-01-31T10:00:00.", "1969-12-31",
		"2026-01-31T10:00Zx", "2026-01-31T10:00+1", "2026-01-31T10:00+25:00", "99999999999999999999", "1e9", "-99999999999999999999d",
		"-9223372036854775807d" };
	int64_t time_ms;

	for (size_t i = 0; i < sizeof well / sizeof *well; i++) {
		time_ms = -1;
		CU_ASSERT_TRUE(read_time(well[i].text, NOW, &time_ms));
		if (time_ms != well[i].time_ms)
			fprintf(stderr, "\n%s: got %lld", well[i].text, (long long)time_ms);
		CU_ASSERT_EQUAL(time_ms, well[i].time_ms);
	}
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		bool taken = read_time(wrong[i], NOW, &time_ms);
		if (taken)
			fprintf(stderr, "\n%s was taken", wrong[i]);
		CU_ASSERT_FALSE(taken);
	}
}

static void test_durations(void)
{
	int64_t ms = -1;

	CU_ASSERT_TRUE(read_duration("0", 5, &ms) && ms == 0);
	CU_ASSERT_TRUE(read_duration("250ms", 250, &ms) && ms == 250);
	CU_ASSERT_TRUE(read_duration("10s", INT64_MAX, &ms) && ms == 10000);
	CU_ASSERT_TRUE(read_duration("5m", INT64_MAX, &ms) && ms == 300000);
	CU_ASSERT_TRUE(read_duration("2h", INT64_MAX, &ms) && ms == 7200000);
	CU_ASSERT_TRUE(read_duration("7d", 7 * DAY, &ms) && ms == 7 * DAY);
	CU_ASSERT_FALSE(read_duration("8d", 7 * DAY, &ms));
	CU_ASSERT_FALSE(read_duration("251ms", 250, &ms));
	CU_ASSERT_FALSE(read_duration("10", INT64_MAX, &ms));
	CU_ASSERT_FALSE(read_duration("", INT64_MAX, &ms));
	CU_ASSERT_FALSE(read_duration("-1s", INT64_MAX, &ms));
	CU_ASSERT_FALSE(read_duration("1 s", INT64_MAX, &ms));
	CU_ASSERT_FALSE(read_duration("9223372036854775807s", INT64_MAX, &ms));
	CU_ASSERT_FALSE(read_duration("9223372036854775808ms", INT64_MAX, &ms));
}

static void test_states(void)
{
	unsigned states = 0;

	CU_ASSERT_TRUE(read_states("dead", &states));
	CU_ASSERT_EQUAL(states, 1u << TR_DEAD);
	CU_ASSERT_TRUE(read_states("expired,cancelled", &states)); /* joined to what was said before */
	CU_ASSERT_EQUAL(states, 1u << TR_DEAD | 1u << TR_EXPIRED | 1u << TR_CANCELLED);
	states = 0;
	CU_ASSERT_TRUE(read_states("waiting", &states));
	CU_ASSERT_EQUAL(states, 1u << TR_QUEUED | 1u << TR_SCHEDULED | 1u << TR_RETRYING);
	static const char *const wrong[] = { "", ",", "dead,", ",dead", "Dead", "dea", "dead running", "dead,,dead", "dead,x",
		"a-name-that-is-longer-than-any-state-has" };
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
		CU_ASSERT_FALSE(read_states(wrong[i], &states));
}

/* ---- the command line -------------------------------------------------------------------- */

static struct request read_line(const struct command *command, bool well, const char *line)
{
	static char text[400];
	struct request request = { .command = command };
	char *argv[40];
	int argc = 0;

	snprintf(text, sizeof text, "%s", line);
	for (char *word = strtok(text, " "); word != NULL; word = strtok(NULL, " "))
		argv[argc++] = word;
	argv[argc] = NULL;
	extern int optind;
	optind = 0;
	CU_ASSERT_EQUAL(options_read(&request, argc, argv), well);
	return request;
}

static void test_filter(void)
{
	struct request request = read_line(&command_list, true, "list -s dead -s running --handler mail -q q --text ada --arg email=a=b "
	    "-a user.name=Ada --from 2026-01-31 --to 1769853600 -L 10 -j -n other -J j -S s");

	CU_ASSERT_TRUE(request.filtered && request.limited && request.json);
	CU_ASSERT_EQUAL(request.filter.states, 1u << TR_DEAD | 1u << TR_RUNNING);
	CU_ASSERT_STRING_EQUAL(request.filter.handler, "mail");
	CU_ASSERT_STRING_EQUAL(request.filter.queue, "q");
	CU_ASSERT_STRING_EQUAL(request.filter.text, "ada");
	CU_ASSERT_STRING_EQUAL(request.filter.args[0].path, "email");
	CU_ASSERT_STRING_EQUAL(request.filter.args[0].value, "a=b");
	CU_ASSERT_STRING_EQUAL(request.filter.args[1].path, "user.name");
	CU_ASSERT_STRING_EQUAL(request.filter.args[1].value, "Ada");
	CU_ASSERT_PTR_NULL(request.filter.args[2].path);
	CU_ASSERT_EQUAL(request.filter.from_ms, 1769817600000);
	CU_ASSERT_EQUAL(request.filter.to_ms, 1769853600000);
	CU_ASSERT_EQUAL(request.limit, 10);
	CU_ASSERT_STRING_EQUAL(request.instance, "other");
	CU_ASSERT_STRING_EQUAL(request.journal, "j");
	CU_ASSERT_STRING_EQUAL(request.spool_dir, "s");

	request = read_line(&command_purge, true, "purge --older-than 7d -n x");
	CU_ASSERT_TRUE(request.filtered && !request.limited && !request.all);
	CU_ASSERT(llabs(now_ms() - 7 * DAY - request.filter.to_ms) < 60000);
	CU_ASSERT_STRING_EQUAL(request.journal, "/var/lib/taskring/x/journal.db");
	request = read_line(&command_retry, true, "retry ID1 --yes ID2");
	CU_ASSERT_FALSE(request.filtered);
	CU_ASSERT_TRUE(request.yes);
	CU_ASSERT_EQUAL(request.operand_count, 2);
}

static void test_task_options(void)
{
	struct request request = read_line(&command_push, true, "push h {} -q q --on-failure f --max-attempts 3 --backoff-base 2s "
	    "--backoff-cap 1m --soft-timeout 10s --hard-timeout 1h --delay 5s --run-at 1769853600 --expires-after 1d --trace t -d -w");

	CU_ASSERT_STRING_EQUAL(request.task.queue, "q");
	CU_ASSERT_STRING_EQUAL(request.task.on_failure, "f");
	CU_ASSERT_STRING_EQUAL(request.task.trace, "t");
	CU_ASSERT_EQUAL(request.task.max_attempts, 3);
	CU_ASSERT_EQUAL(request.task.backoff_base_ms, 2000);
	CU_ASSERT_EQUAL(request.task.backoff_cap_ms, 60000);
	CU_ASSERT_EQUAL(request.task.soft_timeout_ms, 10000);
	CU_ASSERT_EQUAL(request.task.hard_timeout_ms, 3600000);
	CU_ASSERT_EQUAL(request.task.delay_ms, 5000);
	CU_ASSERT_EQUAL(request.task.run_at_ms, 1769853600000);
	CU_ASSERT_EQUAL(request.task.expires_after_ms, DAY);
	CU_ASSERT_EQUAL(request.durability, TR_DISK);
	CU_ASSERT_TRUE(request.wait);
	CU_ASSERT_EQUAL(request.operand_count, 2);
}

static void test_wrong_lines(void)
{
	read_line(&command_list, false, "list --state sleeping");
	read_line(&command_list, false, "list --from yesterday");
	read_line(&command_list, false, "list --arg email");
	read_line(&command_list, false, "list --arg =x");
	read_line(&command_list, false, "list -a a=1 -a a=2 -a a=3 -a a=4 -a a=5");
	read_line(&command_list, false, "list -L 0");
	read_line(&command_list, false, "list extra");
	read_line(&command_list, false, "list --yes"); /* another command's */
	read_line(&command_list, false, "list --text");
	read_line(&command_show, false, "show");
	read_line(&command_show, false, "show a b");
	read_line(&command_push, false, "push h --max-attempts 1001");
	read_line(&command_push, false, "push h --hard-timeout 8d");
	read_line(&command_push, false, "push h --delay 5");
	read_line(&command_drain, false, "drain --state dead");
	read_line(&command_tail, false, "tail --text x");
}

/* ---- hostile texts ----------------------------------------------------------------------- */

static const char *printed(const char *text, size_t columns)
{
	static char *buffer;
	size_t size;

	free(buffer);
	FILE *to = open_memstream(&buffer, &size);
	print_text(to, text, columns);
	fclose(to);
	return buffer;
}

static void test_safe_text(void)
{
	CU_ASSERT_STRING_EQUAL(printed("plain \xc3\xa4 \xe6\xbc\xa2 \xf0\x9f\x98\x80", 0), "plain \xc3\xa4 \xe6\xbc\xa2 \xf0\x9f\x98\x80");
	CU_ASSERT_STRING_EQUAL(printed("a\nb\tc\rd\x7f", 0), "a\\x0ab\\x09c\\x0dd\\x7f");
	CU_ASSERT_STRING_EQUAL(printed("\033[31mred\033]0;title\a", 0), "\\x1b[31mred\\x1b]0;title\\x07");
	CU_ASSERT_STRING_EQUAL(printed("\xc2\x9b" "31m", 0), "\\x9b31m"); /* the one-byte form of ESC [ */
	CU_ASSERT_STRING_EQUAL(printed("half \xc3", 0), "half \\xc3");
	CU_ASSERT_STRING_EQUAL(printed("\xff\xfe\xed\xa0\x80", 0), "\\xff\\xfe\\xed\\xa0\\x80");
	CU_ASSERT_STRING_EQUAL(printed("a\xe2\x80\xae" "b", 0), "a\\u202eb"); /* right to left from here on */
	CU_ASSERT_STRING_EQUAL(printed("a\xe2\x80\xa8z\xef\xbb\xbfz\xe2\x81\xa6", 0), "a\\u2028z\\ufeffz\\u2066");
	CU_ASSERT_STRING_EQUAL(printed("e\xcc\x81", 0), "e\xcc\x81"); /* an accent of its own is no harm */
}

static void test_cut_text(void)
{
	CU_ASSERT_STRING_EQUAL(printed("12345", 5), "12345");
	CU_ASSERT_STRING_EQUAL(printed("123456", 5), "1234\xe2\x80\xa6");
	CU_ASSERT_STRING_EQUAL(printed("\xe6\xbc\xa2\xe6\xbc\xa2\xe6\xbc\xa2", 5), "\xe6\xbc\xa2\xe6\xbc\xa2\xe2\x80\xa6"); /* two columns each */
	CU_ASSERT_STRING_EQUAL(printed("\xe6\xbc\xa2\xe6\xbc\xa2\xe6\xbc\xa2", 4), "\xe6\xbc\xa2\xe2\x80\xa6");
	CU_ASSERT_STRING_EQUAL(printed("abc\033", 5), "abc\xe2\x80\xa6"); /* no half escapes */
}

/* Whatever the bytes: nothing that a terminal obeys comes out. */
static void test_any_bytes(void)
{
	char text[64];

	srandom(4711);
	for (int round = 0; round < 20000; round++) {
		size_t bytes = (size_t)random() % (sizeof text - 1);
		for (size_t i = 0; i < bytes; i++)
			text[i] = (char)(random() % 2 ? random() % 255 + 1 : random() % 64 + 0x80);
		text[bytes] = '\0';
		const char *out = printed(text, (size_t)random() % 40);
		for (size_t i = 0; out[i] != '\0'; i++) {
			unsigned char now = (unsigned char)out[i], next = (unsigned char)out[i + 1];
			if (now < 0x20 || now == 0x7f || (now == 0xc2 && next < 0xa0)) {
				CU_FAIL_FATAL("a control character came out");
			}
		}
		json_t *json = text_json(text);
		CU_ASSERT_PTR_NOT_NULL_FATAL(json);
		json_decref(json);
	}
}

int main(void)
{
	static const struct suite_test tests[] = {
		{ "times", test_times },
		{ "durations", test_durations },
		{ "states", test_states },
		{ "filter", test_filter },
		{ "options of a task", test_task_options },
		{ "wrong lines", test_wrong_lines },
		{ "safe text", test_safe_text },
		{ "cut text", test_cut_text },
		{ "any bytes", test_any_bytes },
	};

	return RUN_TESTS("taskctl", tests);
}
