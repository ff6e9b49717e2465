/*
 * GET /ring: how full the ring is, and who its producers are. Read from the ring's segment, and from the board what
 * taskd has taken; where there is no board yet, those figures are 0.
 */
#include "app/board_view.h"
#include "app/endpoints.h"
#include "shared/ring.h"

#define COUNT(text) { .types = SCHEMA_INTEGER, .minimum = AT_LEAST(0), .description = (text) }

const struct schema ring_schema = {
	.types = SCHEMA_OBJECT,
	.title = "Ring",
	.fields = (const struct schema_field[]){
		{ "cells", REQUIRED, COUNT("Batches that it holds at most") },
		{ "cells_used", REQUIRED, COUNT("Batches that taskd has not taken over yet") },
		{ "slots_per_lane", REQUIRED, COUNT("Of each producer thread") },
		{ "slot_bytes", REQUIRED, COUNT("Of each slot") },
		{ "batches", REQUIRED, COUNT("Taken out so far") },
		{ "records", REQUIRED, COUNT("Taken out so far") },
		{ "bytes", REQUIRED, COUNT("Taken out so far") },
		{ "refused", REQUIRED, COUNT("Batches for which there was no room or no lane; the client was told") },
		{ "damaged", REQUIRED, COUNT("Batches dropped because their bytes were not what a producer writes") },
		{ "invalid", REQUIRED, COUNT("Records dropped because a field was not allowed") },
		{ "repairs", REQUIRED, COUNT("Cells, cursors or pages that taskd had to set right") },
		{ "lanes_recycled", REQUIRED, COUNT("Lanes of ended producers that were made free") },
		{ "lanes_free", REQUIRED, COUNT("For further producer threads") },
		{ "lanes", REQUIRED, { .types = SCHEMA_ARRAY, .description = "Those that are owned",
			.items = &(const struct schema){ .types = SCHEMA_OBJECT, .fields = (const struct schema_field[]){
				{ "lane", REQUIRED, COUNT("Its number") },
				{ "live", REQUIRED, { .types = SCHEMA_BOOLEAN,
					.description = "false: its producer has ended, and it will be recycled" } },
				{ "pid", REQUIRED, { .types = SCHEMA_INTEGER, .description = "As its producer sees itself" } },
				{ "generation", REQUIRED, COUNT("Odd; one more than twice its owners before") },
				{ "batches", REQUIRED, COUNT("Taken out of it") },
				{ 0 } } } } },
		{ 0 },
	},
};

/* What taskd knows of a lane; all zero where there is no board, or none of this owner. */
static struct board_lane taken_of(const struct board *board, uint32_t lane, uint32_t generation)
{
	struct board_lane row = { .owned = 0 };
	if (board == NULL || lane >= board->lanes || !board_copy_lane(board, lane, &row) || row.generation != generation)
		return (struct board_lane){ .owned = 0 };
	return row;
}

static json_t *lane_json(const struct ring_lane_look *look, uint32_t lane, const struct board_lane *taken)
{
	return json_pack("{s:I, s:b, s:i, s:I, s:o}", "lane", (json_int_t)lane, "live", look->life == LANE_LIVE,
	    "pid", look->pid, "generation", (json_int_t)look->generation, "batches", count_json(taken->batches));
}

static json_t *lanes_json(const struct ring *ring, const struct board *board, json_int_t *free_lanes)
{
	json_t *lanes = json_array();
	int failed = 0;
	for (uint32_t lane = 0; lane < ring_geometry(ring).lanes; lane++) {
		struct ring_lane_look look = ring_lane_look(ring, lane);
		struct board_lane taken = taken_of(board, lane, look.generation);
		if (look.life == LANE_FREE)
			*free_lanes += 1;
		else
			failed |= json_array_append_new(lanes, lane_json(&look, lane, &taken));
	}
	if (failed == 0)
		return lanes;
	json_decref(lanes);
	return NULL;
}

static json_t *stat_json(const struct board *board, enum stat_row row)
{
	return board != NULL ? counter_json(&board->stats[row]) : json_integer(0);
}

struct web_answer get_ring(const struct web_request *request, struct background_tasks *background)
{
	(void)background;
	struct board_view view = { .board = NULL };
	struct web_answer none;
	if (!board_look(request, &view, &none))
		answer_clear(&none);
	const struct ring *ring = board_ring(request);
	const struct tr_geometry geometry = ring_geometry(ring);
	json_int_t free_lanes = 0;
	json_t *lanes = lanes_json(ring, view.board, &free_lanes);
	return answer_json(200, json_pack("{s:I, s:o, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:o}",
	    "cells", (json_int_t)geometry.cells, "cells_used", count_json(ring_used(ring)),
	    "slots_per_lane", (json_int_t)geometry.slots_per_lane, "slot_bytes", (json_int_t)geometry.slot_bytes,
	    "batches", stat_json(view.board, STAT_ring_batches), "records", stat_json(view.board, STAT_ring_records),
	    "bytes", stat_json(view.board, STAT_ring_bytes), "refused", count_json(ring_refused(ring)),
	    "damaged", stat_json(view.board, STAT_ring_damaged), "invalid", stat_json(view.board, STAT_records_invalid),
	    "repairs", stat_json(view.board, STAT_ring_repairs),
	    "lanes_recycled", stat_json(view.board, STAT_lanes_recycled), "lanes_free", free_lanes, "lanes", lanes));
}
