/* See request_head.h. The order is that of the fields' importance: the path first. */
#include "app/request_head.h"

#include <arpa/inet.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#define URI_BYTES_MAX 8192
#define HEAD_BYTES_MAX 65536
#define RANDOM_FETCHED 256 /* what getrandom(2) gives whole or not at all */

/* ---- from the variables ------------------------------------------------------------------ */

/* Which variable is which field of the head. */
#define VARIABLE(name, field) { name, sizeof(name) - 1, offsetof(struct request_head, field) }
static const struct {
	const char *name;
	size_t bytes, field;
} variables[] = {
	VARIABLE("REQUEST_METHOD", method),
	VARIABLE("REQUEST_URI", uri),
	VARIABLE("CONTENT_TYPE", content_type),
	VARIABLE("CONTENT_LENGTH", content_length),
	VARIABLE("HTTP_AUTHORIZATION", authorization),
	VARIABLE("HTTP_CONTENT_DISPOSITION", content_disposition),
	VARIABLE("HTTP_CONTENT_ENCODING", content_encoding),
	VARIABLE("HTTP_COOKIE", cookie),
	VARIABLE("HTTP_ORIGIN", origin),
	VARIABLE("HTTP_HOST", host),
	VARIABLE("HTTP_X_REQUESTED_WITH", requested_with),
	VARIABLE("REMOTE_ADDR", peer),
	VARIABLE("REQUEST_SCHEME", scheme),
	VARIABLE("HTTPS", https),
	VARIABLE("HTTP_ACCEPT", accept),
	VARIABLE("HTTP_IF_NONE_MATCH", if_none_match),
	VARIABLE("HTTP_TRACEPARENT", traceparent),
	VARIABLE("HTTP_LAST_EVENT_ID", last_event_id),
	VARIABLE("HTTP_X_REQUEST_ID", client_request_id),
	VARIABLE("REQUEST_ID", server_request_id),
};

/* Of a name that stands twice the first one counts, as with FCGX_GetParam(). */
static void take_value(const char *value, const char **field)
{
	if (*field == NULL)
		*field = value;
}

/* `user`: the name of the one that says whom the web server has recognized, besides what else it may be; NULL: none. */
static void read_variable(const char *variable, const char *user, struct request_head *head)
{
	const char *equals = strchr(variable, '=');
	size_t bytes = equals != NULL ? (size_t)(equals - variable) : 0; /* no name is empty */
	if (bytes == 0)
		return;
	if (user != NULL && strncmp(variable, user, bytes) == 0 && user[bytes] == '\0')
		take_value(equals + 1, &head->user);
	for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++) {
		if (bytes == variables[i].bytes && memcmp(variable, variables[i].name, bytes) == 0) {
			take_value(equals + 1, (const char **)((char *)head + variables[i].field));
			return;
		}
	}
}

/* One walk: FCGX_GetParam() walks them all for each name. */
struct request_head request_head_of(char *const *environment, const char *user)
{
	struct request_head head = { .bytes = 0 };
	for (; *environment != NULL; environment++) {
		head.bytes += strlen(*environment);
		read_variable(*environment, user, &head);
	}
	return head;
}

/* ---- checked ----------------------------------------------------------------------------- */

/* The first one stays. `why` has static storage. */
static void set_fault(struct web_request *request, int status, const char *why)
{
	if (request->fault_status != 0)
		return;
	request->fault_status = status;
	request->fault = why;
}

/* A decimal number without sign or spaces that fits; SIZE_MAX has another meaning. */
static bool read_length(const char *text, size_t *length)
{
	size_t value = 0;
	if (*text == '\0')
		return false;
	for (; *text != '\0'; text++) {
		if (*text < '0' || *text > '9')
			return false;
		size_t digit = (size_t)(*text - '0');
		if (value > (SIZE_MAX - 1 - digit) / 10)
			return false;
		value = value * 10 + digit;
	}
	*length = value;
	return true;
}

/* The value of one hexadecimal digit, or -1. */
static int hex_digit(char digit)
{
	if (digit >= '0' && digit <= '9')
		return digit - '0';
	char lower = (char)(digit | 0x20);
	return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* Decodes the path of a URI, without query and fragment. */
static void read_path(const char *uri, struct web_request *request)
{
	size_t bytes = strcspn(uri, "?#");
	size_t used = 0;
	/* OPTIONS *: of the server as a whole (RFC 9110, section 9.3.7). */
	if (request->method == METHOD_OPTIONS && strcmp(uri, "*") == 0) {
		memcpy(request->path, uri, 2);
		return;
	}
	if (uri[0] != '/') {
		set_fault(request, 400, "the request's target must begin with a slash");
		return;
	}
	for (size_t i = 0; i < bytes; i++) {
		int byte = (unsigned char)uri[i];
		if (byte == '%') {
			int high = hex_digit(uri[i + 1]);
			int low = high < 0 ? -1 : hex_digit(uri[i + 2]);
			if (low < 0) {
				set_fault(request, 400,
				    "a percent sign in the path must be followed by two hexadecimal digits");
				return;
			}
			byte = high * 16 + low;
			i += 2;
		}
		if (byte < 0x20 || byte == 0x7f) {
			set_fault(request, 400, "the path must not contain control characters");
			return;
		}
		if (used == WEB_PATH_MAX) {
			set_fault(request, 414, "the path is too long");
			return;
		}
		request->path[used++] = (char)byte;
	}
	request->path[used] = '\0';
}

static bool is_hex(const char *text, size_t digits)
{
	for (size_t i = 0; i < digits; i++)
		if (!((text[i] >= '0' && text[i] <= '9') || (text[i] >= 'a' && text[i] <= 'f')))
			return false;
	return true;
}

bool request_head_trace_ok(const char *traceparent)
{
	/* version "-" trace-id "-" parent-id "-" flags: 2, 32, 16 and 2 lower-case hex digits. */
	size_t bytes = strlen(traceparent);
	if (bytes < 55 || bytes > TR_TRACE_MAX || !is_hex(traceparent, 2) || traceparent[2] != '-' ||
	    !is_hex(traceparent + 3, 32) || traceparent[35] != '-' || !is_hex(traceparent + 36, 16) ||
	    traceparent[52] != '-' || !is_hex(traceparent + 53, 2))
		return false;
	if (strspn(traceparent + 3, "0") >= 32 || strspn(traceparent + 36, "0") >= 16 ||
	    strncmp(traceparent, "ff", 2) == 0)
		return false;
	if (bytes == 55)
		return true;
	/* A later version may go on after another dash. */
	for (size_t i = 55; i < bytes; i++)
		if (traceparent[i] <= 0x20 || traceparent[i] >= 0x7f)
			return false;
	return strncmp(traceparent, "00", 2) != 0 && traceparent[55] == '-';
}

static bool request_id_ok(const char *id)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
	size_t bytes = strlen(id);
	return bytes >= 1 && bytes <= WEB_REQUEST_ID_MAX && strspn(id, allowed) == bytes;
}

/* Of the kernel's, fetched for many requests at once; each thread has its own. NULL: there are none. */
static const unsigned char *random_bytes(size_t bytes)
{
	static _Thread_local unsigned char fetched[RANDOM_FETCHED];
	static _Thread_local size_t left;
	if (left < bytes)
		left = getrandom(fetched, sizeof(fetched), GRND_NONBLOCK) == (ssize_t)sizeof(fetched) ? sizeof(fetched) : 0;
	if (left < bytes)
		return NULL;
	left -= bytes;
	return fetched + left;
}

/* `digits` random lower-case hexadecimal digits, at most 32; none where there is no randomness. */
static void random_hex(char *to, size_t digits)
{
	const unsigned char *random = random_bytes(digits / 2);
	to[0] = '\0';
	if (random == NULL)
		return;
	for (size_t i = 0; i < digits; i++)
		to[i] = "0123456789abcdef"[i % 2 == 0 ? random[i / 2] >> 4 : random[i / 2] & 15];
	to[digits] = '\0';
}

/* The client's id, else the web server's, else one of our own, else (no randomness) none. */
static void read_request_id(const struct request_head *head, char id[WEB_REQUEST_ID_MAX + 1])
{
	const char *const given[] = { head->client_request_id, head->server_request_id };
	for (size_t i = 0; i < sizeof(given) / sizeof(given[0]); i++) {
		if (given[i] != NULL && request_id_ok(given[i])) {
			memcpy(id, given[i], strlen(given[i]) + 1);
			return;
		}
	}
	random_hex(id, 32);
}

/*
 * The client's traceparent, else one of our own, whose trace id is the request id where that can be
 * one. Of a later version only what version 00 knows is passed on, as W3C Trace Context asks (2.2.1).
 */
static void read_trace(const char *given, const char *request_id, char trace[TR_TRACE_MAX + 1])
{
	char trace_id[33], parent_id[17];
	if (given != NULL && request_head_trace_ok(given)) {
		snprintf(trace, TR_TRACE_MAX + 1, "00%.53s", given + 2);
		return;
	}
	if (strlen(request_id) == 32 && is_hex(request_id, 32) && strspn(request_id, "0") < 32)
		memcpy(trace_id, request_id, sizeof(trace_id));
	else
		random_hex(trace_id, 32);
	random_hex(parent_id, 16);
	snprintf(trace, TR_TRACE_MAX + 1, "00-%s-%s-00", trace_id, parent_id);
	if (!request_head_trace_ok(trace)) /* no randomness, or nothing but zeros */
		trace[0] = '\0';
}

/* "x" or, where there is none, "". */
static const char *or_empty(const char *text)
{
	return text != NULL ? text : "";
}

/* Printable ASCII without spaces. */
static bool is_plain(const char *text, size_t bytes_max)
{
	size_t bytes = 0;
	while (bytes < bytes_max && text[bytes] > 0x20 && text[bytes] < 0x7f)
		bytes++;
	return text[bytes] == '\0';
}

/* Who calls, and from where. What is no address is not repeated. */
static void read_caller(const struct request_head *head, struct web_request *request)
{
	unsigned char address[sizeof(struct in6_addr)];
	bool is_address = head->peer != NULL && strlen(head->peer) <= WEB_PEER_MAX &&
	    (inet_pton(AF_INET, head->peer, address) == 1 || inet_pton(AF_INET6, head->peer, address) == 1);
	snprintf(request->peer, sizeof(request->peer), "%s", is_address ? head->peer : "-");
	request->cookie = or_empty(head->cookie);
	request->origin = or_empty(head->origin);
	request->host = or_empty(head->host);
	request->requested_with = or_empty(head->requested_with);
	request->is_https = strcmp(or_empty(head->scheme), "https") == 0 || strcmp(or_empty(head->https), "on") == 0;
	request->user = is_plain(or_empty(head->user), WEB_USER_MAX) ? or_empty(head->user) : "";
}

void request_head_read(const struct request_head *head, struct web_request *request)
{
	*request = (struct web_request){ .method = METHOD_OTHER, .query = "", .content_type = "", .content_disposition = "",
		.content_encoding = "", .authorization = "", .last_event_id = "", .who = "", .cookie = "", .origin = "", .host = "",
		.requested_with = "", .user = "", .peer = "-", .accept = "", .if_none_match = "", .prefix = "",
		.declared_bytes = SIZE_MAX };
	read_request_id(head, request->request_id);
	read_trace(head->traceparent, request->request_id, request->trace);
	if (head->method == NULL || head->uri == NULL) {
		set_fault(request, 400, "the web server passed on neither method nor target");
		return;
	}
	request->method = method_by_name(head->method);
	read_caller(head, request);
	if (strlen(head->uri) > URI_BYTES_MAX) {
		set_fault(request, 414, "the request's target is too long");
		return;
	}
	if (head->bytes > HEAD_BYTES_MAX) {
		set_fault(request, 431, "the header lines are too long");
		return;
	}
	read_path(head->uri, request);
	const char *mark = strchr(head->uri, '?');
	if (mark != NULL)
		request->query = mark + 1;
	if (head->authorization != NULL)
		request->authorization = head->authorization;
	if (head->accept != NULL)
		request->accept = head->accept;
	if (head->if_none_match != NULL)
		request->if_none_match = head->if_none_match;
	if (head->content_type != NULL)
		request->content_type = head->content_type;
	if (head->content_disposition != NULL)
		request->content_disposition = head->content_disposition;
	request->content_encoding = or_empty(head->content_encoding);
	if (head->last_event_id != NULL)
		request->last_event_id = head->last_event_id;
	if (head->content_length != NULL && head->content_length[0] != '\0' &&
	    !read_length(head->content_length, &request->declared_bytes))
		set_fault(request, 400, "Content-Length is not a number");
}
