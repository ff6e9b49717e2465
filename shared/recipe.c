/*
 * What a dead task was added with, so that one like it can be added. Enters: an id. Leaves: handler, options and
 * arguments as they are, from the journal and the spool. Called by who lets an operator edit a task and try again.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "archive_db.h"
#include "client.h"
#include "record.h"
#include "spool.h"

#define NAMED(COLUMN) COLUMN(handler) COLUMN(queue) COLUMN(on_failure)
#define NUMBERS(COLUMN) \
	COLUMN(max_attempts) COLUMN(backoff_base_ms) COLUMN(backoff_cap_ms) COLUMN(soft_timeout_ms) COLUMN(hard_timeout_ms)
#define SELECTED(column) ", " #column

static const char recipe_sql[] = "SELECT state, flags, args_bytes, args" NAMED(SELECTED) NUMBERS(SELECTED)
    " FROM task WHERE id = ?1";

/* What the row alone has. TR_NOT_FOUND stands for args that are in the spool. */
static enum tr_result read_args(sqlite3_stmt *row, struct tr_task_recipe *recipe)
{
	size_t bytes = (size_t)sqlite3_column_bytes(row, 3);
	const void *args = sqlite3_column_blob(row, 3);

	recipe->args = malloc(bytes + 1);
	if (!recipe->args)
		return TR_NO_MEMORY;
	if (bytes > 0)
		memcpy(recipe->args, args, bytes);
	recipe->args[bytes] = '\0';
	return TR_OK;
}

static void read_name(sqlite3_stmt *row, int column, char name[TR_NAME_MAX + 1])
{
	const char *text = (const char *)sqlite3_column_text(row, column);

	snprintf(name, TR_NAME_MAX + 1, "%s", text ? text : "");
}

static enum tr_result read_row(sqlite3_stmt *row, struct tr_task_recipe *recipe, int64_t *flags, size_t *args_bytes)
{
	int column = 0;

	if (sqlite3_column_int64(row, column++) != TR_DEAD)
		return TR_INVALID;
	*flags = sqlite3_column_int64(row, column++);
	*args_bytes = (size_t)sqlite3_column_int64(row, column++);
	recipe->has_file = *flags & RECORD_FILE;
	column++;
#define READ_NAME(name) read_name(row, column++, recipe->name);
	NAMED(READ_NAME)
#undef READ_NAME
#define READ_NUMBER(name) recipe->options.name = (uint32_t)sqlite3_column_int64(row, column++);
	NUMBERS(READ_NUMBER)
#undef READ_NUMBER
	recipe->options.queue = recipe->queue;
	recipe->options.on_failure = recipe->on_failure[0] ? recipe->on_failure : NULL;
	return *flags & RECORD_SPOOLED ? TR_OK : read_args(row, recipe);
}

/* Under the lock. */
static enum tr_result from_archive(struct archive *archive, const struct tr_id *id, struct tr_task_recipe *recipe, int64_t *flags,
    size_t *args_bytes)
{
	enum tr_result result = archive_connect(archive);
	sqlite3_stmt *statement;

	if (result != TR_OK)
		return result;
	int code = sqlite3_prepare_v2(archive->connection, recipe_sql, -1, &statement, NULL);
	if (code == SQLITE_OK) {
		sqlite3_bind_blob(statement, 1, id->bytes, sizeof id->bytes, SQLITE_STATIC);
		code = sqlite3_step(statement);
	}
	if (code == SQLITE_ROW)
		result = read_row(statement, recipe, flags, args_bytes);
	sqlite3_finalize(statement);
	return code == SQLITE_ROW ? result : archive_no_row(archive, code);
}

/* NOT_FOUND: taskd has removed the file meanwhile, with the task. */
static enum tr_result read_spooled(const char *dir, const struct tr_id *id, size_t bytes, struct tr_task_recipe *recipe)
{
	char name[SPOOL_NAME_SIZE], path[4096];
	size_t used = 0;

	if (!dir || bytes > TR_ARGS_MAX || snprintf(path, sizeof path, "%s/%s", dir, spool_name(id, SPOOL_ARGS, name)) >= (int)sizeof path)
		return TR_SYSTEM;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return errno == ENOENT ? TR_NOT_FOUND : TR_SYSTEM;
	recipe->args = malloc(bytes + 1);
	ssize_t got = recipe->args ? 1 : 0;
	while (got > 0 && used < bytes) {
		got = read(fd, recipe->args + used, bytes - used);
		used += got > 0 ? (size_t)got : 0;
	}
	close(fd);
	if (!recipe->args)
		return TR_NO_MEMORY;
	recipe->args[used] = '\0';
	return used == bytes ? TR_OK : TR_SYSTEM;
}

enum tr_result tr_task_recipe(struct taskring *ring, const struct tr_id *id, struct tr_task_recipe *recipe)
{
	int64_t flags = 0;
	size_t args_bytes = 0;

	memset(recipe, 0, sizeof *recipe);
	if (ring->magic != CLIENT_MAGIC)
		return TR_FORKED;
	pthread_mutex_lock(&ring->lock);
	enum tr_result result = client_archive(ring);
	if (result == TR_OK)
		result = from_archive(ring->archive, id, recipe, &flags, &args_bytes);
	pthread_mutex_unlock(&ring->lock);
	if (result == TR_OK && flags & RECORD_SPOOLED)
		result = read_spooled(ring->spool_dir, id, args_bytes, recipe);
	if (result != TR_OK)
		tr_task_recipe_clear(recipe);
	return result;
}

void tr_task_recipe_clear(struct tr_task_recipe *recipe)
{
	/* With what nobody else is to see. */
	if (recipe->args)
		explicit_bzero(recipe->args, strlen(recipe->args));
	free(recipe->args);
	memset(recipe, 0, sizeof *recipe);
}
