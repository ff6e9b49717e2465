/*
 * Between mail.c and the shared object that speaks SMTP (modules/mail_smtp.c). It is a shared
 * object of its own, opened with the first mail that goes to a server, because libcurl and what it
 * brings along cost each worker megabytes.
 *
 * The object exports one symbol: const struct mail_transport taskring_mail_transport.
 */
#ifndef TASKD_MAIL_TRANSPORT_H
#define TASKD_MAIL_TRANSPORT_H

#include "taskd/mail_message.h"

#define MAIL_TRANSPORT_ABI 1u
#define MAIL_TRANSPORT_SYMBOL "taskring_mail_transport"

struct mail_server {
	const char *url;      /* smtp://host[:port] or smtps://... */
	const char *user;     /* NULL: no authentication */
	const char *password;
	const char *ca_file;  /* NULL: the system's */
	bool require_tls;     /* false: TLS where the server offers it; its certificate is checked all the same */
	uint32_t timeout_ms;  /* for connecting, and for the whole delivery */
};

enum mail_sent {
	MAIL_SENT,      /* the server has taken the message for every recipient */
	MAIL_TRY_AGAIN, /* nobody has got it, or nobody knows (the connection broke before the last reply) */
	MAIL_REFUSED,   /* the server will never take it; nobody has got it */
};

struct mail_report {
	char text[512]; /* a sentence with the server's reply; printable ASCII */
};

struct mail_transport {
	uint32_t abi; /* MAIL_TRANSPORT_ABI */
	/*
	 * Sends, waits for the server. `stop` is asked about once a second and whenever bytes move;
	 * when it answers true the delivery is broken off. Thread-safe. The process ignores SIGPIPE.
	 */
	enum mail_sent (*send)(const struct mail_server *server, const struct mail_message *message,
	    bool (*stop)(void *context), void *context, struct mail_report *report);
};

#endif
