/* Whether a text may be an e-mail address. */
#ifndef APP_EMAIL_H
#define APP_EMAIL_H

/*
 * What makes `address` implausible, as a sentence; NULL: it looks deliverable. Accepted is the
 * dot-atom form of RFC 5321 with a domain name of at least two labels, in ASCII; quoted local parts
 * and address literals, which nobody signs up with, are not. NULL also means that nothing in the
 * address can break a mail header.
 */
const char *email_fault(const char *address);

#endif
