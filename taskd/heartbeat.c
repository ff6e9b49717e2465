/* The dispatcher's second hand: see heartbeat.h. Called by dispatcher.c. */
#include "heartbeat.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "log.h"
#include "shared/spool.h"

#define SWEEP_EVERY_MS 3600000ll
#define SWEEP_AGE_S 3600 /* a producer between naming its file and publishing is long past it */
#define SWEEP_AT_ONCE 100
#define BEGIN_NS 1000000000ll /* a thread that has not begun its work after this is thought to hang */
#define LEAVE_MS 10000        /* for a worker that leaves to stop its plug-ins */

/* ---- the spool --------------------------------------------------------------------------- */

/* True: no task can need the file. Its ctime is of its naming, just before it was published. */
static bool is_left_over(struct dispatcher *dispatcher, int dir, const char *name, struct tr_id *id,
    enum spool_kind *kind)
{
	struct stat status;

	if (!spool_name_parse(name, id, kind) || fstatat(dir, name, &status, AT_SYMLINK_NOFOLLOW) != 0)
		return false;
	if (!S_ISREG(status.st_mode) || status.st_ctime > dispatcher->now_ms / 1000 - SWEEP_AGE_S)
		return false;
	const struct task *task = tasks_find(dispatcher, id);
	return !task && !journal_needs_files(dispatcher->journal, id);
}

/*
 * Files of producers that died before they published, and of tasks that ended, or were removed by
 * retention, in a crash of taskd.
 * A few at a time, since the journal is asked for each; and not before all that was in the ring is
 * known as a task: it may have lain there longer than a file's age.
 */
static void begin_sweep(struct dispatcher *dispatcher)
{
	if (dispatcher->now_ms - dispatcher->swept_ms <= SWEEP_EVERY_MS)
		return;
	if (!dispatcher->sweep_until) {
		dispatcher->sweep_until = ring_published(dispatcher->ring) + 1;
		return;
	}
	if (ring_taken(dispatcher->ring) + 1 < dispatcher->sweep_until)
		return;
	dispatcher->swept_ms = dispatcher->now_ms;
	dispatcher->sweep_until = 0;
	dispatcher->sweep = opendir(dispatcher->config->spool_dir);
}

static void sweep_spool(struct dispatcher *dispatcher)
{
	struct tr_id id;
	enum spool_kind kind;

	if (!dispatcher->sweep)
		begin_sweep(dispatcher);
	for (unsigned i = 0; dispatcher->sweep && i < SWEEP_AT_ONCE; i++) {
		const struct dirent *entry = readdir(dispatcher->sweep);
		if (!entry) {
			closedir(dispatcher->sweep);
			dispatcher->sweep = NULL;
		} else if (is_left_over(dispatcher, dirfd(dispatcher->sweep), entry->d_name, &id, &kind)) {
			spool_remove(dispatcher->config->spool_dir, &id, kind);
		}
	}
}

/* ---- the ring ---------------------------------------------------------------------------- */

static void show_lanes(struct dispatcher *dispatcher)
{
	for (uint32_t lane = 0; lane < dispatcher->board->lanes; lane++) {
		struct ring_lane_info info = ring_lane_info(dispatcher->ring, lane);
		if (!info.generation)
			break; /* lanes are given out in order: from here on none was ever used */
		const struct board_lane shown = {
			.owned = info.owned, .generation = info.generation, .pid = info.pid, .batches = info.batches,
		};
		board_lane_set(dispatcher->writer, lane, &shown);
	}
}

static void audit_ring(struct dispatcher *dispatcher)
{
	struct board *board = dispatcher->board;

	ring_audit(dispatcher->ring);
	struct ring_report report = ring_consumer_report(dispatcher->ring);
	stat_add(board, STAT_ring_damaged, report.damaged_batches);
	stat_add(board, STAT_ring_repairs, report.repairs);
	stat_add(board, STAT_lanes_recycled, report.lanes_recycled);
	stat_set(board, STAT_lanes_owned, report.lanes_owned);
	stat_set(board, STAT_ring_cells_used, ring_unretired(dispatcher->ring));
	if (report.damaged_batches || report.repairs)
		log_event(LOG_ERR, "ring-damaged", "batches_dropped=%llu repairs=%llu",
		    (unsigned long long)report.damaged_batches, (unsigned long long)report.repairs);
	show_lanes(dispatcher);
}

void heartbeat_ring_lost(struct dispatcher *dispatcher)
{
	struct tr_error error;
	enum tr_result result = ring_rebuild(dispatcher->ring, &error);

	dispatcher->ring_lost = result != TR_OK; /* then the next second tries again */
	log_event(LOG_CRIT, "ring-truncated", "rebuilt=%s", result == TR_OK ? "yes" : error.text);
}

/* ---- files that others have removed ------------------------------------------------------ */

/*
 * Producers make a ring where they find none, and readers look for a board: we would serve one that nobody comes to
 * any more, and nobody would notice.
 */
static void mind_files(struct dispatcher *dispatcher)
{
	bool ring = ring_consumer_is_stale(dispatcher->ring);

	if (!ring && !board_writer_is_stale(dispatcher->writer))
		return;
	if (!dispatcher->file_gone)
		log_event(LOG_CRIT, "file-gone", "file=/dev/shm/%s.%s", dispatcher->config->instance, ring ? "ring" : "board");
	dispatcher->file_gone = true;
	drain_file_gone(dispatcher);
}

/* ---- workers ----------------------------------------------------------------------------- */

void heartbeat_worker_ended(struct dispatcher *dispatcher, struct worker *worker,
    const struct control_message *message)
{
	outcome_last_words(dispatcher, worker); /* the news of its end may be faster than its LEAVING */
	bool asked = worker->leaving || message->killed_by_us;

	if (!asked) {
		stat_add(dispatcher->board, STAT_worker_died, 1);
		log_event(LOG_ERR, "worker-died", "row=%u pid=%d signal=%d code=%d peak_kb=%llu restart_in_ms=%llu",
		    worker->row, worker->pid, WIFSIGNALED(message->status) ? WTERMSIG(message->status) : 0,
		    WIFEXITED(message->status) ? WEXITSTATUS(message->status) : 0,
		    (unsigned long long)message->peak_memory_kb, (unsigned long long)message->number);
	}
	settle_worker_ended(dispatcher, worker, message->status, message->killed_by_us != 0,
	    message->peak_memory_kb);
}

/*
 * A thread that was given work and does not begin (its process is stopped, or starved) gives back
 * what it has not claimed, and gets no more until it has passed what it was given.
 */
static void mind_lane(struct dispatcher *dispatcher, struct lane *lane)
{
	if (lane->count && !lane->started_ns && dispatcher->now_ns - lane->pushed_ns > BEGIN_NS) {
		workforce_take_back(lane);
		lane->stuffed = true;
		workforce_refile(lane);
	} else if (lane->stuffed && !lane->count && mailbox_is_passed(lane->worker->mailbox, lane->number)) {
		lane->stuffed = false;
		workforce_refile(lane);
	}
}

static bool has_work(const struct worker *worker)
{
	for (uint32_t i = 0; i < worker->lane_count; i++)
		if (workforce_has_work(&worker->lanes[i]))
			return true;
	return false;
}

static void mind_worker(struct dispatcher *dispatcher, struct worker *worker)
{
	for (uint32_t i = 0; i < worker->lane_count; i++)
		mind_lane(dispatcher, &worker->lanes[i]);
	if (worker->doomed) {
		dispatcher->signal_worker(dispatcher, worker, SIGKILL); /* the first time it may not have been heard */
	} else if (!worker->leaving || has_work(worker)) {
		worker->idle_ms = 0;
	} else if (!worker->idle_ms) {
		worker->idle_ms = dispatcher->now_ms;
	} else if (dispatcher->now_ms - worker->idle_ms > LEAVE_MS) {
		log_event(LOG_ERR, "worker-does-not-leave", "row=%u pid=%d", worker->row, worker->pid);
		workers_kill(dispatcher, worker);
	}
}

/* ---- every second ------------------------------------------------------------------------ */

void heartbeat(struct dispatcher *dispatcher)
{
	struct board *board = dispatcher->board;
	uint64_t busy = 0;

	board_heartbeat(dispatcher->writer, dispatcher->now_ms);
	if (dispatcher->ring && dispatcher->ring_lost)
		heartbeat_ring_lost(dispatcher);
	if (dispatcher->ring)
		audit_ring(dispatcher);
	stat_set(board, STAT_task_oldest_wait_ms, (uint64_t)scheduler_oldest_wait_ms(dispatcher));
	for (uint32_t row = 0; row < dispatcher->worker_rows; row++) {
		if (!dispatcher->workers[row].alive)
			continue;
		mind_worker(dispatcher, &dispatcher->workers[row]);
		workers_look(&dispatcher->workers[row]);
		workers_show(dispatcher, &dispatcher->workers[row]);
		busy += workers_busy(&dispatcher->workers[row]);
	}
	stat_set(board, STAT_worker_threads_busy, busy);
	if (!dispatcher->journal)
		return;
	queues_expire(dispatcher);
	history_tick(dispatcher);
	stat_add(board, STAT_journal_removed, journal_removed(dispatcher->journal));
	tasks_show_dead(dispatcher);
	removals_tick(dispatcher);
	if (!dispatcher->draining)
		sweep_spool(dispatcher);
	mind_files(dispatcher);
	const struct control_message alive = { .kind = CONTROL_PROGRESS };
	(void)control_send(dispatcher->control, &alive, -1); /* full: the supervisor is the one that hangs */
}
