/* Stopping a process at any instruction: see step.h. For x86-64. */
#include "step.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

static struct step_shared *shared;

static void give_up(const char *what)
{
	perror(what);
	exit(2);
}

struct step_shared *step_open(void)
{
	cpu_set_t one;

	shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		give_up("mmap");
	/* A step is two switches between processes; on one processor they are quickest. */
	CPU_ZERO(&one);
	CPU_SET((size_t)sched_getcpu(), &one);
	if (sched_setaffinity(0, sizeof one, &one) != 0)
		give_up("sched_setaffinity");
	return shared;
}

/* Waits for the next stop. False: the victim is no more. */
static bool wait_stop(struct step_victim *victim)
{
	if (waitpid(victim->pid, &victim->status, 0) != victim->pid)
		give_up("waitpid");
	victim->ended = !WIFSTOPPED(victim->status);
	return !victim->ended;
}

static void victim_run(void (*before)(void *context), void (*window)(void *context), void *context)
{
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
		_exit(100);
	if (before)
		before(context);
	__asm__ volatile("int3"); /* the marker */
	if (window)
		window(context);
	atomic_store(&shared->over, true);
	_exit(0);
}

struct step_victim step_start(void (*before)(void *context), void (*window)(void *context), void *context)
{
	struct step_victim victim = { 0 };

	atomic_store(&shared->over, false);
	atomic_store(&shared->result, -1);
	atomic_store(&shared->value, 0);
	fflush(NULL);
	victim.pid = fork();
	if (victim.pid < 0)
		give_up("fork");
	if (victim.pid == 0)
		victim_run(before, window, context);
	if (!wait_stop(&victim) || WSTOPSIG(victim.status) != SIGTRAP) {
		fprintf(stderr, "the victim did not come to the marker: status %#x\n", victim.status);
		exit(2);
	}
	if (ptrace(PTRACE_SETOPTIONS, victim.pid, NULL, (void *)PTRACE_O_EXITKILL) != 0)
		give_up("PTRACE_SETOPTIONS");
	return victim;
}

static uint64_t next_address(const struct step_victim *victim)
{
	errno = 0;
	long address = ptrace(PTRACE_PEEKUSER, victim->pid, (void *)offsetof(struct user, regs.rip), NULL);
	if (address == -1 && errno)
		give_up("PTRACE_PEEKUSER");
	return (uint64_t)address;
}

static void one_step(struct step_victim *victim)
{
	if (ptrace(PTRACE_SINGLESTEP, victim->pid, NULL, NULL) != 0)
		give_up("PTRACE_SINGLESTEP");
	wait_stop(victim);
}

struct step_path step_record(struct step_victim *victim, uint64_t most)
{
	struct step_path path = { 0 };
	uint64_t room = 0;

	while (path.count < most && !victim->ended && !atomic_load(&shared->over)) {
		if (path.count == room) {
			room = room ? 2 * room : 1024;
			path.addresses = realloc(path.addresses, room * sizeof *path.addresses);
			if (!path.addresses)
				give_up("realloc");
		}
		path.addresses[path.count++] = next_address(victim);
		one_step(victim);
	}
	return path;
}

void step_path_free(struct step_path *path)
{
	free(path->addresses);
	*path = (struct step_path){ 0 };
}

bool step_to_address(struct step_victim *victim, uint64_t address)
{
	void *at = (void *)address;

	errno = 0;
	long code = ptrace(PTRACE_PEEKTEXT, victim->pid, at, NULL);
	if (code == -1 && errno)
		give_up("PTRACE_PEEKTEXT");
	/* int3, in the victim's own copy of the page. */
	if (ptrace(PTRACE_POKETEXT, victim->pid, at, (void *)((code & ~0xffl) | 0xcc)) != 0 ||
	    ptrace(PTRACE_CONT, victim->pid, NULL, NULL) != 0)
		give_up("PTRACE_POKETEXT");
	if (!wait_stop(victim))
		return false;
	if (WSTOPSIG(victim->status) != SIGTRAP || next_address(victim) != address + 1) {
		fprintf(stderr, "the victim stopped where it should not: status %#x\n", victim->status);
		exit(2);
	}
	if (ptrace(PTRACE_POKETEXT, victim->pid, at, (void *)code) != 0 ||
	    ptrace(PTRACE_POKEUSER, victim->pid, (void *)offsetof(struct user, regs.rip), at) != 0)
		give_up("PTRACE_POKEUSER");
	return true;
}

bool step_to(struct step_victim *victim, const struct step_path *path, uint64_t point)
{
	uint64_t passes = 0; /* how often the path comes to that address before the point */

	if (point >= path->count) {
		step_finish(victim);
		return true;
	}
	for (uint64_t before = 0; before < point; before++)
		passes += path->addresses[before] == path->addresses[point];
	for (;;) {
		if (next_address(victim) != path->addresses[point]) {
			if (!step_to_address(victim, path->addresses[point]))
				return false;
			continue;
		}
		if (passes == 0)
			return true;
		passes--;
		one_step(victim);
		if (victim->ended)
			return false;
	}
}

void step_kill(struct step_victim *victim)
{
	if (victim->ended)
		return;
	kill(victim->pid, SIGKILL);
	while (wait_stop(victim))
		; /* a stop that was on its way */
}

bool step_finish(struct step_victim *victim)
{
	while (!victim->ended) {
		/* Signals of its own, abort()'s for one, are passed on; ours are not. */
		int number = WSTOPSIG(victim->status) == SIGTRAP ? 0 : WSTOPSIG(victim->status);
		if (ptrace(PTRACE_CONT, victim->pid, NULL, (void *)(intptr_t)number) != 0 && errno != ESRCH)
			give_up("PTRACE_CONT");
		wait_stop(victim);
	}
	return WIFEXITED(victim->status) && WEXITSTATUS(victim->status) == 0;
}
