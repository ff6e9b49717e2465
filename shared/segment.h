/*
 * Shared memory segments without half-made states. A segment is made nameless (O_TMPFILE in
 * /dev/shm, where shm_open(3) keeps its objects), really allocated, filled, and only then linked
 * under its name: whoever can open it finds it whole, and a maker that dies leaves nothing.
 */
#ifndef TR_SEGMENT_H
#define TR_SEGMENT_H

#include "taskring/taskring.h"

struct segment {
	int fd; /* close-on-exec */
	void *memory;
	size_t bytes;
};

/* Longest segment name: "/" instance ".board" and so on. */
#define SEGMENT_NAME_SIZE (TR_NAME_MAX + 16)

/* Writes "/<instance>.<what>". */
void segment_name(char name[SEGMENT_NAME_SIZE], const char *instance, const char *what);

/*
 * Makes a segment of `bytes`, lets `fill` write it, and links it as `name`. TR_OK also when
 * another process was faster: then *existed is true and nothing of ours is left; attach to theirs.
 * Errors: NO_SPACE (nothing is left behind), NO_MEMORY, SYSTEM.
 */
enum tr_result segment_create(const char *name, size_t bytes, uint32_t mode,
    void (*fill)(void *memory, const void *context), const void *context, bool *existed,
    struct tr_error *error);

/* Opens and maps the whole segment. TR_NOT_FOUND when the name does not exist. */
enum tr_result segment_open(struct segment *segment, const char *name, bool writable,
    struct tr_error *error);
void segment_close(struct segment *segment);

/* True when the segment has been unlinked, or its name now stands for another one. */
bool segment_is_stale(const struct segment *segment, const char *name);
/* The same of any open file. A path that cannot be looked at is not known to be another's. */
bool segment_path_is_gone(int fd, const char *path);

/*
 * Memory of this process alone, zero, which its forked children find zero again: for handles that must not
 * be used there. `bytes`: whole pages; munmap(2) frees it. NULL and errno.
 */
void *segment_private(size_t bytes);

#endif
