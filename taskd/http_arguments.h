/*
 * The arguments of an "http" task, read and checked: the one place where that is done. Called by
 * http.c, which has the request made from them. docs/http.md lists the fields.
 */
#ifndef TASKD_HTTP_ARGUMENTS_H
#define TASKD_HTTP_ARGUMENTS_H

#include <stdint.h>

#include "taskring/taskring.h"

#define HTTP_URL_MAX 8000
#define HTTP_HEADERS_MAX 50
#define HTTP_HEADER_NAME_MAX 128
#define HTTP_HEADER_VALUE_MAX 8000
#define HTTP_TIMEOUT_MAX_MS 3600000
#define HTTP_EXPECT_MAX 20

/* What the task's arguments leave open. */
struct http_defaults {
	const char *task_id;
	const char *trace; /* a W3C traceparent, or any other identification of the request; "" for none */
	uint32_t timeout_ms, connect_timeout_ms;
};

/* Texts live until http_arguments_clear(), and not on what they were read from. */
struct http_arguments {
	char *url;
	const char *method; /* static */
	char *body; /* NULL: none */
	size_t body_bytes;
	/* "Name: value" each, "Name;" with an empty value. The first of them are no secrets: they are made here,
	 * or describe the body. */
	char *headers[HTTP_HEADERS_MAX + 4];
	size_t header_count, public_header_count;
	uint32_t timeout_ms, connect_timeout_ms;
	uint32_t redirects;
	uint16_t expect[HTTP_EXPECT_MAX]; /* statuses that are a success; none given: 200 to 299 */
	size_t expect_count;
};

/*
 * `args` is a JSON text. TR_OK: *arguments is the caller's to clear. INVALID: *error names the field; it
 * will never be right. NO_MEMORY: worth another try. After an error there is nothing to clear.
 */
enum tr_result http_arguments_read(struct http_arguments *arguments, const char *args,
    const struct http_defaults *defaults, struct tr_error *error);
void http_arguments_clear(struct http_arguments *arguments);

#endif
