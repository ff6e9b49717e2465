/*
 * The description of the interface: the route table comes in, an OpenAPI 3.1 document goes out. What
 * a row says is said here again in OpenAPI's words, and nothing else is. Called by GET /openapi.json.
 */
#ifndef APP_OPENAPI_H
#define APP_OPENAPI_H

#include "app/access.h"
#include "app/web.h"

/* Names in the document for what is answered where a row says no body. */
#define OPENAPI_DETAIL "Detail"
#define OPENAPI_FAULTS "HTTPValidationError" /* as FastAPI's users know them */

/* The document, for the caller to json_decref(). NULL: out of memory. */
json_t *openapi_document(const struct route *routes, size_t count, const struct access_ways *ways);

/* ---- openapi_schema.c -------------------------------------------------------------------- */

/*
 * A table as JSON Schema, or as a reference to it under its title in `named`, where it is then put,
 * unless another one has that title. NULL: out of memory.
 */
json_t *openapi_schema(const struct schema *schema, json_t *named);

#endif
