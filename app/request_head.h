/*
 * The head of a request as the web server passed it on: hostile texts come in, the fields of
 * struct web_request go out, checked. Called by fcgi.c; knows no FastCGI, so that it can be tested.
 */
#ifndef APP_REQUEST_HEAD_H
#define APP_REQUEST_HEAD_H

#include "app/web.h"

/* CGI variables (RFC 3875); NULL where the web server sent none. */
struct request_head {
	const char *method;            /* REQUEST_METHOD */
	const char *uri;               /* REQUEST_URI */
	const char *content_type;      /* CONTENT_TYPE */
	const char *content_length;    /* CONTENT_LENGTH */
	const char *authorization;     /* HTTP_AUTHORIZATION */
	const char *content_disposition; /* HTTP_CONTENT_DISPOSITION */
	const char *content_encoding;  /* HTTP_CONTENT_ENCODING */
	const char *cookie;            /* HTTP_COOKIE */
	const char *origin;            /* HTTP_ORIGIN */
	const char *host;              /* HTTP_HOST */
	const char *requested_with;    /* HTTP_X_REQUESTED_WITH */
	const char *user;              /* what the option -A names */
	const char *peer;              /* REMOTE_ADDR */
	const char *scheme;            /* REQUEST_SCHEME */
	const char *https;             /* HTTPS, as Apache and lighttpd say it: "on" */
	const char *accept;            /* HTTP_ACCEPT */
	const char *if_none_match;     /* HTTP_IF_NONE_MATCH */
	const char *last_event_id;     /* HTTP_LAST_EVENT_ID */
	const char *traceparent;       /* HTTP_TRACEPARENT */
	const char *client_request_id; /* HTTP_X_REQUEST_ID */
	const char *server_request_id; /* REQUEST_ID, as nginx makes it */
	size_t bytes;                  /* of all variables together */
};

/*
 * The fields are the variables' own memory, "NAME=value" each, NULL after the last one. `user`: the name of the one
 * that says whom the web server has recognized; NULL: none.
 */
struct request_head request_head_of(char *const *environment, const char *user);

/* Fills all of *request but its source; what is not allowed is set as its fault. */
void request_head_read(const struct request_head *head, struct web_request *request);

/* Version 00 of W3C Trace Context, or a later one that begins like it; no all-zero ids. */
bool request_head_trace_ok(const char *traceparent);

#endif
