/* SIGBUS on the ring's mapping: see ring_guard.h. Called by dispatcher.c. */
#include "ring_guard.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>

static char *guarded;
static size_t guarded_bytes;
static atomic_bool hit;

/* Only mmap(2), a bare system call, and a lock-free store: both are safe here. */
static void on_sigbus(int number, siginfo_t *info, void *context)
{
	uintptr_t at = (uintptr_t)info->si_addr, start = (uintptr_t)guarded;

	(void)context;
	if (at >= start && at - start < guarded_bytes &&
	    mmap(guarded, guarded_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) !=
		MAP_FAILED) {
		atomic_store(&hit, true);
		return;
	}
	signal(number, SIG_DFL); /* the instruction runs again, and ends us with a core */
}

bool ring_guard_install(void *memory, size_t bytes)
{
	struct sigaction action = { .sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO };

	guarded = memory;
	guarded_bytes = bytes;
	sigemptyset(&action.sa_mask);
	return sigaction(SIGBUS, &action, NULL) == 0;
}

bool ring_guard_was_hit(void)
{
	return atomic_exchange(&hit, false);
}
