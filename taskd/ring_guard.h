/*
 * The dispatcher's shield against a truncated ring. Whoever may write the segment may also
 * truncate it, and reading what is gone raises SIGBUS. The handler puts empty private pages in the
 * mapping's place, so that the reader sees zeros, and notes it; the loop then has the ring rebuilt.
 */
#ifndef TASKD_RING_GUARD_H
#define TASKD_RING_GUARD_H

#include <stdbool.h>
#include <stddef.h>

/* Installs the handler for this mapping; a SIGBUS elsewhere ends the process as usual. */
bool ring_guard_install(void *memory, size_t bytes);
/* True once after the mapping was lost. */
bool ring_guard_was_hit(void);

#endif
