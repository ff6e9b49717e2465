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

#endif
