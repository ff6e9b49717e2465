/*
 * An upload: a request's body comes in, one nameless file in the spool directory goes out, whatever
 * its size with the same memory. Called by web_serve() for routes that take a file; given to
 * background_tasks_attach() by their endpoint.
 */
#ifndef APP_UPLOAD_H
#define APP_UPLOAD_H

#include <stdint.h>

#define UPLOAD_NAME_MAX 255 /* bytes: what a file system could hold */

struct web_request;
struct web_answer;

struct upload {
	int fd;         /* -1: none, or taken by upload_take() */
	uint64_t bytes;
	char name[UPLOAD_NAME_MAX + 1]; /* never a path: UTF-8 without control characters and slashes; "unnamed" when none was sent */
	char content_type[128];         /* printable ASCII; "application/octet-stream" when none was sent */
};

struct upload_limits {
	uint64_t most_bytes; /* of one file */
	uint64_t free_bytes; /* what must stay free where the spool directory is */
	unsigned at_once;    /* uploads that this process receives at a time; each holds a thread */
};

enum upload_result {
	UPLOAD_OK,
	UPLOAD_NO_FILE,   /* no part "file" with a file name; an empty plain body */
	UPLOAD_SEVERAL,   /* more than one file, or one in another field */
	UPLOAD_BAD_NAME,
	UPLOAD_MALFORMED, /* not multipart/form-data as browsers send it, or not as long as declared */
	UPLOAD_TOO_LARGE,
	UPLOAD_BROKEN,    /* the source broke off; the answer reaches nobody, or the client was too slow */
	UPLOAD_NO_SPACE,
	UPLOAD_BUSY,
	UPLOAD_NO_SPOOL,  /* there is no spool directory, or it cannot be written */
	UPLOAD_NO_MEMORY,
	UPLOAD_RESULTS
};

/*
 * Reads the body to its end: multipart/form-data with the one file in the field `file`, or any
 * other body, which is the file itself (its name is that of Content-Disposition). OK: *upload is
 * filled and upload->fd the caller's. After anything else there is no file: nothing has a name in
 * the spool directory before a task owns it, so also a process that dies leaves nothing. Any thread.
 */
enum upload_result upload_receive(const struct web_request *request, const struct upload_limits *limits,
    struct upload *upload);

/* The descriptor, which is the caller's from now on. */
int upload_take(struct upload *upload);
/* Closes what was not taken; the file is gone with it. */
void upload_clear(struct upload *upload);

/* What a client is told about a result other than OK. */
void upload_refuse(enum upload_result result, struct web_answer *answer);

#endif
