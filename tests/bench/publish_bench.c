/*
 * What a request pays: one task with 200 bytes of arguments, added and published through the
 * public library, while the consumer, another process, is awake, takes and retires. Enters: -n how
 * many. Leaves: percentiles in ns, the clock's own time subtracted, and the count of system calls,
 * which a seccomp filter counts; 1 when something was refused or a system call was made.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "samples.h"
#include "shared/ring.h"

#define ARGS_BYTES 200
#define COUNTED_TASKS 100000
#define RETIRE_EVERY 64
#define LOOK_EVERY_NS 1000 /* the consumer, when it has found nothing */

static char instance[32];
static char args[ARGS_BYTES + 1];

/* What the processes share. */
static struct {
	_Atomic uint32_t consuming, stop;
	_Atomic uint64_t system_calls, refused;
} *common;

static void place(size_t processor)
{
	cpu_set_t set;

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		return;
	CPU_ZERO(&set);
	CPU_SET(processor, &set);
	sched_setaffinity(0, sizeof set, &set);
}

static void pause_ns(int64_t ns)
{
	for (int64_t until = samples_now_ns() + ns; samples_now_ns() < until;)
		continue;
}

/* ---- the consumer ------------------------------------------------------------------------ */

static int consume(void)
{
	struct ring *ring;
	struct ring_consumer *consumer;
	struct tr_error error = { "" };
	uint64_t position, taken = 0;

	if (ring_attach(&ring, instance, NULL, 0, &error) != TR_OK) {
		fprintf(stderr, "publish_bench: consumer: %s\n", error.text);
		return 1;
	}
	void *to = malloc(ring_batch_max(ring));
	if (!to || ring_consumer_open(&consumer, &ring, &error) != TR_OK) {
		fprintf(stderr, "publish_bench: consumer: %s\n", error.text);
		free(to);
		return 1;
	}
	atomic_store(&common->consuming, 1);
	while (!atomic_load_explicit(&common->stop, memory_order_relaxed)) {
		if (!ring_take(consumer, to, &position))
			pause_ns(LOOK_EVERY_NS);
		else if (++taken % RETIRE_EVERY == 0)
			ring_retire(consumer, position + 1);
	}
	ring_retire(consumer, ring_taken(consumer));
	struct ring_report report = ring_consumer_report(consumer);
	ring_consumer_close(&consumer, true);
	free(to);
	return report.damaged_batches || report.repairs;
}

/* ---- the producer ------------------------------------------------------------------------ */

/* False: refused. Ticks of each part, or of nothing when the lane was full. */
static bool publish_one(struct background_tasks *background, struct samples *add, struct samples *publish,
    struct samples *both)
{
	uint64_t begun = samples_tick();
	if (background_tasks_add(background, "send_email", args, NULL) != TR_OK)
		return false;
	uint64_t added = samples_tick();
	enum tr_result result = background_tasks_publish(background, 0);
	uint64_t published = samples_tick();

	if (result == TR_LANE_FULL || result == TR_RING_FULL) {
		background_tasks_clear(background);
		atomic_fetch_add(&common->refused, 1);
		sched_yield();
		return true;
	}
	samples_add(add, added - begun);
	samples_add(publish, published - added);
	samples_add(both, published - begun - both->overhead);
	return result == TR_OK;
}

static bool measure(struct background_tasks *background, size_t count, int64_t gap_ns)
{
	struct samples add, publish, both;
	char title[64];

	if (!samples_open(&add, count) || !samples_open(&publish, count) || !samples_open(&both, count)) {
		fprintf(stderr, "publish_bench: out of memory\n");
		return false;
	}
	for (size_t i = 0; i < count; i++) {
		if (!publish_one(background, &add, &publish, &both)) {
			fprintf(stderr, "publish_bench: %s\n", background_tasks_error(background));
			return false;
		}
		if (gap_ns)
			pause_ns(gap_ns);
	}
	if (gap_ns)
		snprintf(title, sizeof title, "one every %lld us", (long long)gap_ns / 1000);
	else
		snprintf(title, sizeof title, "back to back");
	samples_heading(title);
	samples_print(&add, "  background_tasks_add");
	samples_print(&publish, "  background_tasks_publish");
	samples_print(&both, "  add + publish");
	free(add.ticks);
	free(publish.ticks);
	free(both.ticks);
	return true;
}

/* ---- system calls ------------------------------------------------------------------------ */

static void count_system_call(int signal_number)
{
	(void)signal_number;
	atomic_fetch_add(&common->system_calls, 1);
}

/* From here on each system call but the end of the process becomes a SIGSYS, which is counted. */
static bool trap_system_calls(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_rt_sigreturn, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog filter = { .len = sizeof code / sizeof code[0], .filter = code };
	const struct sigaction action = { .sa_handler = count_system_call };

	return sigaction(SIGSYS, &action, NULL) == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

/* In a process of its own, since the filter stays. */
static int publish_counted(void)
{
	struct taskring *ring;
	struct background_tasks *background;
	struct tr_error error = { "" };

	place(1);
	if (tr_open(&ring, instance, NULL, &error) != TR_OK || background_tasks_new(&background, ring) != TR_OK ||
	    background_tasks_add(background, "send_email", args, NULL) != TR_OK ||
	    background_tasks_publish(background, 0) != TR_OK || !trap_system_calls())
		return 1;
	for (int i = 0; i < COUNTED_TASKS;) {
		if (background_tasks_add(background, "send_email", args, NULL) != TR_OK)
			return 1;
		enum tr_result result = background_tasks_publish(background, 0);
		if (result == TR_OK)
			i++;
		else if (result != TR_LANE_FULL && result != TR_RING_FULL)
			return 1;
		else
			background_tasks_clear(background);
	}
	return 0; /* by _exit(): the lane comes back with the process's end */
}

static bool count_system_calls(void)
{
	int status;
	pid_t child = fork();

	if (child == 0)
		_exit(publish_counted());
	if (child < 0 || waitpid(child, &status, 0) != child || status != 0) {
		fprintf(stderr, "publish_bench: counting system calls failed\n");
		return false;
	}
	printf("system calls made in %d publications: %llu\n", COUNTED_TASKS,
	    (unsigned long long)atomic_load(&common->system_calls));
	return atomic_load(&common->system_calls) == 0;
}

/* ---- all of it --------------------------------------------------------------------------- */

static bool measure_all(size_t count)
{
	struct taskring *ring;
	struct background_tasks *background;
	struct tr_error error = { "" };

	if (tr_open(&ring, instance, NULL, &error) != TR_OK || background_tasks_new(&background, ring) != TR_OK) {
		fprintf(stderr, "publish_bench: %s\n", error.text);
		return false;
	}
	bool well = measure(background, count, 0) && measure(background, count / 10, 10000);
	background_tasks_free(&background);
	tr_close(&ring);
	printf("refused because the lane was full, and left out: %llu\n",
	    (unsigned long long)atomic_load(&common->refused));
	fflush(stdout);
	return well && count_system_calls();
}

static void fill_args(void)
{
	static const char head[] = "{\"to\":\"ada@example.org\",\"text\":\"", tail[] = "\"}";

	memset(args, 'x', ARGS_BYTES);
	memcpy(args, head, sizeof head - 1);
	memcpy(args + ARGS_BYTES - (sizeof tail - 1), tail, sizeof tail - 1);
}

static void remove_names(void)
{
	char name[64];

	snprintf(name, sizeof name, "/%s.ring", instance);
	shm_unlink(name);
	snprintf(name, sizeof name, "/%s.wake", instance);
	shm_unlink(name);
}

int main(int argc, char **argv)
{
	size_t count = 1000000;
	int status = 1;

	if (argc == 3 && strcmp(argv[1], "-n") == 0) {
		char *end;
		count = strtoul(argv[2], &end, 10);
		if (*end || count < 1000 || count > 100000000)
			argc = 2;
	}
	if (argc != 1 && argc != 3) {
		fprintf(stderr, "publish_bench: -n: allowed is 1000 to 100000000\n");
		return 2;
	}
	common = mmap(NULL, sizeof *common, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (common == MAP_FAILED) {
		fprintf(stderr, "publish_bench: mmap: %s\n", strerror(errno));
		return 1;
	}
	snprintf(instance, sizeof instance, "publish-bench-%d", (int)getpid());
	fill_args();
	printf("publish: %zu tasks with %d bytes of arguments, the consumer awake in another process; ns\n", count,
	    ARGS_BYTES);
	fflush(stdout);
	pid_t consumer = fork();
	if (consumer == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		place(0);
		_exit(consume());
	}
	while (consumer > 0 && !atomic_load(&common->consuming) && waitpid(consumer, &status, WNOHANG) == 0)
		sched_yield();
	place(1);
	bool well = atomic_load(&common->consuming) && measure_all(count);
	atomic_store(&common->stop, 1);
	if (atomic_load(&common->consuming) && (waitpid(consumer, &status, 0) != consumer || status != 0)) {
		fprintf(stderr, "publish_bench: the consumer found damage\n");
		well = false;
	}
	remove_names();
	return well ? 0 : 1;
}
