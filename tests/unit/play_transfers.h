/*
 * The transfer module on a loop of the test's own, without worker and tasks. For test_mail_smtp.c and
 * test_http_transfer.c. The shared object lies beside the program's directory, as the Makefile builds both.
 */
#ifndef PLAY_TRANSFERS_H
#define PLAY_TRANSFERS_H

#include <CUnit/Basic.h>
#include <dlfcn.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "taskd/transfer.h"

#define PLAY_MAIL_CONNECTIONS 2

static uv_loop_t loop;
static const struct transfer_module *module;
static struct transfers *transfers;

/* After an error its reason is printed. */
static inline bool play_transfers_open(void)
{
	char program[200], path[256];
	static struct tr_error error;
	ssize_t bytes = readlink("/proc/self/exe", program, sizeof program - 1);
	if (bytes < 0)
		return false;
	program[bytes] = '\0';
	snprintf(path, sizeof path, "%s/../modules/transfer.so", dirname(program));
	void *object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	module = object == NULL ? NULL : dlsym(object, TRANSFER_SYMBOL);
	if (module == NULL || module->abi != TRANSFER_ABI) {
		printf("%s: %s\n", path, module == NULL ? dlerror() : "another version");
		return false;
	}
	uv_loop_init(&loop);
	transfers = module->open(&loop, PLAY_MAIL_CONNECTIONS, &error);
	if (transfers == NULL)
		printf("%s\n", error.text);
	return transfers != NULL;
}

/* Nothing may be left on the loop. */
static inline bool play_transfers_close(void)
{
	module->close(transfers);
	for (int i = 0; i < 3; i++)
		uv_run(&loop, UV_RUN_NOWAIT);
	return uv_loop_close(&loop) == 0;
}

/* What a callback says; play_loop() waits for it. */
static inline void play_done(bool *done)
{
	*done = true;
	uv_stop(&loop); /* or the loop would still wait for something to read after a timer's callback */
}

static inline void play_loop(const bool *done)
{
	while (!*done) {
		int alive = uv_run(&loop, UV_RUN_DEFAULT);
		CU_ASSERT_FATAL(*done || alive != 0);
	}
}

#endif
