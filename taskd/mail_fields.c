/* Enters: a JSON text of a task. Leaves: checked fields. Called by mail_message.c. */
#include "taskd/mail_fields.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define HEADER_NAME_MAX 64
#define HEADER_VALUE_MAX 4096
#define HEADERS_MAX 50

/* What a header's or a part's name is made of. */
#define NAME_CHARACTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-"

static const char *const known_fields[] = { "to", "cc", "bcc", "from", "reply_to", "subject", "text", "html", "headers",
	"part" };

/* Headers that have a field of their own, that the composer writes, or that only servers write. */
static const char *const reserved_headers[] = { "From", "Sender", "To", "Cc", "Bcc", "Reply-To", "Subject", "Date",
	"Message-ID", "MIME-Version", "Return-Path", "Received", "Delivered-To", "DKIM-Signature" };
static const char *const reserved_prefixes[] = { "Content-", "Resent-", "ARC-" };

#define COUNT(array) (sizeof(array) / sizeof *(array))

__attribute__((format(printf, 2, 3))) static enum tr_result invalid(struct tr_error *error, const char *format, ...)
{
	va_list list;
	va_start(list, format);
	vsnprintf(error->text, sizeof error->text, format, list);
	va_end(list);
	return TR_INVALID;
}

static enum tr_result out_of_memory(struct tr_error *error)
{
	(void)invalid(error, "out of memory");
	return TR_NO_MEMORY;
}

static enum tr_result check_names(const json_t *root, struct tr_error *error)
{
	const char *name;
	json_t *value;
	json_object_foreach((json_t *)root, name, value)
	{
		size_t i = 0;
		while (i < COUNT(known_fields) && strcmp(name, known_fields[i]) != 0)
			i++;
		if (i == COUNT(known_fields))
			return invalid(error, "\"%.60s\" is not a field of a mail", name);
	}
	return TR_OK;
}

/* An optional string; *text is NULL when the field is absent. */
static enum tr_result read_string(const json_t *root, const char *field, const char **text, struct tr_error *error)
{
	const json_t *value = json_object_get(root, field);
	*text = json_string_value(value);
	if (value != NULL && *text == NULL)
		return invalid(error, "\"%s\" must be a string", field);
	return TR_OK;
}

/* One address or an array of them. */
static enum tr_result read_addresses(const json_t *root, const char *field, struct mail_addresses *list,
    struct tr_error *error)
{
	const json_t *value = json_object_get(root, field);
	if (value == NULL)
		return TR_OK;
	size_t count = json_is_array(value) ? json_array_size(value) : 1;
	if (count == 0 || count > MAIL_RECIPIENTS_MAX)
		return invalid(error, "\"%s\" must be an address or 1 to %d of them", field, MAIL_RECIPIENTS_MAX);
	list->at = calloc(count, sizeof *list->at);
	if (list->at == NULL)
		return out_of_memory(error);
	list->count = count;
	for (size_t i = 0; i < count; i++) {
		const json_t *each = json_is_array(value) ? json_array_get(value, i) : value;
		if (!mail_address_read(&list->at[i], each, field, error))
			return TR_INVALID;
	}
	return TR_OK;
}

/* The configured sender is read like a task's, so that there is one check. */
static enum tr_result read_from(const json_t *root, const char *default_from, struct mail_address *from,
    struct tr_error *error)
{
	const json_t *value = json_object_get(root, "from");
	if (value != NULL)
		return mail_address_read(from, value, "from", error) ? TR_OK : TR_INVALID;
	if (default_from == NULL)
		return invalid(error, "\"from\" is missing, and no sender is configured");
	json_t *configured = json_string(default_from);
	if (configured == NULL)
		return invalid(error, "the configured sender is not UTF-8");
	bool well = mail_address_read(from, configured, "from, as configured", error);
	json_decref(configured);
	return well ? TR_OK : TR_INVALID;
}

static enum tr_result read_recipients(const json_t *root, struct mail_fields *fields, struct tr_error *error)
{
	enum tr_result result = read_addresses(root, "to", &fields->to, error);
	if (result == TR_OK)
		result = read_addresses(root, "cc", &fields->cc, error);
	if (result == TR_OK)
		result = read_addresses(root, "bcc", &fields->bcc, error);
	if (result == TR_OK)
		result = read_addresses(root, "reply_to", &fields->reply_to, error);
	if (result != TR_OK)
		return result;
	if (fields->to.count == 0)
		return invalid(error, "\"to\" is missing");
	size_t count = fields->to.count + fields->cc.count + fields->bcc.count;
	if (count > MAIL_RECIPIENTS_MAX)
		return invalid(error, "\"to\", \"cc\" and \"bcc\" hold %zu addresses; %d are allowed", count,
		    MAIL_RECIPIENTS_MAX);
	return TR_OK;
}

static enum tr_result read_texts(const json_t *root, struct mail_fields *fields, struct tr_error *error)
{
	enum tr_result result = read_string(root, "subject", &fields->subject, error);
	if (result == TR_OK)
		result = read_string(root, "text", &fields->text, error);
	if (result == TR_OK)
		result = read_string(root, "html", &fields->html, error);
	if (result == TR_OK)
		result = read_string(root, "part", &fields->part, error);
	if (result != TR_OK)
		return result;
	if (fields->subject == NULL)
		return invalid(error, "\"subject\" is missing");
	if (!mail_header_text_ok(fields->subject))
		return invalid(error, "\"subject\" holds a line break or another control character");
	if (strlen(fields->subject) > HEADER_VALUE_MAX)
		return invalid(error, "\"subject\" is longer than %d bytes", HEADER_VALUE_MAX);
	if (fields->text == NULL && fields->html == NULL)
		return invalid(error, "\"text\" and \"html\" are missing; one of them must be there");
	if (fields->part == NULL) {
		fields->part = "";
	} else {
		size_t bytes = strlen(fields->part);
		if (bytes == 0 || bytes > MAIL_PART_MAX || strspn(fields->part, NAME_CHARACTERS) != bytes)
			return invalid(error, "\"part\" must be 1 to %d of A-Z a-z 0-9 -", MAIL_PART_MAX);
	}
	return TR_OK;
}

static bool header_reserved(const char *name)
{
	for (size_t i = 0; i < COUNT(reserved_headers); i++) {
		if (strcasecmp(name, reserved_headers[i]) == 0)
			return true;
	}
	for (size_t i = 0; i < COUNT(reserved_prefixes); i++) {
		if (strncasecmp(name, reserved_prefixes[i], strlen(reserved_prefixes[i])) == 0)
			return true;
	}
	return false;
}

static enum tr_result check_header(const char *name, const json_t *value, struct tr_error *error)
{
	size_t bytes = strlen(name);
	if (bytes == 0 || bytes > HEADER_NAME_MAX || strspn(name, NAME_CHARACTERS) != bytes)
		return invalid(error, "\"headers\": a name must be 1 to %d of A-Z a-z 0-9 -", HEADER_NAME_MAX);
	if (header_reserved(name))
		return invalid(error, "\"headers\": \"%s\" cannot be set there", name);
	const char *text = json_string_value(value);
	if (text == NULL)
		return invalid(error, "\"headers\": the value of \"%s\" must be a string", name);
	if (!mail_header_text_ok(text))
		return invalid(error, "\"headers\": the value of \"%s\" holds a line break or another control character", name);
	if (strlen(text) > HEADER_VALUE_MAX)
		return invalid(error, "\"headers\": the value of \"%s\" is longer than %d bytes", name, HEADER_VALUE_MAX);
	return TR_OK;
}

static enum tr_result read_headers(const json_t *root, struct mail_fields *fields, struct tr_error *error)
{
	fields->headers = json_object_get(root, "headers");
	if (fields->headers == NULL)
		return TR_OK;
	if (!json_is_object(fields->headers) || json_object_size(fields->headers) > HEADERS_MAX)
		return invalid(error, "\"headers\" must be an object of at most %d names and values", HEADERS_MAX);
	const char *name;
	json_t *value;
	json_object_foreach(fields->headers, name, value)
	{
		enum tr_result result = check_header(name, value, error);
		if (result != TR_OK)
			return result;
	}
	return TR_OK;
}

enum tr_result mail_fields_read(struct mail_fields *fields, const char *args, const char *default_from,
    struct tr_error *error)
{
	json_error_t fault;
	*fields = (struct mail_fields){ .root = json_loads(args, JSON_REJECT_DUPLICATES, &fault) };
	if (fields->root == NULL) {
		if (json_error_code(&fault) == json_error_out_of_memory)
			return out_of_memory(error);
		return invalid(error, "the arguments are not JSON: %s", fault.text);
	}
	enum tr_result result = TR_OK;
	if (!json_is_object(fields->root))
		result = invalid(error, "the arguments must be a JSON object");
	if (result == TR_OK)
		result = check_names(fields->root, error);
	if (result == TR_OK)
		result = read_from(fields->root, default_from, &fields->from, error);
	if (result == TR_OK)
		result = read_recipients(fields->root, fields, error);
	if (result == TR_OK)
		result = read_texts(fields->root, fields, error);
	if (result == TR_OK)
		result = read_headers(fields->root, fields, error);
	if (result != TR_OK)
		mail_fields_clear(fields);
	return result;
}

void mail_fields_clear(struct mail_fields *fields)
{
	free(fields->reply_to.at);
	free(fields->to.at);
	free(fields->cc.at);
	free(fields->bcc.at);
	json_decref(fields->root);
	*fields = (struct mail_fields){ 0 };
}
