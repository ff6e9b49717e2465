/* Enters: a JSON text of a task. Leaves: checked fields, and the lines of the request's head. Called by http.c. */
#include "taskd/http_arguments.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "shared/http_field.h"
#include "shared/trace.h"
#include "taskd/fields.h"
#include "taskd/http_body.h"
#include "taskd/transfer.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

#define TOKEN_CHARACTERS FIELDS_LETTERS_AND_DIGITS "!#$%&'*+-.^_`|~"         /* RFC 9110, 5.6.2 */
#define URL_CHARACTERS FIELDS_LETTERS_AND_DIGITS "-._~:/?#[]@!$&'()*+,;=%"   /* RFC 3986, 2 */

static const char *const known_fields[] = { "url", "method", "headers", "body", "json", "timeout_ms",
	"connect_timeout_ms", "follow", "expect", NULL };
static const char *const methods[] = { "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS" };

/* The word that `text` is; NULL: none of them, or no text. */
static const char *one_of(const char *text, const char *const *words, size_t count)
{
	for (size_t i = 0; text != NULL && i < count; i++)
		if (strcmp(text, words[i]) == 0)
			return words[i];
	return NULL;
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
		return fields_invalid(error, "\"url\" is missing");
	if (url == NULL)
		return fields_invalid(error, "\"url\" must be a string");
	size_t bytes = strlen(url);
	if (bytes > HTTP_URL_MAX)
		return fields_invalid(error, "\"url\" is longer than %d bytes", HTTP_URL_MAX);
	if (strspn(url, URL_CHARACTERS) != bytes)
		return fields_invalid(error, "\"url\" holds a character that must be percent-encoded");
	size_t scheme = strncasecmp(url, "https://", 8) == 0 ? 8 : strncasecmp(url, "http://", 7) == 0 ? 7 : 0;
	if (scheme == 0)
		return fields_invalid(error, "\"url\" must begin with http:// or https://");
	const char *host = url + scheme;
	size_t length = strcspn(host, "/?#");
	if (length == 0 || host[0] == ':')
		return fields_invalid(error, "\"url\" names no host");
	if (memchr(host, '@', length) != NULL)
		return fields_invalid(error, "\"url\" holds a user name; give an Authorization header instead");
	if (memchr(host, '%', length) != NULL)
		return fields_invalid(error, "\"url\" holds a zone or another escape in its host");
	arguments->url = strdup(url);
	return arguments->url != NULL ? TR_OK : fields_no_memory(error);
}

static enum tr_result read_method(struct http_arguments *arguments, const json_t *root, struct tr_error *error)
{
	const json_t *value = json_object_get(root, "method");
	const char *method = value != NULL ? json_string_value(value) : arguments->body != NULL ? "POST" : "GET";
	arguments->method = one_of(method, methods, COUNT(methods));
	if (arguments->method == NULL)
		return fields_invalid(error, "\"method\" must be one of GET, HEAD, POST, PUT, PATCH, DELETE and OPTIONS");
	if (arguments->body != NULL && (strcmp(arguments->method, "GET") == 0 || strcmp(arguments->method, "HEAD") == 0))
		return fields_invalid(error, "\"method\" %s has no body", arguments->method);
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
		return fields_invalid(error, "\"%s\" must be a whole number from %u to %u", field, least, most);
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
		return fields_invalid(error, "\"expect\" must be a status from 200 to 599, or 1 to %d of them", HTTP_EXPECT_MAX);
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
		return fields_invalid(error, "\"body\" and \"json\" are both given; one of them is the body");
	if (text == NULL && value == NULL)
		return TR_OK;
	const char *from = json_string_value(text);
	arguments->body_bytes = json_string_length(text);
	if (text != NULL && from == NULL)
		return fields_invalid(error, "\"body\" must be a string");
	if (value != NULL)
		from = http_body_member(args, "json", &arguments->body_bytes);
	if (from == NULL)
		return fields_invalid(error, "\"json\" must be written without escapes in its name");
	arguments->body = strndup(from, arguments->body_bytes);
	return arguments->body != NULL ? TR_OK : fields_no_memory(error);
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

static const struct fields_header_rules header_rules = {
	.most = HTTP_HEADERS_MAX, .name_most = HTTP_HEADER_NAME_MAX, .value_most = HTTP_HEADER_VALUE_MAX,
	.name_characters = TOKEN_CHARACTERS, .name_says = "A-Z a-z 0-9 !#$%&'*+-.^_`|~",
	.is_reserved = http_field_is_reserved,
	.is_value = is_value, .value_says = "must be printable ASCII without blanks around it",
};

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
	struct trace trace;
	trace_split(&trace, defaults->trace);
	well = well && add_if_open(arguments, headers, "traceparent", trace.traceparent);
	well = well && add_if_open(arguments, headers, "X-Request-ID", trace.request_id);
	arguments->public_header_count = arguments->header_count;
	return well;
}

static enum tr_result read_headers(struct http_arguments *arguments, const json_t *root,
    const struct http_defaults *defaults, struct tr_error *error)
{
	const json_t *headers = json_object_get(root, "headers");
	enum tr_result result = fields_check_headers(headers, &header_rules, error);
	if (result != TR_OK)
		return result;
	if (!add_own(arguments, root, defaults))
		return fields_no_memory(error);
	const char *name;
	json_t *value;
	json_object_foreach((json_t *)headers, name, value)
	{
		bool is_there = arguments->body != NULL && strcasecmp(name, "Content-Type") == 0;
		if (!is_there && !add_line(arguments, name, json_string_value(value)))
			return fields_no_memory(error);
	}
	return TR_OK;
}

/* ---- all of it --------------------------------------------------------------------------- */

static enum tr_result read_all(struct http_arguments *arguments, const json_t *root, const char *args,
    const struct http_defaults *defaults, struct tr_error *error)
{
	enum tr_result result = read_url(arguments, root, error);
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
	enum tr_result result;
	*arguments = (struct http_arguments){ 0 };
	json_t *root = fields_load(args, known_fields, "an HTTP request", &result, error);
	if (root == NULL)
		return result;
	result = read_all(arguments, root, args, defaults, error);
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
