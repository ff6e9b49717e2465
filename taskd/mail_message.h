/*
 * A mail message (RFC 5322, MIME) made from the arguments of a "mail" task. Called by mail.c,
 * which gives it to a maildir or to an SMTP server. docs/mail.md lists the fields.
 */
#ifndef TASKD_MAIL_MESSAGE_H
#define TASKD_MAIL_MESSAGE_H

#include "taskd/mail_address.h"

#define MAIL_RECIPIENTS_MAX 100 /* what every server must take: RFC 5321, 4.5.3.1.8 */
#define MAIL_PART_MAX 32
#define MAIL_KEY_SIZE (TR_ID_TEXT_SIZE + 1 + MAIL_PART_MAX)

struct mail_origin {
	const char *task_id;      /* 36 characters */
	const char *default_from; /* for tasks that name no sender; or NULL */
	int64_t now_s;            /* for the Date header, s since 1970 */
};

struct mail_message {
	/* The same each time the task runs: the task's id, or "id.part". Of [A-Za-z0-9._-]. */
	char key[MAIL_KEY_SIZE];
	char message_id[MAIL_KEY_SIZE + MAIL_ADDRESS_MAX + 3]; /* <key@host of the sender> */
	char sender[MAIL_ADDRESS_MAX + 1];
	size_t recipient_count; /* of to, cc and bcc, each once */
	char (*recipients)[MAIL_ADDRESS_MAX + 1];
	size_t bytes;
	char *text; /* ASCII; every line ends with CR LF and has at most 998 characters */
};

/*
 * `args` is a JSON text. TR_OK: *message is the caller's. INVALID: *error names the field; it will
 * never be right. NO_MEMORY: worth another try. After an error there is nothing to clear.
 */
enum tr_result mail_message_compose(struct mail_message *message, const char *args,
    const struct mail_origin *origin, struct tr_error *error);
void mail_message_clear(struct mail_message *message);

#endif
