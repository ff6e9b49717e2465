/*
 * One mail address as a task gives it: checked, and split into the address and the name beside it.
 * Called by mail_message.c for every sender and recipient. Forms, of JSON:
 *
 *   "ada@example.org"    "Ada Lovelace <ada@example.org>"    "\"Lovelace, Ada\" <ada@example.org>"
 *   {"address": "ada@example.org", "name": "any text"}
 *
 * An address is plain: a dot-atom, "@", a host name; ASCII only (no SMTPUTF8: what one server on
 * the way does not speak would come back). Comments, quoted local parts, routes and address
 * literals are refused, so that nothing but a mailbox can stand where a mailbox is meant.
 */
#ifndef TASKD_MAIL_ADDRESS_H
#define TASKD_MAIL_ADDRESS_H

#include <jansson.h>

#include "taskring/taskring.h"

#define MAIL_ADDRESS_MAX 254 /* RFC 5321, 4.5.3.1.3: a path of 256 without its angle brackets */
#define MAIL_NAME_MAX 200

struct mail_address {
	char address[MAIL_ADDRESS_MAX + 1];
	char name[MAIL_NAME_MAX + 1]; /* UTF-8 without control characters; "" when there is none */
};

/* False: *error names `field` and what is wrong. */
bool mail_address_read(struct mail_address *address, const json_t *value, const char *field,
    struct tr_error *error);

/*
 * Whether a text may become part of a header: no control characters (so no line breaks), of
 * ASCII's or of Unicode's C1 range. `text` is UTF-8.
 */
bool mail_header_text_ok(const char *text);

#endif
