/* Enters: a "mail" task. Leaves: its outcome, and a message sent. Called by the worker. */
#include "taskd/mail.h"

#include <assert.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "taskd/log.h"
#include "taskd/mail_maildir.h"
#include "taskd/mail_message.h"
#include "taskd/mail_transport.h"

#define PASSWORD_MAX 1000

/* Written by mail_configure(), read by every thread; `transport` is made under the lock. */
static struct {
	const struct config_mail *config;
	struct tr_error fault; /* why no mail can be sent; "" when it can */
	char password[PASSWORD_MAX + 1];
	pthread_mutex_t lock;
	const struct mail_transport *transport;
} setting = { .lock = PTHREAD_MUTEX_INITIALIZER };

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
	if (mail->module == NULL) {
		snprintf(error->text, sizeof error->text, "mail: module is not configured");
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
}

/* ---- a task ------------------------------------------------------------------------------ */

/* NULL and *error: it cannot be loaded, which the next attempt may find mended. */
static const struct mail_transport *open_transport(const char *path, struct tr_error *error)
{
	void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	const struct mail_transport *transport = module == NULL ? NULL : dlsym(module, MAIL_TRANSPORT_SYMBOL);
	if (transport == NULL) {
		const char *reason = dlerror();
		snprintf(error->text, sizeof error->text, "mail: the module cannot be loaded: %s",
		    reason == NULL ? path : reason);
	} else if (transport->abi != MAIL_TRANSPORT_ABI) {
		snprintf(error->text, sizeof error->text, "mail: %.150s has version %u of the interface, this taskd has %u",
		    path, transport->abi, MAIL_TRANSPORT_ABI);
		transport = NULL;
	}
	if (transport == NULL && module != NULL)
		dlclose(module);
	return transport;
}

static const struct mail_transport *get_transport(struct tr_error *error)
{
	pthread_mutex_lock(&setting.lock);
	if (setting.transport == NULL)
		setting.transport = open_transport(setting.config->module, error);
	const struct mail_transport *transport = setting.transport;
	pthread_mutex_unlock(&setting.lock);
	return transport;
}

/* A worker that shuts down finishes the mail: to break it off could only mean to send it twice. */
static bool must_stop(void *task)
{
	enum tr_stop stop = tr_should_stop(task);
	return stop == TR_OUT_OF_TIME || stop == TR_CANCELLED_NOW;
}

static enum tr_outcome send_to_server(struct tr_task *task, const struct mail_message *message)
{
	const struct config_mail *config = setting.config;
	struct tr_error error;
	const struct mail_transport *transport = get_transport(&error);
	if (transport == NULL)
		return tr_fail(task, "%s", error.text);

	struct mail_server server = {
		.url = config->server,
		.user = config->user,
		.password = setting.password,
		.ca_file = config->ca_file,
		.require_tls = config->require_tls,
		.timeout_ms = config->timeout_ms,
	};
	struct mail_report report;
	switch (transport->send(&server, message, must_stop, task, &report)) {
	case MAIL_SENT:
		tr_log(task, TR_INFO, "mail %s was taken by the server: %s", message->message_id, report.text);
		return TR_SUCCESS;
	case MAIL_REFUSED:
		return tr_fail_permanently(task, "mail: %s", report.text);
	case MAIL_TRY_AGAIN:
		break;
	}
	return tr_fail(task, "mail: %s", report.text);
}

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

	bool by_smtp = setting.config->server != NULL;
	enum tr_outcome outcome = by_smtp ? send_to_server(task, &message) : put_into_maildir(task, &message);
	if (outcome == TR_SUCCESS)
		show_result(task, &message);
	mail_message_clear(&message);
	return outcome;
}

const struct tr_handler mail_handler = {
	.name = "mail",
	.doc = "Sends a mail: to, subject, text and/or html; from, cc, bcc, reply_to, headers, part",
	.run = run,
};
