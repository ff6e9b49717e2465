/*
 * Between the handlers "mail" and "http" and the shared object that drives libcurl for them beside a
 * worker thread's event loop (modules/transfer*.c). It is a shared object of its own, opened with the
 * first transfer, because libcurl and what it brings along cost each worker megabytes.
 *
 *   mail.c, http.c ── start ──► waits for its turn ──► libcurl ── done() ──► the task's outcome
 *                                        └── abort ──► nothing more is said
 *
 * The object exports one symbol: const struct transfer_module taskring_transfer_module.
 */
#ifndef TASKD_TRANSFER_H
#define TASKD_TRANSFER_H

#include "taskd/mail_message.h"
#include "taskring/handler.h"

#define TRANSFER_ABI 1u
#define TRANSFER_SYMBOL "taskring_transfer_module"

#define TRANSFER_REDIRECTS_MAX 5
#define TRANSFER_BODY_MAX 4096      /* bytes that are kept of an answer's body */
#define TRANSFER_BODY_READ_MAX (64u << 10) /* no more than this is read of it */

struct sockaddr;
struct transfers; /* those of one thread: its connections, its cache of names */
struct delivery;  /* a mail that was started and is not done */
struct transfer;  /* an HTTP request, likewise */

/* ---- mail -------------------------------------------------------------------------------- */

struct mail_server {
	const char *url;      /* smtp://host[:port] or smtps://... */
	const char *user;     /* NULL: no authentication */
	const char *password;
	const char *ca_file;  /* NULL: the system's */
	bool require_tls;     /* false: TLS where the server offers it; its certificate is checked all the same */
	uint32_t timeout_ms;  /* for connecting, and for the whole delivery from its turn on */
};

enum mail_sent {
	MAIL_SENT,      /* the server has taken the message for every recipient */
	MAIL_TRY_AGAIN, /* nobody has got it, or nobody knows (the connection broke before the last reply) */
	MAIL_REFUSED,   /* the server will never take it; nobody has got it */
};

/* `text`: a sentence with the server's reply, printable ASCII; it lives until the function returns. */
typedef void mail_done_fn(void *context, enum mail_sent sent, const char *text);

/* ---- http -------------------------------------------------------------------------------- */

struct http_request {
	const char *url;    /* http:// or https://; what else is wrong with it libcurl says */
	const char *method;
	/* "Name: value" each, "Name;" with an empty value; no control characters in them. */
	const char *const *headers;
	size_t header_count;
	/* How many of them, from the first, also go to another origin (scheme, host, port) after a redirect. */
	size_t public_header_count;
	const char *body; /* NULL: none */
	size_t body_bytes;
	uint32_t timeout_ms;         /* from its turn to the last byte of the last answer */
	uint32_t connect_timeout_ms; /* of each connection, name and TLS included */
	uint32_t redirects;          /* that are followed: 0..TRANSFER_REDIRECTS_MAX */
	const char *ca_file;         /* NULL: the system's */
	/* Asked before each connection: NULL, or what the address is, as the end of "which is ...". */
	const char *(*refused)(const void *rules, const struct sockaddr *address);
	const void *rules;
};

enum http_end {
	HTTP_ANSWERED, /* by some status, 200 to 999 */
	HTTP_FAILED,   /* no answer, or not a whole one: the network, the peer, TLS, time */
	HTTP_REFUSED,  /* not asked at all, and never will be: a malformed URL, an address that is not allowed */
};

/* All texts but `body` are printable ASCII. They live until the function returns. */
struct http_answer {
	enum http_end end;
	int status;
	const char *error; /* a sentence, unless ANSWERED */
	const char *content_type, *location, *etag, *last_modified; /* or NULL */
	uint64_t retry_after_ms; /* 0: not given, or over */
	const char *body; /* its first TRANSFER_BODY_MAX bytes at most: any bytes */
	size_t body_bytes;
	bool body_cut;    /* there was more */
	uint32_t redirects; /* that were followed */
	uint64_t took_ms;
};

typedef void http_done_fn(void *context, const struct http_answer *answer);

/* ---- the module -------------------------------------------------------------------------- */

struct transfer_module {
	uint32_t abi; /* TRANSFER_ABI */
	/*
	 * `mail_connections`: how many to the mail server at the same time; further mails wait for their
	 * turn. NULL: *error. Raises the process's soft limit of descriptors as far as needed and allowed.
	 * All functions are for the loop's thread. The process ignores SIGPIPE.
	 */
	struct transfers *(*open)(struct uv_loop_s *loop, uint32_t mail_connections, struct tr_error *error);
	/* All transfers are done or aborted by then. The loop must run once more for the memory to go. */
	void (*close)(struct transfers *transfers);
	/*
	 * Starts a delivery; NULL and *error when it cannot. The message is copied, what `server` holds must
	 * live as long as the process. done() is called once, from the loop, never from inside mail().
	 */
	struct delivery *(*mail)(struct transfers *transfers, const struct mail_server *server,
	    const struct mail_message *message, mail_done_fn *done, void *context, struct tr_error *error);
	/* Breaks it off at once: done() will not be called. */
	void (*abort_mail)(struct delivery *delivery);
	/* Likewise a request; what `request` holds must live until done() or abort_http(). */
	struct transfer *(*http)(struct transfers *transfers, const struct http_request *request, http_done_fn *done,
	    void *context, struct tr_error *error);
	void (*abort_http)(struct transfer *transfer);
};

/* ---- what the handlers call: transfer.c --------------------------------------------------- */

/* The resource that both handlers name: opens nothing by itself, so that mail to a maildir costs nothing. */
#define TRANSFER_RESOURCE "taskring.transfers"
extern const struct tr_resource transfer_resource;

/* Once per worker process, before its first task. `path` of the shared object must live as long. */
void transfer_configure(const char *path, uint32_t mail_connections);

/*
 * The transfers of the task's thread, and the functions to use them with; the task's handler names the
 * resource. The first call loads the module. NULL: *error, which the next attempt may find mended.
 */
const struct transfer_module *transfer_get(struct tr_task *task, struct transfers **transfers,
    struct tr_error *error);

#endif
