/*
 * The board as endpoints read it: mapped read-only once per process, so that looking costs taskd
 * nothing and works while it hangs or is dead.
 */
#ifndef APP_BOARD_VIEW_H
#define APP_BOARD_VIEW_H

#include "app/web.h"
#include "shared/board.h"

struct ring;

struct board_view {
	const struct board *board; /* the process's; not to be closed */
	int64_t now_ms, seen_ms;   /* ms since 1970; seen: taskd's last sign of life */
	int64_t started_ms;        /* of the dispatcher */
	enum taskd_life life;
	double seconds;            /* that the dispatcher has counted */
};

/* For routes that need the ring. False: *answer is the refusal (there is no board, or another version's). */
bool board_look(const struct web_request *request, struct board_view *view, struct web_answer *answer);
/* The attached ring, for looking only. */
const struct ring *board_ring(const struct web_request *request);

/* A word of the board or 2^63 - 1: JSON's integers are signed here. A new reference. */
json_t *count_json(uint64_t value);
json_t *counter_json(const _Atomic uint64_t *word);

/* A histogram: count, sum, max, p50, p99, p99.9 and the buckets that hold something, coarser than the board's. */
json_t *hist_json(const struct hist *hist);
extern const struct schema_field hist_fields_schema[];
/* One of them: values up to `upper_ns` and above the one before. */
json_t *bucket_json(uint64_t upper_ns, uint64_t count);
extern const struct schema bucket_schema;

/* A row of the board as JSON, at that place. NULL: it is not to be shown; *failed: out of memory. */
typedef json_t *board_row_fn(const struct board *board, uint32_t row, bool *failed);
/* A list of `count` rows, those that are shown. NULL: out of memory. */
json_t *rows_json(const struct board *board, uint32_t count, board_row_fn *make);
/* {member: rows} with the rows by their name. Takes the reference; NULL: out of memory. */
struct web_answer answer_rows(const char *member, json_t *rows);

#endif
