/*
 * A JSON value and a schema come in from the web layer, the faults go out. The order is the one in
 * which a value meets the checks: its type, then what that type asks for, then what is inside.
 * Only places, sentences of our own and names of members are said; a value never is, since faults
 * go into logs of other people and a value may be a password.
 */
#include "app/schema.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define EXACT_MOST 9007199254740992.0 /* 2^53: a double holds every integer up to here */
#define CHOICES_SIZE 256

struct walk {
	struct faults *faults;
	bool from_text;
};

static void check_value(const struct walk *walk, const struct schema *schema, json_t *value,
    const struct fault_place *place);

/* ---- types ------------------------------------------------------------------------------- */

static const struct {
	enum schema_type type;
	const char *name, *sentence;
	const char *text_name, *text_sentence; /* of a value made from text */
} types[] = {
	{ SCHEMA_STRING, "string_type", "Input should be a valid string", NULL, NULL },
	{ SCHEMA_INTEGER, "int_type", "Input should be a valid integer", "int_parsing",
	    "Input should be a valid integer, unable to parse string as an integer" },
	{ SCHEMA_NUMBER, "float_type", "Input should be a valid number", "float_parsing",
	    "Input should be a valid number, unable to parse string as a number" },
	{ SCHEMA_BOOLEAN, "bool_type", "Input should be a valid boolean", "bool_parsing",
	    "Input should be a valid boolean, unable to interpret input" },
	{ SCHEMA_OBJECT, "dict_type", "Input should be an object", NULL, NULL },
	{ SCHEMA_ARRAY, "list_type", "Input should be a valid array", NULL, NULL },
	{ SCHEMA_NULL, "none_required", "Input should be null", NULL, NULL },
};

static unsigned types_of(const json_t *value)
{
	switch (json_typeof(value)) {
	case JSON_OBJECT: return SCHEMA_OBJECT;
	case JSON_ARRAY: return SCHEMA_ARRAY;
	case JSON_STRING: return SCHEMA_STRING;
	case JSON_INTEGER: return SCHEMA_INTEGER | SCHEMA_NUMBER;
	case JSON_REAL: return SCHEMA_NUMBER;
	case JSON_TRUE:
	case JSON_FALSE: return SCHEMA_BOOLEAN;
	default: return SCHEMA_NULL;
	}
}

/* Names the first of the types that are allowed. */
static void refuse_type(const struct walk *walk, const struct schema *schema, const json_t *value,
    const struct fault_place *place)
{
	if (json_is_real(value) && (schema->types & SCHEMA_INTEGER) != 0) {
		if (trunc(json_real_value(value)) == json_real_value(value)) /* smaller ones are integers by now, see is_integer() */
			faults_add(walk->faults, place, "int_parsing_size",
			    "Unable to parse input string as an integer, exceeded maximum size");
		else
			faults_add(walk->faults, place, "int_from_float",
			    "Input should be a valid integer, got a number with a fractional part");
		return;
	}
	if (schema->types == SCHEMA_OBJECT && schema->fields != NULL) { /* a model, as FastAPI's users say */
		faults_add(walk->faults, place, "model_attributes_type", "Input should be an object");
		return;
	}
	size_t i = 0;
	while ((schema->types & types[i].type) == 0)
		i++;
	bool text = walk->from_text && json_is_string(value) && types[i].text_name != NULL;
	faults_add(walk->faults, place, text ? types[i].text_name : types[i].name, "%s",
	    text ? types[i].text_sentence : types[i].sentence);
}

/* ---- strings ----------------------------------------------------------------------------- */

static size_t characters(const char *text)
{
	size_t count = 0;
	for (; *text != '\0'; text++)
		count += ((unsigned char)*text & 0xc0) != 0x80;
	return count;
}

static bool is_choice(const struct schema *schema, const char *text)
{
	for (const char *const *choice = schema->choices; *choice != NULL; choice++)
		if (strcmp(*choice, text) == 0)
			return true;
	return false;
}

static void refuse_choice(const struct walk *walk, const struct schema *schema, const struct fault_place *place)
{
	char list[CHOICES_SIZE] = "";
	size_t used = 0;
	for (const char *const *choice = schema->choices; *choice != NULL; choice++) {
		const char *separator = choice == schema->choices ? "" : choice[1] == NULL ? " or " : ", ";
		int length = snprintf(list + used, sizeof(list) - used, "%s'%s'", separator, *choice);
		if (length < 0 || (size_t)length >= sizeof(list) - used)
			break;
		used += (size_t)length;
	}
	faults_add(walk->faults, place, "literal_error", "Input should be %s", list);
}

/* One fault a string: the first is the cause of the others. Lengths first, as they bound what follows. */
static void check_text(const struct walk *walk, const struct schema *schema, const char *text,
    const struct fault_place *place)
{
	size_t length = schema->min_length > 0 || schema->max_length > 0 ? characters(text) : 0;
	const char *type = NULL;
	const char *sentence;
	if (length < schema->min_length)
		faults_add(walk->faults, place, "string_too_short", "String should have at least %zu character%s",
		    schema->min_length, schema->min_length == 1 ? "" : "s");
	else if (schema->max_length > 0 && length > schema->max_length)
		faults_add(walk->faults, place, "string_too_long", "String should have at most %zu character%s",
		    schema->max_length, schema->max_length == 1 ? "" : "s");
	else if (schema->choices != NULL && !is_choice(schema, text))
		refuse_choice(walk, schema, place);
	else if (schema->pattern != NULL && !schema_pattern_matches(schema->pattern, text))
		faults_add(walk->faults, place, "string_pattern_mismatch", "String should match pattern '%s'",
		    schema->pattern->text);
	else if ((sentence = schema_format_fault(schema->format, text, &type)) != NULL)
		faults_add(walk->faults, place, type, "%s", sentence);
}

/* ---- numbers ----------------------------------------------------------------------------- */

static void check_number(const struct walk *walk, const struct schema *schema, double value,
    const struct fault_place *place)
{
	const struct schema_bound *least = &schema->minimum, *most = &schema->maximum;
	if (least->is_set && (least->is_exclusive ? value <= least->value : value < least->value))
		faults_add(walk->faults, place, least->is_exclusive ? "greater_than" : "greater_than_equal",
		    "Input should be greater than %s%.15g", least->is_exclusive ? "" : "or equal to ", least->value);
	if (most->is_set && (most->is_exclusive ? value >= most->value : value > most->value))
		faults_add(walk->faults, place, most->is_exclusive ? "less_than" : "less_than_equal",
		    "Input should be less than %s%.15g", most->is_exclusive ? "" : "or equal to ", most->value);
}

/* 3.0 and 1e7 where an integer is asked for, which then are 3 and 10000000. */
static bool is_integer(const struct schema *schema, const json_t *value)
{
	if (!json_is_real(value) || (schema->types & SCHEMA_INTEGER) == 0 || (schema->types & SCHEMA_NUMBER) != 0)
		return false;
	double number = json_real_value(value);
	return trunc(number) == number && fabs(number) <= EXACT_MOST;
}

static json_t *as_integer(const json_t *value)
{
	return json_integer((json_int_t)json_real_value(value));
}

/* ---- what holds others ------------------------------------------------------------------- */

static void check_count(const struct walk *walk, const struct schema *schema, size_t count, const char *what,
    const struct fault_place *place)
{
	if (count < schema->min_count)
		faults_add(walk->faults, place, "too_short", "%s should have at least %zu item%s after validation, not %zu", what,
		    schema->min_count, schema->min_count == 1 ? "" : "s", count);
	if (schema->max_count > 0 && count > schema->max_count)
		faults_add(walk->faults, place, "too_long", "%s should have at most %zu item%s after validation, not %zu", what,
		    schema->max_count, schema->max_count == 1 ? "" : "s", count);
}

static void check_member(const struct walk *walk, const struct schema *schema, json_t *object, const char *name,
    const struct fault_place *parent)
{
	const struct fault_place place = { .parent = parent, .name = name };
	const json_t *value = json_object_get(object, name);
	if (is_integer(schema, value) && json_object_set_new(object, name, as_integer(value)) != 0)
		walk->faults->no_memory = true;
	check_value(walk, schema, json_object_get(object, name), &place);
}

static void check_missing(const struct walk *walk, const struct schema_field *field, json_t *object,
    const struct fault_place *parent)
{
	const struct fault_place place = { .parent = parent, .name = field->name };
	if (field->presence == REQUIRED)
		faults_add(walk->faults, &place, "missing", "Field required");
	else if (field->schema.default_json != NULL && json_object_set_new(object, field->name,
	    json_loads(field->schema.default_json, JSON_DECODE_ANY, NULL)) != 0)
		walk->faults->no_memory = true;
}

static const struct schema_field *field_of(const struct schema *schema, const char *name)
{
	for (const struct schema_field *field = schema->fields; field != NULL && field->name != NULL; field++)
		if (strcmp(field->name, name) == 0)
			return field;
	return NULL;
}

static void check_extra(const struct walk *walk, const struct schema *schema, json_t *object, const char *name,
    const struct fault_place *parent)
{
	const struct fault_place place = { .parent = parent, .name = name };
	if (!schema->extra_allowed && schema->extra == NULL)
		faults_add(walk->faults, &place, "extra_forbidden", "Extra inputs are not permitted");
	if (schema->names != NULL)
		check_text(walk, schema->names, name, &place);
	if (schema->extra != NULL)
		check_member(walk, schema->extra, object, name, parent);
}

static void check_object(const struct walk *walk, const struct schema *schema, json_t *object,
    const struct fault_place *place)
{
	check_count(walk, schema, json_object_size(object), "Dictionary", place);
	for (const struct schema_field *field = schema->fields; field != NULL && field->name != NULL; field++) {
		if (json_object_get(object, field->name) == NULL)
			check_missing(walk, field, object, place);
		else
			check_member(walk, &field->schema, object, field->name, place);
	}
	const char *name;
	json_t *value;
	/* Setting a member that is there, as is done for integers, does not disturb the iteration. */
	json_object_foreach (object, name, value) {
		if (faults_full(walk->faults))
			return;
		if (field_of(schema, name) == NULL)
			check_extra(walk, schema, object, name, place);
	}
}

static void check_array(const struct walk *walk, const struct schema *schema, json_t *array,
    const struct fault_place *parent)
{
	check_count(walk, schema, json_array_size(array), "List", parent);
	for (size_t i = 0; schema->items != NULL && i < json_array_size(array) && !faults_full(walk->faults); i++) {
		const struct fault_place place = { .parent = parent, .index = i };
		const json_t *value = json_array_get(array, i);
		if (is_integer(schema->items, value) && json_array_set_new(array, i, as_integer(value)) != 0)
			walk->faults->no_memory = true;
		check_value(walk, schema->items, json_array_get(array, i), &place);
	}
}

static void check_value(const struct walk *walk, const struct schema *schema, json_t *value,
    const struct fault_place *place)
{
	unsigned found = types_of(value);
	if (schema->types != SCHEMA_ANY && (schema->types & found) == 0) {
		refuse_type(walk, schema, value, place);
		return;
	}
	if (found == SCHEMA_STRING)
		check_text(walk, schema, json_string_value(value), place);
	else if ((found & SCHEMA_NUMBER) != 0)
		check_number(walk, schema, json_number_value(value), place);
	else if (found == SCHEMA_ARRAY)
		check_array(walk, schema, value, place);
	/* Where any value will do, nothing is asked of members either. */
	else if (found == SCHEMA_OBJECT && schema->types != SCHEMA_ANY)
		check_object(walk, schema, value, place);
}

bool schema_validate(const struct schema *schema, json_t *value, const struct fault_place *where, bool from_text,
    struct faults *faults)
{
	const struct walk walk = { .faults = faults, .from_text = from_text };
	size_t before = json_array_size(faults->list);
	check_value(&walk, schema, value, where);
	return json_array_size(faults->list) == before && !faults->no_memory;
}

/* ---- the table itself -------------------------------------------------------------------- */

static const char *ranges_fault(const struct schema *schema)
{
	const struct schema_bound *least = &schema->minimum, *most = &schema->maximum;
	if ((schema->max_length > 0 && schema->min_length > schema->max_length) ||
	    (schema->max_count > 0 && schema->min_count > schema->max_count) ||
	    (least->is_set && most->is_set && least->value > most->value))
		return "a lower bound is above the upper one";
	if (fabs(least->value) > EXACT_MOST || fabs(most->value) > EXACT_MOST)
		return "a bound is beyond 2^53";
	return NULL;
}

/* What only some types have. */
static const char *misplaced(const struct schema *schema)
{
	unsigned of = schema->types != SCHEMA_ANY ? schema->types : 0;
	bool of_text = schema->min_length > 0 || schema->max_length > 0 || schema->format != FORMAT_NONE ||
	    schema->pattern != NULL || schema->choices != NULL;
	bool of_object = schema->fields != NULL || schema->extra_allowed || schema->extra != NULL || schema->names != NULL;
	if (of_text && (of & SCHEMA_STRING) == 0)
		return "lengths, formats, patterns and choices are a string's";
	if ((schema->minimum.is_set || schema->maximum.is_set) && (of & (SCHEMA_INTEGER | SCHEMA_NUMBER)) == 0)
		return "bounds are a number's";
	if (of_object && (of & SCHEMA_OBJECT) == 0)
		return "fields are an object's";
	if (schema->items != NULL && (of & SCHEMA_ARRAY) == 0)
		return "items are an array's";
	if ((schema->min_count > 0 || schema->max_count > 0) && (of & (SCHEMA_ARRAY | SCHEMA_OBJECT)) == 0)
		return "counts are an array's or an object's";
	return NULL;
}

/* Defaults and examples must pass the table that they stand in. */
static const char *sample_fault(const struct schema *schema, const char *sample)
{
	if (sample == NULL)
		return NULL;
	struct faults faults = { .list = NULL };
	json_t *value = json_loads(sample, JSON_DECODE_ANY, NULL);
	bool well = value != NULL && schema_validate(schema, value, NULL, false, &faults);
	json_decref(value);
	faults_clear(&faults);
	return well ? NULL : "a default or an example is not what the schema allows";
}

static const char *fields_fault(const struct schema *schema)
{
	const char *fault = NULL;
	for (const struct schema_field *field = schema->fields; field != NULL && field->name != NULL; field++) {
		if (field_of(schema, field->name) != field)
			return "a field stands twice";
		if (field->presence == REQUIRED && field->schema.default_json != NULL)
			return "a required field has a default";
		fault = schema_table_fault(&field->schema);
		if (fault != NULL)
			return fault;
	}
	return NULL;
}

const char *schema_table_fault(const struct schema *schema)
{
	const char *fault = misplaced(schema);
	if (fault == NULL)
		fault = ranges_fault(schema);
	if (fault == NULL && schema->pattern != NULL)
		fault = schema_pattern_fault(schema->pattern);
	if (fault == NULL && schema->items != NULL)
		fault = schema_table_fault(schema->items);
	if (fault == NULL && schema->extra != NULL)
		fault = schema_table_fault(schema->extra);
	if (fault == NULL && schema->names != NULL)
		fault = schema_table_fault(schema->names);
	if (fault == NULL)
		fault = fields_fault(schema);
	if (fault == NULL)
		fault = sample_fault(schema, schema->default_json);
	return fault != NULL ? fault : sample_fault(schema, schema->example);
}
