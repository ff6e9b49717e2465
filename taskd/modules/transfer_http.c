/*
 * The HTTP client: libcurl's. Enters: a checked request. Leaves: an answer, or why there is none.
 * Called by http.c through struct transfer_module.
 *
 * Redirects are followed here, not by libcurl: what the task gave as headers (tokens, cookies) must not
 * go to another origin, and a request that began with TLS must not go on without.
 */
#include "taskd/modules/transfer_module.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#define HEADER_BYTES_MAX (64u << 10)
/* libcurl's buffers, for each transfer: as small as it allows, since a thousand may wait. */
#define RECEIVE_BYTES 1024L
#define SEND_BYTES 16384L
/* A peer that has begun to answer must not fall behind this. Before that it may think until the time-out. */
#define SLOW_BYTES_PER_S 32L
#define SLOW_S 20L

struct request {
	struct transfer transfer;
	const struct http_request *asked;
	http_done_fn *done;
	void *context;

	/* As the redirects have changed it. */
	CURLU *url; /* NULL: what was asked for is none, which libcurl is left to say */
	const char *method;
	bool with_body, other_origin;
	uint32_t redirects;
	struct curl_slist *headers;

	/* The answer. */
	uint64_t took_ms; /* all requests before, and then the last too */
	size_t header_bytes;
	bool headers_too_long, body_too_long;
	size_t body_read; /* bytes, also those that are not kept */
	char *body;       /* TRANSFER_BODY_MAX bytes; NULL: none has come yet */

	/* The last address that was not allowed, and whether another was tried. */
	const char *what_refused;
	char address_refused[INET6_ADDRSTRLEN];
	bool tried;
};

/* ---- libcurl's callbacks ----------------------------------------------------------------- */

/* Whether the address is allowed; if not, it is written down. */
static bool is_allowed(struct request *request, const struct sockaddr *address)
{
	request->what_refused = request->asked->refused(request->asked->rules, address);
	if (request->what_refused == NULL)
		return true;
	const void *bytes = address->sa_family == AF_INET6 ?
	    (const void *)&((const struct sockaddr_in6 *)(const void *)address)->sin6_addr :
	    (const void *)&((const struct sockaddr_in *)(const void *)address)->sin_addr;
	if (inet_ntop(address->sa_family, bytes, request->address_refused, sizeof request->address_refused) == NULL)
		snprintf(request->address_refused, sizeof request->address_refused, "the address");
	return false;
}

static curl_socket_t on_open_socket(void *context, curlsocktype purpose, struct curl_sockaddr *address)
{
	struct request *request = context;
	(void)purpose;
	channel_give_place(&request->transfer);
	if (!is_allowed(request, &address->addr))
		return CURL_SOCKET_BAD;
	request->tried = true;
	return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

/* A connection is there, and nothing was sent yet: perhaps a kept one, that no socket was opened for. */
static int on_connected(void *context, char *address, char *local_address, int port, int local_port)
{
	struct request *request = context;
	struct sockaddr_in four = { .sin_family = AF_INET };
	struct sockaddr_in6 six = { .sin6_family = AF_INET6 };
	(void)local_address;
	(void)port;
	(void)local_port;
	channel_give_place(&request->transfer);
	bool is_four = inet_pton(AF_INET, address, &four.sin_addr) == 1;
	if (!is_four && inet_pton(AF_INET6, address, &six.sin6_addr) != 1)
		return CURL_PREREQFUNC_ABORT;
	bool allowed = is_allowed(request, is_four ? (const struct sockaddr *)&four : (const struct sockaddr *)&six);
	return allowed ? CURL_PREREQFUNC_OK : CURL_PREREQFUNC_ABORT;
}

static size_t on_header(char *data, size_t size, size_t count, void *context)
{
	struct request *request = context;
	(void)data;
	if (request->header_bytes == 0) {
		curl_easy_setopt(request->transfer.easy, CURLOPT_LOW_SPEED_LIMIT, SLOW_BYTES_PER_S);
		curl_easy_setopt(request->transfer.easy, CURLOPT_LOW_SPEED_TIME, SLOW_S);
	}
	request->header_bytes += size * count;
	request->headers_too_long = request->header_bytes > HEADER_BYTES_MAX;
	return request->headers_too_long ? 0 : size * count;
}

static size_t on_body(char *data, size_t size, size_t count, void *context)
{
	struct request *request = context;
	size_t bytes = size * count;
	if (request->body == NULL)
		request->body = malloc(TRANSFER_BODY_MAX);
	if (request->body == NULL)
		return 0;
	if (request->body_read < TRANSFER_BODY_MAX) {
		size_t room = TRANSFER_BODY_MAX - request->body_read;
		memcpy(request->body + request->body_read, data, bytes < room ? bytes : room);
	}
	request->body_read += bytes;
	request->body_too_long = request->body_read > TRANSFER_BODY_READ_MAX;
	return request->body_too_long ? 0 : bytes;
}

/* ---- asking ------------------------------------------------------------------------------ */

static bool add_header(struct request *request, const char *line)
{
	struct curl_slist *longer = curl_slist_append(request->headers, line);
	if (longer != NULL)
		request->headers = longer;
	return longer != NULL;
}

static bool set_headers(struct request *request)
{
	const struct http_request *asked = request->asked;
	curl_slist_free_all(request->headers);
	request->headers = NULL;
	/* What libcurl would add: it would wait for a 100, and call nothing at all a form. */
	if (!add_header(request, "Expect:") || (!request->with_body && !add_header(request, "Content-Type:")))
		return false;
	size_t count = request->other_origin ? asked->public_header_count : asked->header_count;
	for (size_t i = 0; i < count; i++) {
		bool of_body = strncasecmp(asked->headers[i], "Content-", 8) == 0;
		if ((!of_body || request->with_body) && !add_header(request, asked->headers[i]))
			return false;
	}
	curl_easy_setopt(request->transfer.easy, CURLOPT_HTTPHEADER, request->headers);
	return true;
}

static CURLcode set_method(struct request *request)
{
	CURL *easy = request->transfer.easy;
	const char *method = request->method;
	bool wants_length = strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0 || strcmp(method, "PATCH") == 0;
	curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
	curl_easy_setopt(easy, CURLOPT_NOBODY, strcmp(method, "HEAD") == 0 ? 1L : 0L);
	if (request->with_body || wants_length) {
		/* Not copied by libcurl. An empty one says Content-Length: 0. */
		curl_off_t bytes = request->with_body ? (curl_off_t)request->asked->body_bytes : 0;
		curl_easy_setopt(easy, CURLOPT_POST, 1L);
		curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, bytes);
		curl_easy_setopt(easy, CURLOPT_POSTFIELDS, bytes > 0 ? request->asked->body : "");
	}
	return curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method);
}

/* The handle as the next request needs it, the first or after a redirect. */
static CURLcode set_request(struct request *request)
{
	CURL *easy = request->transfer.easy;
	if (request->took_ms >= request->asked->timeout_ms)
		return CURLE_OPERATION_TIMEDOUT;
	request->header_bytes = request->body_read = 0;
	request->headers_too_long = request->body_too_long = request->tried = false;
	request->what_refused = NULL;
	curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 0L);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)(request->asked->timeout_ms - request->took_ms));
	CURLcode code = request->url != NULL ? curl_easy_setopt(easy, CURLOPT_CURLU, request->url) :
	                                       curl_easy_setopt(easy, CURLOPT_URL, request->asked->url);
	if (code == CURLE_OK)
		code = set_method(request);
	if (code == CURLE_OK && !set_headers(request))
		code = CURLE_OUT_OF_MEMORY;
	return code;
}

/* What is the same for all requests of a transfer. */
static CURLcode set_up(struct request *request)
{
	CURL *easy = request->transfer.easy;
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)request->asked->connect_timeout_ms);
	/* One request, one connection: many on one would stand and fall together. */
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(easy, CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
	curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, RECEIVE_BYTES);
	curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, SEND_BYTES);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, request);
	curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, on_connected);
	curl_easy_setopt(easy, CURLOPT_PREREQDATA, request);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, request);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, request);
	CURLcode code = curl_easy_setopt(easy, CURLOPT_USERAGENT, "taskring/" TASKRING_VERSION);
	if (code == CURLE_OK)
		code = curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	if (code == CURLE_OK)
		code = module_set_trust(easy, request->asked->ca_file);
	return code;
}

/* ---- redirects --------------------------------------------------------------------------- */

/* NULL: there is none. It lives as long as the easy handle is not used again. */
static const char *header_of(const struct request *request, const char *name)
{
	struct curl_header *header;
	return curl_easy_header(request->transfer.easy, name, 0, CURLH_HEADER, -1, &header) == CURLHE_OK ? header->value :
	                                                                                                   NULL;
}

static bool same_part(CURLU *one, CURLU *other, CURLUPart part)
{
	char *left = NULL, *right = NULL;
	bool same = curl_url_get(one, part, &left, CURLU_DEFAULT_PORT) == CURLUE_OK &&
	    curl_url_get(other, part, &right, CURLU_DEFAULT_PORT) == CURLUE_OK && strcasecmp(left, right) == 0;
	curl_free(left);
	curl_free(right);
	return same;
}

static bool has_scheme(CURLU *url, const char *scheme)
{
	char *is = NULL;
	bool same = curl_url_get(url, CURLUPART_SCHEME, &is, 0) == CURLUE_OK && strcasecmp(is, scheme) == 0;
	curl_free(is);
	return same;
}

/* NULL: *next is where to go; else why not. */
static const char *read_location(const struct request *request, const char *location, CURLU **next)
{
	*next = curl_url_dup(request->url);
	/* A location with a user's name in it would make libcurl log in there. */
	if (*next == NULL || curl_url_set(*next, CURLUPART_FRAGMENT, NULL, 0) != CURLUE_OK)
		return "out of memory";
	if (curl_url_set(*next, CURLUPART_URL, location, CURLU_DISALLOW_USER) != CURLUE_OK)
		return "the server redirected to what is no URL for us";
	if (!has_scheme(*next, "https") && (has_scheme(request->url, "https") || !has_scheme(*next, "http")))
		return has_scheme(*next, "http") ? "the server redirected from https to http" :
		                                   "the server redirected to a scheme that is neither http nor https";
	return NULL;
}

static bool is_redirect(long status)
{
	return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

/* True: asked again. False: it could not be, and *answer says why; or there is nothing to follow. */
static bool follow(struct request *request, long status, struct http_answer *answer)
{
	const char *location = is_redirect(status) && request->redirects < request->asked->redirects ?
	    header_of(request, "Location") : NULL;
	CURLU *next = NULL;
	if (location == NULL)
		return false;
	answer->end = HTTP_REFUSED;
	answer->error = read_location(request, location, &next);
	if (answer->error != NULL) {
		curl_url_cleanup(next);
		return false;
	}
	request->other_origin |= !same_part(request->url, next, CURLUPART_SCHEME) ||
	    !same_part(request->url, next, CURLUPART_HOST) || !same_part(request->url, next, CURLUPART_PORT);
	/* RFC 9110, 15.4: 303 asks for a GET, and 301 and 302 get one instead of a POST, as everywhere. */
	bool is_post = strcmp(request->method, "POST") == 0;
	if ((status == 303 && strcmp(request->method, "HEAD") != 0) || (status <= 302 && is_post)) {
		request->method = "GET";
		request->with_body = false;
	}
	CURLU *last = request->url;
	request->url = next;
	request->redirects++;
	CURLcode code = set_request(request);
	curl_url_cleanup(last);
	if (code == CURLE_OK && channel_add(request->transfer.channel, &request->transfer))
		return true;
	answer->end = HTTP_FAILED;
	answer->error = code == CURLE_OPERATION_TIMEDOUT ? "out of time after a redirect" : "out of memory";
	return false;
}

/* ---- the end ----------------------------------------------------------------------------- */

struct shown {
	char error[400], content_type[128], location[512], etag[128], last_modified[64];
};

/* Copies printable ASCII, everything else replaced; NULL: there is nothing. */
static const char *show(char *to, size_t size, const char *from)
{
	size_t used = 0;
	if (from == NULL)
		return NULL;
	for (; from[used] != '\0' && used + 1 < size; used++)
		to[used] = from[used] >= ' ' && from[used] <= '~' ? from[used] : '?';
	to[used] = '\0';
	return to;
}

static void read_answer(const struct request *request, long status, struct http_answer *answer, struct shown *shown)
{
	answer->end = HTTP_ANSWERED;
	answer->status = (int)status;
	answer->content_type = show(shown->content_type, sizeof shown->content_type, header_of(request, "Content-Type"));
	answer->location = show(shown->location, sizeof shown->location, header_of(request, "Location"));
	answer->etag = show(shown->etag, sizeof shown->etag, header_of(request, "ETag"));
	answer->last_modified = show(shown->last_modified, sizeof shown->last_modified, header_of(request, "Last-Modified"));
	curl_off_t retry_after_s = 0;
	curl_easy_getinfo(request->transfer.easy, CURLINFO_RETRY_AFTER, &retry_after_s);
	/* A date that has passed is negative. What is absurd is capped by whoever uses it. */
	if (retry_after_s > 0)
		answer->retry_after_ms = retry_after_s < INT64_MAX / 1000 ? (uint64_t)retry_after_s * 1000 : INT64_MAX;
	answer->body = request->body;
	answer->body_bytes = request->body_read < TRANSFER_BODY_MAX ? request->body_read : TRANSFER_BODY_MAX;
	answer->body_cut = request->body_read > TRANSFER_BODY_MAX;
}

/* Whether the URL is none for us. libcurl has the same code for an answer that is no HTTP, but then it has asked. */
static bool is_no_url(const struct request *request, CURLcode code)
{
	long sent_bytes = 0;
	curl_easy_getinfo(request->transfer.easy, CURLINFO_REQUEST_SIZE, &sent_bytes);
	return code == CURLE_URL_MALFORMAT || code == CURLE_LOGIN_DENIED ||
	    (code == CURLE_UNSUPPORTED_PROTOCOL && sent_bytes == 0);
}

static void explain(const struct request *request, CURLcode code, struct http_answer *answer, struct shown *shown)
{
	char text[sizeof shown->error];
	const char *curl_text = request->transfer.curl_text;
	answer->end = is_no_url(request, code) ? HTTP_REFUSED : HTTP_FAILED;
	bool not_connected = code == CURLE_COULDNT_CONNECT && !request->tried;
	if (request->what_refused != NULL && (not_connected || code == CURLE_ABORTED_BY_CALLBACK)) {
		answer->end = HTTP_REFUSED;
		snprintf(text, sizeof text, "%s must not be connected to: it is %s", request->address_refused,
		    request->what_refused);
	} else if (request->headers_too_long) {
		snprintf(text, sizeof text, "the server's headers are longer than %u bytes", HEADER_BYTES_MAX);
	} else {
		snprintf(text, sizeof text, "%.300s", curl_text[0] != '\0' ? curl_text : curl_easy_strerror(code));
	}
	answer->error = show(shown->error, sizeof shown->error, text);
}

static void on_ended(struct transfer *transfer, CURLcode code)
{
	struct request *request = (struct request *)transfer;
	struct http_answer answer = { 0 };
	struct shown shown;
	long status = 0;
	curl_off_t took_us = 0;
	curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(transfer->easy, CURLINFO_TOTAL_TIME_T, &took_us);
	request->took_ms += (uint64_t)took_us / 1000;
	/* What is beyond the limit of the body is not worth reading; the answer has been given. */
	if (code == CURLE_WRITE_ERROR && request->body_too_long)
		code = CURLE_OK;
	if (code == CURLE_OK && follow(request, status, &answer))
		return;
	if (code != CURLE_OK)
		explain(request, code, &answer, &shown);
	else if (answer.error == NULL)
		read_answer(request, status, &answer, &shown);
	answer.redirects = request->redirects;
	answer.took_ms = request->took_ms;
	channel_remove(transfer);
	request->done(request->context, &answer);
	transfer->free(transfer);
}

static void free_request(struct transfer *transfer)
{
	struct request *request = (struct request *)transfer;
	curl_easy_cleanup(transfer->easy);
	curl_url_cleanup(request->url);
	curl_slist_free_all(request->headers);
	free(request->body);
	free(request);
}

/* ---- the beginning ----------------------------------------------------------------------- */

struct transfer *module_http(struct transfers *transfers, const struct http_request *asked, http_done_fn *done,
    void *context, struct tr_error *error)
{
	struct request *request = calloc(1, sizeof *request);
	if (request == NULL)
		return module_refuse(error, CURLE_OUT_OF_MEMORY);
	request->asked = asked;
	request->done = done;
	request->context = context;
	request->method = asked->method;
	request->with_body = asked->body != NULL;
	struct transfer *transfer = &request->transfer;
	transfer->ended = on_ended;
	transfer->free = free_request;
	transfer->easy = curl_easy_init();
	CURLcode code = module_prepare(transfer->easy, transfer->curl_text);
	curl_easy_setopt(transfer->easy, CURLOPT_PRIVATE, transfer);
	request->url = code == CURLE_OK ? curl_url() : NULL;
	if (code == CURLE_OK && request->url == NULL)
		code = CURLE_OUT_OF_MEMORY;
	if (code == CURLE_OK && curl_url_set(request->url, CURLUPART_URL, asked->url, CURLU_DISALLOW_USER) != CURLUE_OK) {
		curl_url_cleanup(request->url);
		request->url = NULL;
	}
	if (code == CURLE_OK)
		code = set_up(request);
	if (code == CURLE_OK)
		code = set_request(request);
	if (code == CURLE_OK && channel_add(&transfers->http, transfer))
		return transfer;
	free_request(transfer);
	return module_refuse(error, code == CURLE_OK ? CURLE_OUT_OF_MEMORY : code);
}
