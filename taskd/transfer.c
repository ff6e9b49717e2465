/*
 * Loads the module with libcurl, once per process, and keeps what it opened for each thread, as a
 * resource. Called by mail.c and http.c when they have something to send.
 */
#include "taskd/transfer.h"

#include <assert.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

/* Written by transfer_configure(), read by every thread; `module` is made under the lock. */
static struct {
	const char *path;
	uint32_t mail_connections;
	pthread_mutex_t lock;
	const struct transfer_module *module;
} setting = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* The handle of the resource. */
struct thread_transfers {
	struct transfers *transfers; /* NULL: not yet needed */
};

void transfer_configure(const char *path, uint32_t mail_connections)
{
	setting.path = path;
	setting.mail_connections = mail_connections;
}

static const struct transfer_module *load_module(struct tr_error *error)
{
	if (setting.path == NULL) {
		snprintf(error->text, sizeof error->text, "transfer_module is not configured");
		return NULL;
	}
	void *object = dlopen(setting.path, RTLD_NOW | RTLD_LOCAL);
	const struct transfer_module *module = object == NULL ? NULL : dlsym(object, TRANSFER_SYMBOL);
	if (module == NULL) {
		const char *reason = dlerror();
		snprintf(error->text, sizeof error->text, "the module cannot be loaded: %s",
		    reason == NULL ? setting.path : reason);
	} else if (module->abi != TRANSFER_ABI) {
		snprintf(error->text, sizeof error->text, "%.150s has version %u of the interface, this taskd has %u",
		    setting.path, module->abi, TRANSFER_ABI);
		module = NULL;
	}
	if (module == NULL && object != NULL)
		dlclose(object);
	return module;
}

static const struct transfer_module *get_module(struct tr_error *error)
{
	pthread_mutex_lock(&setting.lock);
	if (setting.module == NULL)
		setting.module = load_module(error);
	const struct transfer_module *module = setting.module;
	pthread_mutex_unlock(&setting.lock);
	return module;
}

const struct transfer_module *transfer_get(struct tr_task *task, struct transfers **transfers,
    struct tr_error *error)
{
	struct thread_transfers *thread = tr_resource(task, TRANSFER_RESOURCE);
	assert(thread != NULL && "the handler names the resource");
	const struct transfer_module *module = get_module(error);
	if (module == NULL)
		return NULL;
	if (thread->transfers == NULL) {
		struct uv_loop_s *loop = tr_loop(task);
		if (loop == NULL) {
			snprintf(error->text, sizeof error->text, "the thread's event loop cannot be made");
			return NULL;
		}
		thread->transfers = module->open(loop, setting.mail_connections, error);
	}
	*transfers = thread->transfers;
	return thread->transfers != NULL ? module : NULL;
}

static bool open_thread(void **handle, struct tr_error *error)
{
	*handle = calloc(1, sizeof(struct thread_transfers));
	if (*handle == NULL)
		snprintf(error->text, sizeof error->text, "out of memory");
	return *handle != NULL;
}

/* The module is there: somebody has opened transfers with it. */
static void close_thread(void *handle)
{
	struct thread_transfers *thread = handle;
	if (thread->transfers != NULL)
		setting.module->close(thread->transfers);
	free(thread);
}

const struct tr_resource transfer_resource = {
	.name = TRANSFER_RESOURCE,
	.doc = "libcurl's connections on the thread's event loop",
	.open = open_thread,
	.close = close_thread,
};
