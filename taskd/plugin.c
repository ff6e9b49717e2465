/*
 * Loading plug-ins. In: a directory; out: a table of handlers and callbacks by name. Called by
 * worker.c at the start, and by task.c and attempt.c for each name.
 */
#include "taskd/plugin.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shared/record.h"
#include "shared/redact.h"
#include "taskd/exec.h"
#include "taskd/failure.h"
#include "taskd/http.h"
#include "taskd/mail.h"
#include "taskd/transfer.h"

#define ITEMS_MOST 10000u /* of one plug-in: more is a table that is not one */

static const struct tr_handler *const built_in[] = { &http_handler, &mail_handler, &exec_handler };
#define BUILT_IN (sizeof built_in / sizeof built_in[0])

/* Names and what they stand for: open addressing, never more than half full. */
struct name_index {
	struct name_row {
		const char *name; /* NULL: empty */
		size_t bytes;
		const char *origin; /* file, or "taskd" */
		const void *item;
	} *rows;
	size_t size; /* a power of two */
};

struct plugin {
	char *file; /* name in the directory */
	void *object;
	const struct tr_plugin *table;
};

struct plugin_table {
	struct plugin *plugins;
	size_t count;
	struct name_index handlers, callbacks, resources;
};

static bool refuse(struct tr_error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Always false. A sentence too long for *error is cut. */
static bool refuse(struct tr_error *error, const char *format, ...)
{
	va_list values;

	va_start(values, format);
	vsnprintf(error->text, sizeof error->text, format, values);
	va_end(values);
	return false;
}

/* ---- names ------------------------------------------------------------------------------- */

/* FNV-1a. */
static size_t name_hash(const char *name, size_t bytes)
{
	uint64_t hash = 0xcbf29ce484222325ull;

	for (size_t i = 0; i < bytes; i++)
		hash = (hash ^ (unsigned char)name[i]) * 0x100000001b3ull;
	return (size_t)(hash ^ hash >> 32);
}

/* The row that holds the name, or the empty one where it would go. */
static struct name_row *index_row(const struct name_index *index, const char *name, size_t bytes)
{
	size_t at = name_hash(name, bytes);

	for (;; at++) {
		struct name_row *row = &index->rows[at & (index->size - 1)];
		if (!row->name || (row->bytes == bytes && memcmp(row->name, name, bytes) == 0))
			return row;
	}
}

static bool index_open(struct name_index *index, size_t names)
{
	index->size = 16;
	while (index->size < 2 * names)
		index->size *= 2;
	index->rows = calloc(index->size, sizeof *index->rows);
	return index->rows != NULL;
}

static bool index_add(struct name_index *index, const char *what, const char *name, const void *item,
    const char *origin, struct tr_error *error)
{
	if (!name || !record_name_ok(name, strnlen(name, TR_NAME_MAX + 1)))
		return refuse(error, "%s: a %s's name is not 1 to %d of A-Z a-z 0-9 . _ -, not starting with a dot",
		    origin, what, TR_NAME_MAX);
	struct name_row *row = index_row(index, name, strlen(name));
	if (row->name)
		return refuse(error, "%s: the %s \"%s\" is also in %s", origin, what, name, row->origin);
	*row = (struct name_row){ .name = name, .bytes = strlen(name), .origin = origin, .item = item };
	return true;
}

const struct tr_handler *plugin_handler(const struct plugin_table *table, const char *name, size_t bytes)
{
	return index_row(&table->handlers, name, bytes)->item;
}

const struct tr_callback *plugin_callback(const struct plugin_table *table, const char *name, size_t bytes)
{
	return index_row(&table->callbacks, name, bytes)->item;
}

const struct tr_resource *plugin_resource(const struct plugin_table *table, const char *name, size_t bytes)
{
	return index_row(&table->resources, name, bytes)->item;
}

void plugin_each_handler(const struct plugin_table *table, void (*each)(void *context, const struct tr_handler *handler),
    void *context)
{
	for (size_t i = 0; i < table->handlers.size; i++)
		if (table->handlers.rows[i].name)
			each(context, table->handlers.rows[i].item);
}

bool plugin_secrets(const struct tr_handler *handler, char *text)
{
	size_t used = 0;

	for (const char *const *name = handler->secrets; name && *name; name++) {
		size_t bytes = strnlen(*name, TR_NAME_MAX + 3);
		if (!redact_name_ok(*name, bytes) || used + (used > 0) + bytes > TR_SECRETS_MAX)
			return false;
		if (used > 0)
			text[used++] = ',';
		memcpy(text + used, *name, bytes);
		used += bytes;
	}
	text[used] = '\0';
	return true;
}

/* ---- one plug-in ------------------------------------------------------------------------- */

static const char *table_fault(const struct tr_plugin *table)
{
	char secrets[TR_SECRETS_MAX + 1];

	if (table->handler_count > ITEMS_MOST || table->callback_count > ITEMS_MOST || table->resource_count > ITEMS_MOST)
		return "handler_count, callback_count or resource_count is out of bounds";
	if ((table->handler_count && !table->handlers) || (table->callback_count && !table->callbacks) ||
	    (table->resource_count && !table->resources))
		return "handlers, callbacks or resources is NULL";
	for (uint32_t i = 0; i < table->handler_count; i++)
		if (!table->handlers[i].run)
			return "a handler has no run()";
	/* One that could not be kept would be shown. */
	for (uint32_t i = 0; i < table->handler_count; i++)
		if (!plugin_secrets(&table->handlers[i], secrets))
			return "a handler's secrets are not names, or too many";
	for (uint32_t i = 0; i < table->callback_count; i++)
		if (!table->callbacks[i].call)
			return "a callback has no call()";
	for (uint32_t i = 0; i < table->resource_count; i++)
		if (!table->resources[i].open)
			return "a resource has no open()";
	return NULL;
}

static bool plugin_open(struct plugin *plugin, const char *dir, const char *file, struct tr_error *error)
{
	char *path;

	if (asprintf(&path, "%s/%s", dir, file) < 0)
		return refuse(error, "%s: out of memory", file);
	plugin->file = strdup(file);
	plugin->object = plugin->file ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
	free(path);
	if (!plugin->object) {
		const char *reason = plugin->file ? dlerror() : "out of memory";
		return refuse(error, "%s: %s", file, reason ? reason : "dlopen failed");
	}
	plugin->table = dlsym(plugin->object, "taskring_plugin");
	if (!plugin->table)
		return refuse(error, "%s: no symbol taskring_plugin", file);
	if (plugin->table->abi != TR_PLUGIN_ABI)
		return refuse(error, "%s: made for plug-in ABI %u; this taskd has %u", file, plugin->table->abi,
		    TR_PLUGIN_ABI);
	const char *fault = table_fault(plugin->table);
	return fault ? refuse(error, "%s: %s", file, fault) : true;
}

/* ---- all of them ------------------------------------------------------------------------- */

static int is_object(const struct dirent *entry)
{
	size_t bytes = strlen(entry->d_name);

	return entry->d_name[0] != '.' && bytes > 3 && strcmp(entry->d_name + bytes - 3, ".so") == 0;
}

static bool open_all(struct plugin_table *table, const char *dir, struct tr_error *error)
{
	struct dirent **files = NULL;
	int count = scandir(dir, &files, is_object, alphasort);
	bool well = true;

	if (count < 0)
		return refuse(error, "plug-in directory %s: %s", dir, strerror(errno));
	if (count > 0) {
		table->plugins = calloc((size_t)count, sizeof *table->plugins);
		if (!table->plugins) {
			refuse(error, "out of memory");
			well = false;
		}
	}
	for (int i = 0; i < count; i++) {
		/* Counted before it is known to be well: plugin_unload() closes half-open ones too. */
		well = well && plugin_open(&table->plugins[table->count++], dir, files[i]->d_name, error);
		free(files[i]);
	}
	free(files);
	return well;
}

/* Each resource that the plug-in's handlers need is there, whoever brings it. */
static bool check_resources(const struct plugin_table *table, const struct plugin *plugin, struct tr_error *error)
{
	for (uint32_t i = 0; i < plugin->table->handler_count; i++) {
		const struct tr_handler *handler = &plugin->table->handlers[i];
		for (const char *const *name = handler->resources; name && *name; name++)
			if (!plugin_resource(table, *name, strlen(*name)))
				return refuse(error, "%s: the handler \"%s\" needs the resource \"%.*s\", which no plug-in has",
				    plugin->file, handler->name, TR_NAME_MAX, *name);
	}
	return true;
}

static bool add_plugin(struct plugin_table *table, const struct plugin *plugin, struct tr_error *error)
{
	const struct tr_plugin *from = plugin->table;

	for (uint32_t i = 0; i < from->handler_count; i++)
		if (!index_add(&table->handlers, "handler", from->handlers[i].name, &from->handlers[i],
		    plugin->file, error))
			return false;
	for (uint32_t i = 0; i < from->callback_count; i++)
		if (!index_add(&table->callbacks, "callback", from->callbacks[i].name, &from->callbacks[i],
		    plugin->file, error))
			return false;
	for (uint32_t i = 0; i < from->resource_count; i++)
		if (!index_add(&table->resources, "resource", from->resources[i].name, &from->resources[i],
		    plugin->file, error))
			return false;
	return true;
}

static bool add_all(struct plugin_table *table, struct tr_error *error)
{
	size_t handlers = BUILT_IN, callbacks = 0, resources = 1;

	while (failure_callbacks[callbacks].name)
		callbacks++;
	size_t own_callbacks = callbacks;
	for (size_t i = 0; i < table->count; i++) {
		handlers += table->plugins[i].table->handler_count;
		callbacks += table->plugins[i].table->callback_count;
		resources += table->plugins[i].table->resource_count;
	}
	if (!index_open(&table->handlers, handlers) || !index_open(&table->callbacks, callbacks) ||
	    !index_open(&table->resources, resources))
		return refuse(error, "out of memory");
	for (size_t i = 0; i < BUILT_IN; i++)
		if (!index_add(&table->handlers, "handler", built_in[i]->name, built_in[i], "taskd", error))
			return false;
	if (!index_add(&table->resources, "resource", transfer_resource.name, &transfer_resource, "taskd", error))
		return false;
	for (size_t i = 0; i < own_callbacks; i++)
		if (!index_add(&table->callbacks, "callback", failure_callbacks[i].name, &failure_callbacks[i],
		    "taskd", error))
			return false;
	for (size_t i = 0; i < table->count; i++)
		if (!add_plugin(table, &table->plugins[i], error))
			return false;
	for (size_t i = 0; i < table->count; i++)
		if (!check_resources(table, &table->plugins[i], error))
			return false;
	return true;
}

bool plugin_load(struct plugin_table **table, const char *dir, struct tr_error *error)
{
	*table = calloc(1, sizeof **table);
	if (!*table)
		return refuse(error, "out of memory");
	if ((dir && *dir && !open_all(*table, dir, error)) || !add_all(*table, error)) {
		plugin_unload(table);
		return false;
	}
	return true;
}

void plugin_unload(struct plugin_table **table)
{
	struct plugin_table *gone = *table;

	*table = NULL;
	if (!gone)
		return;
	for (size_t i = 0; i < gone->count; i++) {
		if (gone->plugins[i].object)
			dlclose(gone->plugins[i].object);
		free(gone->plugins[i].file);
	}
	free(gone->plugins);
	free(gone->handlers.rows);
	free(gone->callbacks.rows);
	free(gone->resources.rows);
	free(gone);
}

bool plugin_start(const struct plugin_table *table, struct tr_error *error)
{
	for (size_t i = 0; i < table->count; i++) {
		const struct plugin *plugin = &table->plugins[i];
		int answer = plugin->table->start ? plugin->table->start() : 0;
		if (answer != 0)
			return refuse(error, "%s: start() answered %d", plugin->file, answer);
	}
	return true;
}

void plugin_stop(const struct plugin_table *table)
{
	for (size_t i = table->count; i-- > 0;)
		if (table->plugins[i].table->stop)
			table->plugins[i].table->stop();
}
