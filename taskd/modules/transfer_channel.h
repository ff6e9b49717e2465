/*
 * libcurl's multi interface on a libuv loop: the one place that drives it. A channel is one multi
 * handle, with the connections and names that it keeps, and a queue before it; each thread that needs
 * it has one. transfer_http.c embeds a struct transfer and fills its easy handle.
 *
 *   channel_add() ──► waiting ── admitted ──► libcurl ──► ended()
 *                        └───── channel_remove() ─┴── nothing is called
 */
#ifndef TASKD_TRANSFER_CHANNEL_H
#define TASKD_TRANSFER_CHANNEL_H

#include <curl/curl.h>
#include <uv.h>

#include "taskd/transfer.h"

struct transfer {
	struct channel *channel;
	CURL *easy; /* its CURLOPT_PRIVATE is the transfer */
	/* Libcurl is through with it; called from the loop. It may be added again, or let go of. */
	void (*ended)(struct transfer *transfer, CURLcode code);
	/* Frees what embeds the transfer, after channel_remove(). */
	void (*free)(struct transfer *transfer);
	struct transfer *next;          /* while it waits */
	bool waiting, running, counted; /* counted: it holds one of the admitted places */
	char curl_text[CURL_ERROR_SIZE];
};

struct channel {
	uv_loop_t *loop;
	CURLM *multi; /* NULL: not in use; made by the first transfer */
	uv_timer_t timer; /* libcurl's */
	uv_timer_t idle;  /* closes a channel that nobody uses */
	uint32_t admitted, admitted_most;
	uint32_t connections_kept;
	uint32_t transfers; /* waiting or running */
	struct transfer *first, *last; /* that wait */
	void (*closed)(struct channel *channel); /* the last handle has gone */
	unsigned handles;                        /* that have not */
};

/* The channel's memory must stay until closed(). At most `admitted_most` transfers hold a place. */
void channel_open(struct channel *channel, uv_loop_t *loop, uint32_t admitted_most, uint32_t connections_kept);
/* No transfer is left. Its loop calls closed() later. */
void channel_close(struct channel *channel, void (*closed)(struct channel *channel));

/* False: out of memory. May be called again from ended(). */
bool channel_add(struct channel *channel, struct transfer *transfer);
/* Whatever state it is in: waiting, running, ended. Not from libcurl's callbacks. */
void channel_remove(struct transfer *transfer);
/* Gives the place away before the end: another may be admitted. Also from libcurl's callbacks. */
void channel_give_place(struct transfer *transfer);

#endif
