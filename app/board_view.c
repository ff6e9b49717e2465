/*
 * A request comes in, the board of its instance goes out, and what of it several endpoints show as JSON.
 * Called by the endpoints that look at taskd.
 */
#include "app/board_view.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "shared/client.h"

/* Of the 16 buckets in a power of two every fourth limit is shown: values are known to a quarter. */
#define SHOWN_STEP 4
static_assert(HIST_STEPS % SHOWN_STEP == 0, "shown limits are limits of the board's buckets");

#define COUNT(text) { .types = SCHEMA_INTEGER, .minimum = AT_LEAST(0), .description = (text) }

const struct schema bucket_schema = {
	.types = SCHEMA_OBJECT,
	.fields = (const struct schema_field[]){
		{ "le", REQUIRED, COUNT("The largest value that falls into it, ns") },
		{ "count", REQUIRED, COUNT("Values in this bucket alone") },
		{ 0 },
	},
};

const struct schema_field hist_fields_schema[] = {
	{ "count", REQUIRED, COUNT("Values so far") },
	{ "sum", REQUIRED, COUNT("Of all of them, ns") },
	{ "max", REQUIRED, COUNT("The largest, ns") },
	{ "p50", REQUIRED, COUNT("Half of them are at most this, ns") },
	{ "p99", REQUIRED, COUNT("99 % are") },
	{ "p99.9", REQUIRED, COUNT("99.9 % are") },
	{ "buckets", REQUIRED, { .types = SCHEMA_ARRAY, .description = "Those that hold values, the lowest first",
		.items = &bucket_schema } },
	{ 0 },
};

bool board_look(const struct web_request *request, struct board_view *view, struct web_answer *answer)
{
	enum tr_result result = TR_OK;
	const struct board *board = client_board_again(request->ring, &result);
	if (board == NULL) {
		*answer = answer_result(result, NULL);
		return false;
	}
	struct timespec now = { 0 };
	clock_gettime(CLOCK_REALTIME, &now);
	int64_t now_ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
	enum taskd_life life = board_life_of(board, request->ring->name, now_ms);
	*view = (struct board_view){ .board = board, .now_ms = now_ms, .life = life,
		.seen_ms = atomic_load_explicit(&board->heartbeat_ms, memory_order_relaxed),
		.started_ms = atomic_load_explicit(&board->started_ms, memory_order_relaxed),
		.seconds = board_seconds(board, life, now_ms) };
	return true;
}

const struct ring *board_ring(const struct web_request *request)
{
	return atomic_load_explicit(&request->ring->ring, memory_order_acquire);
}

json_t *count_json(uint64_t value)
{
	return json_integer(value > INT64_MAX ? INT64_MAX : (json_int_t)value);
}

json_t *counter_json(const _Atomic uint64_t *word)
{
	return count_json(atomic_load_explicit(word, memory_order_relaxed));
}

json_t *bucket_json(uint64_t upper_ns, uint64_t count)
{
	return json_pack("{s:o, s:o}", "le", count_json(upper_ns), "count", count_json(count));
}

static json_t *buckets_json(const struct hist *hist)
{
	json_t *buckets = json_array();
	int failed = 0;
	for (unsigned first = 0; first < HIST_BUCKETS; first += SHOWN_STEP) {
		uint64_t count = 0;
		for (unsigned i = 0; i < SHOWN_STEP; i++)
			count += atomic_load_explicit(&hist->buckets[first + i], memory_order_relaxed);
		if (count > 0)
			failed |= json_array_append_new(buckets, bucket_json(hist_bucket_upper(first + SHOWN_STEP - 1), count));
	}
	if (failed == 0)
		return buckets;
	json_decref(buckets);
	return NULL;
}

json_t *hist_json(const struct hist *hist)
{
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "count", counter_json(&hist->count),
	    "sum", counter_json(&hist->sum), "max", counter_json(&hist->max),
	    "p50", count_json(hist_quantile(hist, 500)), "p99", count_json(hist_quantile(hist, 990)),
	    "p99.9", count_json(hist_quantile(hist, 999)), "buckets", buckets_json(hist));
}

static int by_name(const void *left, const void *right)
{
	const json_t *const *a = left, *const *b = right;
	return strcmp(json_string_value(json_object_get(*a, "name")), json_string_value(json_object_get(*b, "name")));
}

json_t *rows_json(const struct board *board, uint32_t count, board_row_fn *make)
{
	json_t *list = json_array();
	bool failed = list == NULL;
	for (uint32_t row = 0; row < count && !failed; row++) {
		json_t *made = make(board, row, &failed);
		if (made != NULL)
			failed = json_array_append_new(list, made) != 0;
	}
	if (!failed)
		return list;
	json_decref(list);
	return NULL;
}

struct web_answer answer_rows(const char *member, json_t *rows)
{
	size_t count = json_array_size(rows);
	json_t **sorted = rows == NULL ? NULL : calloc(count + 1, sizeof(json_t *)), *list = sorted != NULL ? json_array() : NULL;
	int added = 0;
	for (size_t i = 0; i < count && list != NULL; i++)
		sorted[i] = json_array_get(rows, i);
	if (list != NULL && count > 0)
		qsort(sorted, count, sizeof(json_t *), by_name);
	for (size_t i = 0; i < count && list != NULL; i++)
		added |= json_array_append(list, sorted[i]);
	free(sorted);
	json_decref(rows);
	if (added == 0)
		return answer_json(200, json_pack("{s:o}", member, list));
	json_decref(list);
	return answer_json(200, NULL);
}
