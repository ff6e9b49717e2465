/*
 * Workers played by the test: a mailbox that both sides have mapped, so that the test says whatever
 * a process might say, and dies when the test says so. Beside dispatch_fixture.h.
 */
#ifndef DISPATCH_WORKER_H
#define DISPATCH_WORKER_H

#include "tests/unit/dispatch_fixture.h"

#include <signal.h>

struct player {
	uint32_t row;
	int memory_fd;
	struct mailbox *mailbox; /* the worker's view */
	struct worker *worker;   /* the dispatcher's */
	struct work_head head;   /* of what was claimed last */
	const char *message;
	struct tr_id id;
};

static inline struct player player_start(uint32_t row, uint32_t threads)
{
	struct player player = { .row = row, .memory_fd = mailbox_create(threads) };

	CU_ASSERT_FATAL(player.memory_fd >= 0);
	workers_started(&world.dispatcher, row, 1000 + (int32_t)row, 0, threads, 0, player.memory_fd);
	player.worker = &world.dispatcher.workers[row];
	player.mailbox = mailbox_open(player.memory_fd, threads, -1);
	CU_ASSERT_FATAL(player.worker->alive && player.mailbox);
	return player;
}

/* The supervisor tells of its end; status as waitpid's. */
static inline void player_dies(struct player *player, int status, bool killed_by_us)
{
	settle_worker_ended(&world.dispatcher, player->worker, status, killed_by_us, 4321);
	CU_ASSERT_FALSE(player->worker->alive);
	mailbox_close(&player->mailbox);
	close(player->memory_fd);
}

static inline void say(const struct player *player, uint32_t lane, enum message_kind kind, uint64_t serial, uint8_t code,
    uint64_t number, const char *text, size_t bytes)
{
	const struct message_head head = { .kind = (uint8_t)kind, .code = code, .serial = serial, .number = number,
		.at_ns = world.dispatcher.now_ns, .text_bytes = (uint32_t)bytes };

	mailbox_send(player->mailbox, lane, &head, text);
}

/* All threads take work from now on. */
static inline void player_ready(const struct player *player)
{
	for (uint32_t i = 0; i < player->worker->lane_count; i++)
		say(player, i, MESSAGE_READY, 0, 0, 0, "", 0);
	CU_ASSERT_EQUAL(outcome_turn(&world.dispatcher), player->worker->lane_count);
}

static inline void claim(struct player *player, uint32_t lane)
{
	const char *bytes;
	struct record record;
	struct tr_error error;
	size_t used;

	CU_ASSERT_TRUE_FATAL(mailbox_claim(player->mailbox, lane, &player->head, &bytes, &player->message));
	CU_ASSERT_PTR_NULL(record_decode(bytes, player->head.record_bytes, &record, &used, &error));
	player->id = record.id;
}

/* Claims what lies in the lane and begins it. */
static inline struct task *begin(struct player *player, uint32_t lane)
{
	claim(player, lane);
	say(player, lane, MESSAGE_STARTED, player->head.serial, 0, 0, "", 0);
	outcome_turn(&world.dispatcher);
	return task_of(player->id);
}

static inline void end(struct player *player, uint32_t lane, enum tr_outcome outcome, uint64_t number, const char *text)
{
	say(player, lane, MESSAGE_ENDED, player->head.serial, (uint8_t)outcome, number, text, strlen(text));
	outcome_turn(&world.dispatcher);
}

static inline void answer(struct player *player, enum tr_verdict_kind verdict, uint64_t number, const char *text, size_t bytes)
{
	say(player, 0, MESSAGE_VERDICT, player->head.serial, (uint8_t)verdict, number, text, bytes);
	outcome_turn(&world.dispatcher);
}

/* Claims what lies in the lane, begins it, and its handler answers TR_PENDING; the work's serial. */
static inline uint64_t begin_pending(struct player *player, uint32_t lane)
{
	begin(player, lane);
	say(player, lane, MESSAGE_PENDING, player->head.serial, 0, 0, "", 0);
	outcome_turn(&world.dispatcher);
	return player->head.serial;
}

static inline void end_pending(const struct player *player, uint32_t lane, uint64_t serial, enum tr_outcome outcome,
    const char *text)
{
	say(player, lane, MESSAGE_ENDED, serial, (uint8_t)outcome, 0, text, strlen(text));
	outcome_turn(&world.dispatcher);
}

/* Claims what tells a pending work to stop: its serial. */
static inline uint64_t claim_stop(struct player *player, uint32_t lane, enum mailbox_stop why)
{
	const char *record, *message;

	CU_ASSERT_TRUE_FATAL(mailbox_claim(player->mailbox, lane, &player->head, &record, &message));
	CU_ASSERT_EQUAL_FATAL(player->head.kind, WORK_STOP);
	CU_ASSERT_EQUAL(player->head.attempt, (uint32_t)why);
	CU_ASSERT_EQUAL(player->head.record_bytes + player->head.message_bytes, 0);
	return player->head.serial;
}

/* Takes from the ring and gives out. */
static inline unsigned give(void)
{
	intake_turn(&world.dispatcher);
	scheduler_tick(&world.dispatcher);
	return workforce_assign(&world.dispatcher);
}

#define EXIT(code) ((code) << 8) /* as waitpid(2) tells it */

static struct player one;

/* A worker with one idle thread. */
static inline void start_worker(void)
{
	one = player_start(0, 1);
	player_ready(&one);
}

/* The same, running a new task of `handler`. */
static inline struct task *run_task(const struct record *record)
{
	start_worker();
	publish(record, 1);
	CU_ASSERT_EQUAL(give(), 1);
	return begin(&one, 0);
}

static inline struct task *run_handler(const char *handler)
{
	const struct record record = record_for(handler);

	return run_task(&record);
}

static inline const char *attempt_row(struct tr_id id, unsigned attempt)
{
	settle();
	return sql("SELECT outcome, message, verdict, exit_code, signal, peak_memory_kb, worker_pid FROM attempt "
	    "WHERE task = x'%s' AND attempt = %u", hex(id), attempt);
}

/* The handler is known to be quick, so that its work is pushed ahead. */
static inline void make_quick(struct player *player, const char *handler)
{
	publish_one(handler);
	CU_ASSERT_EQUAL(give(), 1);
	begin(player, 0);
	end(player, 0, TR_SUCCESS, 0, "");
}

#endif
