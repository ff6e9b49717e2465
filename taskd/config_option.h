/*
 * The options of the configuration file as a table: where each goes, what it may hold, what it is
 * when it is not given, what it is for. Reading, error messages, config_restart_needed(), taskd -o and the
 * manual page follow the rows. Only config*.c includes this.
 */
#ifndef TASKD_CONFIG_OPTION_H
#define TASKD_CONFIG_OPTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "taskd/config.h"

enum option_type {
	OPTION_NUMBER,
	OPTION_SIZE,     /* bytes: a number with k, M, G or T behind it */
	OPTION_DURATION, /* a number with ms, s, m, h or d behind it */
	OPTION_MODE,     /* permission bits, octal */
	OPTION_YESNO,
	OPTION_CHOICE,
	OPTION_NAME,
	OPTION_TEXT,
	OPTION_PATH,
	OPTION_QUEUES,   /* a list of queue names, or "*" */
	OPTION_TEXTS,    /* a list of texts, also empty ones */
	OPTION_VARIABLES, /* a list of NAME=VALUE */
	OPTION_NETWORKS, /* a list of networks: 10.0.0.0/8, fd00::/8 */
};

struct option {
	const char *section; /* "", one of config_titled[], or another section */
	const char *name;
	const char *initial; /* its value when not given, as one would write it; NULL: zero */
	const char *unset;   /* what that means, where `initial` is NULL */
	const char *choices; /* OPTION_CHOICE: the words in the order of their values, spaces between */
	const char *help;
	/* Of the value as it is stored. */
	int64_t least, most;
	int64_t unit_ms;     /* OPTION_DURATION: stored in units of this many ms */
	int32_t multiple_of; /* 0: of anything */
	int32_t first_choice;
	uint16_t at, bytes;  /* the field in struct config, or in the record of a titled section */
	enum option_type type;
	bool zero;           /* 0 is allowed besides least..most, and turns it off */
	bool power_of_two;
	bool restart;        /* cannot change while taskd runs */
};

extern const struct option config_options[];
extern const size_t config_option_count;

/*
 * The sections that have a title and may stand several times: each is a record of its own, in an
 * array that struct config points to. A record begins with its name, `char[TR_NAME_MAX + 1]`.
 */
struct titled {
	const char *section;
	uint16_t most;         /* records */
	uint16_t record_bytes;
	uint16_t at, count_at; /* the array and the number in struct config */
};
enum { CONFIG_TITLED = 2, CONFIG_RECORDS_MAX = CONFIG_PROGRAMS_MAX };
extern const struct titled config_titled[CONFIG_TITLED];

static inline bool option_is_list(const struct option *option)
{
	return option->type >= OPTION_QUEUES;
}

/* Room for option_allowed(). */
#define OPTION_ALLOWED_SIZE 256

/* What the option may hold, as the end of a sentence: "a number from 1 to 256". Returns `text`. */
const char *option_allowed(const struct option *option, char text[OPTION_ALLOWED_SIZE]);

/*
 * Reads `text` into the option's field of `record` (a struct config, or that of a titled section). False: not
 * allowed, or out of memory (errno is ENOMEM; 0 otherwise). A text that stood there before is freed;
 * to a list it is added.
 */
bool option_set(const struct option *option, void *record, const char *text);
/* Frees what the option's field points to. */
void option_clear(const struct option *option, void *record);

#endif
