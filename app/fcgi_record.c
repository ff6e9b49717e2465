/* See fcgi_record.h. All numbers of more than a byte have the higher byte first. */
#include "app/fcgi_record.h"

#include <string.h>

enum { VERSION = 1, ABORT_REQUEST = 2, END_REQUEST = 3, STDOUT = 6 }; /* section 8 */

static size_t write_head(unsigned type, uint16_t request, size_t content_bytes, char *to)
{
	const unsigned char head[FCGI_RECORD_HEAD_BYTES] = { VERSION, (unsigned char)type, (unsigned char)(request >> 8),
		(unsigned char)request, (unsigned char)(content_bytes >> 8), (unsigned char)content_bytes };
	memcpy(to, head, sizeof(head));
	return sizeof(head);
}

size_t fcgi_record_output_bytes(size_t content_bytes)
{
	return content_bytes + (content_bytes + FCGI_RECORD_CONTENT_MAX - 1) / FCGI_RECORD_CONTENT_MAX * FCGI_RECORD_HEAD_BYTES;
}

size_t fcgi_record_output(uint16_t request, const char *content, size_t content_bytes, char *to)
{
	size_t used = 0;
	for (size_t at = 0, part; at < content_bytes; at += part) {
		part = content_bytes - at < FCGI_RECORD_CONTENT_MAX ? content_bytes - at : FCGI_RECORD_CONTENT_MAX;
		used += write_head(STDOUT, request, part, to + used);
		memcpy(to + used, content + at, part);
		used += part;
	}
	return used;
}

size_t fcgi_record_end(uint16_t request, char to[FCGI_RECORD_END_BYTES])
{
	size_t used = write_head(STDOUT, request, 0, to);
	used += write_head(END_REQUEST, request, 8, to + used);
	memset(to + used, 0, 8); /* appStatus 0, protocolStatus FCGI_REQUEST_COMPLETE (0) */
	return used + 8;
}

enum fcgi_record_news fcgi_record_input(struct fcgi_record_input *input, uint16_t request, const char *bytes, size_t count)
{
	for (size_t at = 0; at < count;) {
		if (input->skip > 0) {
			size_t part = input->skip < count - at ? input->skip : count - at;
			input->skip -= part;
			at += part;
			continue;
		}
		input->head[input->head_bytes++] = (unsigned char)bytes[at++];
		if (input->head_bytes < FCGI_RECORD_HEAD_BYTES)
			continue;
		const unsigned char *head = input->head;
		if (head[0] != VERSION)
			return FCGI_RECORD_BROKEN;
		if (head[1] == ABORT_REQUEST && (head[2] << 8 | head[3]) == request)
			return FCGI_RECORD_ABORTED;
		input->skip = (size_t)(head[4] << 8 | head[5]) + head[6];
		input->head_bytes = 0;
	}
	return FCGI_RECORD_NOTHING;
}
