/*
 * In: transfers with an easy handle that is filled in. Out: their ends. libcurl tells which sockets to
 * watch and when it wants to be called at the latest; the loop tells it what happened. Everything runs
 * on the loop's thread. Called by transfer_http.c.
 */
#include "taskd/modules/transfer_channel.h"

#include <assert.h>
#include <stdlib.h>

#define IDLE_MS 30000 /* connections and names are kept so long after the last transfer */
#define MEMORY_WAIT_MS 100

struct watch {
	uv_poll_t poll;
	struct channel *channel;
	curl_socket_t socket;
	int events; /* that libcurl waits for */
};

static void on_timer(uv_timer_t *timer);

/* ---- turns ------------------------------------------------------------------------------- */

static void start_waiting(struct channel *channel)
{
	while (channel->first != NULL && channel->admitted < channel->admitted_most) {
		struct transfer *transfer = channel->first;
		if (curl_multi_add_handle(channel->multi, transfer->easy) != CURLM_OK) {
			/* Out of memory: it keeps its turn. */
			uv_timer_start(&channel->timer, on_timer, MEMORY_WAIT_MS, 0);
			return;
		}
		channel->first = transfer->next;
		if (channel->first == NULL)
			channel->last = NULL;
		transfer->waiting = false;
		transfer->running = true;
		transfer->counted = true;
		channel->admitted++;
	}
}

/* After each call of curl_multi_socket_action(): who is through, and who comes next. */
static void settle(struct channel *channel)
{
	int left;
	CURLMsg *message;
	while (channel->multi != NULL && (message = curl_multi_info_read(channel->multi, &left)) != NULL) {
		if (message->msg != CURLMSG_DONE)
			continue;
		CURLcode code = message->data.result;
		struct transfer *transfer = NULL;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
		curl_multi_remove_handle(channel->multi, transfer->easy);
		transfer->running = false;
		channel_give_place(transfer);
		transfer->ended(transfer, code); /* it may be gone now */
	}
	if (channel->multi != NULL)
		start_waiting(channel);
}

/* ---- the loop tells libcurl -------------------------------------------------------------- */

static void on_timer(uv_timer_t *timer)
{
	struct channel *channel = timer->data;
	int running;
	curl_multi_socket_action(channel->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	settle(channel);
}

static void on_socket(uv_poll_t *poll, int status, int events)
{
	const struct watch *watch = poll->data;
	struct channel *channel = watch->channel;
	int flags = 0;
	int running;
	/*
	 * A connection that was reset: libuv looks away. What was answered before may still be read, and libcurl, told of
	 * an error (CURL_CSELECT_ERR), would not: it is to meet it by itself.
	 */
	if (status < 0) {
		events = UV_READABLE | UV_WRITABLE;
		(void)uv_poll_start(poll, watch->events, on_socket);
	}
	if ((events & UV_READABLE) != 0)
		flags |= CURL_CSELECT_IN;
	if ((events & UV_WRITABLE) != 0)
		flags |= CURL_CSELECT_OUT;
	curl_multi_socket_action(channel->multi, watch->socket, flags, &running);
	settle(channel);
}

/* ---- libcurl tells the loop -------------------------------------------------------------- */

static int set_timer(CURLM *multi, long timeout_ms, void *context)
{
	(void)multi;
	struct channel *channel = context;
	if (timeout_ms < 0) {
		uv_timer_stop(&channel->timer);
		return 0;
	}
	/* The loop's idea of now may be from before a handler that took its time. */
	uv_update_time(channel->loop);
	return uv_timer_start(&channel->timer, on_timer, (uint64_t)timeout_ms, 0);
}

static void free_watch(uv_handle_t *handle)
{
	free(handle->data);
}

/* Without memory the socket is not watched, and the transfer ends by its time-out. */
static void watch_socket(struct channel *channel, curl_socket_t socket, int events, struct watch *watch)
{
	if (watch == NULL) {
		watch = calloc(1, sizeof *watch);
		if (watch == NULL)
			return;
		if (uv_poll_init_socket(channel->loop, &watch->poll, socket) != 0) {
			free(watch);
			return;
		}
		watch->poll.data = watch;
		watch->channel = channel;
		watch->socket = socket;
		curl_multi_assign(channel->multi, socket, watch);
	}
	watch->events = events;
	(void)uv_poll_start(&watch->poll, events, on_socket);
}

static int set_socket(CURL *easy, curl_socket_t socket, int what, void *context, void *watch)
{
	struct channel *channel = context;
	(void)easy;
	if (what == CURL_POLL_REMOVE) {
		if (watch != NULL)
			uv_close((uv_handle_t *)&((struct watch *)watch)->poll, free_watch);
		curl_multi_assign(channel->multi, socket, NULL);
		return 0;
	}
	int events = ((what & CURL_POLL_IN) != 0 ? UV_READABLE : 0) | ((what & CURL_POLL_OUT) != 0 ? UV_WRITABLE : 0);
	watch_socket(channel, socket, events, watch);
	return 0; /* anything else would end every transfer */
}

/* ---- opening and closing ----------------------------------------------------------------- */

static void close_multi(struct channel *channel)
{
	if (channel->multi == NULL)
		return;
	curl_multi_cleanup(channel->multi);
	channel->multi = NULL;
	uv_timer_stop(&channel->timer);
}

static void on_idle(uv_timer_t *timer)
{
	close_multi(timer->data);
}

static bool open_multi(struct channel *channel)
{
	if (channel->multi != NULL)
		return true;
	CURLM *multi = curl_multi_init();
	if (multi == NULL)
		return false;
	channel->multi = multi;
	curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, set_socket);
	curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, channel);
	curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, set_timer);
	curl_multi_setopt(multi, CURLMOPT_TIMERDATA, channel);
	curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long)channel->connections_kept);
	return true;
}

static void on_handle_closed(uv_handle_t *handle)
{
	struct channel *channel = handle->data;
	if (--channel->handles == 0)
		channel->closed(channel);
}

void channel_open(struct channel *channel, uv_loop_t *loop, uint32_t admitted_most, uint32_t connections_kept)
{
	*channel = (struct channel){ .loop = loop, .admitted_most = admitted_most, .connections_kept = connections_kept };
	uv_timer_init(loop, &channel->timer);
	uv_timer_init(loop, &channel->idle);
	channel->timer.data = channel->idle.data = channel;
	channel->handles = 2;
}

void channel_close(struct channel *channel, void (*closed)(struct channel *channel))
{
	assert(channel->transfers == 0);
	close_multi(channel);
	channel->closed = closed;
	uv_close((uv_handle_t *)&channel->timer, on_handle_closed);
	uv_close((uv_handle_t *)&channel->idle, on_handle_closed);
}

/* ---- a transfer -------------------------------------------------------------------------- */

bool channel_add(struct channel *channel, struct transfer *transfer)
{
	if (!open_multi(channel))
		return false;
	uv_timer_stop(&channel->idle);
	if (transfer->channel == NULL)
		channel->transfers++;
	transfer->channel = channel;
	transfer->curl_text[0] = '\0';
	transfer->waiting = true;
	transfer->next = NULL;
	if (channel->last != NULL)
		channel->last->next = transfer;
	else
		channel->first = transfer;
	channel->last = transfer;
	start_waiting(channel);
	return true;
}

static void unlink_waiting(struct channel *channel, const struct transfer *transfer)
{
	struct transfer *before = NULL;
	for (struct transfer *at = channel->first; at != transfer; at = at->next)
		before = at;
	if (before != NULL)
		before->next = transfer->next;
	else
		channel->first = transfer->next;
	if (channel->last == transfer)
		channel->last = before;
}

void channel_give_place(struct transfer *transfer)
{
	if (transfer->counted)
		transfer->channel->admitted--;
	transfer->counted = false;
}

void channel_remove(struct transfer *transfer)
{
	struct channel *channel = transfer->channel;
	if (channel == NULL)
		return;
	if (transfer->waiting)
		unlink_waiting(channel, transfer);
	if (transfer->running)
		curl_multi_remove_handle(channel->multi, transfer->easy);
	transfer->waiting = transfer->running = false;
	channel_give_place(transfer);
	transfer->channel = NULL;
	channel->transfers--;
	start_waiting(channel);
	if (channel->transfers == 0)
		uv_timer_start(&channel->idle, on_idle, IDLE_MS, 0);
}
