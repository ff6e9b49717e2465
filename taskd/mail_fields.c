/* Enters: a JSON text of a task. Leaves: checked fields. Called by mail_message.c. */
#include "taskd/mail_fields.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "taskd/fields.h"

#define HEADER_NAME_MAX 64
#define HEADER_VALUE_MAX 4096
#define HEADERS_MAX 50

/* What a header's or a part's name is made of. */
#define NAME_CHARACTERS FIELDS_LETTERS_AND_DIGITS "-"

static const char *const known_fields[] = { "to", "cc", "bcc", "from", "reply_to", "subject", "text", "html", "headers",
	"part", NULL };

/* Headers that have a field of their own, that the composer writes, or that only servers write. */
static const char *const reserved_headers[] = { "From", "Sender", "To", "Cc", "Bcc", "Reply-To", "Subject", "Date",
	"Message-ID", "MIME-Version", "Return-Path", "Received", "Delivered-To", "DKIM-Signature" };
static const char *const reserved_prefixes[] = { "Content-", "Resent-", "ARC-" };

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* An optional string; *text is NULL when the field is absent. */
static enum tr_result read_string(const json_t *root, const char *field, const char **text, struct tr_error *error)
{
	const json_t *value = json_object_get(root, field);
	*text = json_string_value(value);
	if (value != NULL && *text == NULL)
		return fields_invalid(error, "\"%s\" must be a string", field);
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
		return fields_invalid(error, "\"%s\" must be an address or 1 to %d of them", field, MAIL_RECIPIENTS_MAX);
	list->at = calloc(count, sizeof *list->at);
	if (list->at == NULL)
		return fields_no_memory(error);
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
		return fields_invalid(error, "\"from\" is missing, and no sender is configured");
	json_t *configured = json_string(default_from);
	if (configured == NULL)
		return fields_invalid(error, "the configured sender is not UTF-8");
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
		return fields_invalid(error, "\"to\" is missing");
	size_t count = fields->to.count + fields->cc.count + fields->bcc.count;
	if (count > MAIL_RECIPIENTS_MAX)
		return fields_invalid(error, "\"to\", \"cc\" and \"bcc\" hold %zu addresses; %d are allowed", count,
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
		return fields_invalid(error, "\"subject\" is missing");
	if (!mail_header_text_ok(fields->subject))
		return fields_invalid(error, "\"subject\" holds a line break or another control character");
	if (strlen(fields->subject) > HEADER_VALUE_MAX)
		return fields_invalid(error, "\"subject\" is longer than %d bytes", HEADER_VALUE_MAX);
	if (fields->text == NULL && fields->html == NULL)
		return fields_invalid(error, "\"text\" and \"html\" are missing; one of them must be there");
	if (fields->part == NULL) {
		fields->part = "";
	} else {
		size_t bytes = strlen(fields->part);
		if (bytes == 0 || bytes > MAIL_PART_MAX || strspn(fields->part, NAME_CHARACTERS) != bytes)
			return fields_invalid(error, "\"part\" must be 1 to %d of A-Z a-z 0-9 -", MAIL_PART_MAX);
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

static const struct fields_header_rules header_rules = {
	.most = HEADERS_MAX, .name_most = HEADER_NAME_MAX, .value_most = HEADER_VALUE_MAX,
	.name_characters = NAME_CHARACTERS, .name_says = "A-Z a-z 0-9 -",
	.is_reserved = header_reserved,
	.is_value = mail_header_text_ok, .value_says = "holds a line break or another control character",
};

enum tr_result mail_fields_read(struct mail_fields *fields, const char *args, const char *default_from,
    struct tr_error *error)
{
	enum tr_result result;
	*fields = (struct mail_fields){ .root = fields_load(args, known_fields, "a mail", &result, error) };
	if (result == TR_OK)
		result = read_from(fields->root, default_from, &fields->from, error);
	if (result == TR_OK)
		result = read_recipients(fields->root, fields, error);
	if (result == TR_OK)
		result = read_texts(fields->root, fields, error);
	if (result == TR_OK)
		fields->headers = json_object_get(fields->root, "headers");
	if (result == TR_OK)
		result = fields_check_headers(fields->headers, &header_rules, error);
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
