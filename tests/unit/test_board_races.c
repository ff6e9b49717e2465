/*
 * The board against time: readers beside a busy writer never see a mixture of two states, and a
 * writer may die after any instruction. For that a child is single-stepped through the writer's
 * calls; at every instruction that changed the shared memory, its readers' view is checked, and a
 * copy of the memory, which is what a kill -9 there would leave, is taken over.
 */
#include "tests/unit/board_fixture.h"

#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "shared/id.h"

/* ---- every field says the same number ---------------------------------------------------- */

/* A status in which each field follows from `number`, so that any mixture shows. */
static void show_number(struct board_writer *writer, uint32_t *slot, uint32_t task, uint32_t number,
    enum tr_state state)
{
	char handler[32], error[64], result[64];

	snprintf(handler, sizeof handler, "handler-of-task-%u", task);
	snprintf(error, sizeof error, "error %u, as long as two words", number);
	int bytes = snprintf(result, sizeof result, "{\"number\":%u}", number);
	struct board_status status = { .id = id_of(task), .state = state, .worker = (uint16_t)number,
		.attempt = number, .max_attempts = number + 1, .created_ms = number + 2, .due_ms = number + 3,
		.started_ms = number + 4, .ended_ms = number + 5, .handler = text_of(handler),
		.queue = text_of("default"), .error = error, .result = result, .result_bytes = (uint32_t)bytes };

	board_show(writer, slot, &status);
}

static void progress_number(struct board_writer *writer, uint32_t slot, uint32_t task, uint32_t number)
{
	char text[64];
	struct tr_id id = id_of(task);
	int bytes = snprintf(text, sizeof text, "progress %u, as long as two words", number);

	board_progress(writer, slot, &id, number, number + 1, text, (size_t)bytes);
}

static bool is_whole(const struct board_entry *entry, uint32_t task)
{
	char handler[32], error[64], result[64], progress[64] = "";
	uint32_t number = entry->attempt;

	snprintf(handler, sizeof handler, "handler-of-task-%u", task);
	snprintf(error, sizeof error, "error %u, as long as two words", number);
	snprintf(result, sizeof result, "{\"number\":%u}", number);
	if (entry->progress_total > 0)
		snprintf(progress, sizeof progress, "progress %" PRIu64 ", as long as two words", entry->progress_done);
	return entry->used && entry->worker == (uint16_t)number && entry->max_attempts == number + 1 &&
	    entry->created_ms == number + 2 && entry->due_ms == number + 3 && entry->started_ms == number + 4 &&
	    entry->ended_ms == number + 5 && entry->result_bytes == strlen(result) &&
	    (entry->progress_total == 0 ? entry->progress_done == 0 : entry->progress_total == entry->progress_done + 1) &&
	    strcmp(entry->handler, handler) == 0 && strcmp(entry->queue, "default") == 0 &&
	    strcmp(entry->error, error) == 0 && strcmp(entry->result, result) == 0 &&
	    strcmp(entry->progress_text, progress) == 0;
}

/* A line of so many words of that number, which go round the ring of texts many times. */
static void log_number(struct board_writer *writer, uint32_t number)
{
	const struct tr_id id = id_of(number % 3);
	char text[TR_LOG_LINE_MAX + 1];
	size_t bytes = 0;

	for (uint32_t i = 0; i < 10 + number % 90; i++)
		bytes += (size_t)snprintf(text + bytes, sizeof text - bytes, "%09u ", number);
	board_log_event(writer, &id, number, 1, 6, text, bytes);
}

/* Nothing of another text stands in it. */
static bool is_whole_line(const struct board_event *event, const char *text)
{
	char word[16];

	snprintf(word, sizeof word, "%09u ", event->attempt);
	if (strlen(text) != 10 * (10 + event->attempt % 90))
		return false;
	for (; *text != '\0'; text += 10)
		if (strncmp(text, word, 10) != 0)
			return false;
	return true;
}

static bool is_whole_event(const struct board_event *event, uint64_t serial)
{
	static const char progress[] = "progress ", rest[] = ", as long as two words";
	char text[64], *end;

	if (event->serial != serial)
		return false;
	if (event->kind == EVENT_LOG)
		return strtoul(event->text, &end, 10) == event->attempt;
	if (event->kind == EVENT_PROGRESS)
		return strncmp(event->text, progress, sizeof progress - 1) == 0 &&
		    strtoul(event->text + sizeof progress - 1, &end, 10) > 0 && strcmp(end, rest) == 0;
	snprintf(text, sizeof text, "error %u%s", event->attempt, rest);
	return event->kind == EVENT_TASK_STATE && event->worker == (uint16_t)event->attempt &&
	    strcmp(event->text, text) == 0;
}

/* ---- readers beside a writer ------------------------------------------------------------- */

#define STRESS_TASKS 24 /* for 16 entries: tasks push each other out all the time */

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define STRESS_ROUNDS 40000u
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define STRESS_ROUNDS 40000u
#endif
#endif
#ifndef STRESS_ROUNDS
#define STRESS_ROUNDS 1000000u
#endif

struct stress {
	const struct board *board;
	_Atomic bool done;
	uint64_t found, followed, missed, mixed, lines, lost; /* of one reader, read after it has ended */
};

static void *find_all(void *context)
{
	struct stress *stress = context;
	struct board_entry entry;

	for (uint32_t task = 0; !atomic_load(&stress->done); task = (task + 1) % STRESS_TASKS) {
		struct tr_id id = id_of(task);
		if (!board_find(stress->board, &id, &entry))
			continue;
		stress->found++;
		stress->mixed += !is_whole(&entry, task);
	}
	return NULL;
}

static void *follow_events(void *context)
{
	struct stress *stress = context;
	struct board_event event;
	uint64_t serial = 1;
	char text[TR_LOG_LINE_MAX + 1];

	for (;;) {
		bool last_round = atomic_load(&stress->done);
		int got = board_event(stress->board, serial, &event);
		if (got == 1) {
			stress->followed++;
			stress->mixed += !is_whole_event(&event, serial);
			if (event.kind == EVENT_LOG && board_event_text(stress->board, &event, text)) {
				stress->lines++;
				stress->mixed += !is_whole_line(&event, text);
			} else if (event.kind == EVENT_LOG) {
				stress->lost++;
			}
			serial++;
		} else if (got < 0) {
			uint64_t next = atomic_load(&stress->board->last_event) + 1 - stress->board->events;
			stress->missed += next > serial ? next - serial : 1;
			serial = next > serial ? next : serial + 1;
		} else if (last_round) {
			return NULL;
		}
	}
}

static void test_readers_beside_writer(void)
{
	static const struct board_geometry geometry = { .entries = 2 * BOARD_BUCKET, .events = 64, .mode = 0600 };
	struct board_writer *writer = open_writer(&geometry);
	/* The writer's own mapping: ThreadSanitizer knows memory by its address. */
	struct stress finder = { .board = board_writer_board(writer) }, follower = finder;
	uint32_t slots[STRESS_TASKS];
	pthread_t threads[2];

	for (uint32_t i = 0; i < STRESS_TASKS; i++)
		slots[i] = BOARD_NO_SLOT;
	CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[0], NULL, find_all, &finder), 0);
	CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[1], NULL, follow_events, &follower), 0);
	for (uint32_t i = 1; i <= STRESS_ROUNDS; i++) {
		uint32_t task = i * 2654435761u % STRESS_TASKS;
		if (i % 5 == 4) {
			progress_number(writer, slots[task], task, i);
		} else if (i % 3 == 2) {
			log_number(writer, i);
		} else if (i % 7 == 6) {
			board_hide(writer, &slots[task]);
		} else {
			show_number(writer, &slots[task], task, i, i % 3 == 0 ? TR_SUCCEEDED : TR_RUNNING);
		}
	}
	atomic_store(&finder.done, true);
	atomic_store(&follower.done, true);
	pthread_join(threads[0], NULL);
	pthread_join(threads[1], NULL);
	uint64_t events = atomic_load(&board_writer_board(writer)->last_event);
	printf("%" PRIu64 " copies, %" PRIu64 " events read, %" PRIu64 " missed, %" PRIu64 " lines whole, %" PRIu64 " lost ... ",
	    finder.found, follower.followed, follower.missed, follower.lines, follower.lost);
	CU_ASSERT_EQUAL(finder.mixed, 0);
	CU_ASSERT_EQUAL(follower.mixed, 0);
	CU_ASSERT_TRUE(finder.found > 0 && follower.lines > 0);
	CU_ASSERT_EQUAL(follower.followed + follower.missed, events);
	board_writer_close(&writer, true);
}

/* ---- a writer that dies at any instruction ----------------------------------------------- */

#define STEP_TASK 1
#define STEP_OTHER 2

/* What the child does, from a stop to a stop: every kind of writing, over entries used before. */
static void work(struct board_writer *writer, uint32_t *slot)
{
	struct board_worker worker = { .state = WORKER_BUSY, .pid = 99, .tasks = 5, .pool = "default" };
	uint32_t other = BOARD_NO_SLOT;

	show_number(writer, slot, STEP_TASK, 20, TR_RUNNING);
	progress_number(writer, *slot, STEP_TASK, 21);
	log_number(writer, 90); /* a short one, as long texts go */
	show_number(writer, slot, STEP_TASK, 22, TR_SUCCEEDED);
	show_number(writer, &other, STEP_OTHER, 23, TR_QUEUED); /* takes the place of the first */
	board_worker_set(writer, 0, &worker);
	board_hide(writer, &other);
}

static const struct board_geometry stepped = { .entries = BOARD_BUCKET, .workers = 1, .lanes = 1, .events = 4, .mode = 0600 };

_Noreturn static void child(void)
{
	struct board_writer *writer;
	struct tr_error error;
	uint32_t slot = BOARD_NO_SLOT, filler = BOARD_NO_SLOT;

	if (board_writer_open(&writer, instance, &stepped, &error) != TR_OK)
		_exit(1);
	for (uint32_t i = 0; i < BOARD_BUCKET - 1; i++) {
		filler = BOARD_NO_SLOT;
		show_number(writer, &filler, 100 + i, 10 + i, TR_RUNNING);
	}
	show_number(writer, &slot, STEP_TASK, 19, TR_QUEUED);
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
		_exit(2);
	raise(SIGSTOP);
	work(writer, &slot);
	raise(SIGSTOP);
	_exit(0);
}

/* Starts the child and leaves it at its first stop. */
static pid_t start_child(void)
{
	int status = 0;
	fflush(stdout);
	pid_t pid = fork();

	CU_ASSERT_TRUE_FATAL(pid >= 0);
	if (pid == 0)
		child();
	CU_ASSERT_EQUAL_FATAL(waitpid(pid, &status, 0), pid);
	CU_ASSERT_TRUE_FATAL(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
	return pid;
}

/* One instruction further. False: the work is done, or went wrong, which *status tells. */
static bool step(pid_t pid, int *status)
{
	return ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) == 0 && waitpid(pid, status, 0) == pid &&
	    WIFSTOPPED(*status) && WSTOPSIG(*status) == SIGTRAP;
}

static void kill_child(pid_t pid)
{
	int status = 0;

	CU_ASSERT_EQUAL(kill(pid, SIGKILL), 0);
	CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
	CU_ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static unsigned odd_entries(const struct board *board)
{
	unsigned odd = 0;

	for (uint32_t i = 0; i < board->entries; i++)
		odd += atomic_load(&board_entries(board)[i].sequence) % 2;
	return odd;
}

/* What readers see of a writer that stopped here: whole states only, and never an older one. */
static bool view_is_right(const struct board *board, uint32_t *newest)
{
	struct tr_id id = id_of(STEP_TASK), other = id_of(STEP_OTHER), filler = id_of(101);
	struct board_entry entry;
	struct board_event event;
	char text[TR_LOG_LINE_MAX + 1];
	uint64_t last = atomic_load(&board->last_event);

	if (board_find(board, &id, &entry)) {
		if (!is_whole(&entry, STEP_TASK) || entry.attempt < *newest)
			return false;
		*newest = entry.attempt;
	}
	if (board_find(board, &other, &entry) && !is_whole(&entry, STEP_OTHER))
		return false;
	if (!board_find(board, &filler, &entry) || !is_whole(&entry, 101) || odd_entries(board) > 1)
		return false;
	int got = board_event(board, last, &event);
	/* It is announced after its text. */
	if (got == 1 && event.kind == EVENT_LOG && (!board_event_text(board, &event, text) || !is_whole_line(&event, text)))
		return false;
	return got == 1 && (event.kind == EVENT_WORKER || is_whole_event(&event, last)) &&
	    board_event(board, last + 1, &event) == 0;
}

/* What the next dispatcher makes of this memory: under another name, so that the child goes on. */
static bool take_over_is_right(const struct board *frozen, const char *copy_of)
{
	static const struct board_geometry *geometry = &stepped;
	char name[sizeof segment + 8];
	struct board_writer *writer;
	struct board_entry entry;
	struct tr_error error;
	uint64_t highest = 0;
	uint32_t slot = BOARD_NO_SLOT;
	struct tr_id id = id_of(STEP_TASK), other = id_of(STEP_OTHER);

	snprintf(name, sizeof name, "/%s.board", copy_of);
	int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	bool copied = fd >= 0 && write(fd, frozen, frozen->size) == (ssize_t)frozen->size;
	close(fd);
	if (!copied || board_writer_open(&writer, copy_of, geometry, &error) != TR_OK)
		return false;
	for (uint32_t i = 0; i < frozen->events; i++) {
		uint64_t serial = atomic_load(&board_events(frozen)[i].serial);
		highest = serial > highest ? serial : highest;
	}
	struct board *board = board_writer_board(writer);
	bool right = atomic_load(&board->incarnation) == 2 && odd_entries(board) == 0 &&
	    atomic_load(&board->last_event) == highest && !board_find(board, &id, &entry) &&
	    !board_find(board, &other, &entry) &&
	    stat_get(board, STAT_board_evicted) == stat_get(frozen, STAT_board_evicted);
	show_number(writer, &slot, STEP_TASK, 50, TR_RUNNING);
	right = right && board_find(board, &id, &entry) && is_whole(&entry, STEP_TASK) && entry.attempt == 50;
	board_writer_close(&writer, true);
	return right;
}

/*
 * memcmp() and memcpy(), but by the word and not the sanitizers' own: they look at the past of each byte,
 * which at every instruction of a child took a minute.
 */
__attribute__((no_sanitize("thread", "address"))) static bool take_changes(uint64_t *known, const void *memory, size_t bytes)
{
	const uint64_t *now = memory;
	bool changed = false;

	for (size_t i = 0; i < bytes / sizeof *now; i++) {
		if (known[i] == now[i])
			continue;
		known[i] = now[i];
		changed = true;
	}
	return changed;
}

static void test_death_at_any_instruction(void)
{
	static uint64_t known[(1 << 19) / sizeof(uint64_t)];
	pid_t pid = start_child();
	const struct board *board = open_reader();
	size_t bytes = board->size;
	char copy_of[40];
	unsigned instructions = 0, states = 0, torn = 0, wrong = 0;
	uint32_t newest = 19;
	int status = 0;

	CU_ASSERT_TRUE_FATAL(bytes <= sizeof known && bytes % sizeof known[0] == 0);
	snprintf(copy_of, sizeof copy_of, "%s-copy", instance);
	take_changes(known, board, bytes);
	for (; step(pid, &status); instructions++) {
		if (!take_changes(known, board, bytes))
			continue;
		states++;
		torn += odd_entries(board) > 0;
		wrong += !view_is_right(board, &newest) || !take_over_is_right(board, copy_of);
	}
	printf("%u instructions, %u states of the memory, %u of them torn ... ", instructions, states, torn);
	CU_ASSERT_TRUE(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP); /* the work was done */
	CU_ASSERT_EQUAL(wrong, 0);
	CU_ASSERT_EQUAL(newest, 22);
	CU_ASSERT_TRUE(torn > 40 && torn < states);
	kill_child(pid);
	board_close(&board);
	CU_ASSERT_EQUAL(shm_unlink(segment), 0);
}

/* The same once with a real kill -9, in the middle of an entry. */
static void test_kill_while_odd(void)
{
	pid_t pid = start_child();
	const struct board *board = open_reader();
	struct tr_id id = id_of(STEP_TASK);
	struct board_entry entry;
	int status = 0;

	CU_ASSERT_TRUE(board_find(board, &id, &entry));
	for (unsigned after_odd = 0; after_odd < 40 && step(pid, &status);)
		after_odd += odd_entries(board);
	CU_ASSERT_EQUAL(odd_entries(board), 1);
	CU_ASSERT_TRUE(board_is_held(instance));
	kill_child(pid);
	CU_ASSERT_FALSE(board_is_held(instance));
	CU_ASSERT_FALSE(board_find(board, &id, &entry));
	CU_ASSERT_EQUAL(odd_entries(board), 1);

	struct board_writer *writer = open_writer(&stepped);
	CU_ASSERT_EQUAL(odd_entries(board), 0);
	CU_ASSERT_EQUAL(atomic_load(&board->incarnation), 2);
	uint32_t slot = BOARD_NO_SLOT;
	show_number(writer, &slot, STEP_TASK, 60, TR_RUNNING);
	CU_ASSERT_TRUE(board_find(board, &id, &entry) && is_whole(&entry, STEP_TASK) && entry.attempt == 60);
	board_close(&board);
	board_writer_close(&writer, true);
}

int main(void)
{
	static const struct suite_test tests[] = {
		{ "readers beside a writer", test_readers_beside_writer },
		{ "death at any instruction", test_death_at_any_instruction },
		{ "kill -9 in the middle of an entry", test_kill_while_odd },
	};

	return RUN_BOARD_TESTS("board-races", tests);
}
