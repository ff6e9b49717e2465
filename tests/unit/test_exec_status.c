/* taskd/exec_status.c: each exit status and signal, and that docs/exec.md has the same table. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "taskd/exec_status.h"
#include "tests/unit/runner.h"

static char sentence[128];

/* The verdict on a child that really ends this way. */
static enum exec_verdict verdict_on_end(int code, int signal_number)
{
	static const struct rlimit no_core = { 0, 0 };
	int status;
	fflush(NULL);
	pid_t pid = fork();
	CU_ASSERT_FATAL(pid >= 0);
	if (pid == 0) {
		if (signal_number == 0)
			_exit(code);
		setrlimit(RLIMIT_CORE, &no_core);
		signal(signal_number, SIG_DFL);
		raise(signal_number);
		_exit(99);
	}
	CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
	return exec_status_verdict(status, sentence, sizeof(sentence));
}

/* All 256, against the lists of which the documentation speaks. */
static void test_codes(void)
{
	static const int for_good[] = { 64, 65, 66, 67, 77, 78, 126, 127 };
	unsigned good = 0, again = 0, never = 0;
	for (int code = 0; code < 256; code++) {
		enum exec_verdict expected = code == 0 ? EXEC_SUCCEEDED : EXEC_TRY_AGAIN;
		for (size_t i = 0; i < sizeof(for_good) / sizeof(*for_good); i++)
			if (for_good[i] == code)
				expected = EXEC_FOR_GOOD;
		enum exec_verdict verdict = exec_status_verdict(code << 8, sentence, sizeof(sentence));
		CU_ASSERT_EQUAL(verdict, expected);
		good += verdict == EXEC_SUCCEEDED;
		again += verdict == EXEC_TRY_AGAIN;
		never += verdict == EXEC_FOR_GOOD;
	}
	CU_ASSERT_EQUAL(good, 1);
	CU_ASSERT_EQUAL(again, 247);
	CU_ASSERT_EQUAL(never, 8);
}

static void test_sentences(void)
{
	CU_ASSERT_EQUAL(verdict_on_end(65, 0), EXEC_FOR_GOOD);
	CU_ASSERT_STRING_EQUAL(sentence, "ended with status 65 (the input is wrong)");
	CU_ASSERT_EQUAL(verdict_on_end(75, 0), EXEC_TRY_AGAIN);
	CU_ASSERT_STRING_EQUAL(sentence, "ended with status 75 (a temporary failure)");
	CU_ASSERT_EQUAL(verdict_on_end(3, 0), EXEC_TRY_AGAIN);
	CU_ASSERT_STRING_EQUAL(sentence, "ended with status 3");
	CU_ASSERT_EQUAL(verdict_on_end(0, 0), EXEC_SUCCEEDED);
	CU_ASSERT_EQUAL(verdict_on_end(0, SIGSEGV), EXEC_TRY_AGAIN);
	CU_ASSERT_STRING_EQUAL(sentence, "was killed by SIGSEGV (Segmentation fault)");
	CU_ASSERT_EQUAL(verdict_on_end(0, SIGKILL), EXEC_TRY_AGAIN);
	CU_ASSERT_STRING_EQUAL(sentence, "was killed by SIGKILL (Killed)");
	CU_ASSERT_EQUAL(verdict_on_end(0, SIGRTMIN), EXEC_TRY_AGAIN);
	CU_ASSERT_PTR_NOT_NULL(strstr(sentence, "was killed by signal "));
}

/* Each row "| CODE | ... |" of the document's table says what the program does. */
static void test_documentation(void)
{
	char line[512];
	unsigned rows = 0;
	FILE *document = fopen("docs/exec.md", "r"); /* tests run at the top of the checkout */
	CU_ASSERT_PTR_NOT_NULL_FATAL(document);
	while (fgets(line, sizeof(line), document) != NULL) {
		char *end, codes[128] = "";
		if (sscanf(line, "| %127[0-9, ] |", codes) != 1)
			continue;
		const char *said = strstr(line, "succeeded") != NULL ? "succeeded" : strstr(line, "for good") != NULL ? "for good" : "again";
		for (char *at = codes; *at != '\0'; at = end) {
			long code = strtol(at, &end, 10);
			if (end == at)
				break;
			static const char *const names[] = { "succeeded", "again", "for good" };
			CU_ASSERT_STRING_EQUAL(names[exec_status_verdict((int)code << 8, sentence, sizeof(sentence))], said);
			rows++;
			end += strspn(end, ", ");
		}
	}
	fclose(document);
	CU_ASSERT_EQUAL(rows, 18);
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(test_codes),
		SUITE_TEST(test_sentences),
		SUITE_TEST(test_documentation),
	};

	return RUN_TESTS("exec status", tests);
}
