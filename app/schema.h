/*
 * What a JSON value may be, as a constant table: the bodies, query parameters and answers of a
 * route are declared with it. schema_validate() holds a value against the table and names all
 * faults at once; the description of the interface is made from the same table.
 *
 *	static const struct schema signup = {
 *		.types = SCHEMA_OBJECT,
 *		.fields = (const struct schema_field[]){
 *			{ "email", REQUIRED, { .types = SCHEMA_STRING, .format = FORMAT_EMAIL } },
 *			{ "age", OPTIONAL, { .types = SCHEMA_INTEGER, .minimum = AT_LEAST(18) } },
 *			{ 0 },
 *		},
 *	};
 *
 * Tables stand at file scope, where the nested ones live as long as they do. None may contain itself: validating goes as deep as the table does, whatever the value is.
 */
#ifndef APP_SCHEMA_H
#define APP_SCHEMA_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "app/faults.h"

enum schema_type {
	SCHEMA_ANY = 0,
	SCHEMA_STRING = 1,
	SCHEMA_INTEGER = 2, /* also 3.0, which the endpoint sees as 3 */
	SCHEMA_NUMBER = 4,
	SCHEMA_BOOLEAN = 8,
	SCHEMA_OBJECT = 16,
	SCHEMA_ARRAY = 32,
	SCHEMA_NULL = 64,
};

enum schema_format {
	FORMAT_NONE,
	FORMAT_EMAIL,
	FORMAT_URI,      /* RFC 3986, absolute */
	FORMAT_HTTP_URL, /* http: or https: with a host, without user and fragment */
	FORMAT_UUID,
	FORMAT_DATE_TIME, /* RFC 3339 */
	FORMAT_LINE,      /* text without control characters, so nothing that could end a line */
	SCHEMA_FORMATS
};

/* One end of a range of numbers; exact up to 2^53. */
struct schema_bound {
	double value;
	bool is_set, is_exclusive;
};
#define AT_LEAST(number) { .value = (number), .is_set = true }
#define AT_MOST(number) { .value = (number), .is_set = true }
#define ABOVE(number) { .value = (number), .is_set = true, .is_exclusive = true }
#define BELOW(number) { .value = (number), .is_set = true, .is_exclusive = true }

/*
 * An extended regular expression of POSIX, over bytes: it begins with ^ and ends with $, and has
 * neither backslash, back-reference nor [:class:]. So it means the same in ECMA-262, which describes
 * interfaces, and is matched in a time proportional to the text. Compiled at its first use.
 */
struct schema_pattern {
	const char *text;
	void *_Atomic compiled;
};
#define PATTERN(text) (&(struct schema_pattern){ (text), NULL })

struct schema_field;

/* What is zero is not asked for. */
struct schema {
	unsigned types; /* enum schema_type, or-ed; 0: any */
	const char *title, *description;
	const char *example;      /* a JSON text */
	const char *default_json; /* a JSON text: what an endpoint sees where an optional value is missing */

	size_t min_length, max_length; /* of a string, in characters */
	enum schema_format format;
	struct schema_pattern *pattern;
	const char *const *choices; /* NULL at the end */

	struct schema_bound minimum, maximum; /* of a number */

	size_t min_count, max_count; /* items of an array, members of an object */
	const struct schema *items;

	const struct schema_field *fields; /* a NULL name at the end */
	bool extra_allowed;         /* members that are not among the fields */
	const struct schema *extra; /* allowed, too, when they are like this */
	const struct schema *names; /* what the names of such members are like: a string's schema */
};

enum schema_presence { OPTIONAL, REQUIRED };

struct schema_field {
	const char *name;
	enum schema_presence presence;
	struct schema schema;
};

/*
 * Adds a fault for everything in `value` that the schema does not allow; `where` is its place.
 * Missing fields that have a default are set, and integers written like 3.0 become 3. `from_text`:
 * the value was made from the text of a query or path, and its faults are named accordingly.
 * Answers whether there was none.
 */
bool schema_validate(const struct schema *schema, json_t *value, const struct fault_place *where, bool from_text,
    struct faults *faults);

/* What the table itself is wrong about (a bug of its author), as a sentence; NULL: nothing. */
const char *schema_table_fault(const struct schema *schema);

/* ---- schema_format.c --------------------------------------------------------------------- */

/* What the text is not, as a sentence, and the fault's type; NULL: nothing. */
const char *schema_format_fault(enum schema_format format, const char *text, const char **type);
/* As JSON Schema calls it: "email", "date-time". NULL for FORMAT_NONE. */
const char *schema_format_name(enum schema_format format);

/* Whether the text matches. False also where there is no memory. Any thread. */
bool schema_pattern_matches(struct schema_pattern *pattern, const char *text);
/* As schema_table_fault(). */
const char *schema_pattern_fault(struct schema_pattern *pattern);

#endif
