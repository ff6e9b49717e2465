/*
 * GET /openapi.json: the description of the interface. Neither the route table nor how one shows who one is changes
 * while the process lives, so it is made at the first request and kept.
 */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "app/endpoints.h"
#include "app/etag.h"
#include "app/openapi.h"

struct description {
	char *text;
	size_t bytes;
	char etag[ETAG_SIZE];
};

static struct description *description_new(const struct access *access)
{
	const struct access_ways ways = access_ways(access);
	size_t count;
	const struct route *routes = routes_all(&count);
	json_t *document = openapi_document(routes, count, &ways);
	struct description *made = calloc(1, sizeof(*made));
	char *text = document != NULL ? json_dumps(document, JSON_COMPACT) : NULL;
	json_decref(document);
	if (made == NULL || text == NULL) {
		free(made);
		free(text);
		return NULL;
	}
	*made = (struct description){ .text = text, .bytes = strlen(text) };
	etag_make(made->etag, text, made->bytes);
	return made;
}

/* The process' one. Two threads may make it at the same time; the first one's is kept. */
static const struct description *description(const struct access *access)
{
	static struct description *_Atomic kept;
	struct description *made = atomic_load_explicit(&kept, memory_order_acquire), *none = NULL;
	if (made != NULL)
		return made;
	made = description_new(access);
	if (made == NULL || atomic_compare_exchange_strong(&kept, &none, made))
		return made;
	free(made->text);
	free(made);
	return none;
}

struct web_answer get_openapi(const struct web_request *request, struct background_tasks *background)
{
	(void)background;
	const struct description *made = description(request->access);
	if (made == NULL)
		return answer_result(TR_NO_MEMORY, NULL);
	struct web_answer answer = answer_content((struct web_content){ .type = "application/json", .bytes = made->text,
		.count = made->bytes });
	answer.etag = made->etag;
	answer.cache_control = "no-cache";
	return answer;
}
