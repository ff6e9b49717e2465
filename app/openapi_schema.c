/* A schema's table comes in, JSON Schema (2020-12, as OpenAPI 3.1 has it) goes out. */
#include <math.h>
#include <string.h>

#include "app/openapi.h"

static const struct {
	unsigned type;
	const char *name;
} types[] = {
	{ SCHEMA_STRING, "string" },
	{ SCHEMA_INTEGER, "integer" },
	{ SCHEMA_NUMBER, "number" },
	{ SCHEMA_BOOLEAN, "boolean" },
	{ SCHEMA_OBJECT, "object" },
	{ SCHEMA_ARRAY, "array" },
	{ SCHEMA_NULL, "null" },
};
#define TYPES (sizeof(types) / sizeof(types[0]))

/* One schema as it is made; `failed` once there was no memory. */
struct sheet {
	json_t *json, *named;
	bool failed;
};

/* Takes the reference to `value`; NULL is "out of memory". */
static void put(struct sheet *sheet, const char *key, json_t *value)
{
	if (json_object_set_new(sheet->json, key, value) != 0)
		sheet->failed = true;
}

static void put_text(struct sheet *sheet, const char *key, const char *text)
{
	if (text != NULL)
		put(sheet, key, json_string(text));
}

static void put_count(struct sheet *sheet, const char *key, size_t count)
{
	if (count > 0)
		put(sheet, key, json_integer((json_int_t)count));
}

static void put_types(struct sheet *sheet, unsigned wanted)
{
	json_t *list = json_array();
	for (size_t i = 0; i < TYPES; i++)
		if ((wanted & types[i].type) != 0 && json_array_append_new(list, json_string(types[i].name)) != 0)
			sheet->failed = true;
	if (json_array_size(list) == 1)
		put(sheet, "type", json_incref(json_array_get(list, 0)));
	else if (wanted != SCHEMA_ANY)
		put(sheet, "type", json_incref(list));
	json_decref(list);
}

static void put_choices(struct sheet *sheet, const struct schema *schema)
{
	json_t *list = json_array();
	for (const char *const *choice = schema->choices; *choice != NULL; choice++)
		if (json_array_append_new(list, json_string(*choice)) != 0)
			sheet->failed = true;
	if ((schema->types & SCHEMA_NULL) != 0 && json_array_append_new(list, json_null()) != 0)
		sheet->failed = true;
	put(sheet, "enum", list);
}

static void put_bound(struct sheet *sheet, const struct schema_bound *bound, const char *inclusive, const char *exclusive)
{
	if (bound->is_set)
		put(sheet, bound->is_exclusive ? exclusive : inclusive,
		    trunc(bound->value) == bound->value ? json_integer((json_int_t)bound->value) : json_real(bound->value));
}

static void put_fields(struct sheet *sheet, const struct schema *schema)
{
	json_t *properties = json_object(), *required = json_array();
	for (const struct schema_field *field = schema->fields; field != NULL && field->name != NULL; field++) {
		if (json_object_set_new(properties, field->name, openapi_schema(&field->schema, sheet->named)) != 0 ||
		    (field->presence == REQUIRED && json_array_append_new(required, json_string(field->name)) != 0))
			sheet->failed = true;
	}
	if (schema->fields != NULL)
		put(sheet, "properties", json_incref(properties));
	if (json_array_size(required) > 0)
		put(sheet, "required", json_incref(required));
	put(sheet, "additionalProperties",
	    schema->extra != NULL ? openapi_schema(schema->extra, sheet->named) : json_boolean(schema->extra_allowed));
	if (schema->names != NULL)
		put(sheet, "propertyNames", openapi_schema(schema->names, sheet->named));
	json_decref(properties);
	json_decref(required);
}

static void put_samples(struct sheet *sheet, const struct schema *schema)
{
	/* They are JSON: schema_table_fault() has read them. */
	if (schema->default_json != NULL)
		put(sheet, "default", json_loads(schema->default_json, JSON_DECODE_ANY, NULL));
	if (schema->example != NULL)
		put(sheet, "examples", json_pack("[o]", json_loads(schema->example, JSON_DECODE_ANY, NULL)));
}

/* All that the table says, in its order. */
static void put_all(struct sheet *sheet, const struct schema *schema)
{
	bool is_object = (schema->types & SCHEMA_OBJECT) != 0;
	put_text(sheet, "title", schema->title);
	put_text(sheet, "description", schema->description);
	put_types(sheet, schema->types);
	put_count(sheet, "minLength", schema->min_length);
	put_count(sheet, "maxLength", schema->max_length);
	put_text(sheet, "format", schema_format_name(schema->format));
	if (schema->pattern != NULL)
		put_text(sheet, "pattern", schema->pattern->text);
	if (schema->choices != NULL)
		put_choices(sheet, schema);
	put_bound(sheet, &schema->minimum, "minimum", "exclusiveMinimum");
	put_bound(sheet, &schema->maximum, "maximum", "exclusiveMaximum");
	put_count(sheet, is_object ? "minProperties" : "minItems", schema->min_count);
	put_count(sheet, is_object ? "maxProperties" : "maxItems", schema->max_count);
	if (schema->items != NULL)
		put(sheet, "items", openapi_schema(schema->items, sheet->named));
	if (is_object)
		put_fields(sheet, schema);
	put_samples(sheet, schema);
}

/* Whether a title can stand in a reference as it is. */
static bool is_name(const char *title)
{
	return title != NULL && title[0] != '\0' &&
	    strspn(title, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-") == strlen(title);
}

json_t *openapi_schema(const struct schema *schema, json_t *named)
{
	struct sheet sheet = { .json = json_object(), .named = named };
	put_all(&sheet, schema);
	if (sheet.failed) {
		json_decref(sheet.json);
		return NULL;
	}
	if (!is_name(schema->title))
		return sheet.json;
	const json_t *before = json_object_get(named, schema->title);
	if (before != NULL && !json_equal(before, sheet.json))
		return sheet.json;
	if (json_object_set_new(named, schema->title, sheet.json) != 0)
		return NULL;
	return json_pack("{s:o}", "$ref", json_sprintf("#/components/schemas/%s", schema->title));
}
