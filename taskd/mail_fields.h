/*
 * The arguments of a "mail" task, read and checked: the one place where that is done. Called by
 * mail_message.c, which writes them down as a message.
 */
#ifndef TASKD_MAIL_FIELDS_H
#define TASKD_MAIL_FIELDS_H

#include "taskd/mail_message.h"

struct mail_addresses {
	struct mail_address *at;
	size_t count;
};

/* Texts are UTF-8 and live as long as `root` does. */
struct mail_fields {
	json_t *root;
	struct mail_address from;
	struct mail_addresses reply_to, to, cc, bcc;
	const char *subject;
	const char *text, *html; /* one of them may be NULL */
	const char *part;        /* "" when there is none */
	json_t *headers;         /* an object of strings, or NULL */
};

/* As mail_message_compose(). After TR_OK call mail_fields_clear(). */
enum tr_result mail_fields_read(struct mail_fields *fields, const char *args, const char *default_from,
    struct tr_error *error);
void mail_fields_clear(struct mail_fields *fields);

#endif
