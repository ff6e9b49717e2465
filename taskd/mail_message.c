/* Enters: the arguments of a task. Leaves: a message and its envelope. Called by mail.c. */
#include "taskd/mail_message.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "taskd/mail_encode.h"
#include "taskd/mail_fields.h"

/* strftime(3) would speak the language that a plug-in may have set. */
static const char day_names[][4] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
static const char month_names[][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov",
	"Dec" };

static void write_date(FILE *out, int64_t now_s)
{
	time_t now = (time_t)now_s;
	struct tm tm;
	if (gmtime_r(&now, &tm) == NULL)
		return;
	fprintf(out, "Date: %s, %d %s %d %02d:%02d:%02d +0000\r\n", day_names[tm.tm_wday], tm.tm_mday,
	    month_names[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

static void write_addresses(FILE *out, const char *name, const struct mail_addresses *list)
{
	if (list->count > 0)
		mail_encode_addresses(out, name, list->at, list->count);
}

static void write_headers(FILE *out, const struct mail_fields *fields, const struct mail_message *message,
    int64_t now_s)
{
	write_date(out, now_s);
	mail_encode_addresses(out, "From", &fields->from, 1);
	write_addresses(out, "Reply-To", &fields->reply_to);
	write_addresses(out, "To", &fields->to);
	write_addresses(out, "Cc", &fields->cc);
	/* Bcc stands in the envelope only. */
	mail_encode_header(out, "Subject", fields->subject);
	fprintf(out, "Message-ID: %s\r\n", message->message_id);

	const char *name;
	json_t *value;
	json_object_foreach(fields->headers, name, value)
	{
		mail_encode_header(out, name, json_string_value(value));
	}
	fputs("MIME-Version: 1.0\r\n", out);
}

static void write_part(FILE *out, const char *type, const char *text)
{
	fprintf(out, "Content-Type: text/%s; charset=utf-8\r\n", type);
	fputs("Content-Transfer-Encoding: quoted-printable\r\n\r\n", out);
	mail_encode_body(out, text);
}

static void write_body(FILE *out, const struct mail_fields *fields, const char *task_id)
{
	if (fields->html == NULL) {
		write_part(out, "plain", fields->text);
		return;
	}
	if (fields->text == NULL) {
		write_part(out, "html", fields->html);
		return;
	}
	/* "=_" occurs in no quoted-printable text (RFC 2045, 6.7), so no part can hold the boundary. */
	fprintf(out, "Content-Type: multipart/alternative; boundary=\"=_%s\"\r\n\r\n", task_id);
	fprintf(out, "--=_%s\r\n", task_id);
	write_part(out, "plain", fields->text);
	fprintf(out, "--=_%s\r\n", task_id);
	write_part(out, "html", fields->html);
	fprintf(out, "--=_%s--\r\n", task_id);
}

static void add_recipients(struct mail_message *message, const struct mail_addresses *list)
{
	for (size_t i = 0; i < list->count; i++) {
		size_t known = 0;
		while (known < message->recipient_count && strcmp(message->recipients[known], list->at[i].address) != 0)
			known++;
		if (known == message->recipient_count)
			memcpy(message->recipients[message->recipient_count++], list->at[i].address,
			    sizeof list->at[i].address);
	}
}

static bool make_envelope(struct mail_message *message, const struct mail_fields *fields, const char *task_id)
{
	const char *host = strrchr(fields->from.address, '@') + 1;
	memcpy(message->sender, fields->from.address, sizeof message->sender);
	snprintf(message->key, sizeof message->key, "%s%s%s", task_id, fields->part[0] == '\0' ? "" : ".",
	    fields->part);
	snprintf(message->message_id, sizeof message->message_id, "<%s@%s>", message->key, host);

	size_t count = fields->to.count + fields->cc.count + fields->bcc.count;
	message->recipients = calloc(count, sizeof *message->recipients);
	if (message->recipients == NULL)
		return false;
	add_recipients(message, &fields->to);
	add_recipients(message, &fields->cc);
	add_recipients(message, &fields->bcc);
	return true;
}

static bool write_message(struct mail_message *message, const struct mail_fields *fields,
    const struct mail_origin *origin)
{
	FILE *out = open_memstream(&message->text, &message->bytes);
	if (out == NULL)
		return false;
	write_headers(out, fields, message, origin->now_s);
	write_body(out, fields, origin->task_id);
	bool well = ferror(out) == 0;
	return fclose(out) == 0 && well;
}

enum tr_result mail_message_compose(struct mail_message *message, const char *args,
    const struct mail_origin *origin, struct tr_error *error)
{
	*message = (struct mail_message){ 0 };
	struct mail_fields fields;
	enum tr_result result = mail_fields_read(&fields, args, origin->default_from, error);
	if (result != TR_OK)
		return result;
	if (!make_envelope(message, &fields, origin->task_id) || !write_message(message, &fields, origin)) {
		snprintf(error->text, sizeof error->text, "out of memory");
		mail_message_clear(message);
		result = TR_NO_MEMORY;
	}
	mail_fields_clear(&fields);
	return result;
}

void mail_message_clear(struct mail_message *message)
{
	free(message->recipients);
	free(message->text);
	*message = (struct mail_message){ 0 };
}
