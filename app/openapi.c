/* The order is the document's: about the whole, then each path with its methods, then what has a name. */
#include "app/openapi.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define OPERATION_SIZE 256
#define HEADER_SIZE 64

static const char about[] =
    "Requests are answered at once; their background tasks follow. An answer of 202 names them, and "
    "`GET /tasks/{id}` tells what becomes of each.\n\n"
    "Every answer carries `X-Request-ID` and `traceparent`: the client's own, where it sent them.";

/* What is under way; `failed` once there was no memory. */
struct document {
	const struct access_ways *ways;
	json_t *root, *tags, *paths, *schemas;
	bool failed;
};

/* Takes the reference to `value`; NULL is "out of memory". */
static void put(struct document *document, json_t *object, const char *key, json_t *value)
{
	if (json_object_set_new(object, key, value) != 0)
		document->failed = true;
}

static void append(struct document *document, json_t *array, json_t *value)
{
	if (json_array_append_new(array, value) != 0)
		document->failed = true;
}

/* ---- parameters -------------------------------------------------------------------------- */

static json_t *parameter(struct document *document, const char *name, size_t name_bytes, const char *in, bool required,
    const struct schema *schema)
{
	json_t *json = json_pack("{s:s%, s:s, s:b}", "name", name, name_bytes, "in", in, "required", (int)required);
	json_t *of = openapi_schema(schema, document->schemas);
	/* Of a parameter it is said once, where it is looked for. */
	if (schema->description != NULL)
		put(document, json, "description", json_string(schema->description));
	if (schema->title == NULL)
		json_object_del(of, "description");
	put(document, json, "schema", of);
	return json;
}

static void put_parameters(struct document *document, json_t *operation, const struct route *route)
{
	json_t *list = json_array();
	for (const char *at = strchr(route->path, '{'); at != NULL; at = strchr(at, '{')) {
		size_t name = strcspn(++at, ":}"), bytes = strcspn(at, "}");
		append(document, list, parameter(document, at, name, "path", true, route_parameter_schema(at + name, bytes - name)));
	}
	for (const struct schema_field *field = route->query; field != NULL && field->name != NULL; field++)
		append(document, list, parameter(document, field->name, strlen(field->name), "query",
		    field->presence == REQUIRED, &field->schema));
	if (json_array_size(list) > 0)
		put(document, operation, "parameters", json_incref(list));
	json_decref(list);
}

/* ---- bodies ------------------------------------------------------------------------------ */

static json_t *reference(const char *name)
{
	return json_pack("{s:o}", "$ref", json_sprintf("#/components/schemas/%s", name));
}

/* {"application/json": {"schema": ...}} */
static json_t *media(const char *type, json_t *schema)
{
	return json_pack("{s:{s:o}}", type, "schema", schema);
}

static void put_body(struct document *document, json_t *operation, const struct route *route)
{
	json_t *content = NULL;
	if (route->upload)
		content = json_pack("{s:{s:{s:s, s:{s:{s:s, s:s}}, s:[s]}}, s:{s:{s:s, s:s}}}", "multipart/form-data", "schema",
		    "type", "object", "properties", "file", "type", "string", "format", "binary", "required", "file",
		    "application/octet-stream", "schema", "type", "string", "format", "binary");
	else if (route->body != NULL)
		content = media("application/json", openapi_schema(route->body, document->schemas));
	else
		return;
	if (route->body != NULL && route->body->example != NULL)
		put(document, json_object_get(content, "application/json"), "example",
		    json_loads(route->body->example, JSON_DECODE_ANY, NULL));
	put(document, operation, "requestBody", json_pack("{s:b, s:o}", "required", !route->body_optional, "content", content));
}

/* ---- answers ----------------------------------------------------------------------------- */

/* The shape of what is answered for the endpoint. That a body is no JSON is told with its place, as 422 tells its faults. */
static json_t *refusal(const struct route *route, int status)
{
	if (status == 400 && route->body != NULL)
		return json_pack("{s:[o, o]}", "anyOf", reference(OPENAPI_FAULTS), reference(OPENAPI_DETAIL));
	return reference(status == 422 ? OPENAPI_FAULTS : OPENAPI_DETAIL);
}

static json_t *content_of(struct document *document, const struct route *route, const struct route_answer *answer)
{
	if (route->content_type != NULL && answer->status < 400)
		return media(route->content_type, answer->body != NULL ? openapi_schema(answer->body, document->schemas) :
		    json_pack("{s:s}", "type", "string"));
	if (answer->body == NULL)
		return media("application/json", refusal(route, answer->status));
	json_t *schema = openapi_schema(answer->body, document->schemas);
	/* What the endpoint answers itself and what is answered for it are two things. */
	if (route_implies(route, answer->status))
		schema = json_pack("{s:[o, o]}", "anyOf", schema, refusal(route, answer->status));
	return media("application/json", schema);
}

static void put_answer(struct document *document, json_t *answers, const struct route *route,
    const struct route_answer *answer)
{
	char status[12];
	snprintf(status, sizeof(status), "%d", answer->status);
	json_t *json = json_pack("{s:s}", "description", answer->description);
	bool has_body = answer->status >= 400 || answer->body != NULL || route->content_type != NULL;
	if (answer->status == 429 || answer->status == 503)
		put(document, json, "headers", json_pack("{s:{s:s, s:{s:s}}}", "Retry-After", "description", "Seconds",
		    "schema", "type", "integer"));
	if (has_body)
		put(document, json, "content", content_of(document, route, answer));
	put(document, answers, status, json);
}

static void put_answers(struct document *document, json_t *operation, const struct route *route)
{
	json_t *answers = json_object();
	for (const struct route_answer *answer = route->answers; answer->status != 0; answer++)
		put_answer(document, answers, route, answer);
	for (int status = 400; status < 600; status++) {
		const struct route_answer implied = { .status = status, .description = route_status_text(status) };
		char text[12];
		snprintf(text, sizeof(text), "%d", status);
		if (route_implies(route, status) && json_object_get(answers, text) == NULL)
			put_answer(document, answers, route, &implied);
	}
	put(document, operation, "responses", answers);
}

/* ---- operations -------------------------------------------------------------------------- */

static void lower(const char *from, char *to)
{
	do
		*to++ = (char)tolower((unsigned char)*from);
	while (*from++ != '\0');
}

/* Of POST /tasks/{id:uuid}/retry: post_tasks_id_retry. */
static void name_operation(const struct route *route, char name[OPERATION_SIZE])
{
	size_t used = strlen(method_name(route->method));
	lower(method_name(route->method), name);
	for (const char *at = route->path; *at != '\0' && used < OPERATION_SIZE - 1; at++) {
		if (*at == ':')
			at += strcspn(at, "}");
		if (isalnum((unsigned char)*at))
			name[used++] = *at;
		else if (name[used - 1] != '_' && at[1] != '\0')
			name[used++] = '_';
	}
	while (name[used - 1] == '_')
		used--;
	name[used] = '\0';
}

/* In the order in which they are first used. */
static void note_tag(struct document *document, const char *tag)
{
	size_t i;
	const json_t *each;
	json_array_foreach (document->tags, i, each)
		if (strcmp(json_string_value(json_object_get(each, "name")), tag) == 0)
			return;
	append(document, document->tags, json_pack("{s:s}", "name", tag));
}

/* Any of these ways will do; `{}` is no way at all. */
static json_t *security_of(const struct access_ways *ways, enum web_right right)
{
	json_t *list = json_pack("[{s:[]}]", "bearer");
	int failed = ways->cookie[0] != '\0' ? json_array_append_new(list, json_pack("{s:[]}", "cookie")) : 0;
	if (ways->user_parameter != NULL)
		failed |= json_array_append_new(list, json_pack("{s:[]}", "webServer"));
	if (ways->anybody >= right)
		failed |= json_array_append_new(list, json_object());
	if (failed == 0)
		return list;
	json_decref(list);
	return NULL;
}

static json_t *operation_of(struct document *document, const struct route *route)
{
	char name[OPERATION_SIZE];
	name_operation(route, name);
	json_t *operation = json_pack("{s:s, s:s, s:s, s:[s]}", "operationId", name, "summary", route->summary,
	    "description", route->description, "tags", route->tag);
	put_parameters(document, operation, route);
	put_body(document, operation, route);
	put_answers(document, operation, route);
	if (route->right != RIGHT_NONE)
		put(document, operation, "security", security_of(document->ways, route->right));
	return operation;
}

/* "/tasks/{id:uuid}" is "/tasks/{id}" to others. */
static void name_path(const char *path, char plain[WEB_PATH_MAX + 1])
{
	size_t used = 0;
	for (const char *at = path; *at != '\0' && used < WEB_PATH_MAX; at++) {
		if (*at == ':')
			at += strcspn(at, "}");
		plain[used++] = *at;
	}
	plain[used] = '\0';
}

static void put_route(struct document *document, const struct route *route)
{
	char path[WEB_PATH_MAX + 1], method[16];
	name_path(route->path, path);
	lower(method_name(route->method), method);
	json_t *item = json_object_get(document->paths, path);
	if (item == NULL) {
		item = json_object();
		put(document, document->paths, path, item);
	}
	/* Of two rows for the same, the first one counts. */
	if (item != NULL && json_object_get(item, method) == NULL)
		put(document, item, method, operation_of(document, route));
	note_tag(document, route->tag);
}

/* ---- the whole --------------------------------------------------------------------------- */

/* The bodies of refusals, as answer_detail() and answer_faults() make them. */
static void put_refusals(struct document *document)
{
	put(document, document->schemas, OPENAPI_DETAIL, json_pack("{s:s, s:s, s:{s:{s:s}}, s:[s]}", "title", OPENAPI_DETAIL,
	    "type", "object", "properties", "detail", "type", "string", "required", "detail"));
	put(document, document->schemas, "ValidationError", json_pack(
	    "{s:s, s:s, s:{s:{s:s, s:{s:[s, s]}, s:s}, s:{s:s}, s:{s:s}}, s:[s, s, s]}", "title", "ValidationError",
	    "type", "object", "properties", "loc", "type", "array", "items", "type", "string", "integer",
	    "description", "Where: body, query or path, then names and numbers", "msg", "type", "string", "type", "type", "string",
	    "required", "loc", "msg", "type"));
	put(document, document->schemas, OPENAPI_FAULTS, json_pack("{s:s, s:s, s:{s:{s:s, s:o}}, s:[s]}", "title",
	    OPENAPI_FAULTS, "type", "object", "properties", "detail", "type", "array", "items", reference("ValidationError"),
	    "required", "detail"));
}

/* HTTP_X_USER is the header X-User. */
static void header_of(const char *parameter, char name[HEADER_SIZE])
{
	size_t used = 0;
	for (const char *at = parameter + strlen("HTTP_"); *at != '\0' && used < HEADER_SIZE - 1; at++, used++)
		name[used] = *at == '_' ? '-' : used == 0 || name[used - 1] == '-' ? *at : (char)tolower((unsigned char)*at);
	name[used] = '\0';
}

/* What access.h tells, in OpenAPI's words. */
static json_t *security_schemes(struct document *document)
{
	const struct access_ways *ways = document->ways;
	char header[HEADER_SIZE];
	json_t *schemes = json_object();
	put(document, schemes, "bearer", json_pack("{s:s, s:s, s:s}", "type", "http", "scheme", "bearer", "description",
	    "A token of the responder's token file"));
	if (ways->cookie[0] != '\0')
		put(document, schemes, "cookie", json_pack("{s:s, s:s, s:s, s:s}", "type", "apiKey", "in", "cookie", "name", ways->cookie,
		    "description", "What POST /login has the browser keep. Who comes by it and changes something must also send an "
		    "X-Requested-With header, or an Origin of this host"));
	if (ways->user_parameter == NULL)
		return schemes;
	if (strncmp(ways->user_parameter, "HTTP_", strlen("HTTP_")) == 0) {
		header_of(ways->user_parameter, header);
		put(document, schemes, "webServer", json_pack("{s:s, s:s, s:s, s:s}", "type", "apiKey", "in", "header", "name", header,
		    "description", "Whom the web server in front has recognized. It sets this header; what a client sends there is overwritten"));
	} else {
		put(document, schemes, "webServer", json_pack("{s:s, s:s, s:s}", "type", "http", "scheme", "basic", "description",
		    "The web server's own authentication: this one, unless it is configured for another"));
	}
	return schemes;
}

json_t *openapi_document(const struct route *routes, size_t count, const struct access_ways *ways)
{
	struct document document = { .ways = ways, .root = json_object(), .tags = json_array(), .paths = json_object(),
		.schemas = json_object() };
	put_refusals(&document);
	for (size_t i = 0; i < count; i++)
		put_route(&document, &routes[i]);
	put(&document, document.root, "openapi", json_string("3.1.0"));
	put(&document, document.root, "info", json_pack("{s:s, s:s, s:s}", "title", "taskring", "version", TASKRING_VERSION,
	    "description", about));
	/* Relative to where the document stands, and so right under whatever prefix that is. */
	put(&document, document.root, "servers", json_pack("[{s:s, s:s}]", "url", ".", "description", "This server"));
	put(&document, document.root, "tags", document.tags);
	put(&document, document.root, "paths", document.paths);
	put(&document, document.root, "components", json_pack("{s:o, s:o}", "schemas", document.schemas,
	    "securitySchemes", security_schemes(&document)));
	if (!document.failed)
		return document.root;
	json_decref(document.root);
	return NULL;
}
