/*
 * What a row of a route table means: how a path fits it, what follows from it, what can be wrong with
 * it. Called by routes.c, by web_serve(), and once for each row when the responder starts.
 */
#include "app/web.h"

#include <string.h>


/* ---- finding ----------------------------------------------------------------------------- */

/* `pattern` and `path` both begin with '/'. */
static bool path_matches(const char *pattern, const char *path, struct route_match *match)
{
	match->count = 0;
	while (*pattern == '/' && *path == '/') {
		size_t wanted = strcspn(++pattern, "/");
		size_t given = strcspn(++path, "/");
		if (*pattern == '{') {
			if (given == 0 || given > WEB_PARAMETER_MAX)
				return false;
			match->parameters[match->count].name = pattern + 1;
			match->parameters[match->count].name_bytes = wanted - 2;
			memcpy(match->parameters[match->count].text, path, given);
			match->parameters[match->count].text[given] = '\0';
			match->count++; /* route_fault() saw to it that there is room */
		} else if (given != wanted || memcmp(pattern, path, wanted) != 0) {
			return false;
		}
		pattern += wanted;
		path += given;
	}
	return *pattern == '\0' && *path == '\0';
}

const struct route *route_find_among(const struct route *routes, size_t count, enum method method, const char *path,
    struct route_match *match, unsigned *allow)
{
	enum method wanted = method == METHOD_HEAD ? METHOD_GET : method;
	bool every = strcmp(path, "*") == 0;
	*allow = 0;
	for (size_t i = 0; i < count; i++) {
		if (!every && !path_matches(routes[i].path, path, match))
			continue;
		if (!every && routes[i].method == wanted)
			return &routes[i];
		*allow |= 1u << routes[i].method;
	}
	if (*allow & 1u << METHOD_GET)
		*allow |= 1u << METHOD_HEAD;
	if (*allow != 0)
		*allow |= 1u << METHOD_OPTIONS;
	return NULL;
}

/* ---- what follows from a row ------------------------------------------------------------- */

const struct schema *route_parameter_schema(const char *type, size_t bytes)
{
	static const struct schema text = { .types = SCHEMA_STRING };
	static const struct schema integer = { .types = SCHEMA_INTEGER };
	static const struct schema uuid = { .types = SCHEMA_STRING, .format = FORMAT_UUID };
	static const struct {
		const char *name;
		const struct schema *schema;
	} types[] = { { "", &text }, { ":int", &integer }, { ":uuid", &uuid } };
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (strlen(types[i].name) == bytes && memcmp(types[i].name, type, bytes) == 0)
			return types[i].schema;
	return NULL;
}

bool route_implies(const struct route *route, int status)
{
	bool has_body = route->body != NULL || route->upload;
	switch (status) {
	case 400: return true; /* what no route can be found for, too */
	case 401:
	case 403:
	case 429: return route->right != RIGHT_NONE || route->asks_who;
	case 408:
	case 413:
	case 415: return has_body;
	case 422: return has_body || route->query != NULL || strchr(route->path, '{') != NULL;
	case 503: return true; /* without memory; without the ring or a resource */
	case 507: return route->needs_ring && (has_body || route->right == RIGHT_SUBMIT); /* a spool that is full */
	default: return false;
	}
}

const char *route_status_text(int status)
{
	switch (status) {
	case 400: return "Not a request that can be understood";
	case 401: return "The bearer token is missing or wrong";
	case 403: return "Who calls may not do this, or another site has sent it";
	case 408: return "The body did not come to its end";
	case 413: return "The body is larger than what is taken here";
	case 415: return "The body is of another media type";
	case 422: return "What was sent is not as it should be: each fault with its place";
	case 429: return "Too many wrong tokens came from this address";
	case 503: return "Not right now; nothing was done, and it may be tried again";
	case 507: return "There is no room left for the task's arguments";
	default: return NULL;
	}
}

/* ---- what can be wrong with it ----------------------------------------------------------- */

static const char *path_fault(const char *path)
{
	size_t count = 0;
	if (path[0] != '/' || (path[1] != '\0' && path[strlen(path) - 1] == '/') || strstr(path, "//") != NULL)
		return "a path begins with a slash and has no empty segment";
	for (const char *at = path; *at == '/'; at += strcspn(at + 1, "/") + 1) {
		size_t bytes = strcspn(at + 1, "/");
		if (memchr(at + 1, '{', bytes) == NULL)
			continue;
		size_t name = strcspn(at + 1, ":}");
		if (at[1] != '{' || at[bytes] != '}' || name < 2 || name > 32)
			return "a parameter is a whole segment: {name} or {name:type}, with a name of up to 31 letters";
		if (route_parameter_schema(at + 1 + name, bytes - 1 - name) == NULL)
			return "the types of a path are int and uuid";
		if (++count > WEB_PARAMETERS_MAX)
			return "a path has too many parameters";
	}
	return NULL;
}

/* A query comes as text, so it holds plain values and lists of them. */
static const char *query_fault(const struct schema_field *fields)
{
	const struct schema schema = { .types = SCHEMA_OBJECT, .fields = fields };
	for (const struct schema_field *field = fields; field != NULL && field->name != NULL; field++) {
		const struct schema *of = field->schema.types == SCHEMA_ARRAY ? field->schema.items : &field->schema;
		if (of == NULL || of->types == SCHEMA_ANY || (of->types & (SCHEMA_OBJECT | SCHEMA_ARRAY | SCHEMA_NULL)) != 0)
			return "a query holds texts, numbers, booleans, and lists of them";
	}
	return schema_table_fault(&schema);
}

static const char *answers_fault(const struct route *route)
{
	const char *fault = route->answers == NULL || route->answers[0].status == 0 ? "it says no answer" : NULL;
	for (const struct route_answer *answer = route->answers; fault == NULL && answer->status != 0; answer++) {
		if (!answer_knows(answer->status))
			fault = "an answer's status is unknown to answer.c";
		else if (answer->description == NULL)
			fault = "an answer is not described";
		else if (answer->body != NULL)
			fault = schema_table_fault(answer->body);
	}
	return fault;
}

const char *route_fault(const struct route *route)
{
	const char *fault = NULL;
	if (route->endpoint == NULL || route->tag == NULL || route->summary == NULL || route->description == NULL)
		fault = "endpoint, tag, summary and description must be there";
	else if (route->method == METHOD_HEAD || route->method >= METHOD_OPTIONS)
		fault = "HEAD and OPTIONS are answered by themselves";
	else if (route->body != NULL && route->upload)
		fault = "a body is either JSON or a file";
	if (fault == NULL)
		fault = path_fault(route->path);
	if (fault == NULL)
		fault = query_fault(route->query);
	if (fault == NULL && route->body != NULL)
		fault = schema_table_fault(route->body);
	if (fault == NULL)
		fault = answers_fault(route);
	if (fault == NULL && route->resources != NULL)
		for (size_t i = 0; route->resources[i] != NULL; i++)
			if (i >= WEB_RESOURCES_MAX)
				fault = "it names too many resources";
	return fault;
}
