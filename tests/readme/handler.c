/*
 * The handler that README.md shows: app/handlers/signup.c, shortened. A plug-in of its own, compiled
 * by tests/system/readme.sh.
 */
#include <jansson.h>
#include <stdlib.h>

#include "taskring/handler.h"

/* What "mail" takes, or NULL. */
static char *compose_welcome(const char *args)
{
	json_t *signup = json_loads(args, 0, NULL);
	const char *email = json_string_value(json_object_get(signup, "email"));
	const char *name = json_string_value(json_object_get(signup, "name"));
	json_t *mail = email == NULL || name == NULL ? NULL : json_pack("{s:{s:s, s:s}, s:s+, s:s++}",
	    "to", "address", email, "name", name,
	    "subject", "Welcome, ", name,
	    "text", "Hello ", name, ",\n\nyour registration is complete. Welcome!\n");
	char *text = mail == NULL ? NULL : json_dumps(mail, JSON_COMPACT);

	json_decref(mail);
	json_decref(signup);
	return text;
}

static enum tr_outcome send_email_notification(struct tr_task *task)
{
	char *mail = compose_welcome(tr_task_args(task));
	if (mail == NULL)
		return tr_fail_permanently(task, "the arguments have no email and name");
	enum tr_outcome outcome = tr_call(task, "mail", mail); /* the built-in handler */
	free(mail);
	return outcome;
}

static struct tr_verdict on_mail_failure(struct tr_task *task, const struct tr_failure *failure)
{
	tr_log(task, TR_WARNING, "the welcome mail failed (%s, attempt %u of %u): %s",
	    tr_failure_kind_name(failure->kind), failure->attempt, failure->max_attempts, failure->message);
	return tr_default();
}

static const struct tr_handler handlers[] = {
	{ .name = "send_email_notification", .doc = "Sends the welcome mail", .run = send_email_notification,
	    .on_failure = on_mail_failure },
};

const struct tr_plugin taskring_plugin = {
	.abi = TR_PLUGIN_ABI, .handlers = handlers, .handler_count = sizeof handlers / sizeof *handlers,
};
