/* A task as JSON, as GET /tasks and GET /tasks/{id} show it. */
#ifndef APP_TASK_JSON_H
#define APP_TASK_JSON_H

#include <jansson.h>

#include "taskring/taskring.h"

/* The names of all states; NULL at the end. */
extern const char *const task_states[];

/* A new reference. NULL: out of memory. */
json_t *task_json(const struct tr_task_status *status);
/* Its log lines, oldest first. */
json_t *task_log_json(const struct tr_log_line *lines, size_t count);
/* A JSON text from a handler or a client as what it says; null for NULL. */
json_t *task_text_json(const char *text);
/* "" as null. */
json_t *text_or_null(const char *text);

#endif
