/*
 * The SMTP client: libcurl's. Enters: a composed message and its envelope. Leaves: whether the
 * server took it, and its reply. Called by mail.c through struct mail_transport.
 *
 * A 5xx reply to a command about the message (MAIL, RCPT, DATA, the message itself) is final
 * (RFC 5321, 4.2.1). Everything else is worth another try: 4xx, no connection, a broken one,
 * time-out, TLS, and also a 5xx reply to the connection or about our credentials (RFC 4954, 6):
 * that is a fault of the configuration or the server, and no message must be lost by it.
 */
#include "taskd/mail_transport.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define COMMAND_SIZE (MAIL_ADDRESS_MAX + 16)
#define SOCKETS_MAX 4 /* open at the same time while libcurl tries the server's addresses */

/* One delivery. libcurl tells each command and each line of a reply through on_debug(). */
struct delivery {
	const struct mail_message *message;
	size_t read_bytes;
	bool (*stop)(void *context);
	void *context;
	bool stopped;
	bool quitting;              /* what follows says nothing about the message */
	curl_socket_t sockets[SOCKETS_MAX]; /* CURL_SOCKET_BAD: a free place */
	int code;                   /* of the reply to the last command; 0: there was none yet */
	char command[COMMAND_SIZE]; /* the last one, if it is about the message; never AUTH */
	char reply[384];            /* its text, lines joined by spaces */
};

static pthread_once_t initialised = PTHREAD_ONCE_INIT;
static CURLcode initialise_result;

static void initialise(void)
{
	initialise_result = curl_global_init(CURL_GLOBAL_DEFAULT);
}

static size_t on_read(char *buffer, size_t size, size_t count, void *context)
{
	struct delivery *delivery = context;
	size_t bytes = size * count;
	size_t left = delivery->message->bytes - delivery->read_bytes;
	if (bytes > left)
		bytes = left;
	memcpy(buffer, delivery->message->text + delivery->read_bytes, bytes);
	delivery->read_bytes += bytes;
	return bytes;
}

static int on_progress(void *context, curl_off_t download_total, curl_off_t downloaded, curl_off_t upload_total,
    curl_off_t uploaded)
{
	(void)download_total;
	(void)downloaded;
	(void)upload_total;
	(void)uploaded;
	struct delivery *delivery = context;
	if (!delivery->stopped)
		delivery->stopped = delivery->stop(delivery->context);
	return delivery->stopped;
}

/* Appends, with everything but printable ASCII replaced: a server's reply is not trusted. */
static void append(char *to, size_t size, const char *from, size_t bytes)
{
	size_t used = strlen(to);
	for (size_t i = 0; i < bytes && used + 1 < size; i++) {
		if (from[i] == '\r' || from[i] == '\n')
			continue;
		to[used++] = from[i] >= ' ' && from[i] <= '~' ? from[i] : '?';
	}
	to[used] = '\0';
}

static void on_command(struct delivery *delivery, const char *line, size_t bytes)
{
	static const char *const kept[] = { "MAIL FROM:", "RCPT TO:", "DATA" };
	delivery->code = 0;
	delivery->reply[0] = '\0';
	delivery->command[0] = '\0';
	for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
		if (bytes >= strlen(kept[i]) && strncasecmp(line, kept[i], strlen(kept[i])) == 0)
			append(delivery->command, sizeof delivery->command, line, bytes);
	}
}

/* "250-first line", "250 last line"; libcurl has checked that it looks so. */
static void on_reply(struct delivery *delivery, const char *line, size_t bytes)
{
	int code = 0;
	for (size_t i = 0; i < 3; i++) {
		if (i >= bytes || line[i] < '0' || line[i] > '9')
			return;
		code = code * 10 + (line[i] - '0');
	}
	/* The reply to the message's end follows the one to DATA without a command between them. */
	if (code != delivery->code)
		delivery->reply[0] = '\0';
	else if (delivery->reply[0] != '\0')
		append(delivery->reply, sizeof delivery->reply, " ", 1);
	bool first = delivery->reply[0] == '\0';
	size_t skip = first ? 0 : 4;
	delivery->code = code;
	if (bytes > skip)
		append(delivery->reply, sizeof delivery->reply, line + skip, bytes - skip);
}

static int on_socket(void *context, curl_socket_t fd, curlsocktype purpose)
{
	(void)purpose;
	struct delivery *delivery = context;
	for (size_t i = 0; i < SOCKETS_MAX; i++) {
		if (delivery->sockets[i] == CURL_SOCKET_BAD) {
			delivery->sockets[i] = fd;
			break;
		}
	}
	return CURL_SOCKOPT_OK;
}

static int on_close(void *context, curl_socket_t fd)
{
	struct delivery *delivery = context;
	for (size_t i = 0; i < SOCKETS_MAX; i++) {
		if (delivery->sockets[i] == fd)
			delivery->sockets[i] = CURL_SOCKET_BAD;
	}
	return close(fd);
}

/*
 * libcurl says QUIT and waits for the reply, two minutes and regardless of the time-out. All has
 * been decided by then, and a server that stalls must not hold the worker: nothing more is read.
 * QUIT comes at the end of a delivery that failed, which on_debug() sees, else with the clean-up.
 */
static void stop_reading(const struct delivery *delivery)
{
	for (size_t i = 0; i < SOCKETS_MAX; i++) {
		if (delivery->sockets[i] != CURL_SOCKET_BAD)
			(void)shutdown(delivery->sockets[i], SHUT_RD);
	}
}

static int on_debug(CURL *curl, curl_infotype type, char *data, size_t bytes, void *context)
{
	(void)curl;
	struct delivery *delivery = context;
	if (delivery->quitting)
		return 0;
	if (type == CURLINFO_HEADER_OUT && bytes >= 4 && strncasecmp(data, "QUIT", 4) == 0) {
		delivery->quitting = true;
		stop_reading(delivery);
	} else if (type == CURLINFO_HEADER_OUT) {
		on_command(delivery, data, bytes);
	} else if (type == CURLINFO_HEADER_IN) {
		on_reply(delivery, data, bytes);
	}
	return 0;
}

static size_t discard(char *data, size_t size, size_t count, void *context)
{
	(void)data;
	(void)context;
	return size * count;
}

/* Only what can be wrong in the configuration can fail here; the rest are constants. */
static CURLcode set_server(CURL *curl, const struct mail_server *server)
{
	CURLcode code = curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "smtp,smtps");
	if (code == CURLE_OK)
		code = curl_easy_setopt(curl, CURLOPT_URL, server->url);
	if (code == CURLE_OK && server->user != NULL)
		code = curl_easy_setopt(curl, CURLOPT_USERNAME, server->user);
	if (code == CURLE_OK && server->user != NULL)
		code = curl_easy_setopt(curl, CURLOPT_PASSWORD, server->password);
	if (code == CURLE_OK && server->ca_file != NULL)
		code = curl_easy_setopt(curl, CURLOPT_CAINFO, server->ca_file);
	long ssl = server->require_tls ? CURLUSESSL_ALL : CURLUSESSL_TRY;
	if (code == CURLE_OK)
		code = curl_easy_setopt(curl, CURLOPT_USE_SSL, ssl);
	if (code == CURLE_OK)
		code = curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	/* Mail goes to the configured server, whatever HTTP proxy the environment names. */
	if (code == CURLE_OK)
		code = curl_easy_setopt(curl, CURLOPT_PROXY, "");
	/* No signals for time-outs: there are other threads. */
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)server->timeout_ms);
	curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)server->timeout_ms);
	return code;
}

static CURLcode set_envelope(CURL *curl, const struct mail_message *message, struct curl_slist **recipients)
{
	for (size_t i = 0; i < message->recipient_count; i++) {
		struct curl_slist *longer = curl_slist_append(*recipients, message->recipients[i]);
		if (longer == NULL)
			return CURLE_OUT_OF_MEMORY;
		*recipients = longer;
	}
	CURLcode code = curl_easy_setopt(curl, CURLOPT_MAIL_FROM, message->sender);
	if (code == CURLE_OK)
		code = curl_easy_setopt(curl, CURLOPT_MAIL_RCPT, *recipients);
	return code;
}

static void set_callbacks(CURL *curl, struct delivery *delivery)
{
	curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
	curl_easy_setopt(curl, CURLOPT_READFUNCTION, on_read);
	curl_easy_setopt(curl, CURLOPT_READDATA, delivery);
	/* Sent as SIZE= (RFC 1870), so that a server can refuse before the transfer. */
	curl_easy_setopt(curl, CURLOPT_INFILESIZE_LARGE, (curl_off_t)delivery->message->bytes);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, discard);
	curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
	curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
	curl_easy_setopt(curl, CURLOPT_XFERINFODATA, delivery);
	for (size_t i = 0; i < SOCKETS_MAX; i++)
		delivery->sockets[i] = CURL_SOCKET_BAD;
	curl_easy_setopt(curl, CURLOPT_SOCKOPTFUNCTION, on_socket);
	curl_easy_setopt(curl, CURLOPT_SOCKOPTDATA, delivery);
	curl_easy_setopt(curl, CURLOPT_CLOSESOCKETFUNCTION, on_close);
	curl_easy_setopt(curl, CURLOPT_CLOSESOCKETDATA, delivery);
	curl_easy_setopt(curl, CURLOPT_VERBOSE, 1L);
	curl_easy_setopt(curl, CURLOPT_DEBUGFUNCTION, on_debug);
	curl_easy_setopt(curl, CURLOPT_DEBUGDATA, delivery);
}

/* Authentication is required, its mechanism too weak, it failed, it needs encryption. */
static bool about_credentials(int code)
{
	return code == 530 || code == 534 || code == 535 || code == 538;
}

static enum mail_sent judge(const struct delivery *delivery, CURLcode code, const char *curl_text,
    struct mail_report *report)
{
	if (code == CURLE_OK) {
		snprintf(report->text, sizeof report->text, "%s", delivery->reply);
		return MAIL_SENT;
	}
	if (delivery->stopped) {
		snprintf(report->text, sizeof report->text, "stopped before the mail server had taken the message");
		return MAIL_TRY_AGAIN;
	}
	if (delivery->code < 400) {
		report->text[0] = '\0';
		append(report->text, sizeof report->text, curl_text, strlen(curl_text));
		return MAIL_TRY_AGAIN;
	}
	snprintf(report->text, sizeof report->text, "the mail server refused%s%.90s: %s",
	    delivery->command[0] == '\0' ? "" : " ", delivery->command, delivery->reply);
	bool about_message = delivery->command[0] != '\0' && !about_credentials(delivery->code);
	return delivery->code >= 500 && about_message ? MAIL_REFUSED : MAIL_TRY_AGAIN;
}

static enum mail_sent send_mail(const struct mail_server *server, const struct mail_message *message,
    bool (*stop)(void *context), void *context, struct mail_report *report)
{
	pthread_once(&initialised, initialise);
	CURL *curl = initialise_result == CURLE_OK ? curl_easy_init() : NULL;
	if (curl == NULL) {
		snprintf(report->text, sizeof report->text, "libcurl does not start: %s",
		    curl_easy_strerror(initialise_result == CURLE_OK ? CURLE_OUT_OF_MEMORY : initialise_result));
		return MAIL_TRY_AGAIN;
	}
	struct delivery delivery = { .message = message, .stop = stop, .context = context };
	struct curl_slist *recipients = NULL;
	char curl_text[CURL_ERROR_SIZE] = "";
	curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, curl_text);
	CURLcode code = set_server(curl, server);
	if (code == CURLE_OK)
		code = set_envelope(curl, message, &recipients);
	if (code == CURLE_OK) {
		set_callbacks(curl, &delivery);
		code = curl_easy_perform(curl);
		stop_reading(&delivery);
	}
	enum mail_sent sent = judge(&delivery, code, curl_text[0] == '\0' ? curl_easy_strerror(code) : curl_text, report);
	curl_easy_cleanup(curl);
	curl_slist_free_all(recipients);
	return sent;
}

__attribute__((visibility("default"))) extern const struct mail_transport taskring_mail_transport;
const struct mail_transport taskring_mail_transport = { .abi = MAIL_TRANSPORT_ABI, .send = send_mail };
