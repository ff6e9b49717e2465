/*
 * POST /calculations {"limit": N}: counts the primes below N, which takes as long as it takes. The
 * task's result, progress and end are at GET /tasks/{id}; DELETE there stops it.
 */
#include "app/endpoints.h"

const struct schema calculation_schema = {
	.types = SCHEMA_OBJECT,
	.title = "Calculation",
	.example = "{\"limit\":1000000}",
	.fields = (const struct schema_field[]){
		{ "limit", REQUIRED, { .types = SCHEMA_INTEGER, .minimum = AT_LEAST(2), .maximum = AT_MOST(1e10),
			.description = "The primes below this are counted" } },
		{ 0 },
	},
};

struct web_answer post_calculation(const struct web_request *request, struct background_tasks *background)
{
	web_add_task(request, background, "count_primes", request->body, NULL);
	return answer_accepted(request, background);
}
