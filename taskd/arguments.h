/* A task's arguments: taken out of the record or the spool, and checked to be JSON. */
#ifndef TASKD_ARGUMENTS_H
#define TASKD_ARGUMENTS_H

#include "shared/record.h"

/*
 * True: one JSON value (jansson's judgement). False: *error says where it is not. The
 * text needs no zero at its end.
 */
bool arguments_are_json(const char *text, size_t bytes, struct tr_error *error);

/*
 * Reads the arguments of a record whose flags have RECORD_SPOOLED: `spool_dir`/<id>, a plain file
 * of exactly args_bytes. Answers a zero-terminated text to be freed, or NULL; *error names the file.
 */
char *arguments_read_spool(const char *spool_dir, const struct record *record, struct tr_error *error);

#endif
