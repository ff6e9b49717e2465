/* Enters: a JSON value of a task. Leaves: a checked address. Called by mail_message.c. */
#include "taskd/mail_address.h"

#include <stdio.h>
#include <string.h>

#define LOCAL_PART_MAX 64 /* RFC 5321, 4.5.3.1.1 */
#define LABEL_MAX 63      /* RFC 1035, 2.3.4 */

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"
#define ATOM LETTERS DIGITS "!#$%&'*+-/=?^_`{|}~" /* RFC 5322, 3.2.3: atext */

/* Characters that have a meaning in an address list and so need quotes in a name. */
#define SPECIALS "\"\\<>,;:@()[]"

bool mail_header_text_ok(const char *text)
{
	const unsigned char *at = (const unsigned char *)text;
	for (; *at != 0; at++) {
		if (*at < 0x20 || *at == 0x7f)
			return false;
		if (*at == 0xc2 && at[1] >= 0x80 && at[1] <= 0x9f)
			return false;
	}
	return true;
}

/* Words of `allowed` with single dots between them, each of 1..longest characters. */
static bool dotted(const char *text, size_t bytes, const char *allowed, size_t longest)
{
	while (true) {
		size_t word = strspn(text, allowed);
		if (word == 0 || word > longest || word > bytes)
			return false;
		text += word;
		bytes -= word;
		if (bytes == 0)
			return true;
		if (*text != '.')
			return false;
		text++;
		bytes--;
	}
}

static bool host_ok(const char *host)
{
	if (!dotted(host, strlen(host), LETTERS DIGITS "-", LABEL_MAX))
		return false;
	bool at_edge = true;
	for (const char *at = host; *at != '\0'; at++) {
		bool edge = at_edge || at[1] == '.' || at[1] == '\0';
		if (*at == '-' && edge)
			return false;
		at_edge = *at == '.';
	}
	return true;
}

static bool address_ok(const char *address)
{
	const char *sign = strrchr(address, '@');
	if (sign == NULL || strlen(address) > MAIL_ADDRESS_MAX)
		return false;
	size_t local_bytes = (size_t)(sign - address);
	return local_bytes <= LOCAL_PART_MAX && dotted(address, local_bytes, ATOM, LOCAL_PART_MAX) &&
	    host_ok(sign + 1);
}

static bool set(struct mail_address *to, const char *address, size_t address_bytes, const char *name,
    size_t name_bytes, const char *field, struct tr_error *error)
{
	if (name_bytes > MAIL_NAME_MAX) {
		snprintf(error->text, sizeof error->text, "\"%s\": the name beside an address is longer than %d bytes",
		    field, MAIL_NAME_MAX);
		return false;
	}
	memcpy(to->name, name, name_bytes);
	to->name[name_bytes] = '\0';
	if (address_bytes <= MAIL_ADDRESS_MAX) {
		memcpy(to->address, address, address_bytes);
		to->address[address_bytes] = '\0';
		if (address_ok(to->address))
			return true;
	}
	snprintf(error->text, sizeof error->text,
	    "\"%s\": \"%.*s\" is not a plain address like name@example.org (ASCII, at most %d bytes)", field,
	    (int)(address_bytes < 80 ? address_bytes : 80), address, MAIL_ADDRESS_MAX);
	return false;
}

/* A name before "<": bare words without specials, or anything but quotes and backslashes in quotes. */
static bool name_ok(const char **name, size_t *bytes)
{
	while (*bytes > 0 && (*name)[*bytes - 1] == ' ')
		--*bytes;
	const char *forbidden = SPECIALS;
	if (*bytes >= 2 && (*name)[0] == '"' && (*name)[*bytes - 1] == '"') {
		forbidden = "\"\\";
		++*name;
		*bytes -= 2;
	}
	for (size_t i = 0; i < *bytes; i++) {
		if (strchr(forbidden, (*name)[i]) != NULL)
			return false;
	}
	return true;
}

static bool read_text(struct mail_address *to, const char *text, const char *field, struct tr_error *error)
{
	text += strspn(text, " ");
	size_t bytes = strlen(text);
	while (bytes > 0 && text[bytes - 1] == ' ')
		bytes--;
	if (bytes == 0 || text[bytes - 1] != '>')
		return set(to, text, bytes, "", 0, field, error);

	const char *open = memrchr(text, '<', bytes);
	if (open == NULL)
		return set(to, text, bytes, "", 0, field, error);
	const char *name = text;
	size_t name_bytes = (size_t)(open - text);
	if (!name_ok(&name, &name_bytes)) {
		snprintf(error->text, sizeof error->text,
		    "\"%s\": the name beside an address holds one of %s ; give {\"address\": ..., \"name\": ...}",
		    field, SPECIALS);
		return false;
	}
	return set(to, open + 1, (size_t)(text + bytes - 1 - (open + 1)), name, name_bytes, field, error);
}

static bool read_object(struct mail_address *to, const json_t *value, const char *field, struct tr_error *error)
{
	const char *address = json_string_value(json_object_get(value, "address"));
	const json_t *name_value = json_object_get(value, "name");
	const char *name = name_value == NULL ? "" : json_string_value(name_value);
	size_t known = name_value == NULL ? 1 : 2;
	if (address == NULL || name == NULL || json_object_size(value) != known) {
		snprintf(error->text, sizeof error->text,
		    "\"%s\": an object must hold \"address\" and may hold \"name\", both strings, and nothing else", field);
		return false;
	}
	if (!mail_header_text_ok(address) || !mail_header_text_ok(name)) {
		snprintf(error->text, sizeof error->text, "\"%s\" holds a line break or another control character", field);
		return false;
	}
	return set(to, address, strlen(address), name, strlen(name), field, error);
}

bool mail_address_read(struct mail_address *address, const json_t *value, const char *field,
    struct tr_error *error)
{
	if (json_is_object(value))
		return read_object(address, value, field, error);
	const char *text = json_string_value(value);
	if (text == NULL) {
		snprintf(error->text, sizeof error->text, "\"%s\": an address must be a string or an object", field);
		return false;
	}
	if (!mail_header_text_ok(text)) {
		snprintf(error->text, sizeof error->text, "\"%s\" holds a line break or another control character", field);
		return false;
	}
	return read_text(address, text, field, error);
}
