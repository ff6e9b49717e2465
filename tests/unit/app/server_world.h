/* A responder's server in this process, with THREADS threads; fcgi_fixture.h speaks to it. */
#ifndef SERVER_WORLD_H
#define SERVER_WORLD_H

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>

#include "app/fcgi.h"
#include "app/listen.h"
#include "tests/unit/app/fcgi_fixture.h"

#define THREADS 2
#define BODY_LIMIT 1000

static struct fcgi_settings settings;
static struct fcgi_server *server;
static pthread_t threads[THREADS];
static int listen_fd;
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER; /* held: "/slow" does not return */
static atomic_int slow;                                  /* how many wait at the gate */

static atomic_uint served;
static char large[4u << 20]; /* more than a socket holds */

/* The status. */
static inline int read_all(struct web_request *request)
{
	char scratch[100];
	size_t all = 0;
	ssize_t got;
	while ((got = request->source.read(request->source.context, scratch, sizeof(scratch))) > 0)
		all += (size_t)got;
	if (got < 0)
		return 408;
	if (all > BODY_LIMIT)
		return 413;
	return request->declared_bytes == SIZE_MAX || request->declared_bytes == all ? 204 : 400;
}

static inline void answer(void *context, struct web_request *request, struct fcgi_answer *answered)
{
	(void)context;
	if (strcmp(request->path, "/slow") == 0) {
		atomic_fetch_add(&slow, 1);
		pthread_mutex_lock(&gate);
		pthread_mutex_unlock(&gate);
		atomic_fetch_sub(&slow, 1);
	}
	if (strcmp(request->path, "/counted") == 0)
		atomic_fetch_add(&served, 1);
	if (strcmp(request->path, "/line") == 0)
		snprintf(answered->line, sizeof(answered->line), "a line for the log");
	struct web_answer made = { .status = 204 };
	if (request->fault_status != 0)
		made = answer_detail(request->fault_status, request->fault);
	else if (strcmp(request->path, "/unread") != 0)
		made = answer_detail(read_all(request), "whatever");
	if (strcmp(request->path, "/large") == 0) {
		answer_clear(&made);
		made = answer_json(200, json_stringn(large, sizeof(large)));
	}
	answered->bytes = answer_render(&made, request, &answered->count);
	answer_clear(&made);
}

static inline void *thread_main(void *context)
{
	fcgi_server_run(server, answer, context);
	return NULL;
}

static inline void start_with(unsigned connections, unsigned timeout_ms)
{
	settings = (struct fcgi_settings){ .connections = connections, .timeout_ms = timeout_ms, .bytes_per_s = 1000,
		.awake = 1 }; /* the other thread must do where that one is held up */
	listen_fd = listen_open(path, 0600);
	CU_ASSERT_FATAL(listen_fd >= 0);
	server = fcgi_server_new(listen_fd, &settings);
	CU_ASSERT_PTR_NOT_NULL_FATAL(server);
	signal(SIGPIPE, SIG_IGN);
	for (int i = 0; i < THREADS; i++)
		CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, thread_main, NULL), 0);
}

static inline void start(void)
{
	start_with(100, 15000);
}

static inline void join(void)
{
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	fcgi_server_free(&server);
	CU_ASSERT_PTR_NULL(server);
	listen_close(listen_fd, path);
	CU_ASSERT_EQUAL(access(path, F_OK), -1);
}

static inline void stop(void)
{
	fcgi_server_stop(server);
	join();
}

static inline void wait_for_slow(int wanted)
{
	int64_t deadline = now_ms() + PATIENCE_MS;
	while (atomic_load(&slow) != wanted && now_ms() < deadline)
		sched_yield();
	CU_ASSERT_EQUAL_FATAL(atomic_load(&slow), wanted);
}

#endif
