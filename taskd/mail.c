/*
 * Enters: a "mail" task. Leaves: its outcome, and a message sent. Called by the worker. Mail to a server
 * is asynchronous, mail to a maildir is not: a disk is not waited for on the event loop.
 */
#include "taskd/mail.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "taskd/log.h"
#include "taskd/mail_maildir.h"
#include "taskd/mail_message.h"
#include "taskd/transfer.h"

#define PASSWORD_MAX 1000

/* Written by mail_configure(), before the threads are there. */
static struct {
	const struct config_mail *config;
	struct tr_error fault; /* why no mail can be sent; "" when it can */
	char password[PASSWORD_MAX + 1];
	struct mail_server server;
} setting;

/* One task whose mail goes to a server, from run() to its end. */
struct mail_call {
	struct tr_task *task;
	struct mail_message message;
	const struct transfer_module *module;
	struct delivery *delivery;
};

/* ---- at the worker's start --------------------------------------------------------------- */

/* The first line of an open file. */
static bool read_password(int fd, struct tr_error *error)
{
	struct stat status;
	if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
		snprintf(error->text, sizeof error->text, "mail: password_file is not an ordinary file");
		return false;
	}
	if ((status.st_mode & (S_IROTH | S_IWOTH)) != 0) {
		snprintf(error->text, sizeof error->text,
		    "mail: password_file may be read or written by everybody (mode %04o); chmod it to 0600 or 0640",
		    (unsigned)status.st_mode & 07777);
		return false;
	}
	char bytes[PASSWORD_MAX + 2];
	ssize_t count = read(fd, bytes, sizeof bytes - 1);
	if (count < 0) {
		char reason[96];
		int code = errno;
		snprintf(error->text, sizeof error->text, "mail: cannot read password_file: %s",
		    strerror_r(code, reason, sizeof reason));
		return false;
	}
	bytes[count] = '\0';
	size_t length = strcspn(bytes, "\r\n");
	if (length == 0 || length > PASSWORD_MAX || memchr(bytes, '\0', (size_t)count) != NULL) {
		snprintf(error->text, sizeof error->text, "mail: the first line of password_file must have 1 to %d bytes",
		    PASSWORD_MAX);
		return false;
	}
	memcpy(setting.password, bytes, length);
	setting.password[length] = '\0';
	explicit_bzero(bytes, sizeof bytes);
	return true;
}

static bool load_password(const char *path, struct tr_error *error)
{
	/* Not blocking: a FIFO there must not hold up the worker. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0) {
		char reason[96];
		int code = errno;
		snprintf(error->text, sizeof error->text, "mail: cannot open password_file %.100s: %s", path,
		    strerror_r(code, reason, sizeof reason));
		return false;
	}
	bool well = read_password(fd, error);
	close(fd);
	return well;
}

static bool check(const struct config_mail *mail, struct tr_error *error)
{
	if (mail->server == NULL) {
		if (mail->maildir != NULL)
			return true;
		snprintf(error->text, sizeof error->text, "mail: neither server nor maildir is configured");
		return false;
	}
	bool implicit_tls = strncasecmp(mail->server, "smtps://", 8) == 0;
	if (!implicit_tls && strncasecmp(mail->server, "smtp://", 7) != 0) {
		snprintf(error->text, sizeof error->text, "mail: server must begin with smtp:// or smtps://");
		return false;
	}
	if (mail->user == NULL)
		return true;
	if (mail->password_file == NULL) {
		snprintf(error->text, sizeof error->text, "mail: user is configured, but password_file is not");
		return false;
	}
	if (!implicit_tls && !mail->require_tls)
		log_event(LOG_WARNING, "mail-password-unprotected", "server=%s hint=%s", mail->server,
		    "the password may travel in clear text; set require_tls");
	return load_password(mail->password_file, error);
}

void mail_configure(const struct config_mail *mail)
{
	setting.config = mail;
	setting.fault.text[0] = '\0';
	if (!check(mail, &setting.fault))
		log_event(LOG_ERR, "mail-misconfigured", "error=%s", setting.fault.text);
	setting.server = (struct mail_server){
		.url = mail->server,
		.user = mail->user,
		.password = setting.password,
		.ca_file = mail->ca_file,
		.require_tls = mail->require_tls,
		.timeout_ms = mail->timeout_ms,
	};
}

/* ---- a task ------------------------------------------------------------------------------ */

static void show_result(struct tr_task *task, const struct mail_message *message)
{
	json_t *result = json_pack("{s:s, s:I}", "message_id", message->message_id, "recipients",
	    (json_int_t)message->recipient_count);
	char *text = result == NULL ? NULL : json_dumps(result, JSON_COMPACT);
	/* Without memory for it the result is missing; the mail is sent all the same. */
	if (text != NULL)
		(void)tr_result_json(task, text);
	free(text);
	json_decref(result);
}

/* ---- to a server ------------------------------------------------------------------------- */

static void free_call(struct mail_call *call)
{
	mail_message_clear(&call->message);
	free(call);
}

static void on_done(void *context, enum mail_sent sent, const char *text)
{
	struct mail_call *call = context;
	struct tr_task *task = call->task;
	enum tr_outcome outcome = TR_SUCCESS;
	switch (sent) {
	case MAIL_SENT:
		tr_log(task, TR_INFO, "mail %s was taken by the server: %s", call->message.message_id, text);
		show_result(task, &call->message);
		break;
	case MAIL_REFUSED:
		outcome = tr_fail_permanently(task, "mail: %s", text);
		break;
	case MAIL_TRY_AGAIN:
		outcome = tr_fail(task, "mail: %s", text);
		break;
	}
	free_call(call);
	tr_finish(task, outcome);
}

/* A worker that shuts down finishes the mail: to break it off could only mean to send it twice. */
static void on_stop(struct tr_task *task, enum tr_stop why, void *context)
{
	struct mail_call *call = context;
	if (why == TR_SHUTTING_DOWN)
		return;
	call->module->abort_mail(call->delivery);
	free_call(call);
	tr_finish(task, tr_fail(task, "mail: stopped before the mail server had taken the message"));
}

/* Takes the message over. */
static enum tr_outcome send_to_server(struct tr_task *task, struct mail_message *message)
{
	struct mail_call *call = calloc(1, sizeof *call);
	if (call == NULL) {
		mail_message_clear(message);
		return tr_fail(task, "mail: out of memory");
	}
	*call = (struct mail_call){ .task = task, .message = *message };
	struct transfers *transfers;
	struct tr_error error;
	call->module = transfer_get(task, &transfers, &error);
	if (call->module != NULL)
		call->delivery = call->module->mail(transfers, &setting.server, &call->message, on_done, call, &error);
	if (call->module == NULL || call->delivery == NULL) {
		free_call(call);
		return tr_fail(task, "mail: %s", error.text);
	}
	tr_on_stop(task, on_stop, call);
	return TR_PENDING;
}

/* ---- to a maildir ------------------------------------------------------------------------ */

static enum tr_outcome put_into_maildir(struct tr_task *task, const struct mail_message *message)
{
	struct tr_error error;
	switch (maildir_deliver(setting.config->maildir, message, &error)) {
	case MAILDIR_DELIVERED:
		tr_log(task, TR_INFO, "mail %s was put into the maildir", message->message_id);
		return TR_SUCCESS;
	case MAILDIR_WAS_THERE:
		tr_log(task, TR_WARNING, "mail %s is in the maildir already, from an earlier run", message->message_id);
		return TR_SUCCESS;
	case MAILDIR_FAILED:
		break;
	}
	return tr_fail(task, "mail: %s", error.text);
}

/* ---- the handler ------------------------------------------------------------------------- */

static enum tr_outcome run(struct tr_task *task)
{
	assert(setting.config != NULL);
	if (setting.fault.text[0] != '\0')
		return tr_fail(task, "%s", setting.fault.text);

	struct mail_origin origin = {
		.task_id = tr_task_id(task),
		.default_from = setting.config->from,
		.now_s = time(NULL),
	};
	struct mail_message message;
	struct tr_error error;
	enum tr_result result = mail_message_compose(&message, tr_task_args(task), &origin, &error);
	if (result == TR_INVALID)
		return tr_fail_permanently(task, "mail: %s", error.text);
	if (result != TR_OK)
		return tr_fail(task, "mail: %s", error.text);

	if (setting.config->server != NULL)
		return send_to_server(task, &message);
	enum tr_outcome outcome = put_into_maildir(task, &message);
	if (outcome == TR_SUCCESS)
		show_result(task, &message);
	mail_message_clear(&message);
	return outcome;
}

static const char *const resources[] = { TRANSFER_RESOURCE, NULL };

const struct tr_handler mail_handler = {
	.name = "mail",
	.doc = "Sends a mail: to, subject, text and/or html; from, cc, bcc, reply_to, headers, part",
	.run = run,
	.resources = resources,
};
