/* A task's arguments: checked to be JSON. */
#ifndef TASKD_ARGUMENTS_H
#define TASKD_ARGUMENTS_H

#include <stddef.h>

#include "taskring/taskring.h"

/*
 * True: one JSON value (jansson's judgement). False: *error says where it is not. The
 * text needs no zero at its end.
 */
bool arguments_are_json(const char *text, size_t bytes, struct tr_error *error);

#endif
