/* The dispatcher's second hand: see heartbeat.h. Called by dispatcher.c. */
#include "heartbeat.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "log.h"
#include "shared/spool.h"

#define SWEEP_EVERY_MS 3600000ll
#define SWEEP_AGE_S 3600 /* a producer between naming its file and publishing is long past it */

/* ---- the spool --------------------------------------------------------------------------- */

/* True: no live task needs the file. */
static bool is_left_over(struct dispatcher *dispatcher, int dir, const char *name, struct tr_id *id)
{
	struct stat status;

	if (!tr_id_parse(name, id) || fstatat(dir, name, &status, AT_SYMLINK_NOFOLLOW) != 0)
		return false;
	if (!S_ISREG(status.st_mode) || status.st_mtime > dispatcher->now_ms / 1000 - SWEEP_AGE_S)
		return false;
	const struct task *task = tasks_find(dispatcher, id);
	return !task && !journal_is_live(dispatcher->journal, id);
}

/* Files of producers that died before they published, and of tasks that ended in a crash of taskd. */
static void sweep_spool(struct dispatcher *dispatcher)
{
	DIR *dir = opendir(dispatcher->config->spool_dir);
	const struct dirent *entry;
	struct tr_id id;

	if (!dir)
		return;
	while ((entry = readdir(dir)) != NULL)
		if (is_left_over(dispatcher, dirfd(dir), entry->d_name, &id))
			spool_remove(dispatcher->config->spool_dir, &id);
	closedir(dir);
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

	log_event(LOG_CRIT, "ring-truncated", "rebuilt=%s", result == TR_OK ? "yes" : error.text);
}

/* ---- workers ----------------------------------------------------------------------------- */

void heartbeat_worker_ended(struct dispatcher *dispatcher, struct worker *worker,
    const struct control_message *message)
{
	bool asked = worker->leaving || message->killed_by_us;

	if (!asked) {
		stat_add(dispatcher->board, STAT_worker_died, 1);
		log_event(LOG_ERR, "worker-died", "row=%u pid=%d signal=%d code=%d peak_kb=%llu restart_in_ms=%llu",
		    worker->row, worker->pid, WIFSIGNALED(message->status) ? WTERMSIG(message->status) : 0,
		    WIFEXITED(message->status) ? WEXITSTATUS(message->status) : 0,
		    (unsigned long long)message->peak_memory_kb, (unsigned long long)message->number);
	}
	outcome_worker_ended(dispatcher, worker, message->status, message->killed_by_us != 0,
	    message->peak_memory_kb);
}

/* ---- every second ------------------------------------------------------------------------ */

void heartbeat(struct dispatcher *dispatcher)
{
	struct board *board = dispatcher->board;

	board_heartbeat(dispatcher->writer, dispatcher->now_ms);
	if (dispatcher->ring)
		audit_ring(dispatcher);
	stat_set(board, STAT_task_oldest_wait_ms, (uint64_t)scheduler_oldest_wait_ms(dispatcher));
	for (uint32_t row = 0; row < dispatcher->worker_rows; row++)
		if (dispatcher->workers[row].alive)
			workforce_show(dispatcher, &dispatcher->workers[row]);
	if (!dispatcher->journal)
		return;
	stat_add(board, STAT_journal_removed, journal_removed(dispatcher->journal));
	if (dispatcher->now_ms - dispatcher->swept_ms > SWEEP_EVERY_MS) {
		dispatcher->swept_ms = dispatcher->now_ms;
		sweep_spool(dispatcher);
	}
	const struct control_message alive = { .kind = CONTROL_PROGRESS };
	(void)control_send(dispatcher->control, &alive, -1); /* full: the supervisor is the one that hangs */
}
