/*
 * The board's segment: found or made, checked, locked. Apart from board_writer.c because it runs
 * once, and that one for every task.
 */
#ifndef TASKD_BOARD_ATTACH_H
#define TASKD_BOARD_ATTACH_H

#include "shared/segment.h"
#include "taskd/board_writer.h"

/*
 * Opens the board of `instance` for writing. One that has another version or geometry loses its
 * name and a new one takes it. A new board is all zero behind its header. The caller closes
 * *segment, which also gives the lock back. Errors: as board_writer_open()'s.
 */
enum tr_result board_attach(struct segment *segment, const char *instance,
    const struct board_geometry *geometry, struct tr_error *error);

#endif
