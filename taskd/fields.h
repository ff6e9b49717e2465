/*
 * What the arguments of the built-in handlers `http` and `mail` have in common: an object of known fields, and
 * headers. Called by http_arguments.c and mail_fields.c.
 */
#ifndef TASKD_FIELDS_H
#define TASKD_FIELDS_H

#include <jansson.h>

#include "taskring/taskring.h"

#define FIELDS_LETTERS_AND_DIGITS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

/* Writes the sentence, cut if need be. INVALID. */
enum tr_result fields_invalid(struct tr_error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* NO_MEMORY. */
enum tr_result fields_no_memory(struct tr_error *error);

/*
 * The arguments as an object with no other fields than `known` (NULL at the end) has; `of_what` is "a mail". NULL: INVALID or
 * NO_MEMORY in *result.
 */
json_t *fields_load(const char *args, const char *const *known, const char *of_what, enum tr_result *result,
    struct tr_error *error);

/* What a task may set in "headers". */
struct fields_header_rules {
	size_t most, name_most, value_most;
	const char *name_characters, *name_says; /* those of a name; and how people write that */
	bool (*is_reserved)(const char *name);
	bool (*is_value)(const char *text);
	const char *value_says; /* what a value that is none does wrong */
};
/* NULL: there are none. No header stands there twice. INVALID. */
enum tr_result fields_check_headers(const json_t *headers, const struct fields_header_rules *rules, struct tr_error *error);

#endif
