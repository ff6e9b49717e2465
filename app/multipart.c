/*
 * See multipart.h. A body is
 *
 *   --B CRLF  head CRLF CRLF  content  CRLF--B CRLF  head ...  content  CRLF--B-- [CRLF]
 *
 * and a delimiter, CRLF--B, is nowhere in a content (RFC 2046, section 5.1.1). So the buffer is
 * given a CRLF to begin with, and each part is: delimiter, CRLF, head, content up to the next
 * delimiter. Bytes leave the buffer only when they cannot be the beginning of one.
 *
 *   AT_DELIMITER ─ CRLF, head ─► IN_CONTENT ─ delimiter found ─► AT_DELIMITER ─ "--", end ─► AFTER_LAST
 */
#include "app/multipart.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "app/header_value.h"

#define BUFFER_BYTES 65536
#define BOUNDARY_MAX 70 /* RFC 2046, section 5.1.1 */

enum multipart_state { AT_DELIMITER, IN_CONTENT, AFTER_LAST };

struct multipart {
	struct web_source source;
	enum multipart_state state;
	bool source_ended;
	unsigned parts;
	char delimiter[4 + BOUNDARY_MAX + 1];
	size_t delimiter_bytes;
	size_t start, end; /* what of the buffer is filled and not used yet */
	char buffer[BUFFER_BYTES];
};

enum multipart_result multipart_new(struct multipart **multipart, const char *content_type,
    const struct web_source *source)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789'()+_,-./:=? ";
	char boundary[BOUNDARY_MAX + 1];
	*multipart = NULL;
	if (!header_value_is(content_type, "multipart/form-data") ||
	    header_value_parameter(content_type, "boundary", boundary, sizeof(boundary)) != PARAMETER_FOUND)
		return MULTIPART_MALFORMED;
	size_t bytes = strlen(boundary);
	if (bytes == 0 || strspn(boundary, allowed) != bytes || boundary[bytes - 1] == ' ')
		return MULTIPART_MALFORMED;
	struct multipart *made = malloc(sizeof(*made));
	if (made == NULL)
		return MULTIPART_NO_MEMORY;
	made->source = *source;
	made->state = AT_DELIMITER;
	made->source_ended = false;
	made->parts = 0;
	memcpy(made->delimiter, "\r\n--", 4);
	memcpy(made->delimiter + 4, boundary, bytes + 1);
	made->delimiter_bytes = 4 + bytes;
	/* The body's first delimiter begins with this. */
	memcpy(made->buffer, "\r\n", 2);
	made->start = 0;
	made->end = 2;
	*multipart = made;
	return MULTIPART_OK;
}

void multipart_free(struct multipart **multipart)
{
	free(*multipart);
	*multipart = NULL;
}

/* ---- the buffer -------------------------------------------------------------------------- */

static size_t filled(const struct multipart *multipart)
{
	return multipart->end - multipart->start;
}

static const char *at(const struct multipart *multipart)
{
	return multipart->buffer + multipart->start;
}

/* Reads once. OK: something was added, END: the body has no more. The buffer must have room. */
static enum multipart_result fill(struct multipart *multipart)
{
	if (multipart->source_ended)
		return MULTIPART_END;
	if (multipart->start > 0) {
		memmove(multipart->buffer, at(multipart), filled(multipart));
		multipart->end -= multipart->start;
		multipart->start = 0;
	}
	ssize_t got = multipart->source.read(multipart->source.context, multipart->buffer + multipart->end,
	    BUFFER_BYTES - multipart->end);
	if (got < 0)
		return MULTIPART_BROKEN;
	multipart->source_ended = got == 0;
	multipart->end += (size_t)got;
	return got > 0 ? MULTIPART_OK : MULTIPART_END;
}

/* Until at least so many bytes are there. END: the body has fewer. */
static enum multipart_result need(struct multipart *multipart, size_t bytes)
{
	enum multipart_result result = MULTIPART_OK;
	while (filled(multipart) < bytes && result == MULTIPART_OK)
		result = fill(multipart);
	return result;
}

/* A body that ends where it must not. */
static enum multipart_result no_end(enum multipart_result result)
{
	return result == MULTIPART_END ? MULTIPART_MALFORMED : result;
}

/* ---- a part's head ----------------------------------------------------------------------- */

/* Control characters, also the line ends of a folded line, have no business in a header line. */
static bool has_control(const char *text)
{
	for (; *text != '\0'; text++)
		if ((unsigned char)*text < 0x20 ? *text != '\t' : *text == 0x7f)
			return true;
	return false;
}

static bool read_disposition(const char *value, struct multipart_part *part)
{
	if (!header_value_is(value, "form-data") || part->field[0] != '\0' ||
	    header_value_parameter(value, "name", part->field, sizeof(part->field)) != PARAMETER_FOUND ||
	    part->field[0] == '\0')
		return false;
	enum header_parameter name = header_value_parameter(value, "filename", part->file_name, sizeof(part->file_name));
	part->is_file = name == PARAMETER_FOUND;
	return name != PARAMETER_BAD;
}

/* `line` without its end. */
static bool read_line(const char *line, struct multipart_part *part)
{
	const char *colon = strchr(line, ':');
	if (colon == NULL || colon == line || strcspn(line, " \t") < (size_t)(colon - line) || has_control(line))
		return false;
	const char *value = colon + 1 + strspn(colon + 1, " \t");
	size_t name = (size_t)(colon - line);
	if (name == strlen("Content-Disposition") && strncasecmp(line, "Content-Disposition", name) == 0)
		return read_disposition(value, part);
	if (name == strlen("Content-Type") && strncasecmp(line, "Content-Type", name) == 0 &&
	    strlen(value) < sizeof(part->content_type))
		memcpy(part->content_type, value, strlen(value) + 1);
	return true;
}

/* The lines of head[], which ends with CRLF and a zero byte, one by one. */
static bool read_lines(char *head, struct multipart_part *part)
{
	*part = (struct multipart_part){ .field = "" };
	while (*head != '\0') {
		char *end = strstr(head, "\r\n");
		*end = '\0';
		if (!read_line(head, part))
			return false;
		head = end + 2;
	}
	return part->field[0] != '\0';
}

/* The buffer begins with the CRLF behind a delimiter. */
static enum multipart_result read_head(struct multipart *multipart, struct multipart_part *part)
{
	for (;;) {
		size_t bytes = filled(multipart) < MULTIPART_HEAD_MAX ? filled(multipart) : MULTIPART_HEAD_MAX;
		const char *end = memmem(at(multipart), bytes, "\r\n\r\n", 4);
		if (end != NULL) {
			size_t head_bytes = (size_t)(end - at(multipart)); /* with one CRLF, as at its end */
			char head[MULTIPART_HEAD_MAX];
			memcpy(head, at(multipart) + 2, head_bytes);
			head[head_bytes] = '\0';
			multipart->start += head_bytes + 4;
			bool well = strlen(head) == head_bytes && read_lines(head, part);
			return well ? MULTIPART_OK : MULTIPART_MALFORMED;
		}
		if (bytes == MULTIPART_HEAD_MAX)
			return MULTIPART_MALFORMED;
		enum multipart_result result = fill(multipart);
		if (result != MULTIPART_OK)
			return no_end(result);
	}
}

/* Behind the last delimiter: nothing, or one CRLF. */
static enum multipart_result read_end(struct multipart *multipart)
{
	multipart->state = AFTER_LAST;
	enum multipart_result result = need(multipart, 3);
	if (result != MULTIPART_END)
		return result == MULTIPART_OK ? MULTIPART_MALFORMED : result;
	bool well = filled(multipart) == 0 || (filled(multipart) == 2 && memcmp(at(multipart), "\r\n", 2) == 0);
	multipart->start = multipart->end;
	return well ? MULTIPART_END : MULTIPART_MALFORMED;
}

enum multipart_result multipart_part(struct multipart *multipart, struct multipart_part *part)
{
	const char *data;
	size_t bytes;
	enum multipart_result result;
	while (multipart->state == IN_CONTENT)
		if ((result = multipart_data(multipart, &data, &bytes)) > MULTIPART_END)
			return result;
	if (multipart->state == AFTER_LAST)
		return MULTIPART_END;
	if ((result = need(multipart, multipart->delimiter_bytes + 2)) != MULTIPART_OK)
		return no_end(result);
	if (memcmp(at(multipart), multipart->delimiter, multipart->delimiter_bytes) != 0)
		return MULTIPART_MALFORMED;
	multipart->start += multipart->delimiter_bytes;
	if (memcmp(at(multipart), "--", 2) == 0) {
		multipart->start += 2;
		return read_end(multipart);
	}
	if (memcmp(at(multipart), "\r\n", 2) != 0 || ++multipart->parts > MULTIPART_PARTS_MAX)
		return MULTIPART_MALFORMED;
	result = read_head(multipart, part);
	if (result == MULTIPART_OK)
		multipart->state = IN_CONTENT;
	return result;
}

/* ---- a part's content -------------------------------------------------------------------- */

enum multipart_result multipart_data(struct multipart *multipart, const char **data, size_t *bytes)
{
	*bytes = 0;
	if (multipart->state != IN_CONTENT)
		return MULTIPART_END;
	for (;;) {
		*data = at(multipart);
		const char *end = memmem(*data, filled(multipart), multipart->delimiter, multipart->delimiter_bytes);
		if (end != NULL) {
			*bytes = (size_t)(end - *data);
			if (*bytes == 0)
				multipart->state = AT_DELIMITER;
			multipart->start += *bytes;
			return *bytes > 0 ? MULTIPART_OK : MULTIPART_END;
		}
		/* The last bytes may be the beginning of a delimiter. */
		if (filled(multipart) >= multipart->delimiter_bytes) {
			*bytes = filled(multipart) - (multipart->delimiter_bytes - 1);
			multipart->start += *bytes;
			return MULTIPART_OK;
		}
		enum multipart_result result = fill(multipart);
		if (result != MULTIPART_OK)
			return no_end(result);
	}
}
