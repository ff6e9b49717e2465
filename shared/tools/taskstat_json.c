/* taskstat -j: a view in, one JSON object out. */
#include "shared/tools/taskstat.h"

#include <jansson.h>
#include <stdio.h>
#include <time.h>

/* An object under construction; `failed` when anything of it could not be made. */
struct object {
	json_t *json;
	bool failed;
};

static struct object begin(void)
{
	json_t *json = json_object();

	return (struct object){ .json = json, .failed = json == NULL };
}

/* Takes `value` over, also when it fails. */
static void put(struct object *object, const char *key, json_t *value)
{
	if (json_object_set_new(object->json, key, value) != 0)
		object->failed = true;
}

static void put_object(struct object *object, const char *key, struct object value)
{
	object->failed = object->failed || value.failed;
	put(object, key, value.json);
}

/* JSON's integers are signed here; a counter that ever got beyond them stays at their end. */
static void put_number(struct object *object, const char *key, uint64_t value)
{
	put(object, key, json_integer(value > INT64_MAX ? INT64_MAX : (json_int_t)value));
}

static void put_time(struct object *object, const char *key, int64_t at_ms)
{
	time_t at_s = (time_t)(at_ms / 1000);
	char seconds[32], text[48];
	struct tm utc;

	if (gmtime_r(&at_s, &utc) == NULL || strftime(seconds, sizeof seconds, "%Y-%m-%dT%H:%M:%S", &utc) == 0) {
		object->failed = true;
		return;
	}
	snprintf(text, sizeof text, "%s.%03dZ", seconds, (int)(at_ms % 1000));
	put(object, key, json_string(text));
}

static struct object taskd_object(const struct view *view)
{
	struct object taskd = begin();

	put(&taskd, "state", json_string(taskd_life_name[view->life]));
	put(&taskd, "pid", json_integer(view->pid));
	put(&taskd, "incarnation", json_integer(atomic_load_explicit(&view->board->incarnation, memory_order_relaxed)));
	put(&taskd, "started_ms", json_integer(view->started_ms));
	put(&taskd, "seen_ms", json_integer(view->seen_ms));
	return taskd;
}

static void put_stats(struct object *counters, struct object *rates, struct object *gauges,
    const struct view *view)
{
	for (unsigned i = 0; i < STATS; i++) {
		const char *name = stat_info[i].name;
		if (!is_selected(&view->selection, name))
			continue;
		bool counts = stat_info[i].kind == COUNTER;
		put_number(counts ? counters : gauges, name,
		    atomic_load_explicit(&view->board->stats[i], memory_order_relaxed));
		if (counts)
			put(rates, name, json_real(counter_rate(view, (enum stat_row)i)));
	}
}

static void put_hists(struct object *hists, const struct view *view)
{
	for (unsigned i = 0; i < HISTS; i++) {
		struct object hist = begin();
		for (unsigned k = 0; k < HIST_FIELDS; k++)
			if (is_field_selected(&view->selection, hist_info[i].name, hist_fields[k].name))
				put_number(&hist, hist_fields[k].name, hist_fields[k].read(&view->board->hists[i]));
		if (json_object_size(hist.json) > 0) {
			put_object(hists, hist_info[i].name, hist);
		} else {
			hists->failed = hists->failed || hist.failed;
			json_decref(hist.json);
		}
	}
}

bool print_json(const struct view *view)
{
	struct object root = begin(), counters = begin(), rates = begin(), gauges = begin(), hists = begin();

	put(&root, "version", json_string(TASKRING_VERSION));
	put(&root, "board_version", json_integer(BOARD_VERSION));
	put_time(&root, "timestamp", view->now_ms);
	put(&root, "timestamp_ms", json_integer(view->now_ms));
	put(&root, "instance", json_string(view->instance));
	put_object(&root, "taskd", taskd_object(view));
	put_stats(&counters, &rates, &gauges, view);
	put_hists(&hists, view);
	put_object(&root, "counters", counters);
	put_object(&root, "rates", rates);
	put_object(&root, "gauges", gauges);
	put_object(&root, "histograms", hists);
	bool printed = !root.failed && json_dumpf(root.json, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6)) == 0 &&
	    putchar('\n') != EOF;
	if (root.failed)
		fprintf(stderr, "taskstat: out of memory\n"); /* main() looks for write errors */
	json_decref(root.json);
	return printed;
}
