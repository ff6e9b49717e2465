/*
 * One responder process: the main thread waits for signals, the others serve requests. The ring
 * is opened once for all of them; while there is none, requests are answered with 503.
 */
#include "app/process.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#include "app/access.h"
#include "app/connections.h"
#include "app/fcgi.h"
#include "app/instance.h"
#include "app/log.h"
#include "app/static.h"
#include "app/stream.h"
#include "shared/resource.h"

#define STACK_BYTES (1u << 20) /* jansson recurses 2,048 deep at most */
#define FILES_LOW 1024 /* that are no connections */
#define FILES_MAX (CONNECTIONS_MAX + STREAM_LISTENERS_MAX + FILES_LOW)
#define LISTENERS_RETRY_S 10
#define PARKED_MOST 128        /* answers that wait for the disk: 40 KB each */
#define CUT_OFF_RESERVE_S 1    /* before the master kills us */

struct process {
	const struct options *options;
	struct web_settings web;
	struct static_files *files; /* web.files */
	struct fcgi_server *server;
	struct streamer *streamer;
	struct instance *instance;
};

/* One thread's state from one request to the next. */
struct responder {
	struct process *process;
	struct background_tasks *background; /* NULL before the ring was opened */
	struct resource_set *resources;      /* what endpoints have needed so far; NULL: no memory for it */
};

static int64_t monotonic_us(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* One line, to where the option says; of a request that failed here always. */
static void log_request(const struct options *options, const struct web_request *request, int status,
    int64_t took_us, struct fcgi_answer *answer)
{
	bool failed = status >= 500;
	if (options->access_log == ACCESS_LOG_NONE && !failed)
		return;
	char quoted[LOG_QUOTED_SIZE], line[FCGI_LINE_SIZE];
	snprintf(line, sizeof(line), "id=%s trace=%s method=%s path=%s status=%d bytes=%zu us=%lld",
	    request->request_id, request->trace, method_name(request->method), log_quote(request->path, quoted), status, answer->count, (long long)took_us);
	if (options->access_log == ACCESS_LOG_SERVER)
		snprintf(answer->line, sizeof(answer->line), "taskring-app: request %.900s", line);
	else
		log_event(failed ? LOG_ERR : LOG_NOTICE, "request", "%s", line);
}

/* False: the ring cannot be opened now, or there is no memory for a batch. */
static bool prepare(struct responder *responder, struct web_request *request)
{
	request->ring = instance_ring(responder->process->instance);
	if (responder->resources == NULL)
		responder->resources = resource_set_new();
	request->resources = responder->resources;
	if (request->ring != NULL && responder->background == NULL &&
	    background_tasks_new(&responder->background, request->ring) != TR_OK)
		request->ring = NULL;
	return request->ring != NULL;
}

/* Who is to listen to events gets a place, or is told that there is none. */
static struct stream_listener *find_place(struct process *process, const struct web_request *request,
    struct web_answer *made)
{
	if (!made->stream.wanted || request->method == METHOD_HEAD)
		return NULL;
	struct stream_listener *listener = streamer_reserve(process->streamer, &made->stream);
	if (listener == NULL) {
		answer_clear(made);
		*made = answer_detail(503, "as many listen to events as may; try again later");
		made->retry_after_s = LISTENERS_RETRY_S;
	}
	return listener;
}

static void complete(const struct process *process, const struct web_request *request, struct fcgi_answer *answer)
{
	log_request(process->options, request, answer->made.status, monotonic_us() - answer->began_us, answer);
	answer_clear(&answer->made);
}

static void answer_request(void *context, struct web_request *request, struct fcgi_answer *answer)
{
	struct responder *responder = context;
	answer->began_us = monotonic_us();
	bool prepared = prepare(responder, request);
	answer->made = web_serve(&responder->process->web, request, prepared ? responder->background : NULL);
	answer->listener = find_place(responder->process, request, &answer->made);
	answer->bytes = answer_render(&answer->made, request, &answer->count);
	if (!request->durable.wanted)
		complete(responder->process, request, answer);
}

/* The disk has what the answer tells of, or in all that time has not got it. */
static void settle_request(void *context, struct web_request *request, struct fcgi_answer *answer, enum tr_result result)
{
	const struct process *process = context;
	web_settle(request, &answer->made, result);
	if (result != TR_OK) {
		free(answer->bytes);
		answer->bytes = answer_render(&answer->made, request, &answer->count);
	}
	complete(process, request, answer);
}

static void *thread_main(void *context)
{
	struct responder responder = { .process = context };
	fcgi_server_run(responder.process->server, answer_request, &responder);
	resource_set_free(&responder.resources);
	background_tasks_free(&responder.background);
	return NULL;
}

static unsigned start_threads(struct process *process, pthread_t *threads)
{
	pthread_attr_t attributes;
	if (pthread_attr_init(&attributes) != 0)
		return 0;
	unsigned started = 0;
	int error = pthread_attr_setstacksize(&attributes, STACK_BYTES);
	while (error == 0 && started < process->options->threads) {
		error = pthread_create(&threads[started], &attributes, thread_main, process);
		if (error == 0)
			started++;
	}
	if (error != 0)
		log_event(LOG_ERR, "threads-failed", "started=%u errno=%d", started, error);
	pthread_attr_destroy(&attributes);
	return started;
}

/*
 * USR1 is what mod_fastcgi's process manager says; where there is a master, HUP is its alone. USR2 ends
 * the streams of events, so that a web server that is about to stop need not wait for those who listen.
 */
static void wait_for_stop(const struct process *process)
{
	sigset_t stops;
	int received;
	sigemptyset(&stops);
	sigaddset(&stops, SIGTERM);
	sigaddset(&stops, SIGINT);
	sigaddset(&stops, SIGQUIT);
	sigaddset(&stops, SIGUSR1);
	sigaddset(&stops, SIGUSR2);
	if (process->options->processes == 0)
		sigaddset(&stops, SIGHUP);
	do {
		while (sigwait(&stops, &received) != 0)
			continue;
		if (received == SIGUSR2)
			streamer_end_all(process->streamer);
	} while (received == SIGUSR2);
}

/* Requests in hand finish; those that do not in time lose their connection. */
static void stop_threads(struct process *process, const pthread_t *threads, unsigned started)
{
	struct timespec deadline;
	clock_gettime(CLOCK_REALTIME, &deadline);
	deadline.tv_sec += process->options->stop_timeout_s - CUT_OFF_RESERVE_S;
	fcgi_server_stop(process->server);
	streamer_stop(process->streamer);
	for (unsigned i = 0; i < started; i++) {
		if (pthread_timedjoin_np(threads[i], NULL, &deadline) == 0)
			continue;
		fcgi_server_cut_off(process->server);
		pthread_join(threads[i], NULL);
	}
}

/* As many files as there may be connections and listeners: how many that are, perhaps fewer. */
static rlim_t allow_files(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return 2 * FILES_LOW;
	rlim_t wanted = limit.rlim_max < FILES_MAX ? limit.rlim_max : FILES_MAX;
	rlim_t before = limit.rlim_cur;
	if (before >= wanted)
		return before;
	limit.rlim_cur = wanted;
	return setrlimit(RLIMIT_NOFILE, &limit) == 0 ? wanted : before;
}

/* Listeners leave at least half of what there is to connections, of which connections.c then makes do with fewer. */
static void share_files(const struct options *options, struct streamer_settings *streamer, struct fcgi_settings *fcgi)
{
	rlim_t files = allow_files(), low = files >= 2 * FILES_LOW ? FILES_LOW : files / 2;
	*streamer = (struct streamer_settings){ .instance = options->instance, .most = options->listeners };
	*fcgi = options->fcgi;
	if ((files - low) / 2 < streamer->most)
		streamer->most = (unsigned)((files - low) / 2);
	if (files - low - streamer->most < fcgi->connections)
		fcgi->connections = (unsigned)(files - low - streamer->most);
	if (fcgi->connections == 0)
		fcgi->connections = 1;
}

/* Anew by each process, so that a SIGHUP brings new ones; where that fails there are none, and the rest is served. */
static void read_pages(struct process *process)
{
	struct tr_error error;
	char quoted[LOG_QUOTED_SIZE];
	if (process->options->pages == NULL)
		return;
	process->files = static_read(process->options->pages, &error);
	process->web.files = process->files;
	if (process->files == NULL)
		log_event(LOG_ERR, "pages-not-read", "reason=%s", log_quote(error.text, quoted));
}

int process_run(const struct options *options, const struct tokens *tokens, int listen_fd)
{
	struct streamer_settings streamer;
	struct fcgi_settings fcgi;
	share_files(options, &streamer, &fcgi);
	struct process process = { .options = options, .web = options->web };
	fcgi.settle = settle_request;
	fcgi.settle_context = &process;
	fcgi.durable_timeout_ms = options->web.durable_timeout_ms;
	fcgi.parked = options->web.durability == TR_DISK ? PARKED_MOST : 0;
	read_pages(&process);
	process.instance = instance_new(options->instance, &options->open);
	process.web.access = access_new(tokens, options->instance, options->fcgi.user_parameter);
	process.streamer = streamer_new(&streamer);
	process.server = fcgi_server_new(listen_fd, &fcgi);
	pthread_t *threads = calloc(options->threads, sizeof(*threads));
	int status = 1;
	if (process.instance != NULL && process.web.access != NULL && process.streamer != NULL && process.server != NULL &&
	    threads != NULL) {
		/* libfcgi has set a handler for SIGPIPE; a closed connection is an error of write(2), no more. */
		signal(SIGPIPE, SIG_IGN);
		signal(SIGXFSZ, SIG_IGN); /* likewise a file that may not grow further */
		unsigned started = start_threads(&process, threads);
		if (started == options->threads) {
			wait_for_stop(&process);
			status = 0;
		}
		stop_threads(&process, threads, started);
	} else {
		log_event(LOG_ERR, "process-failed", "errno=%d", errno);
	}
	free(threads);
	streamer_free(&process.streamer);
	fcgi_server_free(&process.server);
	instance_free(&process.instance);
	access_free(&process.web.access);
	static_free(&process.files);
	return status;
}
