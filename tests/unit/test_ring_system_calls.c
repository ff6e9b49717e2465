/* That publishing makes no system call while the consumer is awake. */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "shared/ring_consumer.h"
#include "tests/unit/ring_fixture.h"

/* What a thread sanitizer asks the system for of its own accord, memory; without one: nothing more than below. */
#ifdef __SANITIZE_THREAD__
#define SYS_of_sanitizer SYS_mmap
#else
#define SYS_of_sanitizer SYS_sigaltstack
#endif

/* From here on, leaving is all that does not kill. (An address sanitizer calls sigaltstack() on its way out.) */
static bool forbid_system_calls(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_of_sanitizer, 1, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sigaltstack, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	};
	const struct sock_fprog program = { .len = sizeof code / sizeof code[0], .filter = code };

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

static int publish_without_system_calls(void)
{
	struct tr_error error;
	struct ring *ring;

	if (ring_attach(&ring, instance, &long_lane, 0, &error) != TR_OK || publish(ring, 200, 1, 0) != TR_OK)
		return 1;
	if (!forbid_system_calls())
		return 2;
	for (uint32_t i = 1; i <= 10000; i++)
		if (publish(ring, i % 1000 ? 200 : 2000, 1, i) != TR_OK)
			return 3;
	return 0;
}

static void test_no_system_call(void)
{
	struct ring_consumer *consumer = consume(&long_lane);

	CU_ASSERT_EQUAL(run_in_child(publish_without_system_calls), 0);
	for (uint32_t i = 0; i <= 10000; i++)
		CU_ASSERT_TRUE(take_is(consumer, i % 1000 || !i ? 200 : 2000, 1, i));
	retire_all(consumer);
	ring_audit(consumer);
	/* That the filter works: a sleeping consumer costs one. */
	CU_ASSERT_TRUE(ring_sleep(consumer));
	CU_ASSERT_EQUAL(run_in_child(publish_without_system_calls), 128 + SIGSYS);
	ring_consumer_close(&consumer, false);
}

int main(void)
{
	static const struct suite_test tests[] = {
		{ "no system call", test_no_system_call },
	};

	return RUN_RING_TESTS("ring-system-calls", tests);
}
