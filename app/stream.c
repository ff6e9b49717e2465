/*
 *   responder thread ─ reserve ─ head written ─ adopt ─► (list, eventfd) ─► the streamer's epoll
 *                                                                               │
 *                        every LOOK_MS: one look at the board, then a turn for each listener
 *
 * The board has nothing that a reader could wait for: an event costs taskd no system call, and is to
 * go on costing none. So the thread looks, 40 times a second, as long as somebody listens; a look is two
 * loads, and nobody notices 25 ms. With no listener it sleeps.
 *
 * A connection has been taken out of connections.c before it comes here: it counts as no connection of
 * the responder, its number is above those that select(2) can name, and its epoll is this one.
 */
#include "app/stream.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "app/log.h"
#include "app/stream_listener.h"

#define LOOK_MS 25
#define HEARTBEAT_MS 15000  /* as the HTML standard suggests; below the patience of proxies */
#define STALL_MS 10000
#define SEND_BUFFER_BYTES 32768 /* of a connection in the kernel: 1,000 that do not read are not to cost 200 MB */
#define EVENTS_AT_ONCE 64
#define STACK_BYTES (256u << 10)
#define STOP_RETRY_MS 500   /* after a stop clients come back within this and STOP_SPREAD_MS more */
#define STOP_SPREAD_MS 1500

struct streamer {
	struct streamer_settings settings;
	int epoll_fd, wake_fd;
	pthread_t thread;
	atomic_uint places; /* taken ones */

	pthread_mutex_t lock; /* for what others ask */
	struct stream_listener *adopted;
	bool end_all, stopping, ended;

	/* The thread's own. */
	struct stream_turn turn;
	int64_t turn_at_ms; /* when the next one is due, by CLOCK_MONOTONIC */
	unsigned count;
	struct stream_listener *listeners[];
};

static int64_t monotonic_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- a place ----------------------------------------------------------------------------- */

struct stream_listener *streamer_reserve(struct streamer *streamer, struct stream_wish *wish)
{
	if (atomic_fetch_add(&streamer->places, 1) >= streamer->settings.most) {
		atomic_fetch_sub(&streamer->places, 1);
		return NULL;
	}
	struct stream_listener *listener = calloc(1, sizeof(*listener));
	if (listener == NULL) {
		atomic_fetch_sub(&streamer->places, 1);
		return NULL;
	}
	listener->streamer = streamer;
	listener->fd = -1;
	listener->wish = *wish;
	wish->present = NULL;
	return listener;
}

void stream_listener_free(struct stream_listener **listener)
{
	struct stream_listener *gone = *listener;
	*listener = NULL;
	if (gone == NULL)
		return;
	if (gone->fd >= 0)
		close(gone->fd);
	atomic_fetch_sub(&gone->streamer->places, 1);
	free(gone->wish.present);
	free(gone->left);
	free(gone);
}

static void wake(struct streamer *streamer)
{
	if (eventfd_write(streamer->wake_fd, 1) != 0 && errno != EAGAIN) /* full: it is awake */
		log_event(LOG_ERR, "streamer-not-woken", "errno=%d", errno);
}

void streamer_adopt(struct stream_listener *listener, int fd, uint16_t request)
{
	struct streamer *streamer = listener->streamer;
	int bytes = SEND_BUFFER_BYTES;
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)); /* only a saving */
	listener->fd = fd;
	listener->request = request;
	pthread_mutex_lock(&streamer->lock);
	listener->next = streamer->adopted;
	streamer->adopted = listener;
	pthread_mutex_unlock(&streamer->lock);
	wake(streamer);
}

/* ---- the thread -------------------------------------------------------------------------- */

/* What epoll says of him leads back to him. `writing`: also when there is room again. */
static bool watch(const struct streamer *streamer, int operation, struct stream_listener *listener, bool writing)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLRDHUP | (writing ? EPOLLOUT : 0u), .data.ptr = listener };
	return epoll_ctl(streamer->epoll_fd, operation, listener->fd, &event) == 0;
}

static void remove_listener(struct streamer *streamer, unsigned at)
{
	stream_listener_free(&streamer->listeners[at]);
	streamer->listeners[at] = streamer->listeners[--streamer->count];
}

/* True: he is still there. */
static bool settle_sent(struct streamer *streamer, struct stream_listener *listener, enum stream_sent sent)
{
	if (sent == STREAM_LEFT)
		return watch(streamer, EPOLL_CTL_MOD, listener, true);
	return sent == STREAM_SENT && !listener->ending;
}

/* One listener's turn. False: he is to go. */
static bool serve(struct streamer *streamer, struct stream_listener *listener)
{
	struct stream_turn *turn = &streamer->turn;
	if (listener->left == NULL) {
		stream_listener_speak(listener, turn);
		return settle_sent(streamer, listener, stream_listener_send(listener, turn));
	}
	if (turn->now_ms - listener->stalled_ms < streamer->settings.stall_ms)
		return true;
	log_event(LOG_NOTICE, "listener-dropped", "waited_ms=%lld", (long long)(turn->now_ms - listener->stalled_ms));
	return false;
}

static void take_turns(struct streamer *streamer)
{
	struct stream_turn *turn = &streamer->turn;
	turn->now_ms = streamer->settings.now_ms();
	turn->view = stream_events_look(turn->events, turn->now_ms);
	turn->behind = false;
	for (unsigned i = 0; i < streamer->count;) {
		if (serve(streamer, streamer->listeners[i]))
			i++;
		else
			remove_listener(streamer, i);
	}
	if (streamer->count == 0) {
		stream_events_forget(turn->events);
		stream_text_free(&turn->said);
		stream_text_free(&turn->wire);
	}
	streamer->turn_at_ms = monotonic_ms() + (turn->behind ? 0 : LOOK_MS);
}

/* Polite: his client asks again, and not all at the same moment. */
static void end_all(struct streamer *streamer)
{
	struct stream_turn *turn = &streamer->turn;
	turn->now_ms = streamer->settings.now_ms();
	while (streamer->count > 0) {
		struct stream_listener *listener = streamer->listeners[streamer->count - 1];
		char line[48];
		int length = snprintf(line, sizeof(line), "retry: %u\n\n", STOP_RETRY_MS + streamer->count * 7919 % STOP_SPREAD_MS);
		turn->said.used = 0;
		stream_text_add(&turn->said, line, (size_t)length);
		listener->ending = true;
		/* One who is slow loses what he has not taken: a stop does not wait for him. */
		if (listener->left == NULL)
			stream_listener_send(listener, turn);
		remove_listener(streamer, streamer->count - 1);
	}
}

static void take_in(struct streamer *streamer, struct stream_listener *adopted)
{
	for (struct stream_listener *next; adopted != NULL; adopted = next) {
		next = adopted->next;
		/* A place is a row: there is one. */
		adopted->sent_ms = streamer->settings.now_ms();
		if (watch(streamer, EPOLL_CTL_ADD, adopted, false)) {
			streamer->listeners[streamer->count++] = adopted;
			streamer->turn_at_ms = 0;
		} else {
			log_event(LOG_ERR, "listen-failed", "errno=%d", errno);
			stream_listener_free(&adopted);
		}
	}
}

/* False: the thread is to end. */
static bool hear_others(struct streamer *streamer)
{
	eventfd_t ignored;
	eventfd_read(streamer->wake_fd, &ignored);
	pthread_mutex_lock(&streamer->lock);
	struct stream_listener *adopted = streamer->adopted;
	streamer->adopted = NULL;
	bool end_them = streamer->end_all || streamer->stopping, ended = streamer->ended;
	streamer->end_all = false;
	pthread_mutex_unlock(&streamer->lock);
	take_in(streamer, adopted);
	if (end_them)
		end_all(streamer);
	return !ended;
}

static void hear_listener(struct streamer *streamer, struct stream_listener *listener, uint32_t events)
{
	bool stays = (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) == 0 || stream_listener_hear(listener);
	if (stays && (events & EPOLLOUT) != 0 && listener->left != NULL) {
		enum stream_sent sent = stream_listener_send_left(listener);
		if (sent == STREAM_SENT) {
			stays = !listener->ending && watch(streamer, EPOLL_CTL_MOD, listener, false);
			streamer->turn_at_ms = 0; /* there may be more for him */
		} else {
			stays = sent == STREAM_LEFT;
		}
	}
	for (unsigned i = 0; !stays && i < streamer->count; i++)
		if (streamer->listeners[i] == listener) {
			remove_listener(streamer, i);
			return;
		}
}

static int wait_ms(const struct streamer *streamer)
{
	if (streamer->count == 0)
		return -1;
	int64_t left_ms = streamer->turn_at_ms - monotonic_ms();
	return left_ms > 0 ? (int)left_ms : 0;
}

static void *thread_main(void *context)
{
	struct streamer *streamer = context;
	struct epoll_event events[EVENTS_AT_ONCE];
	bool goes_on = true;
	while (goes_on) {
		int count = epoll_wait(streamer->epoll_fd, events, EVENTS_AT_ONCE, wait_ms(streamer));
		/* First the listeners: each stands there once, and nobody is removed before his event was looked at. */
		for (int i = 0; i < count; i++)
			if (events[i].data.ptr != NULL)
				hear_listener(streamer, events[i].data.ptr, events[i].events);
		for (int i = 0; i < count; i++)
			if (events[i].data.ptr == NULL)
				goes_on = hear_others(streamer);
		if (goes_on && streamer->count > 0 && monotonic_ms() >= streamer->turn_at_ms)
			take_turns(streamer);
	}
	return NULL;
}

/* ---- beginning and end ------------------------------------------------------------------- */

static int start_thread(struct streamer *streamer)
{
	pthread_attr_t attributes;
	int failure = pthread_attr_init(&attributes);
	if (failure != 0)
		return failure;
	failure = pthread_attr_setstacksize(&attributes, STACK_BYTES);
	if (failure == 0)
		failure = pthread_create(&streamer->thread, &attributes, thread_main, streamer);
	pthread_attr_destroy(&attributes);
	return failure;
}

/* All but the thread. */
static void release(struct streamer *streamer)
{
	if (streamer->epoll_fd >= 0)
		close(streamer->epoll_fd);
	if (streamer->wake_fd >= 0)
		close(streamer->wake_fd);
	stream_events_free(&streamer->turn.events);
	stream_text_free(&streamer->turn.said);
	stream_text_free(&streamer->turn.wire);
	pthread_mutex_destroy(&streamer->lock);
	free(streamer);
}

struct streamer *streamer_new(const struct streamer_settings *settings)
{
	struct streamer *streamer = calloc(1, sizeof(*streamer) + settings->most * sizeof(streamer->listeners[0]));
	if (streamer == NULL)
		return NULL;
	streamer->settings = *settings;
	streamer->settings.now_ms = settings->now_ms != NULL ? settings->now_ms : monotonic_ms;
	streamer->settings.stall_ms = settings->stall_ms != 0 ? settings->stall_ms : STALL_MS;
	streamer->turn.heartbeat_ms = settings->heartbeat_ms != 0 ? settings->heartbeat_ms : HEARTBEAT_MS;
	pthread_mutex_init(&streamer->lock, NULL); /* without attributes it cannot fail */
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = NULL };
	streamer->turn.events = stream_events_new(settings->instance);
	streamer->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	streamer->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	bool ready = streamer->turn.events != NULL && streamer->epoll_fd >= 0 && streamer->wake_fd >= 0 &&
	    epoll_ctl(streamer->epoll_fd, EPOLL_CTL_ADD, streamer->wake_fd, &event) == 0;
	int failure = ready ? start_thread(streamer) : errno;
	if (!ready || failure != 0) {
		release(streamer);
		errno = failure;
		return NULL;
	}
	return streamer;
}

static void tell_thread(struct streamer *streamer, bool *which)
{
	pthread_mutex_lock(&streamer->lock);
	*which = true;
	pthread_mutex_unlock(&streamer->lock);
	wake(streamer);
}

void streamer_end_all(struct streamer *streamer)
{
	tell_thread(streamer, &streamer->end_all);
}

void streamer_stop(struct streamer *streamer)
{
	tell_thread(streamer, &streamer->stopping);
}

void streamer_free(struct streamer **streamer)
{
	struct streamer *gone = *streamer;
	*streamer = NULL;
	if (gone == NULL)
		return;
	streamer_stop(gone);
	tell_thread(gone, &gone->ended);
	pthread_join(gone->thread, NULL);
	release(gone);
}
