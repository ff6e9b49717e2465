/*
 * Parameters: the texts in path and query come in, a JSON object with the types that the route
 * declares goes out, so that the same tables and checks do for them as for bodies. Called by
 * web_serve(); endpoints read the object through web_text() and the like.
 */
#include "app/web.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NAME_SIZE 128
#define VALUE_SIZE 2048 /* decoded */

static const struct fault_place in_query = { .name = "query" };
static const struct fault_place in_path = { .name = "path" };

/* ---- text to value ----------------------------------------------------------------------- */

/* What text is none stays a text, and the check says what is wrong with it. *made: it was one. */
static json_t *integer_of(const char *text, bool *made)
{
	size_t sign = text[0] == '-';
	size_t digits = strspn(text + sign, "0123456789");
	if (digits == 0 || text[sign + digits] != '\0')
		return NULL;
	errno = 0;
	long long value = strtoll(text, NULL, 10);
	*made = errno == 0;
	return *made ? json_integer(value) : NULL;
}

static json_t *number_of(const char *text, bool *made)
{
	char *end;
	/* Only what JSON would take: no spaces, no hexadecimal digits, no "inf". */
	if (text[0] == '\0' || strspn(text, "0123456789+-.eE") != strlen(text))
		return NULL;
	double value = strtod(text, &end);
	*made = *end == '\0' && isfinite(value);
	return *made ? json_real(value) : NULL;
}

static json_t *boolean_of(const char *text)
{
	if (strcmp(text, "true") == 0 || strcmp(text, "1") == 0)
		return json_true();
	return strcmp(text, "false") == 0 || strcmp(text, "0") == 0 ? json_false() : NULL;
}

/* NULL: out of memory, or a text that is not UTF-8. */
static json_t *value_of(const struct schema *schema, const char *text)
{
	json_t *value = NULL;
	bool made = false;
	if ((schema->types & SCHEMA_INTEGER) != 0)
		value = integer_of(text, &made);
	if (!made && (schema->types & SCHEMA_NUMBER) != 0)
		value = number_of(text, &made);
	if (value == NULL && (schema->types & SCHEMA_BOOLEAN) != 0)
		value = boolean_of(text);
	return value != NULL || made ? value : json_string(text);
}

/* ---- the query --------------------------------------------------------------------------- */

static int hex_digit(char digit)
{
	if (digit >= '0' && digit <= '9')
		return digit - '0';
	char lower = (char)(digit | 0x20);
	return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* As forms encode it: '+' is a space. False: not encoded well, too long, holds a zero, or is not UTF-8. */
static bool decode(const char *from, size_t bytes, char *to, size_t size)
{
	size_t used = 0;
	for (size_t i = 0; i < bytes; i++) {
		int byte = from[i] == '+' ? ' ' : (unsigned char)from[i];
		if (byte == '%') {
			int high = i + 2 < bytes ? hex_digit(from[i + 1]) : -1;
			int low = high < 0 ? -1 : hex_digit(from[i + 2]);
			byte = low < 0 ? 0 : high * 16 + low;
			i += 2;
		}
		if (byte == 0 || used + 1 >= size)
			return false;
		to[used++] = (char)byte;
	}
	to[used] = '\0';
	json_t *checked = json_string(to);
	json_decref(checked);
	return checked != NULL;
}

static const struct schema_field *field_of(const struct schema_field *fields, const char *name)
{
	for (; fields->name != NULL; fields++)
		if (strcmp(fields->name, name) == 0)
			return fields;
	return NULL;
}

static void set(json_t *object, const char *name, json_t *value, struct faults *faults)
{
	if (json_object_set_new(object, name, value) != 0)
		faults->no_memory = true;
}

static void add_value(const struct schema_field *field, const char *name, const char *text, json_t *object,
    struct faults *faults)
{
	const struct fault_place place = { .parent = &in_query, .name = name };
	json_t *before = json_object_get(object, name);
	if (field == NULL) {
		set(object, name, json_string(text), faults); /* for the check to refuse */
	} else if (field->schema.types == SCHEMA_ARRAY) {
		if (before == NULL)
			set(object, name, json_array(), faults);
		if (json_array_append_new(json_object_get(object, name), value_of(field->schema.items, text)) != 0)
			faults->no_memory = true;
	} else if (before != NULL) {
		faults_add(faults, &place, "multiple_argument_values", "Got multiple values for argument");
	} else {
		set(object, name, value_of(&field->schema, text), faults);
	}
}

/* "a=1&b=2" as an object. */
static void read_query(const char *query, const struct schema_field *fields, json_t *object, struct faults *faults)
{
	while (*query != '\0' && *query != '#' && !faults_full(faults)) {
		char name[NAME_SIZE], text[VALUE_SIZE];
		size_t bytes = strcspn(query, "&#");
		const char *equals = memchr(query, '=', bytes);
		size_t name_bytes = equals != NULL ? (size_t)(equals - query) : bytes;
		size_t text_at = equals != NULL ? name_bytes + 1 : bytes;
		if (!decode(query, name_bytes, name, sizeof(name))) {
			faults_add(faults, &in_query, "string_unicode", "The name of a parameter cannot be read");
		} else if (!decode(query + text_at, bytes - text_at, text, sizeof(text))) {
			const struct fault_place place = { .parent = &in_query, .name = name };
			faults_add(faults, &place, "string_unicode", "Input should be percent-encoded UTF-8 of at most %d bytes",
			    VALUE_SIZE - 1);
		} else if (bytes > 0) {
			add_value(field_of(fields, name), name, text, object, faults);
		}
		query += bytes + (query[bytes] == '&');
	}
}

/* ---- path and query ---------------------------------------------------------------------- */

static void read_path(const struct route_match *match, json_t *object, struct faults *faults)
{
	for (size_t i = 0; i < match->count; i++) {
		char name[NAME_SIZE];
		size_t name_bytes = strcspn(match->parameters[i].name, ":}");
		memcpy(name, match->parameters[i].name, name_bytes); /* route_fault() saw to its length */
		name[name_bytes] = '\0';
		const char *type = match->parameters[i].name + name_bytes;
		const struct schema *schema = route_parameter_schema(type, match->parameters[i].name_bytes - name_bytes);
		const struct fault_place place = { .parent = &in_path, .name = name };
		json_t *value = value_of(schema, match->parameters[i].text);
		if (value == NULL)
			faults_add(faults, &place, "string_unicode", "Input should be UTF-8");
		else if (schema_validate(schema, value, &place, true, faults))
			set(object, name, json_incref(value), faults);
		json_decref(value);
	}
}

void parameters_read(struct web_request *request, const struct route_match *match, struct faults *faults)
{
	const struct schema_field *fields = request->route->query;
	if (match->count == 0 && fields == NULL)
		return;
	request->parameters = json_object();
	if (request->parameters == NULL) {
		faults->no_memory = true;
		return;
	}
	if (fields != NULL) {
		const struct schema schema = { .types = SCHEMA_OBJECT, .fields = fields };
		read_query(request->query, fields, request->parameters, faults);
		schema_validate(&schema, request->parameters, &in_query, true, faults);
	}
	/* Second, so that the names of the path are not taken for the query's. */
	read_path(match, request->parameters, faults);
}

/* ---- for endpoints ----------------------------------------------------------------------- */

static const json_t *value_named(const struct web_request *request, const char *name)
{
	const json_t *value = json_object_get(request->parameters, name);
	return json_is_null(value) ? NULL : value;
}

bool web_given(const struct web_request *request, const char *name)
{
	return value_named(request, name) != NULL;
}

const char *web_text(const struct web_request *request, const char *name)
{
	const json_t *value = value_named(request, name);
	assert(value == NULL || json_is_string(value));
	return json_string_value(value);
}

int64_t web_integer(const struct web_request *request, const char *name)
{
	const json_t *value = value_named(request, name);
	assert(value == NULL || json_is_integer(value));
	return json_integer_value(value);
}

double web_number(const struct web_request *request, const char *name)
{
	const json_t *value = value_named(request, name);
	assert(value == NULL || json_is_number(value));
	return json_number_value(value);
}

bool web_boolean(const struct web_request *request, const char *name)
{
	const json_t *value = value_named(request, name);
	assert(value == NULL || json_is_boolean(value));
	return json_is_true(value);
}

struct tr_id web_id(const struct web_request *request, const char *name)
{
	struct tr_id id = { { 0 } };
	const char *text = web_text(request, name);
	if (text != NULL) {
		bool well = tr_id_parse(text, &id);
		assert(well);
		(void)well;
	}
	return id;
}

const json_t *web_list(const struct web_request *request, const char *name)
{
	const json_t *value = value_named(request, name);
	assert(value == NULL || json_is_array(value));
	return value;
}
