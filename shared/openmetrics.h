/*
 * The board as metrics text for Prometheus and its kin: counters, gauges and histograms of
 * stats.tbl, under the names that their conventions ask for (prometheus.io/docs/practices/naming):
 * taskring_NAME, times in seconds, _total for counters; and queues and handlers, labelled with their names, at
 * most as many as the board has rows (256 each). Called by taskstat -p and GET /metrics.
 */
#ifndef TR_OPENMETRICS_H
#define TR_OPENMETRICS_H

#include "board.h"

enum metrics_format {
	METRICS_TEXT,        /* Prometheus' text format, version 0.0.4 */
	METRICS_OPENMETRICS, /* OpenMetrics 1.0: counters' families without _total, an EOF line */
};

const char *metrics_content_type(enum metrics_format format);

/*
 * The metrics text, malloc()ed and zero-terminated; NULL: out of memory. `board` NULL: there is none,
 * and only taskring_up 0 is said. `up`: taskd runs or drains, and shows life.
 */
char *metrics_text(const struct board *board, bool up, enum metrics_format format);

#endif
