/*
 * The shared object with libcurl. In: transfers of one thread's handlers; out: their ends. Opened by
 * transfer.c, which finds struct transfer_module here.
 */
#include "taskd/modules/transfer_module.h"

#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

/*
 * Transfers to names that have not been connected yet. libcurl asks for each name on a thread of its
 * own, and for the same name as often as it is wanted until the first answer is there.
 */
#define LOOKUPS_MAX 64
#define HTTP_CONNECTIONS_KEPT 256
/* Of 1,024 pending tasks: a socket each, the pair of sockets of a lookup, those kept, and our own. */
#define DESCRIPTORS_WANTED 2048

static pthread_once_t once = PTHREAD_ONCE_INIT;
static CURLcode initialised;

static void raise_descriptor_limit(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= DESCRIPTORS_WANTED)
		return;
	limit.rlim_cur = limit.rlim_max < DESCRIPTORS_WANTED ? limit.rlim_max : DESCRIPTORS_WANTED;
	(void)setrlimit(RLIMIT_NOFILE, &limit); /* with fewer, some connections fail and are tried again */
}

static void initialise(void)
{
	raise_descriptor_limit();
	initialised = curl_global_init(CURL_GLOBAL_DEFAULT);
}

void *module_refuse(struct tr_error *error, CURLcode code)
{
	snprintf(error->text, sizeof error->text, "%s", curl_easy_strerror(code));
	return NULL;
}

/* ---- a thread's -------------------------------------------------------------------------- */

static struct transfers *open_transfers(struct uv_loop_s *loop, uint32_t mail_connections, struct tr_error *error)
{
	pthread_once(&once, initialise);
	struct transfers *transfers = initialised == CURLE_OK ? calloc(1, sizeof *transfers) : NULL;
	if (transfers == NULL)
		return module_refuse(error, initialised == CURLE_OK ? CURLE_OUT_OF_MEMORY : initialised);
	transfers->mailer = mailer_open(loop, mail_connections, error);
	if (transfers->mailer == NULL) {
		free(transfers);
		return NULL;
	}
	channel_open(&transfers->http, loop, LOOKUPS_MAX, HTTP_CONNECTIONS_KEPT);
	return transfers;
}

static void on_channel_closed(struct channel *channel)
{
	free((struct transfers *)((char *)channel - offsetof(struct transfers, http)));
}

static void close_transfers(struct transfers *transfers)
{
	mailer_close(&transfers->mailer);
	channel_close(&transfers->http, on_channel_closed);
}

static struct delivery *mail(struct transfers *transfers, const struct mail_server *server,
    const struct mail_message *message, mail_done_fn *done, void *context, struct tr_error *error)
{
	return mailer_send(transfers->mailer, server, message, done, context, error);
}

/* ---- a transfer -------------------------------------------------------------------------- */

CURLcode module_set_trust(CURL *easy, const char *ca_file)
{
	/*
	 * A file alone: instead of the system's certificates, not beside them; and only without a directory
	 * libcurl reads it once for all connections.
	 */
	CURLcode code = curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
	if (code == CURLE_OK && ca_file != NULL)
		code = curl_easy_setopt(easy, CURLOPT_CAINFO, ca_file);
	if (code == CURLE_OK)
		code = curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	return code;
}

CURLcode module_prepare(CURL *easy, char *curl_text)
{
	if (easy == NULL)
		return CURLE_OUT_OF_MEMORY;
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, curl_text);
	/* No signals for time-outs: there are other threads. */
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	/* A transfer that is broken off does not wait for the thread that asks for its name. */
	curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
	/* What is connected to is what was asked for, whatever proxy the environment names. */
	return curl_easy_setopt(easy, CURLOPT_PROXY, "");
}

static void abort_http(struct transfer *transfer)
{
	channel_remove(transfer);
	transfer->free(transfer);
}

__attribute__((visibility("default"))) extern const struct transfer_module taskring_transfer_module;
const struct transfer_module taskring_transfer_module = {
	.abi = TRANSFER_ABI,
	.open = open_transfers,
	.close = close_transfers,
	.mail = mail,
	.abort_mail = mailer_abort,
	.http = module_http,
	.abort_http = abort_http,
};
