/*
 * The web layer over a real ring of its own, as the tests of app/ use it: serve() makes a request as
 * the transport does, and `answer` is what comes of it.
 */
#ifndef WEB_FIXTURE_H
#define WEB_FIXTURE_H

#include <CUnit/Basic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/access.h"
#include "app/request_head.h"
#include "app/web.h"
#include "shared/resource.h"

static char instance[64];
static struct taskring *ring;
static struct background_tasks *background;
static struct web_request request;
static struct web_answer answer;
static struct web_settings settings = { .durability = TR_MEMORY, .body_limit_bytes = 1u << 20 };
static const char *content_type = "application/json", *authorization;
/* Of a request: who sends it, beyond `authorization`. */
static struct request_head caller = { .peer = "192.0.2.1" };
static struct resource_set *resources;

static void remove_segments(void)
{
	static const char *const kinds[] = { "ring", "board", "wake" };
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		char name[128];
		snprintf(name, sizeof(name), "/dev/shm/%s.%s", instance, kinds[i]);
		unlink(name);
	}
}

/*
 * A table of tokens: each row is "NAME:ROLE", for which one is made and put into *token as a whole header
 * line, or a line of the file as it is. For the caller to free. NULL: it could not be made.
 */
struct token_row {
	const char *row;
	char *token; /* 100 bytes; NULL: `row` is a line */
};

static inline struct tokens *make_tokens(const struct token_row *rows, size_t count)
{
	char path[] = "/tmp/test-tokens-XXXXXX", made[512] = "";
	struct tr_error error = { .text = "" };
	FILE *file = fdopen(mkstemp(path), "w");
	bool well = file != NULL;
	for (size_t i = 0; well && i < count; i++) {
		if (rows[i].token != NULL) {
			FILE *to = fmemopen(made, sizeof(made), "w");
			well = to != NULL && token_make(rows[i].row, to, &error);
			fclose(to);
			char *line = strchr(made, '\n');
			*line = '\0';
			snprintf(rows[i].token, 100, "Bearer %s", made);
			fputs(line + 1, file);
		} else {
			fprintf(file, "%s\n", rows[i].row);
		}
	}
	fclose(file);
	struct tokens *made_tokens = well ? tokens_read(path, &error) : NULL;
	if (made_tokens == NULL)
		fprintf(stderr, "no tokens: %s\n", error.text);
	unlink(path);
	return made_tokens;
}

static inline int open_ring(void)
{
	/* Small, so that it can be filled. */
	const struct tr_open_options options = { .geometry = { .lanes = 2, .slots_per_lane = 64, .slot_bytes = 256 } };
	struct tr_error error;
	resources = resource_set_new();
	snprintf(instance, sizeof(instance), "test-web-%ld", (long)getpid());
	return tr_open(&ring, instance, &options, &error) != TR_OK || background_tasks_new(&background, ring) != TR_OK;
}

static inline int close_ring(void)
{
	answer_clear(&answer);
	resource_set_free(&resources);
	background_tasks_free(&background);
	tr_close(&ring);
	remove_segments();
	return 0;
}

/* The body, a little at a time. */
static ssize_t read_text(void *context, char *to, size_t most)
{
	const char **rest = context;
	size_t bytes = strnlen(*rest, most < 5 ? most : 5);
	memcpy(to, *rest, bytes);
	*rest += bytes;
	return (ssize_t)bytes;
}

/* Each answer is one that its route declares, or that follows from the row. */
static bool is_declared(void)
{
	const struct route *route = request.route;
	if (route == NULL || route_implies(route, answer.status))
		return true;
	for (size_t i = 0; route->answers[i].status != 0; i++)
		if (route->answers[i].status == answer.status)
			return true;
	return false;
}

/* Bodies are like their schemas, too, and those of 422 a list of faults. */
static bool is_as_declared(void)
{
	const struct route *route = request.route;
	if (answer.status == 422)
		return json_is_array(json_object_get(answer.body, "detail"));
	for (size_t i = 0; route != NULL && route->answers[i].status != 0; i++) {
		struct faults faults = { .list = NULL };
		if (route->answers[i].status != answer.status || route->answers[i].body == NULL)
			continue;
		if (route->content_type != NULL && answer.status < 400)
			return answer.content.type != NULL && strncmp(answer.content.type, route->content_type,
			    strlen(route->content_type)) == 0;
		bool well = schema_validate(route->answers[i].body, answer.body, NULL, false, &faults);
		if (!well)
			json_dumpf(faults.list, stdout, 0);
		faults_clear(&faults);
		return well;
	}
	return true;
}

static void serve(const char *method, const char *uri, const char *body)
{
	struct request_head head = caller;
	head.method = method;
	head.uri = uri;
	head.content_type = content_type;
	head.authorization = authorization;
	head.client_request_id = "rid";
	head.traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
	request_head_read(&head, &request);
	request.source = (struct web_source){ .read = read_text, .context = &body };
	request.ring = ring;
	request.resources = resources;
	answer_clear(&answer);
	answer = web_serve(&settings, &request, background);
	if (answer.status == 202 && answer.content.type != NULL) {
		CU_ASSERT_PTR_NULL(answer.body);
		answer.body = json_loadb(answer.content.bytes, answer.content.count, JSON_REJECT_DUPLICATES, NULL);
	}
	CU_ASSERT_TRUE(is_declared());
	CU_ASSERT_TRUE(is_as_declared());
}

static inline uint64_t published(void)
{
	struct tr_health health;
	(void)tr_health(ring, &health); /* NO_BOARD; the ring's figures are there */
	return health.ring_cells_used;
}

static inline const char *detail(void)
{
	const char *text = json_string_value(json_object_get(answer.body, "detail"));
	return text != NULL ? text : "";
}

/* A member of a fault: "msg" or "type". */
static inline const char *fault_text(size_t index, const char *member)
{
	const json_t *fault = json_array_get(json_object_get(answer.body, "detail"), index);
	const char *text = json_string_value(json_object_get(fault, member));
	return text != NULL ? text : "";
}

static inline const char *fault_field(size_t index)
{
	const json_t *fault = json_array_get(json_object_get(answer.body, "detail"), index);
	const char *text = json_string_value(json_array_get(json_object_get(fault, "loc"), 1));
	return text != NULL ? text : "";
}

/* ---- with tokens --------------------------------------------------------------------------- */

static char operator_line[100]; /* the header line of one who may do everything */
static struct tokens *web_tokens;

/* Instead of open_ring(): anybody may submit, the operator may steer. */
static inline int open_with_tokens(void)
{
	const struct token_row rows[] = { { "ada:operator", operator_line }, { "anybody submitter", NULL } };
	web_tokens = make_tokens(rows, 2);
	settings.access = web_tokens != NULL ? access_new(web_tokens, "test", NULL) : NULL;
	return settings.access == NULL || open_ring() != 0;
}

static inline int close_with_tokens(void)
{
	access_free(&settings.access);
	tokens_free(&web_tokens);
	return close_ring();
}

#endif
