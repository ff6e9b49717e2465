/*
 * The built-in handler "mail": a task's arguments become a message, which goes to the configured
 * SMTP server, or into a maildir where there is none. Used by the worker. docs/mail.md says what
 * the arguments are and which failures are worth another attempt.
 */
#ifndef TASKD_MAIL_H
#define TASKD_MAIL_H

#include "taskd/config.h"
#include "taskring/handler.h"

extern const struct tr_handler mail_handler;

/*
 * Once per worker process, before its first task and its threads. `mail` stays the caller's and
 * must live as long as the process. Reads the password; what is wrong is logged, and each mail
 * fails with it, to be tried again.
 */
void mail_configure(const struct config_mail *mail);

#endif
