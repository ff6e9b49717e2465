/*
 * The built-in handler "http": a task's arguments become an HTTP request, a webhook or a call of an API.
 * It is asynchronous: one thread carries as many slow calls as may be pending. Used by the worker.
 * docs/http.md says what the arguments are and which failures are worth another attempt.
 */
#ifndef TASKD_HTTP_H
#define TASKD_HTTP_H

#include "taskd/config.h"
#include "taskring/handler.h"

extern const struct tr_handler http_handler;

/* Once per worker process, before its first task. `http` must live as long as the process. */
void http_configure(const struct config_http *http);

#endif
