/*
 * What the dashboard asks for, over a board and a ring that the test makes: figures that stand in shared
 * memory go in, JSON as the routes declare it comes out. No taskd runs.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include "app/time_text.h"
#include "shared/board.h"
#include "tests/unit/app/web_fixture.h"
#include "tests/unit/runner.h"

#define ENTRIES BOARD_BUCKET
#define WORKERS 4
#define LANES 2
#define EVENTS 4

static struct board *board;
static char board_name[80];

static int64_t now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static uint64_t place(uint64_t *at, size_t bytes)
{
	uint64_t begins = *at;
	*at = (begins + bytes + 63) & ~63ull;
	return begins;
}

/* A board as taskd makes it, empty, with a dispatcher that beat just now and holds the lock. */
static void make_board(void)
{
	uint64_t at = (sizeof(struct board) + 63) & ~63ull;
	struct board head = { .magic = BOARD_MAGIC, .version = BOARD_VERSION, .tables = board_tables_hash(), .entries = ENTRIES,
		.workers = WORKERS, .lanes = LANES, .events = EVENTS, .queues = BOARD_QUEUES, .handlers = BOARD_HANDLERS,
		.identity = 7 };
	head.entries_at = place(&at, ENTRIES * sizeof(struct board_entry));
	head.workers_at = place(&at, WORKERS * sizeof(struct board_worker));
	head.lanes_at = place(&at, LANES * sizeof(struct board_lane));
	head.queues_at = place(&at, BOARD_QUEUES * sizeof(struct board_queue));
	head.handlers_at = place(&at, BOARD_HANDLERS * sizeof(struct board_handler));
	head.events_at = place(&at, EVENTS * sizeof(struct board_event));
	head.text_words = 64;
	head.texts_at = place(&at, 64 * sizeof(uint64_t));
	head.size = at;
	snprintf(head.instance, sizeof(head.instance), "%s", instance);
	snprintf(board_name, sizeof(board_name), "/%s.board", instance);
	int fd = shm_open(board_name, O_RDWR | O_CREAT | O_EXCL, 0600);
	CU_ASSERT_FATAL(fd >= 0 && ftruncate(fd, (off_t)at) == 0);
	board = mmap(NULL, at, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CU_ASSERT_FATAL(board != MAP_FAILED);
	close(fd);
	memcpy(board, &head, sizeof(head));
	atomic_store(&board->heartbeat_ms, now_ms());
	atomic_store(&board->started_ms, now_ms() - 10000);
	atomic_store(&board->running_state, BOARD_RUNNING);
}

static json_int_t integer_at(const json_t *json, const char *member)
{
	CU_ASSERT_TRUE(json_is_integer(json_object_get(json, member)));
	return json_integer_value(json_object_get(json, member));
}

static const char *text_at(const json_t *json, const char *member)
{
	const char *text = json_string_value(json_object_get(json, member));
	return text != NULL ? text : "";
}

/* Before taskd has ever run there is no board; what needs none answers all the same. */
static void test_no_board(void)
{
	static const char *const paths[] = { "/stats", "/workers", "/queues", "/handlers" };
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		serve("GET", paths[i], "");
		CU_ASSERT_EQUAL(answer.status, 503);
	}
	serve("GET", "/ring", "");
	CU_ASSERT_EQUAL(answer.status, 200);
	CU_ASSERT_EQUAL(integer_at(answer.body, "batches"), 0);
	CU_ASSERT_EQUAL(integer_at(answer.body, "lanes_free"), 2);
	serve("GET", "/stats/history", "");
	CU_ASSERT_EQUAL(answer.status, 404);
}

static void test_stats(void)
{
	make_board();
	atomic_store(&board->stats[STAT_task_accepted], 120);
	atomic_store(&board->stats_before[STAT_task_accepted], 20);
	atomic_store(&board->stats[STAT_task_running], 3);
	atomic_store(&board->stats[STAT_ring_bytes], UINT64_MAX); /* beyond JSON's integers here */
	for (unsigned i = 1; i <= 1000; i++)
		hist_add(&board->hists[HIST_wait_ns], i * 1000);
	serve("GET", "/stats", "");
	CU_ASSERT_EQUAL_FATAL(answer.status, 200);
	const json_t *counters = json_object_get(answer.body, "counters");
	CU_ASSERT_EQUAL(integer_at(counters, "task_accepted"), 120);
	CU_ASSERT_EQUAL(integer_at(counters, "ring_bytes"), INT64_MAX);
	CU_ASSERT_PTR_NULL(json_object_get(counters, "task_running"));
	CU_ASSERT_EQUAL(integer_at(json_object_get(answer.body, "gauges"), "task_running"), 3);
	/* Nobody holds the board's lock: dead, so what counts are the 10 s until it was last seen. */
	CU_ASSERT_STRING_EQUAL(text_at(json_object_get(answer.body, "taskd"), "state"), "dead");
	CU_ASSERT_DOUBLE_EQUAL(json_number_value(json_object_get(json_object_get(answer.body, "rates"), "task_accepted")), 10, 0.1);

	const json_t *wait = json_object_get(json_object_get(answer.body, "histograms"), "wait_ns"), *bucket;
	json_int_t seen = 0, before = 0;
	size_t i;
	CU_ASSERT_EQUAL(integer_at(wait, "count"), 1000);
	CU_ASSERT_EQUAL(integer_at(wait, "sum"), 500500000);
	CU_ASSERT_TRUE(integer_at(wait, "p50") >= 500000 && integer_at(wait, "p50") <= 540000);
	json_array_foreach(json_object_get(wait, "buckets"), i, bucket) {
		CU_ASSERT_TRUE(integer_at(bucket, "le") > before && integer_at(bucket, "count") > 0);
		before = integer_at(bucket, "le");
		seen += integer_at(bucket, "count");
	}
	CU_ASSERT_EQUAL(seen, 1000);
	CU_ASSERT_TRUE(before >= 1000000 && before < 1310720);
}

static void test_workers(void)
{
	struct board_worker *row = board_workers(board) + 2;
	row->state = WORKER_BUSY;
	row->pid = 4711;
	row->threads = 4;
	row->memory_kb = 2048;
	row->started_ms = now_ms() - 5000;
	row->restarts = 1;
	row->last_exit_ms = now_ms() - 6000;
	row->last_signal = 9;
	row->peak_memory_kb = 9000;
	strcpy(row->pool, "default");
	/* Its tasks: the running ones, wherever on the board; not one that waits, nor one of a worker that is none. */
	for (unsigned i = 0; i < ENTRIES; i++) {
		struct board_entry *entry = board_entries(board) + i;
		entry->used = 1;
		entry->state = i == 0 ? TR_QUEUED : TR_RUNNING;
		entry->worker = i == 1 ? WORKERS + 1 : i == 2 ? 2 : 3;
		entry->id.bytes[15] = (uint8_t)(i + 1);
		strcpy(entry->handler, "<b>count</b>");
		strcpy(entry->queue, "default");
	}
	serve("GET", "/workers", "");
	CU_ASSERT_EQUAL_FATAL(answer.status, 200);
	const json_t *workers = json_object_get(answer.body, "workers"), *worker = json_array_get(workers, 0);
	CU_ASSERT_EQUAL_FATAL(json_array_size(workers), 1);
	CU_ASSERT_EQUAL(integer_at(worker, "row"), 2);
	CU_ASSERT_STRING_EQUAL(text_at(worker, "state"), "busy");
	CU_ASSERT_EQUAL(integer_at(worker, "memory_kb"), 2048);
	CU_ASSERT_EQUAL(integer_at(json_object_get(worker, "last_exit"), "signal"), 9);
	CU_ASSERT_EQUAL(integer_at(worker, "running_count"), ENTRIES - 3);
	CU_ASSERT_EQUAL(json_array_size(json_object_get(worker, "running")), ENTRIES - 3);
	CU_ASSERT_STRING_EQUAL(text_at(json_array_get(json_object_get(worker, "running"), 0), "handler"), "<b>count</b>");
	serve("GET", "/stats", "");
	CU_ASSERT_EQUAL(integer_at(json_object_get(answer.body, "workers"), "threads"), 4);
	CU_ASSERT_EQUAL(integer_at(json_object_get(answer.body, "workers"), "memory_kb"), 2048);
	/* A row that a writer died in is left out; a state that is none does not crash. */
	atomic_store(&row->sequence, 1);
	serve("GET", "/workers", "");
	CU_ASSERT_EQUAL(json_array_size(json_object_get(answer.body, "workers")), 0);
	atomic_store(&row->sequence, 0);
}

static void test_queues_and_handlers(void)
{
	static const char *const names[] = { "mail", "default" };
	for (size_t i = 0; i < 2; i++) {
		struct board_queue *queue = board_queues(board) + 3 * i;
		strcpy(queue->name, names[i]);
		queue->paused = i == 0;
		queue->waiting = 5 + i;
		queue->oldest_due_ms = i == 0 ? now_ms() - 3000 : 0;
	}
	serve("GET", "/queues", "");
	CU_ASSERT_EQUAL_FATAL(answer.status, 200);
	const json_t *queues = json_object_get(answer.body, "queues");
	CU_ASSERT_EQUAL_FATAL(json_array_size(queues), 2);
	CU_ASSERT_STRING_EQUAL(text_at(json_array_get(queues, 0), "name"), "default");
	CU_ASSERT_TRUE(json_is_null(json_object_get(json_array_get(queues, 0), "oldest_due")));
	CU_ASSERT_TRUE(json_is_true(json_object_get(json_array_get(queues, 1), "paused")));
	CU_ASSERT_EQUAL(integer_at(json_array_get(queues, 1), "waiting"), 5);

	struct board_handler *handler = board_handlers(board);
	strcpy(handler->name, "mail");
	strcpy(handler->doc, "Sends a mail");
	handler->started = 100;
	handler->failed = 1;
	handler->run[3] = 98;
	handler->run[7] = 2;
	serve("GET", "/handlers", "");
	CU_ASSERT_EQUAL_FATAL(answer.status, 200);
	const json_t *run = json_object_get(json_array_get(json_object_get(answer.body, "handlers"), 0), "run");
	CU_ASSERT_EQUAL(integer_at(run, "count"), 100);
	CU_ASSERT_EQUAL(integer_at(run, "p50"), (json_int_t)board_run_limit_ns(3));
	CU_ASSERT_EQUAL(integer_at(run, "p99"), (json_int_t)board_run_limit_ns(7));
	CU_ASSERT_EQUAL(json_array_size(json_object_get(run, "buckets")), 2);
}

/* The ring's two lanes: this process owns none, then one; what was refused is counted by who refused it. */
static void test_ring(void)
{
	serve("POST", "/calculations", "{\"limit\":10}");
	CU_ASSERT_EQUAL(answer.status, 202);
	serve("GET", "/ring", "");
	CU_ASSERT_EQUAL_FATAL(answer.status, 200);
	CU_ASSERT_EQUAL(integer_at(answer.body, "cells_used"), 1);
	CU_ASSERT_EQUAL(integer_at(answer.body, "lanes_free"), 1);
	const json_t *lane = json_array_get(json_object_get(answer.body, "lanes"), 0);
	CU_ASSERT_TRUE(json_is_true(json_object_get(lane, "live")));
	CU_ASSERT_EQUAL(integer_at(lane, "pid"), getpid());
	CU_ASSERT_EQUAL(integer_at(answer.body, "refused"), 0);
	unsigned refused = 0;
	for (unsigned i = 0; i < 70; i++) {
		serve("POST", "/calculations", "{\"limit\":10}");
		refused += answer.status == 503;
	}
	CU_ASSERT_TRUE(refused > 0);
	serve("GET", "/ring", "");
	CU_ASSERT_EQUAL(integer_at(answer.body, "refused"), refused);
}

/* A producer that was killed: its lane is owned still, and nobody lives in it. */
static void test_dead_lane(void)
{
	fflush(stdout);
	pid_t child = fork();
	if (child == 0) {
		struct taskring *own = NULL;
		struct background_tasks *tasks = NULL;
		bool published = tr_open(&own, instance, NULL, NULL) == TR_OK && background_tasks_new(&tasks, own) == TR_OK &&
		    background_tasks_add(tasks, "x", "{}", NULL) == TR_OK && background_tasks_publish(tasks, 0) == TR_OK;
		_exit(published ? 0 : 1);
	}
	int status = -1;
	CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
	CU_ASSERT_EQUAL_FATAL(status, 0);
	serve("GET", "/ring", "");
	CU_ASSERT_EQUAL(integer_at(answer.body, "lanes_free"), 0);
	unsigned dead = 0;
	const json_t *lane;
	size_t i;
	json_array_foreach(json_object_get(answer.body, "lanes"), i, lane) {
		if (json_is_false(json_object_get(lane, "live"))) {
			CU_ASSERT_EQUAL(integer_at(lane, "pid"), child);
			dead++;
		}
	}
	CU_ASSERT_EQUAL(dead, 1);
}

static void test_times(void)
{
	static const struct {
		const char *text;
		int64_t at_ms;
	} rows[] = {
		{ "1970-01-01T00:00:01Z", 1000 }, { "2026-01-31T09:05:00.250Z", 1769850300250 }, { "2026-01-31t09:05:00.2z", 1769850300200 },
		{ "2026-01-31T10:05:00.2505+01:00", 1769850300250 }, { "2026-01-31T07:35:00-01:30", 1769850300000 },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		CU_ASSERT_EQUAL(time_ms(rows[i].text), rows[i].at_ms);
}

int main(void)
{
	static const struct suite_test tests[] = {
		{ "no_board", test_no_board },
		{ "stats", test_stats },
		{ "workers", test_workers },
		{ "queues_and_handlers", test_queues_and_handlers },
		{ "ring", test_ring },
		{ "dead_lane", test_dead_lane },
		{ "times", test_times },
	};

	return RUN_TESTS_WITHIN("looking", open_ring, close_ring, tests);
}
