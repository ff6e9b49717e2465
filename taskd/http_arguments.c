/* Enters: a JSON text of a task. Leaves: checked fields, and the lines of the request's head. Called by http.c. */
#include "taskd/http_arguments.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "shared/http_field.h"
#include "taskd/http_body.h"
#include "taskd/transfer.h"

#define TRACEPARENT_BYTES 55
#define COUNT(array) (sizeof(array) / sizeof *(array))

#define LETTERS_AND_DIGITS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
#define TOKEN_CHARACTERS LETTERS_AND_DIGITS "!#$%&'*+-.^_`|~"                    /* RFC 9110, 5.6.2 */
#define URL_CHARACTERS LETTERS_AND_DIGITS "-._~:/?#[]@!$&'()*+,;=%"              /* RFC 3986, 2 */

static const char *const known_fields[] = { "url", "method", "headers", "body", "json", "timeout_ms",
	"connect_timeout_ms", "follow", "expect" };
static const char *const methods[] = { "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS" };

__attribute__((format(printf, 2, 3))) static enum tr_result invalid(struct tr_error *error, const char *format, ...)
{
	va_list list;
	va_start(list, format);
	vsnprintf(error->text, sizeof error->text, format, list);
	va_end(list);
	return TR_INVALID;
}

static enum tr_result out_of_memory(struct tr_error *error)
{
	(void)invalid(error, "out of memory");
	return TR_NO_MEMORY;
}

/* The word that `text` is; NULL: none of them, or no text. */
static const char *one_of(const char *text, const char *const *words, size_t count)
{
	for (size_t i = 0; text != NULL && i < count; i++)
		if (strcmp(text, words[i]) == 0)
			return words[i];
	return NULL;
}

static enum tr_result check_names(const json_t *root, struct tr_error *error)
{
	const char *name;
	json_t *value;
	json_object_foreach((json_t *)root, name, value)
	{
		if (one_of(name, known_fields, COUNT(known_fields)) == NULL)
			return invalid(error, "\"%.60s\" is not a field of an HTTP request", name);
	}
	return TR_OK;
}

/* ---- where to, and how ------------------------------------------------------------------- */

/*
 * Its characters, its scheme, and that it has a host and no user name (which would be logged, and sent as
 * a password). What else may be wrong, libcurl says, which takes it apart; where it leads is looked at
 * when the socket is opened.
 */
static enum tr_result read_url(struct http_arguments *arguments, const json_t *root, struct tr_error *error)
{
	const json_t *value = json_object_get(root, "url");
	const char *url = json_string_value(value);
	if (value == NULL)
		return invalid(error, "\"url\" is missing");
	if (url == NULL)
		return invalid(error, "\"url\" must be a string");
	size_t bytes = strlen(url);
	if (bytes > HTTP_URL_MAX)
		return invalid(error, "\"url\" is longer than %d bytes", HTTP_URL_MAX);
	if (strspn(url, URL_CHARACTERS) != bytes)
		return invalid(error, "\"url\" holds a character that must be percent-encoded");
	size_t scheme = strncasecmp(url, "https://", 8) == 0 ? 8 : strncasecmp(url, "http://", 7) == 0 ? 7 : 0;
	if (scheme == 0)
		return invalid(error, "\"url\" must begin with http:// or https://");
	const char *host = url + scheme;
	size_t length = strcspn(host, "/?#");
	if (length == 0 || host[0] == ':')
		return invalid(error, "\"url\" names no host");
	if (memchr(host, '@', length) != NULL)
		return invalid(error, "\"url\" holds a user name; give an Authorization header instead");
	if (memchr(host, '%', length) != NULL)
		return invalid(error, "\"url\" holds a zone or another escape in its host");
	arguments->url = strdup(url);
	return arguments->url != NULL ? TR_OK : out_of_memory(error);
}

static enum tr_result read_method(struct http_arguments *arguments, const json_t *root, struct tr_error *error)
{
	const json_t *value = json_object_get(root, "method");
	const char *method = value != NULL ? json_string_value(value) : arguments->body != NULL ? "POST" : "GET";
	arguments->method = one_of(method, methods, COUNT(methods));
	if (arguments->method == NULL)
		return invalid(error, "\"method\" must be one of GET, HEAD, POST, PUT, PATCH, DELETE and OPTIONS");
	if (arguments->body != NULL && (strcmp(arguments->method, "GET") == 0 || strcmp(arguments->method, "HEAD") == 0))
		return invalid(error, "\"method\" %s has no body", arguments->method);
	return TR_OK;
}

static enum tr_result read_number(const json_t *root, const char *field, uint32_t least, uint32_t most, uint32_t *number,
    struct tr_error *error)
{
	const json_t *value = json_object_get(root, field);
	if (value == NULL)
		return TR_OK;
	json_int_t is = json_integer_value(value);
	if (!json_is_integer(value) || is < least || is > most)
		return invalid(error, "\"%s\" must be a whole number from %u to %u", field, least, most);
	*number = (uint32_t)is;
	return TR_OK;
}

static enum tr_result read_expect(struct http_arguments *arguments, const json_t *root, struct tr_error *error)
{
	const json_t *value = json_object_get(root, "expect");
	size_t count = json_is_array(value) ? json_array_size(value) : 1;
	if (value == NULL)
		return TR_OK;
	bool well = count >= 1 && count <= HTTP_EXPECT_MAX;
	for (size_t i = 0; well && i < count; i++) {
		const json_t *each = json_is_array(value) ? json_array_get(value, i) : value;
		json_int_t status = json_integer_value(each);
		well = json_is_integer(each) && status >= 200 && status <= 599;
		arguments->expect[i] = (uint16_t)status;
	}
	if (!well)
		return invalid(error, "\"expect\" must be a status from 200 to 599, or 1 to %d of them", HTTP_EXPECT_MAX);
	arguments->expect_count = count;
	return TR_OK;
}

static enum tr_result read_limits(struct http_arguments *arguments, const json_t *root,
    const struct http_defaults *defaults, struct tr_error *error)
{
	arguments->timeout_ms = defaults->timeout_ms;
	arguments->connect_timeout_ms = defaults->connect_timeout_ms;
	enum tr_result result = read_number(root, "timeout_ms", 1, HTTP_TIMEOUT_MAX_MS, &arguments->timeout_ms, error);
	if (result == TR_OK)
		result = read_number(root, "connect_timeout_ms", 1, HTTP_TIMEOUT_MAX_MS, &arguments->connect_timeout_ms, error);
	if (result == TR_OK)
		result = read_number(root, "follow", 0, TRANSFER_REDIRECTS_MAX, &arguments->redirects, error);
	if (result == TR_OK)
		result = read_expect(arguments, root, error);
	return result;
}

/* ---- the body ---------------------------------------------------------------------------- */

/* `json` goes out as it was written: numbers keep their digits, and a signature its meaning. */
static enum tr_result read_body(struct http_arguments *arguments, const json_t *root, const char *args,
    struct tr_error *error)
{
	const json_t *text = json_object_get(root, "body");
	const json_t *value = json_object_get(root, "json");
	if (text != NULL && value != NULL)
		return invalid(error, "\"body\" and \"json\" are both given; one of them is the body");
	if (text == NULL && value == NULL)
		return TR_OK;
	const char *from = json_string_value(text);
	arguments->body_bytes = json_string_length(text);
	if (text != NULL && from == NULL)
		return invalid(error, "\"body\" must be a string");
	if (value != NULL)
		from = http_body_member(args, "json", &arguments->body_bytes);
	if (from == NULL)
		return invalid(error, "\"json\" must be written without escapes in its name");
	arguments->body = strndup(from, arguments->body_bytes);
	return arguments->body != NULL ? TR_OK : out_of_memory(error);
}

/* ---- headers ----------------------------------------------------------------------------- */

/* Printable ASCII, with blanks only between: whatever else a server or a proxy makes of it is its own. */
static bool is_value(const char *text)
{
	size_t bytes = strlen(text);
	for (size_t i = 0; i < bytes; i++)
		if (text[i] < ' ' || text[i] > '~')
			return false;
	return bytes == 0 || (text[0] != ' ' && text[bytes - 1] != ' ');
}

static enum tr_result check_header(const char *name, const json_t *value, struct tr_error *error)
{
	size_t bytes = strlen(name);
	if (bytes == 0 || bytes > HTTP_HEADER_NAME_MAX || strspn(name, TOKEN_CHARACTERS) != bytes)
		return invalid(error, "\"headers\": a name must be 1 to %d of A-Z a-z 0-9 !#$%%&'*+-.^_`|~", HTTP_HEADER_NAME_MAX);
	if (http_field_is_reserved(name))
		return invalid(error, "\"headers\": \"%s\" cannot be set there", name);
	const char *text = json_string_value(value);
	if (text == NULL)
		return invalid(error, "\"headers\": the value of \"%s\" must be a string", name);
	if (!is_value(text))
		return invalid(error, "\"headers\": the value of \"%s\" must be printable ASCII without blanks around it", name);
	if (strlen(text) > HTTP_HEADER_VALUE_MAX)
		return invalid(error, "\"headers\": the value of \"%s\" is longer than %d bytes", name, HTTP_HEADER_VALUE_MAX);
	return TR_OK;
}

static enum tr_result check_headers(const json_t *headers, struct tr_error *error)
{
	if (headers == NULL)
		return TR_OK;
	if (!json_is_object(headers) || json_object_size(headers) > HTTP_HEADERS_MAX)
		return invalid(error, "\"headers\" must be an object of at most %d names and values", HTTP_HEADERS_MAX);
	const char *name, *other;
	json_t *value, *unused;
	json_object_foreach((json_t *)headers, name, value)
	{
		enum tr_result result = check_header(name, value, error);
		if (result != TR_OK)
			return result;
		/* JSON knows "a" and "A" apart, HTTP does not. */
		json_object_foreach((json_t *)headers, other, unused)
		{
			if (other != name && strcasecmp(other, name) == 0)
				return invalid(error, "\"headers\": \"%s\" is given twice", name);
		}
	}
	return TR_OK;
}

/* NULL: the task does not set it. */
static const char *given_header(const json_t *headers, const char *wanted)
{
	const char *name;
	json_t *value;
	json_object_foreach((json_t *)headers, name, value)
	{
		if (strcasecmp(name, wanted) == 0)
			return json_string_value(value);
	}
	return NULL;
}

static bool add_line(struct http_arguments *arguments, const char *name, const char *value)
{
	char *line;
	int bytes = value[0] == '\0' ? asprintf(&line, "%s;", name) : asprintf(&line, "%s: %s", name, value);
	if (bytes < 0)
		return false;
	arguments->headers[arguments->header_count++] = line;
	return true;
}

/* "00-", 32 and 16 digits, flags: the web layer has looked at it closely. */
static bool is_traceparent(const char *trace)
{
	return strlen(trace) >= TRACEPARENT_BYTES && trace[2] == '-' && trace[35] == '-' && trace[52] == '-' &&
	    strspn(trace, "0123456789abcdef-") == strlen(trace);
}

/*
 * Takes a task's trace apart, as the web layer puts it together: TRACEPARENT, then ";request_id=" and
 * the request's, or ";" alone where that is the trace's own id. Anything else is an id of the application's.
 */
static void read_trace(const char *trace, char traceparent[TR_TRACE_MAX + 1], char id[TR_TRACE_MAX + 1])
{
	static const char mark[] = ";request_id=";
	size_t bytes = strcspn(trace, ";");
	const char *rest = trace + bytes;
	snprintf(traceparent, TR_TRACE_MAX + 1, "%.*s", (int)(bytes <= TR_TRACE_MAX ? bytes : 0), trace);
	snprintf(id, TR_TRACE_MAX + 1, "%s", "");
	if (!is_traceparent(traceparent)) {
		traceparent[0] = '\0';
		snprintf(id, TR_TRACE_MAX + 1, "%s", trace);
	} else if (strncmp(rest, mark, strlen(mark)) == 0) {
		snprintf(id, TR_TRACE_MAX + 1, "%s", rest + strlen(mark));
	} else if (strcmp(rest, ";") == 0) {
		snprintf(id, TR_TRACE_MAX + 1, "%.32s", traceparent + 3);
	}
}

static bool add_if_open(struct http_arguments *arguments, const json_t *headers, const char *name, const char *value)
{
	bool wanted = value[0] != '\0' && is_value(value) && given_header(headers, name) == NULL;
	return !wanted || add_line(arguments, name, value);
}

/* What the task has not set itself: the body's type, its own id, where it comes from. */
static bool add_own(struct http_arguments *arguments, const json_t *root, const struct http_defaults *defaults)
{
	const json_t *headers = json_object_get(root, "headers");
	static const char *const safe[] = { "GET", "HEAD", "OPTIONS" };
	bool well = true;
	if (arguments->body != NULL) {
		const char *type = given_header(headers, "Content-Type");
		const char *made = json_object_get(root, "json") != NULL ? "application/json" :
		                                                                       "text/plain; charset=utf-8";
		well = add_line(arguments, "Content-Type", type != NULL ? type : made);
	}
	if (one_of(arguments->method, safe, COUNT(safe)) == NULL)
		well = well && add_if_open(arguments, headers, "Idempotency-Key", defaults->task_id);
	char traceparent[TR_TRACE_MAX + 1], id[TR_TRACE_MAX + 1];
	read_trace(defaults->trace, traceparent, id);
	well = well && add_if_open(arguments, headers, "traceparent", traceparent);
	well = well && add_if_open(arguments, headers, "X-Request-ID", id);
	arguments->public_header_count = arguments->header_count;
	return well;
}

static enum tr_result read_headers(struct http_arguments *arguments, const json_t *root,
    const struct http_defaults *defaults, struct tr_error *error)
{
	const json_t *headers = json_object_get(root, "headers");
	enum tr_result result = check_headers(headers, error);
	if (result != TR_OK)
		return result;
	if (!add_own(arguments, root, defaults))
		return out_of_memory(error);
	const char *name;
	json_t *value;
	json_object_foreach((json_t *)headers, name, value)
	{
		bool is_there = arguments->body != NULL && strcasecmp(name, "Content-Type") == 0;
		if (!is_there && !add_line(arguments, name, json_string_value(value)))
			return out_of_memory(error);
	}
	return TR_OK;
}

/* ---- all of it --------------------------------------------------------------------------- */

static enum tr_result read_all(struct http_arguments *arguments, const json_t *root, const char *args,
    const struct http_defaults *defaults, struct tr_error *error)
{
	if (!json_is_object(root))
		return invalid(error, "the arguments must be a JSON object");
	enum tr_result result = check_names(root, error);
	if (result == TR_OK)
		result = read_url(arguments, root, error);
	if (result == TR_OK)
		result = read_body(arguments, root, args, error);
	if (result == TR_OK)
		result = read_method(arguments, root, error);
	if (result == TR_OK)
		result = read_limits(arguments, root, defaults, error);
	if (result == TR_OK)
		result = read_headers(arguments, root, defaults, error);
	return result;
}

enum tr_result http_arguments_read(struct http_arguments *arguments, const char *args,
    const struct http_defaults *defaults, struct tr_error *error)
{
	json_error_t fault;
	*arguments = (struct http_arguments){ 0 };
	json_t *root = json_loads(args, JSON_REJECT_DUPLICATES, &fault);
	if (root == NULL) {
		if (json_error_code(&fault) == json_error_out_of_memory)
			return out_of_memory(error);
		return invalid(error, "the arguments cannot be read: %s", fault.text);
	}
	enum tr_result result = read_all(arguments, root, args, defaults, error);
	/* Not kept: a thousand tasks may wait. */
	json_decref(root);
	if (result != TR_OK)
		http_arguments_clear(arguments);
	return result;
}

void http_arguments_clear(struct http_arguments *arguments)
{
	for (size_t i = 0; i < arguments->header_count; i++)
		free(arguments->headers[i]);
	free(arguments->body);
	free(arguments->url);
	*arguments = (struct http_arguments){ 0 };
}
