#include <stdio.h>

#include "taskring/taskring.h"

int main(int argc, char **argv)
{
	struct taskring *ring;
	struct background_tasks *background;
	struct tr_error error;
	if (tr_open(&ring, argc > 1 ? argv[1] : "taskring", NULL, &error) != TR_OK) {
		fprintf(stderr, "publish: %s\n", error.text);
		return 1;
	}
	if (background_tasks_new(&background, ring) != TR_OK)
		return 1;
	const struct task_options options = { .on_failure = "patient", .hard_timeout_ms = 60000 };
	enum tr_result result = background_tasks_add(background, "make_report", "{\"month\":11}", &options);
	if (result == TR_OK) {
		struct tr_id id = background_tasks_id(background, 0);
		char text[TR_ID_TEXT_SIZE];
		result = background_tasks_publish(background, 0); /* whole or not at all; never waits for room */
		if (result == TR_OK)
			puts(tr_id_format(&id, text));
	}
	if (result != TR_OK)
		fprintf(stderr, "publish: %s\n", background_tasks_error(background));
	background_tasks_free(&background);
	tr_close(&ring);
	return result == TR_OK ? 0 : 1;
}
