/*
 * What is wrong with a request, gathered so that the client learns all of it at once, in the
 * shape that FastAPI's users know: {"loc": ["body", "tags", 0], "msg": ..., "type": ...}.
 */
#ifndef APP_FAULTS_H
#define APP_FAULTS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#define FAULTS_MAX 100

/* All zero: none yet. */
struct faults {
	json_t *list; /* owned; NULL: none */
	bool no_memory;
};

/* Where in a request: a member or an item of what is at `parent`. Lives on the stack. */
struct fault_place {
	const struct fault_place *parent; /* NULL: "body", "query" or "path" itself */
	const char *name;                 /* NULL: an item, at `index` */
	size_t index;
};

/*
 * Adds one. `type` is named as pydantic names it. Names that came from the client are cut at 64
 * bytes. Above FAULTS_MAX nothing is added.
 */
void faults_add(struct faults *faults, const struct fault_place *place, const char *type, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

bool faults_any(const struct faults *faults);
/* As many as are kept: no need to look further. */
bool faults_full(const struct faults *faults);
void faults_clear(struct faults *faults);

#endif
