/*
 * The few FastCGI records of an answer that is under way: what libfcgi would write and read, had it
 * not to be left alone with one thread for each connection. Called by stream.c.
 * FastCGI Specification 1.0: records 3.3, ABORT_REQUEST 5.4, STDOUT 5.3, END_REQUEST 5.5.
 */
#ifndef APP_FCGI_RECORD_H
#define APP_FCGI_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FCGI_RECORD_CONTENT_MAX 65528u /* of the 65,535 that its length can say, a multiple of 8 */
#define FCGI_RECORD_HEAD_BYTES 8u
#define FCGI_RECORD_END_BYTES (FCGI_RECORD_HEAD_BYTES + FCGI_RECORD_HEAD_BYTES + 8u)

/* How many bytes so much content takes as FCGI_STDOUT records. */
size_t fcgi_record_output_bytes(size_t content_bytes);
/* Writes them to `to`: how many there are. Content of 0 bytes is none: that would end the stream. */
size_t fcgi_record_output(uint16_t request, const char *content, size_t content_bytes, char *to);
/* The end of FCGI_STDOUT and FCGI_END_REQUEST with status 0: FCGI_RECORD_END_BYTES. */
size_t fcgi_record_end(uint16_t request, char to[FCGI_RECORD_END_BYTES]);

/* What the web server sends meanwhile: read record by record, in pieces of any length. */
struct fcgi_record_input {
	unsigned char head[FCGI_RECORD_HEAD_BYTES];
	size_t head_bytes; /* of the record that is being read */
	size_t skip;       /* content and padding of it that are still to come */
};

enum fcgi_record_news { FCGI_RECORD_NOTHING, FCGI_RECORD_ABORTED, FCGI_RECORD_BROKEN };
/* Whether the web server has given this request up. */
enum fcgi_record_news fcgi_record_input(struct fcgi_record_input *input, uint16_t request, const char *bytes, size_t count);

#endif
