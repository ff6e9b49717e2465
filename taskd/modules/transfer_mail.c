/*
 * The SMTP client: libcurl's. Enters: a composed message and its envelope. Leaves: whether the
 * server took it, and its reply. Called by transfer_mailer.c on one of its threads, which lends the
 * easy handle: the connection that it keeps is used for the next message.
 *
 * A 5xx reply to a command about the message (MAIL, RCPT, DATA, the message itself) is final
 * (RFC 5321, 4.2.1). Everything else is worth another try: 4xx, no connection, a broken one,
 * time-out, TLS, and also a 5xx reply to the connection or about our credentials (RFC 4954, 6):
 * that is a fault of the configuration or the server, and no message must be lost by it.
 */
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "taskd/modules/transfer_module.h"

#define COMMAND_SIZE (MAIL_ADDRESS_MAX + 16)

/* One delivery. libcurl tells each command and each line of a reply through on_debug(). */
struct dialogue {
	CURL *curl;
	struct mail_sockets *sockets;
	const struct mail_message *message;
	struct curl_slist *recipients;
	size_t read_bytes;
	bool data_said;             /* DATA was sent: the server may have the message */
	bool quitting;              /* what follows says nothing about the message */
	int code;                   /* of the reply to the last command; 0: there was none yet */
	char command[COMMAND_SIZE]; /* the last one, if it is about the message; never AUTH */
	char reply[384];            /* its text, lines joined by spaces */
	char curl_text[CURL_ERROR_SIZE];
};

static size_t on_read(char *buffer, size_t size, size_t count, void *context)
{
	struct dialogue *dialogue = context;
	size_t bytes = size * count;
	size_t left = dialogue->message->bytes - dialogue->read_bytes;
	if (bytes > left)
		bytes = left;
	memcpy(buffer, dialogue->message->text + dialogue->read_bytes, bytes);
	dialogue->read_bytes += bytes;
	return bytes;
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

static void on_command(struct dialogue *dialogue, const char *line, size_t bytes)
{
	static const char *const kept[] = { "MAIL FROM:", "RCPT TO:", "DATA" };
	dialogue->code = 0;
	dialogue->reply[0] = '\0';
	dialogue->command[0] = '\0';
	dialogue->data_said |= bytes >= 4 && strncasecmp(line, "DATA", 4) == 0;
	for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
		if (bytes >= strlen(kept[i]) && strncasecmp(line, kept[i], strlen(kept[i])) == 0)
			append(dialogue->command, sizeof dialogue->command, line, bytes);
	}
}

/* "250-first line", "250 last line"; libcurl has checked that it looks so. */
static void on_reply(struct dialogue *dialogue, const char *line, size_t bytes)
{
	int code = 0;
	for (size_t i = 0; i < 3; i++) {
		if (i >= bytes || line[i] < '0' || line[i] > '9')
			return;
		code = code * 10 + (line[i] - '0');
	}
	/* The reply to the message's end follows the one to DATA without a command between them. */
	if (code != dialogue->code)
		dialogue->reply[0] = '\0';
	else if (dialogue->reply[0] != '\0')
		append(dialogue->reply, sizeof dialogue->reply, " ", 1);
	bool first = dialogue->reply[0] == '\0';
	size_t skip = first ? 0 : 4;
	dialogue->code = code;
	if (bytes > skip)
		append(dialogue->reply, sizeof dialogue->reply, line + skip, bytes - skip);
}

static int on_progress(void *context, curl_off_t download_total, curl_off_t downloaded, curl_off_t upload_total,
    curl_off_t uploaded)
{
	(void)download_total;
	(void)downloaded;
	(void)upload_total;
	(void)uploaded;
	const struct dialogue *dialogue = context;
	return mail_sockets_are_cut(dialogue->sockets);
}

static int on_socket(void *context, curl_socket_t socket, curlsocktype purpose)
{
	(void)purpose;
	return mail_sockets_add(context, socket) ? CURL_SOCKOPT_OK : CURL_SOCKOPT_ERROR;
}

static int on_close(void *context, curl_socket_t socket)
{
	return mail_sockets_close(context, socket);
}

/*
 * libcurl says QUIT and waits for the reply, two minutes and regardless of the time-out. All has
 * been decided by then, and a server that stalls must not hold the next mail: nothing more is read.
 */
static int on_debug(CURL *curl, curl_infotype type, char *data, size_t bytes, void *context)
{
	(void)curl;
	struct dialogue *dialogue = context;
	if (dialogue->quitting)
		return 0;
	if (type == CURLINFO_HEADER_OUT && bytes >= 4 && strncasecmp(data, "QUIT", 4) == 0) {
		dialogue->quitting = true;
		mail_sockets_shut(dialogue->sockets, SHUT_RD);
	} else if (type == CURLINFO_HEADER_OUT) {
		on_command(dialogue, data, bytes);
	} else if (type == CURLINFO_HEADER_IN) {
		on_reply(dialogue, data, bytes);
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
	if (code == CURLE_OK)
		code = module_set_trust(curl, server->ca_file);
	long ssl = server->require_tls ? CURLUSESSL_ALL : CURLUSESSL_TRY;
	if (code == CURLE_OK)
		code = curl_easy_setopt(curl, CURLOPT_USE_SSL, ssl);
	curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)server->timeout_ms);
	curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)server->timeout_ms);
	return code;
}

static CURLcode set_envelope(CURL *curl, struct dialogue *dialogue)
{
	const struct mail_message *message = dialogue->message;
	for (size_t i = 0; i < message->recipient_count; i++) {
		struct curl_slist *longer = curl_slist_append(dialogue->recipients, message->recipients[i]);
		if (longer == NULL)
			return CURLE_OUT_OF_MEMORY;
		dialogue->recipients = longer;
	}
	CURLcode code = curl_easy_setopt(curl, CURLOPT_MAIL_FROM, message->sender);
	if (code == CURLE_OK)
		code = curl_easy_setopt(curl, CURLOPT_MAIL_RCPT, dialogue->recipients);
	return code;
}

static void set_callbacks(CURL *curl, struct dialogue *dialogue)
{
	curl_easy_setopt(curl, CURLOPT_SOCKOPTFUNCTION, on_socket);
	curl_easy_setopt(curl, CURLOPT_SOCKOPTDATA, dialogue->sockets);
	curl_easy_setopt(curl, CURLOPT_CLOSESOCKETFUNCTION, on_close);
	curl_easy_setopt(curl, CURLOPT_CLOSESOCKETDATA, dialogue->sockets);
	curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
	curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
	curl_easy_setopt(curl, CURLOPT_XFERINFODATA, dialogue);
	curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
	curl_easy_setopt(curl, CURLOPT_READFUNCTION, on_read);
	curl_easy_setopt(curl, CURLOPT_READDATA, dialogue);
	/* Sent as SIZE= (RFC 1870), so that a server can refuse before the transfer. */
	curl_easy_setopt(curl, CURLOPT_INFILESIZE_LARGE, (curl_off_t)dialogue->message->bytes);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, discard);
	curl_easy_setopt(curl, CURLOPT_VERBOSE, 1L);
	curl_easy_setopt(curl, CURLOPT_DEBUGFUNCTION, on_debug);
	curl_easy_setopt(curl, CURLOPT_DEBUGDATA, dialogue);
}

/* Authentication is required, its mechanism too weak, it failed, it needs encryption. */
static bool about_credentials(int code)
{
	return code == 530 || code == 534 || code == 535 || code == 538;
}

/* Fills *text of `size` bytes. */
static enum mail_sent judge(const struct dialogue *dialogue, CURLcode code, char *text, size_t size)
{
	const char *curl_text = dialogue->curl_text;
	if (code == CURLE_OK) {
		snprintf(text, size, "%s", dialogue->reply);
		return MAIL_SENT;
	}
	if (dialogue->code < 400) {
		if (curl_text[0] == '\0')
			curl_text = curl_easy_strerror(code);
		text[0] = '\0';
		append(text, size, curl_text, strlen(curl_text));
		return MAIL_TRY_AGAIN;
	}
	snprintf(text, size, "the mail server refused%s%.90s: %s", dialogue->command[0] == '\0' ? "" : " ",
	    dialogue->command, dialogue->reply);
	bool about_message = dialogue->command[0] != '\0' && !about_credentials(dialogue->code);
	return dialogue->code >= 500 && about_message ? MAIL_REFUSED : MAIL_TRY_AGAIN;
}

/*
 * Servers close connections that have been quiet or have brought enough (421). Where that met a kept
 * one and the message had not been sent, it is no failure of this message's.
 */
static bool kept_one_had_gone(const struct dialogue *dialogue, CURLcode code)
{
	long opened = 1;
	curl_easy_getinfo(dialogue->curl, CURLINFO_NUM_CONNECTS, &opened);
	bool broken = dialogue->code == 0 || dialogue->code == 421;
	return code != CURLE_OK && code != CURLE_OPERATION_TIMEDOUT && opened == 0 && broken && !dialogue->data_said &&
	    !mail_sockets_are_cut(dialogue->sockets);
}

static CURLcode perform(struct dialogue *dialogue)
{
	CURLcode code = curl_easy_perform(dialogue->curl);
	if (!kept_one_had_gone(dialogue, code))
		return code;
	/* Once more, on a new one. */
	dialogue->quitting = false;
	dialogue->read_bytes = 0;
	dialogue->code = 0;
	dialogue->curl_text[0] = '\0';
	curl_easy_setopt(dialogue->curl, CURLOPT_FRESH_CONNECT, 1L);
	return curl_easy_perform(dialogue->curl);
}

enum mail_sent mail_deliver(CURL *curl, struct mail_sockets *sockets, const struct mail_server *server,
    const struct mail_message *message, char *text, size_t size)
{
	struct dialogue dialogue = { .curl = curl, .sockets = sockets, .message = message };
	curl_easy_reset(curl); /* its connection stays */
	CURLcode code = module_prepare(curl, dialogue.curl_text);
	if (code == CURLE_OK)
		code = set_server(curl, server);
	if (code == CURLE_OK)
		code = set_envelope(curl, &dialogue);
	if (code == CURLE_OK) {
		set_callbacks(curl, &dialogue);
		code = perform(&dialogue);
	}
	enum mail_sent sent = judge(&dialogue, code, text, size);
	curl_easy_reset(curl); /* nothing of it points here any more */
	curl_slist_free_all(dialogue.recipients);
	return sent;
}
