/*
 * The demonstration application's plug-in: what follows a registration. Both handlers take
 * {"email": ..., "name": ...}, which the endpoint has checked. Enters: tasks of POST /register.
 * Leaves: a row in the application's own database, and a welcome mail. Loaded by taskd's workers.
 *
 * The database is SQLite, at $TASKRING_SIGNUP_DB, else "signups.db" in the working directory. Its
 * table has one row for each registration, with the task's id as its key, so a task that runs
 * twice leaves one row. E-mail addresses are not unique: who registers twice has two rows, because
 * by then the request has been answered with 202 and there is nobody left to be told.
 *
 * The database is a resource: each worker thread has a connection of its own, opened by the first task
 * that needs it, checked before each, and opened anew when the file was moved or a statement failed.
 */
#include <jansson.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "taskring/handler.h"

#define BUSY_TIMEOUT_MS 5000
#define CREATE_TRIES 50
#define CREATE_PAUSE_MS 20

struct signups {
	sqlite3 *connection;
	sqlite3_stmt *insert;
	sqlite3_stmt *probe; /* reads the table, to see that it can be read */
	bool failed;         /* a statement failed: the next task begins from nothing */
};

static const char schema[] =
    "PRAGMA journal_mode = WAL;"
    "CREATE TABLE IF NOT EXISTS signups ("
    "  task_id TEXT PRIMARY KEY,"
    "  email TEXT NOT NULL,"
    "  name TEXT NOT NULL,"
    "  created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))"
    ") WITHOUT ROWID;";

static const char insert_sql[] =
    "INSERT INTO signups (task_id, email, name) VALUES (?1, ?2, ?3) ON CONFLICT (task_id) DO NOTHING";

static const char probe_sql[] = "SELECT 1 FROM signups LIMIT 1";

struct signup {
	json_t *root;
	const char *email, *name; /* live as long as `root` */
};

/* ---- the arguments ----------------------------------------------------------------------- */

/* TR_SUCCESS: the caller gives `root` back with json_decref(). */
static enum tr_outcome read_signup(struct tr_task *task, struct signup *signup)
{
	json_error_t error;
	*signup = (struct signup){ .root = json_loads(tr_task_args(task), 0, &error) };
	if (signup->root == NULL)
		return tr_fail_permanently(task, "the arguments cannot be read: %s", error.text);
	signup->email = json_string_value(json_object_get(signup->root, "email"));
	signup->name = json_string_value(json_object_get(signup->root, "name"));
	if (signup->email != NULL && signup->name != NULL)
		return TR_SUCCESS;
	json_decref(signup->root);
	return tr_fail_permanently(task, "\"%s\" must be a string", signup->email == NULL ? "email" : "name");
}

/* ---- the database ------------------------------------------------------------------------ */

static void close_signups(void *handle)
{
	struct signups *signups = handle;
	sqlite3_finalize(signups->insert);
	sqlite3_finalize(signups->probe);
	sqlite3_close(signups->connection);
	free(signups);
}

/*
 * SQLite does not wait where two processes switch a new database to WAL at the same time: one of
 * them gets SQLITE_BUSY at once, whatever the busy timeout is.
 */
static int make_schema(sqlite3 *connection)
{
	int code = sqlite3_exec(connection, schema, NULL, NULL, NULL);
	for (int i = 1; code == SQLITE_BUSY && i < CREATE_TRIES; i++) {
		sqlite3_sleep(CREATE_PAUSE_MS);
		code = sqlite3_exec(connection, schema, NULL, NULL, NULL);
	}
	return code;
}

/* SQLITE_OK, or its error; what was opened by then is in *signups. */
static int connect_signups(struct signups *signups, const char *path)
{
	int code = sqlite3_open(path, &signups->connection);
	if (code == SQLITE_OK)
		code = sqlite3_busy_timeout(signups->connection, BUSY_TIMEOUT_MS);
	if (code == SQLITE_OK)
		code = make_schema(signups->connection);
	if (code == SQLITE_OK)
		code = sqlite3_prepare_v3(signups->connection, insert_sql, -1, SQLITE_PREPARE_PERSISTENT,
		    &signups->insert, NULL);
	if (code == SQLITE_OK)
		code = sqlite3_prepare_v3(signups->connection, probe_sql, -1, SQLITE_PREPARE_PERSISTENT,
		    &signups->probe, NULL);
	return code;
}

static bool open_signups(void **handle, struct tr_error *error)
{
	const char *path = getenv("TASKRING_SIGNUP_DB");
	struct signups *signups = calloc(1, sizeof *signups);
	if (signups == NULL) {
		snprintf(error->text, sizeof error->text, "out of memory");
		return false;
	}
	int code = connect_signups(signups, path == NULL || path[0] == '\0' ? "signups.db" : path);
	if (code != SQLITE_OK) {
		snprintf(error->text, sizeof error->text, "%s",
		    signups->connection == NULL ? sqlite3_errstr(code) : sqlite3_errmsg(signups->connection));
		close_signups(signups);
		return false;
	}
	*handle = signups;
	return true;
}

/* False: the file is no longer the one of that name, or the table cannot be read. */
static bool check_signups(void *handle)
{
	struct signups *signups = handle;
	int has_moved = 0;
	if (signups->failed)
		return false;
	if (sqlite3_file_control(signups->connection, "main", SQLITE_FCNTL_HAS_MOVED, &has_moved) == SQLITE_OK && has_moved)
		return false;
	int code = sqlite3_step(signups->probe);
	sqlite3_reset(signups->probe);
	return code == SQLITE_ROW || code == SQLITE_DONE || code == SQLITE_BUSY;
}

/* ---- record_signup ----------------------------------------------------------------------- */

static enum tr_outcome record_signup(struct tr_task *task)
{
	struct signups *signups = tr_resource(task, "signups");
	struct signup signup;
	enum tr_outcome outcome = read_signup(task, &signup);
	if (outcome != TR_SUCCESS)
		return outcome;

	sqlite3_stmt *insert = signups->insert;
	int code = sqlite3_bind_text(insert, 1, tr_task_id(task), -1, SQLITE_STATIC);
	if (code == SQLITE_OK)
		code = sqlite3_bind_text(insert, 2, signup.email, -1, SQLITE_STATIC);
	if (code == SQLITE_OK)
		code = sqlite3_bind_text(insert, 3, signup.name, -1, SQLITE_STATIC);
	if (code == SQLITE_OK && sqlite3_step(insert) != SQLITE_DONE)
		code = sqlite3_reset(insert);
	if (code != SQLITE_OK) {
		signups->failed = true;
		outcome = tr_fail(task, "the signup cannot be written: %s", sqlite3_errmsg(signups->connection));
	} else if (sqlite3_changes(signups->connection) == 0) {
		tr_log(task, TR_INFO, "the signup was recorded by an earlier run");
	}
	sqlite3_reset(insert);
	sqlite3_clear_bindings(insert); /* they point into the arguments */
	json_decref(signup.root);
	return outcome;
}

/* ---- send_email_notification ------------------------------------------------------------- */

/* The arguments of "mail"; freed by the caller. NULL: out of memory. */
static char *compose_welcome(const struct signup *signup)
{
	json_t *mail = json_pack("{s:{s:s, s:s}, s:s+, s:s++}",
	    "to", "address", signup->email, "name", signup->name,
	    "subject", "Welcome, ", signup->name,
	    "text", "Hello ", signup->name, ",\n\nyour registration is complete. Welcome!\n");
	char *text = mail == NULL ? NULL : json_dumps(mail, JSON_COMPACT);
	json_decref(mail);
	return text;
}

static enum tr_outcome send_email_notification(struct tr_task *task)
{
	struct signup signup;
	enum tr_outcome outcome = read_signup(task, &signup);
	if (outcome != TR_SUCCESS)
		return outcome;
	char *mail = compose_welcome(&signup);
	json_decref(signup.root);
	if (mail == NULL)
		return tr_fail(task, "out of memory");
	outcome = tr_call(task, "mail", mail);
	free(mail);
	return outcome;
}

static struct tr_verdict on_mail_failure(struct tr_task *task, const struct tr_failure *failure)
{
	tr_log(task, TR_WARNING, "the welcome mail failed (%s, attempt %u of %u): %s",
	    tr_failure_kind_name(failure->kind), failure->attempt, failure->max_attempts, failure->message);
	return tr_default();
}

/* ---- the plug-in ------------------------------------------------------------------------- */

static const struct tr_resource resources[] = {
	{ .name = "signups", .doc = "The application's database", .open = open_signups, .check = check_signups,
	    .close = close_signups },
};

static const char *const record_signup_needs[] = { "signups", NULL };

static const struct tr_handler handlers[] = {
	{ .name = "record_signup", .doc = "Writes a registration into the application's database", .run = record_signup,
	    .resources = record_signup_needs },
	{ .name = "send_email_notification", .doc = "Sends the welcome mail", .run = send_email_notification,
	    .on_failure = on_mail_failure },
};

__attribute__((visibility("default"))) extern const struct tr_plugin taskring_plugin;
const struct tr_plugin taskring_plugin = {
	.abi = TR_PLUGIN_ABI,
	.handler_count = sizeof handlers / sizeof *handlers,
	.handlers = handlers,
	.resource_count = sizeof resources / sizeof *resources,
	.resources = resources,
};
