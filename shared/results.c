/* The words for results and states, made from their tables. Called by everyone. */
#include <string.h>

#include "taskring/taskring.h"

static const struct {
	const char *name;
	int http_status;
	const char *text;
} results[TR_RESULTS] = {
#define RESULT(name, status, text) [TR_##name] = { #name, status, text },
#include "taskring/results.tbl"
#undef RESULT
};

static const struct {
	const char *name;
	bool ended;
} states[TR_STATES] = {
#define STATE(name, shown, ended, text) [TR_##name] = { shown, ended },
#include "taskring/states.tbl"
#undef STATE
};

static bool is_result(enum tr_result result)
{
	return (unsigned)result < TR_RESULTS;
}

const char *tr_result_name(enum tr_result result)
{
	return is_result(result) ? results[result].name : "UNKNOWN";
}

const char *tr_result_text(enum tr_result result)
{
	return is_result(result) ? results[result].text : "no such result";
}

int tr_result_http_status(enum tr_result result)
{
	return is_result(result) ? results[result].http_status : 500;
}

const char *tr_state_name(enum tr_state state)
{
	return (unsigned)state < TR_STATES ? states[state].name : "unknown";
}

bool tr_state_is_ended(enum tr_state state)
{
	return (unsigned)state < TR_STATES && states[state].ended;
}

enum tr_state tr_state_by_name(const char *name)
{
	for (unsigned state = 0; state < TR_STATES; state++)
		if (strcmp(states[state].name, name) == 0)
			return (enum tr_state)state;
	return TR_STATES;
}
