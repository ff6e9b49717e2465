/*
 * The socket pair between supervisor and dispatcher: whole messages or nothing (SOCK_SEQPACKET), at
 * most one file descriptor with each. Both processes are ours, but a message is still checked, so
 * that a dispatcher gone wild cannot take the supervisor along.
 */
#include "taskd/control.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int control_pair(int fds[2])
{
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0)
		return -1;
	return 0;
}

/* Aligned room for the one descriptor that may go along. */
union ancillary {
	struct cmsghdr header;
	char bytes[CMSG_SPACE(sizeof(int))];
};

int control_send(int socket, const struct control_message *message, int fd)
{
	union ancillary ancillary = { .bytes = { 0 } };
	struct control_message copy = *message; /* an iovec is not const */
	struct iovec part = { .iov_base = &copy, .iov_len = sizeof(copy) };
	struct msghdr head = { .msg_iov = &part, .msg_iovlen = 1 };
	if (fd >= 0) {
		head.msg_control = ancillary.bytes;
		head.msg_controllen = sizeof(ancillary.bytes);
		struct cmsghdr *rights = CMSG_FIRSTHDR(&head);
		rights->cmsg_level = SOL_SOCKET;
		rights->cmsg_type = SCM_RIGHTS;
		rights->cmsg_len = CMSG_LEN(sizeof(fd));
		memcpy(CMSG_DATA(rights), &fd, sizeof(fd));
	}
	ssize_t sent;
	do
		sent = sendmsg(socket, &head, MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	return sent < 0 ? -1 : 0;
}

/* The descriptor that came along, or -1. There is room for one only: the kernel closes any other. */
static int received_fd(struct msghdr *head)
{
	int fd = -1;
	for (struct cmsghdr *at = CMSG_FIRSTHDR(head); at != NULL; at = CMSG_NXTHDR(head, at))
		if (at->cmsg_level == SOL_SOCKET && at->cmsg_type == SCM_RIGHTS &&
		    at->cmsg_len == CMSG_LEN(sizeof(fd)))
			memcpy(&fd, CMSG_DATA(at), sizeof(fd));
	return fd;
}

int control_receive(int socket, struct control_message *message, int *fd)
{
	*fd = -1;
	union ancillary ancillary = { .bytes = { 0 } };
	struct iovec part = { .iov_base = message, .iov_len = sizeof(*message) };
	struct msghdr head = {
		.msg_iov = &part, .msg_iovlen = 1,
		/* Not CMSG_SPACE: its padding has room for a second descriptor. */
		.msg_control = ancillary.bytes, .msg_controllen = CMSG_LEN(sizeof(int)),
	};
	ssize_t got;
	do
		got = recvmsg(socket, &head, MSG_CMSG_CLOEXEC);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return errno == EAGAIN ? 0 : -1;

	int came = received_fd(&head);
	bool whole = got == (ssize_t)sizeof(*message) && (head.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0;
	if (whole) {
		*fd = came;
		return 1;
	}
	if (came >= 0)
		close(came);
	errno = got == 0 ? EPIPE : EPROTO;
	return -1;
}
