/* A producer of the world's instance, through the public functions; the clock is the real one. Beside dispatch_fixture.h. */
#ifndef DISPATCH_CLIENT_H
#define DISPATCH_CLIENT_H

#include "tests/unit/dispatch_fixture.h"

static struct taskring *client;
static struct background_tasks *batch;

static inline int64_t real_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* A producer of the world's instance, and a batch; the world's clock is the real one. */
static inline void open_client(void)
{
	const struct tr_open_options options = { .spool_dir = world.spool, .journal = world.journal };
	struct tr_error error;

	set_now(real_ms());
	CU_ASSERT_EQUAL_FATAL(tr_open(&client, world.instance, &options, &error), TR_OK);
	CU_ASSERT_EQUAL_FATAL(background_tasks_new(&batch, client), TR_OK);
}

static inline void close_client(void)
{
	background_tasks_free(&batch);
	CU_ASSERT_PTR_NULL(batch);
	tr_close(&client);
	CU_ASSERT_PTR_NULL(client);
}

/* The world's dispatcher takes and journals what is there. */
static inline void dispatch(void)
{
	set_now(real_ms());
	settle();
}

/* ---- what goes into its batch -------------------------------------------------------------- */

static inline enum tr_result add_to_batch(const char *handler, const char *args)
{
	return background_tasks_add(batch, handler, args, NULL);
}

static inline char *text_of_bytes(size_t bytes)
{
	char *text = malloc(bytes + 1);

	CU_ASSERT_PTR_NOT_NULL_FATAL(text);
	memset(text, 'a', bytes);
	text[bytes] = '\0';
	return text;
}

/* Fills the client's lane with one batch after the other; nobody takes them. */
static inline unsigned fill_lane(void)
{
	struct background_tasks *filler;
	unsigned published = 0;
	char *args = text_of_bytes(TR_ARGS_INLINE_MAX);

	CU_ASSERT_EQUAL_FATAL(background_tasks_new(&filler, client), TR_OK);
	for (;;) {
		CU_ASSERT_EQUAL_FATAL(background_tasks_add(filler, "filler", args, NULL), TR_OK);
		if (background_tasks_publish(filler, 0) != TR_OK)
			break;
		published++;
	}
	EXPECT_TEXT(background_tasks_error(filler), tr_result_text(TR_LANE_FULL));
	/* The rest, to the last slot. */
	background_tasks_clear(filler);
	while (background_tasks_add(filler, "filler", NULL, NULL) == TR_OK && background_tasks_publish(filler, 0) == TR_OK)
		published++;
	background_tasks_free(&filler);
	free(args);
	return published;
}

#endif
