/*
 * Supervisor and dispatcher talk over a SOCK_SEQPACKET socket pair, in fixed-size messages. The
 * supervisor starts, watches and kills processes; the dispatcher knows tasks. Neither waits for
 * the other. A worker is known by its row, which is also its row on the board's worker table: the
 * pools' processes in the order of the configuration.
 */
#ifndef TASKD_CONTROL_H
#define TASKD_CONTROL_H

#include <stdint.h>
#include <sys/types.h>

enum control_kind {
	/* supervisor → dispatcher */
	CONTROL_WORKER_STARTED = 1, /* row, pid, pool, threads, number = restarts; the mailbox's memfd comes along */
	CONTROL_WORKER_ENDED,       /* row, pid, status (waitpid's), killed_by_us (either signal was sent), peak_memory_kb, number = back-off in ms before the next start */
	CONTROL_DRAIN,              /* start nothing more; answer with CONTROL_DRAINED */
	CONTROL_RELOAD,             /* read the configuration again; the workers are replaced by the supervisor */
	/* dispatcher → supervisor */
	CONTROL_KILL,               /* row, pid, number = SIGTERM or SIGKILL: send it that, if it is still that process */
	CONTROL_RECYCLED,           /* row, pid: it leaves on our demand or its own; replace it without back-off */
	CONTROL_READY,              /* the ring is served */
	CONTROL_PROGRESS,           /* the event loop turned: sent once a second */
	CONTROL_DRAINED,            /* all is in the journal; the dispatcher exits with 0 next */
};

struct control_message {
	uint32_t kind; /* enum control_kind */
	uint32_t row;
	int32_t pid;
	int32_t status;
	uint32_t pool, threads;
	uint32_t killed_by_us;
	uint64_t peak_memory_kb;
	uint64_t number;
};

/* Both ends non-blocking and close-on-exec; false and errno. */
int control_pair(int fds[2]);
/* 0, or -1 and errno (EAGAIN: the other side does not read). `fd` -1: none goes along. */
int control_send(int socket, const struct control_message *message, int fd);
/* 1: got one; *fd is -1 or the caller's. 0: nothing now. -1: the other side is gone, or errno. */
int control_receive(int socket, struct control_message *message, int *fd);

#endif
