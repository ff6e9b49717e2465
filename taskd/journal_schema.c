/*
 * The journal's schema, as steps from one version to the next. A step that was ever released is
 * never edited: a change is a new step and a new JOURNAL_SCHEMA. journal_db.c runs them; the
 * comments inside stay in the file and are shown by the sqlite3 shell's `.schema`.
 *
 * Chosen by counting instructions for 1,000 ended tasks and attempts in a commit: task WITHOUT
 * ROWID costs 4 % more than a rowid and a unique index in insertion, and saves that index in
 * retention and on disk; `state IN (0, 1, 3)` in a partial index costs 7,000 instructions in each
 * row, comparisons 200; NOT NULL on each column 2 %.
 */
#include "taskd/journal_db.h"

#include <assert.h>

#define QUOTE(x) #x
#define QUOTED(x) QUOTE(x)

/* The numbers stand in files. */
static_assert(TR_SCHEDULED == 0 && TR_QUEUED == 1 && TR_RUNNING == 2 && TR_RETRYING == 3 && TR_SUCCEEDED == 4 &&
    TR_DEAD == 5 && TR_CANCELLED == 6 && TR_EXPIRED == 7 && TR_STATES == 8, "states need a migration");

#define UUID(id) \
	"lower(substr(hex(" id "),1,8)||'-'||substr(hex(" id "),9,4)||'-'||substr(hex(" id "),13,4)" \
	"||'-'||substr(hex(" id "),17,4)||'-'||substr(hex(" id "),21))"
#define TIME(ms) "strftime('%Y-%m-%dT%H:%M:%fZ', nullif(" ms ",0)/1000.0, 'unixepoch')"

#define CREATE_TASK \
	"CREATE TABLE task (\n" \
	"  id BLOB NOT NULL PRIMARY KEY,  -- UUID version 7, 16 bytes; view `tasks` shows it as text\n" \
	"  state INTEGER NOT NULL,        -- table `state` has the names; 4 and above have ended\n" \
	"  blocked INTEGER,               -- 1: waits for the task before it in its batch (id - 1)\n" \
	"  cancel_wanted INTEGER,         -- 1: was cancelled while it ran\n" \
	"  deciding INTEGER,              -- 1: failed, and its on-failure callback has not answered\n" \
	"  failure_kind INTEGER,          -- 0 returned, 1 timeout, 2 crashed, 3 killed, 4 bad arguments\n" \
	"  permanent INTEGER,             -- 1: the handler said that another attempt is useless\n" \
	"  attempt INTEGER,               -- attempts started\n" \
	"  failures INTEGER,              -- attempts that count against max_attempts\n" \
	"  due_ms INTEGER, started_ms INTEGER, ended_ms INTEGER, -- ms since 1970, 0: not yet\n" \
	"  handler TEXT, queue TEXT, on_failure TEXT, trace TEXT,\n" \
	"  flags INTEGER,                 -- 1 sequential, 2 durability=disk, 4 arguments in the spool\n" \
	"  place INTEGER, places INTEGER, -- in its batch, from 0\n" \
	"  max_attempts INTEGER, backoff_base_ms INTEGER, backoff_cap_ms INTEGER,\n" \
	"  soft_timeout_ms INTEGER, hard_timeout_ms INTEGER,\n" \
	"  created_ns INTEGER,            -- ns since 1970\n" \
	"  run_at_ms INTEGER, expires_at_ms INTEGER,\n" \
	"  args_bytes INTEGER, args TEXT, -- JSON; empty when it is in the spool\n" \
	"  error TEXT, result TEXT        -- the last failure's message; JSON\n" \
	") WITHOUT ROWID;\n"

#define CREATE_ATTEMPT \
	"CREATE TABLE attempt (\n" \
	"  task BLOB NOT NULL, attempt INTEGER NOT NULL,\n" \
	"  started_ms INTEGER, ended_ms INTEGER, worker_pid INTEGER,\n" \
	"  outcome TEXT, message TEXT,\n" \
	"  verdict TEXT,                  -- of the on-failure callback\n" \
	"  exit_code INTEGER, signal INTEGER, peak_memory_kb INTEGER, -- of a worker that died\n" \
	"  PRIMARY KEY (task, attempt)\n" \
	") WITHOUT ROWID;\n"

/* Each holds what its WHERE reads, so that counting does not visit the table. */
#define CREATE_INDICES \
	"CREATE INDEX task_waiting ON task (queue, due_ms, id, state, blocked)\n" \
	"  WHERE state < 4 AND state <> 2 AND NOT blocked;\n" \
	"CREATE INDEX task_blocked ON task (id, state, blocked) WHERE state < 4 AND state <> 2 AND blocked;\n" \
	"CREATE INDEX task_running ON task (id, state) WHERE state = 2;\n" \
	"CREATE INDEX task_ended ON task (ended_ms, id, state) WHERE state >= 4;\n"

#define CREATE_VIEWS \
	"CREATE VIEW tasks AS SELECT -- one task fast: FROM tasks WHERE key = x'0190...' (id without dashes)\n" \
	"  " UUID("t.id") " AS id, s.name AS state, t.handler, t.queue, t.attempt, t.max_attempts, t.blocked,\n" \
	"  " TIME("t.created_ns/1000000") " AS created, " TIME("t.due_ms") " AS due,\n" \
	"  " TIME("t.started_ms") " AS started, " TIME("t.ended_ms") " AS ended,\n" \
	"  t.error, t.result, t.args, t.id AS key\n" \
	"  FROM task t LEFT JOIN state s ON s.state = t.state;\n" \
	"CREATE VIEW attempts AS SELECT\n" \
	"  " UUID("a.task") " AS task, a.attempt, a.outcome, a.message, a.verdict,\n" \
	"  " TIME("a.started_ms") " AS started, " TIME("a.ended_ms") " AS ended,\n" \
	"  a.worker_pid, a.exit_code, a.signal, a.peak_memory_kb, a.task AS key\n" \
	"  FROM attempt a;\n"

/*
 * Version 2. A line costs one row, tasks without lines cost none. A listing of tasks by id that are to be in a state that few
 * are in walks task_failed; the states of live tasks have their indices above, and those that succeeded are most.
 */
#define ADD_LOG \
	"CREATE TABLE task_log (         -- what handlers logged, see tr_log()\n" \
	"  task BLOB NOT NULL, attempt INTEGER NOT NULL,\n" \
	"  seq INTEGER NOT NULL,          -- the line's number in its attempt, from 1; gaps: lines that were not kept\n" \
	"  at_ms INTEGER, level INTEGER,  -- level as syslog's: 3 error, 4 warning, 6 info, 7 debug\n" \
	"  text TEXT,                     -- NULL: the attempt had seq lines, and this one was not kept either\n" \
	"  PRIMARY KEY (task, attempt, seq)\n" \
	") WITHOUT ROWID;\n" \
	"ALTER TABLE task ADD COLUMN log_lines INTEGER;  -- of the attempt that runs, or was put off\n" \
	"ALTER TABLE task ADD COLUMN retried_ns INTEGER; -- when the last retry was asked for, ns since 1970\n" \
	"CREATE INDEX task_failed ON task (state, id) WHERE state > 4;\n" \
	"CREATE VIEW logs AS SELECT\n" \
	"  " UUID("l.task") " AS task, l.attempt, l.seq, " TIME("l.at_ms") " AS at, l.level, l.text, l.task AS key\n" \
	"  FROM task_log l WHERE l.text IS NOT NULL;\n"

/*
 * Version 3. A paused queue has a row, any other none. In history an hour's row is the sum of its minutes'; its times are
 * packed histograms (shared/hist.h), since percentiles of minutes do not make those of an hour.
 */
#define ADD_HISTORY \
	"ALTER TABLE task RENAME COLUMN retried_ns TO commanded_ns; -- when the last retry or run that was obeyed was asked for\n" \
	"DROP INDEX task_blocked;\n" \
	"CREATE INDEX task_blocked ON task (id, state, blocked, queue) WHERE state < 4 AND state <> 2 AND blocked;\n" \
	"CREATE TABLE queue (name TEXT NOT NULL PRIMARY KEY, paused INTEGER NOT NULL) WITHOUT ROWID; -- 1: none of its tasks starts\n" \
	"CREATE TABLE history (\n" \
	"  span INTEGER NOT NULL,         -- 0: a minute, 1: an hour\n" \
	"  at_ms INTEGER NOT NULL,        -- when it began, ms since 1970\n" \
	"  accepted INTEGER, succeeded INTEGER, dead INTEGER, cancelled INTEGER, expired INTEGER, -- tasks, in it\n" \
	"  started INTEGER, failed INTEGER, -- attempts, in it\n" \
	"  waiting INTEGER, running INTEGER, -- tasks, at its end\n" \
	"  oldest_wait_ms INTEGER,        -- the longest seen in it\n" \
	"  wait BLOB, run BLOB,           -- histograms of the attempts in it\n" \
	"  PRIMARY KEY (span, at_ms)\n" \
	") WITHOUT ROWID;\n"

const struct journal_migration journal_migrations[JOURNAL_SCHEMA] = {
	{ 1,
	    "PRAGMA application_id = " QUOTED(JOURNAL_APPLICATION_ID) ";\n"
	    CREATE_TASK CREATE_ATTEMPT CREATE_INDICES
	    "CREATE TABLE state (state INTEGER PRIMARY KEY, name TEXT NOT NULL, ended INTEGER NOT NULL);\n"
#define STATE(name, shown, ended, text) \
	    "INSERT INTO state VALUES ((SELECT count(*) FROM state), '" shown "', " #ended ");\n"
#include "taskring/states.tbl"
#undef STATE
	    CREATE_VIEWS },
	{ 2, ADD_LOG },
	{ 3, ADD_HISTORY },
};
