/*
 * A worker thread's event loop and its doorman. In: the lane's bell, and what handlers start on the
 * loop; out: their callbacks. Called by worker.c between pieces of work, and by pending.c.
 *
 * No bell is missed: the thread reads its number, announces that it sleeps, looks for work once more,
 * and gives the number to the doorman, which waits until it is another one. A bell too many only
 * makes the loop look once more.
 */
#include "taskd/worker_loop.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#define CLOSING_TURNS 8 /* close callbacks that close further handles: more than this is a habit */

struct worker_loop {
	uv_loop_t uv;
	uv_async_t woken; /* keeps the loop waiting when nothing else does */
	struct mailbox *mailbox;
	uint32_t lane;
	bool posted; /* the thread's own copy of `on_duty` */

	pthread_t doorman;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* Under the lock. */
	bool on_duty, dismissed;
	uint32_t heard; /* the bell's number that the doorman knows */
};

/* ---- the doorman ------------------------------------------------------------------------- */

static void *doorman_main(void *context)
{
	struct worker_loop *loop = context;

	pthread_mutex_lock(&loop->lock);
	for (;;) {
		while (!loop->on_duty && !loop->dismissed)
			pthread_cond_wait(&loop->changed, &loop->lock);
		if (loop->dismissed)
			break;
		uint32_t heard = loop->heard;
		pthread_mutex_unlock(&loop->lock);
		uint32_t now = mailbox_bell(loop->mailbox, loop->lane);
		if (now == heard)
			mailbox_wait_for_bell(loop->mailbox, loop->lane, heard);
		else
			uv_async_send(&loop->woken);
		pthread_mutex_lock(&loop->lock);
		/* An older number than the thread has given meanwhile costs one look too many. */
		loop->heard = now;
	}
	pthread_mutex_unlock(&loop->lock);
	return NULL;
}

/* No handler's signal is delivered to it. */
static bool doorman_start(struct worker_loop *loop)
{
	sigset_t all, before;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int failure = pthread_create(&loop->doorman, NULL, doorman_main, loop);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return failure == 0;
}

static void doorman_post(struct worker_loop *loop, uint32_t heard)
{
	if (loop->posted)
		return;
	loop->posted = true;
	pthread_mutex_lock(&loop->lock);
	loop->on_duty = true;
	loop->heard = heard;
	pthread_cond_signal(&loop->changed);
	pthread_mutex_unlock(&loop->lock);
}

void worker_loop_rest(struct worker_loop *loop)
{
	if (!loop->posted)
		return;
	loop->posted = false;
	pthread_mutex_lock(&loop->lock);
	loop->on_duty = false; /* it notices at the next bell */
	pthread_mutex_unlock(&loop->lock);
}

static void doorman_dismiss(struct worker_loop *loop)
{
	pthread_mutex_lock(&loop->lock);
	loop->dismissed = true;
	pthread_cond_signal(&loop->changed);
	pthread_mutex_unlock(&loop->lock);
	mailbox_ring_bell(loop->mailbox, loop->lane);
	pthread_join(loop->doorman, NULL);
}

/* ---- the loop ---------------------------------------------------------------------------- */

/* What woke the loop is in the mailbox, where the thread looks after each turn. */
static void on_woken(uv_async_t *woken)
{
	(void)woken;
}

/* Runs what closes; false: handlers have left more than that. */
static bool close_uv(struct worker_loop *loop)
{
	uv_close((uv_handle_t *)&loop->woken, NULL);
	for (int i = 0; i < CLOSING_TURNS; i++) {
		uv_run(&loop->uv, UV_RUN_NOWAIT);
		if (uv_loop_close(&loop->uv) == 0)
			return true;
	}
	return false;
}

struct worker_loop *worker_loop_open(struct mailbox *mailbox, uint32_t lane)
{
	struct worker_loop *loop = calloc(1, sizeof *loop);

	if (!loop)
		return NULL;
	loop->mailbox = mailbox;
	loop->lane = lane;
	pthread_mutex_init(&loop->lock, NULL); /* neither of them fails on Linux */
	pthread_cond_init(&loop->changed, NULL);
	if (uv_loop_init(&loop->uv) != 0) {
		free(loop);
		return NULL;
	}
	if (uv_async_init(&loop->uv, &loop->woken, on_woken) != 0) {
		uv_loop_close(&loop->uv);
		free(loop);
		return NULL;
	}
	if (!doorman_start(loop)) {
		close_uv(loop);
		free(loop);
		return NULL;
	}
	return loop;
}

void worker_loop_close(struct worker_loop **loop)
{
	struct worker_loop *gone = *loop;

	*loop = NULL;
	if (!gone)
		return;
	doorman_dismiss(gone);
	if (!close_uv(gone))
		return;
	pthread_cond_destroy(&gone->changed);
	pthread_mutex_destroy(&gone->lock);
	free(gone);
}

uv_loop_t *worker_loop_uv(struct worker_loop *loop)
{
	return &loop->uv;
}

bool worker_loop_is_idle(struct worker_loop *loop)
{
	uv_unref((uv_handle_t *)&loop->woken);
	bool idle = !uv_loop_alive(&loop->uv);
	uv_ref((uv_handle_t *)&loop->woken);
	return idle;
}

void worker_loop_turn(struct worker_loop *loop)
{
	uv_run(&loop->uv, UV_RUN_NOWAIT);
}

void worker_loop_wait(struct worker_loop *loop)
{
	uint32_t heard = mailbox_bell(loop->mailbox, loop->lane);
	bool waits = mailbox_falls_asleep(loop->mailbox, loop->lane);

	if (waits)
		doorman_post(loop, heard);
	uv_run(&loop->uv, waits ? UV_RUN_ONCE : UV_RUN_NOWAIT);
	mailbox_wakes_up(loop->mailbox, loop->lane);
}
