/*
 * The threads that send mail for one worker thread. In: mails, from the loop's thread; out: done(), on
 * it. What both sides touch is under the lock; a delivery belongs to whoever has taken it off a list.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "taskd/modules/transfer_module.h"

#define IDLE_S 30        /* a connection is kept so long after its last mail */
#define STACK_BYTES (512u << 10)
#define SOCKETS_MAX 8    /* open at the same time while libcurl tries the server's addresses */

struct delivery {
	struct mailer *mailer;
	struct delivery *next; /* while it waits, or is done */
	struct mail_thread *thread; /* that sends it */
	const struct mail_server *server;
	struct mail_message message; /* a copy: the text, the recipients and the sender */
	mail_done_fn *done; /* NULL: aborted */
	void *context;
	enum mail_sent sent;
	char text[512];
};

struct mail_sockets {
	pthread_mutex_t *lock;
	int open[SOCKETS_MAX];
	size_t count;
	bool cut;
};

struct mail_thread {
	struct mailer *mailer;
	pthread_t thread;
	struct mail_sockets sockets;
};

struct list {
	struct delivery *first, **end;
};

struct mailer {
	uv_loop_t *loop;
	uv_async_t ready; /* some are done */
	size_t started;   /* deliveries that have not come back to the loop: the loop's thread counts them */
	uint32_t connections;
	struct mail_thread *threads; /* `connections` of them, the first thread_count are there */
	uint32_t thread_count;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct list waiting, finished;
	size_t waiting_count;
	uint32_t free_threads; /* that wait for a mail, or have been woken for one */
	bool closing;
};

/* ---- lists ------------------------------------------------------------------------------- */

static void list_init(struct list *list)
{
	list->first = NULL;
	list->end = &list->first;
}

static void list_add(struct list *list, struct delivery *delivery)
{
	delivery->next = NULL;
	*list->end = delivery;
	list->end = &delivery->next;
}

static bool list_remove(struct list *list, struct delivery *delivery)
{
	for (struct delivery **at = &list->first; *at != NULL; at = &(*at)->next) {
		if (*at == delivery) {
			*at = delivery->next;
			if (list->end == &delivery->next)
				list->end = at;
			return true;
		}
	}
	return false;
}

/* ---- sockets ----------------------------------------------------------------------------- */

bool mail_sockets_add(struct mail_sockets *sockets, int socket)
{
	pthread_mutex_lock(sockets->lock);
	bool fits = sockets->count < SOCKETS_MAX && !sockets->cut;
	if (fits)
		sockets->open[sockets->count++] = socket;
	pthread_mutex_unlock(sockets->lock);
	return fits;
}

int mail_sockets_close(struct mail_sockets *sockets, int socket)
{
	pthread_mutex_lock(sockets->lock);
	for (size_t i = 0; i < sockets->count; i++) {
		if (sockets->open[i] == socket) {
			sockets->open[i] = sockets->open[--sockets->count];
			break;
		}
	}
	pthread_mutex_unlock(sockets->lock);
	return close(socket);
}

static void shut_locked(const struct mail_sockets *sockets, int how)
{
	for (size_t i = 0; i < sockets->count; i++)
		(void)shutdown(sockets->open[i], how);
}

void mail_sockets_shut(struct mail_sockets *sockets, int how)
{
	pthread_mutex_lock(sockets->lock);
	shut_locked(sockets, how);
	pthread_mutex_unlock(sockets->lock);
}

bool mail_sockets_are_cut(struct mail_sockets *sockets)
{
	pthread_mutex_lock(sockets->lock);
	bool cut = sockets->cut;
	pthread_mutex_unlock(sockets->lock);
	return cut;
}

/* ---- a thread ---------------------------------------------------------------------------- */

/* Says good-bye, and does not wait for the answer. */
static void close_connection(struct mail_thread *self, CURL **curl)
{
	mail_sockets_shut(&self->sockets, SHUT_RD);
	curl_easy_cleanup(*curl);
	*curl = NULL;
}

/* Under the lock. The next one to send; NULL: the mailer closes, or nothing came for a while. */
static struct delivery *next_delivery(struct mail_thread *self, bool has_connection)
{
	struct mailer *mailer = self->mailer;
	struct timespec until;
	int failure = 0;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += IDLE_S;
	mailer->free_threads++;
	while (mailer->waiting.first == NULL && !mailer->closing && failure != ETIMEDOUT) {
		if (has_connection)
			failure = pthread_cond_timedwait(&mailer->changed, &mailer->lock, &until);
		else
			failure = pthread_cond_wait(&mailer->changed, &mailer->lock);
	}
	mailer->free_threads--;
	struct delivery *delivery = mailer->waiting.first;
	if (delivery != NULL) {
		list_remove(&mailer->waiting, delivery);
		mailer->waiting_count--;
		delivery->thread = self;
		self->sockets.cut = false;
	}
	return delivery;
}

static void send_one(struct mail_thread *self, struct delivery *delivery, CURL **curl)
{
	if (*curl == NULL)
		*curl = curl_easy_init();
	delivery->sent = MAIL_TRY_AGAIN;
	if (*curl == NULL)
		snprintf(delivery->text, sizeof delivery->text, "out of memory");
	else
		delivery->sent = mail_deliver(*curl, &self->sockets, delivery->server, &delivery->message, delivery->text,
		    sizeof delivery->text);
}

static void *thread_main(void *context)
{
	struct mail_thread *self = context;
	struct mailer *mailer = self->mailer;
	CURL *curl = NULL;
	pthread_mutex_lock(&mailer->lock);
	while (!mailer->closing) {
		struct delivery *delivery = next_delivery(self, curl != NULL);
		pthread_mutex_unlock(&mailer->lock);
		if (delivery != NULL)
			send_one(self, delivery, &curl);
		else if (curl != NULL)
			close_connection(self, &curl);
		pthread_mutex_lock(&mailer->lock);
		if (delivery != NULL) {
			delivery->thread = NULL;
			list_add(&mailer->finished, delivery);
			uv_async_send(&mailer->ready);
		}
	}
	pthread_mutex_unlock(&mailer->lock);
	if (curl != NULL)
		close_connection(self, &curl);
	return NULL;
}

/* False: there is none more than before. No handler's signal is delivered to it. */
static bool start_thread(struct mailer *mailer)
{
	struct mail_thread *thread = &mailer->threads[mailer->thread_count];
	pthread_attr_t attributes;
	sigset_t all, before;
	*thread = (struct mail_thread){ .mailer = mailer, .sockets = { .lock = &mailer->lock } };
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	bool well = pthread_create(&thread->thread, &attributes, thread_main, thread) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
	mailer->thread_count += well;
	return well;
}

/* ---- on the loop ------------------------------------------------------------------------- */

static void free_delivery(struct delivery *delivery)
{
	free(delivery->message.recipients);
	free(delivery->message.text);
	free(delivery);
}

/* The loop has a reason to wait as long as there is something that may end. */
static void count_back(struct mailer *mailer)
{
	if (--mailer->started == 0)
		uv_unref((uv_handle_t *)&mailer->ready);
}

static void on_ready(uv_async_t *ready)
{
	struct mailer *mailer = ready->data;
	for (;;) {
		pthread_mutex_lock(&mailer->lock);
		struct delivery *delivery = mailer->finished.first;
		if (delivery != NULL)
			list_remove(&mailer->finished, delivery);
		pthread_mutex_unlock(&mailer->lock);
		if (delivery == NULL)
			return;
		count_back(mailer);
		if (delivery->done != NULL)
			delivery->done(delivery->context, delivery->sent, delivery->text);
		free_delivery(delivery);
	}
}

static bool copy_message(struct mail_message *to, const struct mail_message *from)
{
	*to = *from;
	to->recipients = malloc(from->recipient_count * sizeof *to->recipients);
	to->text = malloc(from->bytes + 1);
	if (to->recipients == NULL || to->text == NULL)
		return false;
	memcpy(to->recipients, from->recipients, from->recipient_count * sizeof *to->recipients);
	memcpy(to->text, from->text, from->bytes);
	to->text[from->bytes] = '\0';
	return true;
}

struct delivery *mailer_send(struct mailer *mailer, const struct mail_server *server,
    const struct mail_message *message, mail_done_fn *done, void *context, struct tr_error *error)
{
	struct delivery *delivery = calloc(1, sizeof *delivery);
	if (delivery == NULL)
		return module_refuse(error, CURLE_OUT_OF_MEMORY);
	*delivery = (struct delivery){ .mailer = mailer, .server = server, .done = done, .context = context };
	if (!copy_message(&delivery->message, message)) {
		free_delivery(delivery);
		return module_refuse(error, CURLE_OUT_OF_MEMORY);
	}
	pthread_mutex_lock(&mailer->lock);
	bool wanted = mailer->waiting_count >= mailer->free_threads && mailer->thread_count < mailer->connections;
	bool well = !wanted || start_thread(mailer) || mailer->thread_count > 0;
	if (well)
		list_add(&mailer->waiting, delivery);
	mailer->waiting_count += well;
	pthread_cond_signal(&mailer->changed);
	pthread_mutex_unlock(&mailer->lock);
	if (!well) {
		free_delivery(delivery);
		snprintf(error->text, sizeof error->text, "no thread can be started for it");
		return NULL;
	}
	if (mailer->started++ == 0)
		uv_ref((uv_handle_t *)&mailer->ready);
	return delivery;
}

void mailer_abort(struct delivery *delivery)
{
	struct mailer *mailer = delivery->mailer;
	pthread_mutex_lock(&mailer->lock);
	bool waited = list_remove(&mailer->waiting, delivery);
	mailer->waiting_count -= waited;
	/* One that is sent, or done already, comes back to the loop, and goes there. */
	delivery->done = NULL;
	if (delivery->thread != NULL) {
		delivery->thread->sockets.cut = true;
		shut_locked(&delivery->thread->sockets, SHUT_RDWR);
	}
	pthread_mutex_unlock(&mailer->lock);
	if (waited) {
		count_back(mailer);
		free_delivery(delivery);
	}
}

/* ---- opening and closing ----------------------------------------------------------------- */

struct mailer *mailer_open(uv_loop_t *loop, uint32_t connections, struct tr_error *error)
{
	struct mailer *mailer = calloc(1, sizeof *mailer);
	struct mail_thread *threads = calloc(connections, sizeof *threads);
	if (mailer == NULL || threads == NULL || uv_async_init(loop, &mailer->ready, on_ready) != 0) {
		free(threads);
		free(mailer);
		return module_refuse(error, CURLE_OUT_OF_MEMORY);
	}
	mailer->loop = loop;
	mailer->connections = connections;
	mailer->threads = threads;
	mailer->ready.data = mailer;
	uv_unref((uv_handle_t *)&mailer->ready);
	list_init(&mailer->waiting);
	list_init(&mailer->finished);
	pthread_mutex_init(&mailer->lock, NULL); /* none of them fails on Linux */
	pthread_condattr_t attributes;
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&mailer->changed, &attributes);
	pthread_condattr_destroy(&attributes);
	return mailer;
}

static void on_closed(uv_handle_t *handle)
{
	struct mailer *mailer = handle->data;
	pthread_cond_destroy(&mailer->changed);
	pthread_mutex_destroy(&mailer->lock);
	free(mailer->threads);
	free(mailer);
}

void mailer_close(struct mailer **mailer)
{
	struct mailer *gone = *mailer;
	*mailer = NULL;
	pthread_mutex_lock(&gone->lock);
	gone->closing = true;
	pthread_cond_broadcast(&gone->changed);
	pthread_mutex_unlock(&gone->lock);
	for (uint32_t i = 0; i < gone->thread_count; i++)
		pthread_join(gone->threads[i].thread, NULL);
	/* What was aborted while it was being sent has not been looked at since. */
	on_ready(&gone->ready);
	uv_close((uv_handle_t *)&gone->ready, on_closed);
}
