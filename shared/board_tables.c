/*
 * The rows of stats.tbl as data: what each counter, gauge and histogram of the board is called,
 * counts and means. Read by taskstat, the metrics endpoint and the tests.
 */
#include "shared/board.h"

const struct stat_info stat_info[STATS] = {
#define STAT(name, kind, unit, text) { #name, kind, unit, text },
#include "shared/stats.tbl"
};

const struct stat_info hist_info[HISTS] = {
#define HIST(name, unit, text) { #name, COUNTER, unit, text },
#include "shared/stats.tbl"
};

/* FNV-1a (Fowler, Noll, Vo), with the terminating zero so that "ab","c" is not "a","bc". */
static uint32_t hash_text(uint32_t hash, const char *text)
{
	do
		hash = (hash ^ (uint8_t)*text) * 16777619u;
	while (*text++ != '\0');
	return hash;
}

uint32_t board_tables_hash(void)
{
	uint32_t hash = 2166136261u;
	for (size_t i = 0; i < STATS; i++) {
		hash = hash_text(hash, stat_info[i].name);
		hash = hash_text(hash, stat_info[i].kind == COUNTER ? "counter" : "gauge");
		hash = hash_text(hash, stat_info[i].unit);
	}
	for (size_t i = 0; i < HISTS; i++) {
		hash = hash_text(hash, hist_info[i].name);
		hash = hash_text(hash, hist_info[i].unit);
	}
	return hash;
}
