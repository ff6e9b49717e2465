/*
 * Delivery into a maildir, where mail goes when no SMTP server is configured. Called by mail.c.
 *
 *   tmp/NAME  written and fsynced  ── rename ──►  new/NAME  ── a mail reader ──►  cur/NAME:2,...
 *
 * NAME is made from the message's key, so the same task run twice delivers once. A death leaves at
 * most a file in tmp/, which the next run of the task replaces.
 */
#ifndef TASKD_MAIL_MAILDIR_H
#define TASKD_MAIL_MAILDIR_H

#include "taskd/mail_message.h"

enum maildir_result { MAILDIR_DELIVERED, MAILDIR_WAS_THERE, MAILDIR_FAILED };

/*
 * Makes the directory and its tmp, new and cur (0700) when they are missing, but not its parents.
 * FAILED: *error names the path and the operating system's reason; worth another try.
 */
enum maildir_result maildir_deliver(const char *maildir, const struct mail_message *message,
    struct tr_error *error);

#endif
