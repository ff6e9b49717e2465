/* See upload.h. The functions stand in the order in which an upload meets them. */
#include "app/upload.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "app/header_value.h"
#include "app/multipart.h"
#include "app/web.h"

#define PIECE_BYTES 65536            /* of a plain body */
#define CHECK_SPACE_BYTES (8u << 20) /* after so many, how much is free is looked up again */
#define FORM_BYTES_MAX (1u << 20)    /* of a form, around the file and in other fields */

/* One upload while it is received. */
struct receiver {
	const struct web_request *request;
	const struct upload_limits *limits;
	struct upload *upload;
	struct web_source source; /* the request's, counted */
	uint64_t body_bytes;
	uint64_t space_checked_at; /* bytes of the file */
	bool too_large;            /* not the file, but what is around it */
};

static _Atomic unsigned in_flight; /* of this process */

/* ---- the file ---------------------------------------------------------------------------- */

static enum upload_result check_space(const struct receiver *receiver, uint64_t expected_bytes)
{
	struct statvfs disk;
	if (fstatvfs(receiver->upload->fd, &disk) != 0)
		return UPLOAD_NO_SPOOL;
	uint64_t free_bytes = (uint64_t)disk.f_bavail * disk.f_frsize;
	return free_bytes >= receiver->limits->free_bytes && free_bytes - receiver->limits->free_bytes >= expected_bytes ?
	    UPLOAD_OK : UPLOAD_NO_SPACE;
}

static enum upload_result open_file(struct receiver *receiver)
{
	struct tr_error error;
	receiver->upload->fd = tr_spool_file(receiver->request->ring, &error);
	if (receiver->upload->fd < 0)
		return UPLOAD_NO_SPOOL;
	/* Early, so that nothing is sent in vain. */
	size_t declared = receiver->request->declared_bytes;
	return check_space(receiver, declared != SIZE_MAX ? declared : 0);
}

static enum upload_result append(struct receiver *receiver, const char *data, size_t bytes)
{
	struct upload *upload = receiver->upload;
	if (bytes > receiver->limits->most_bytes - upload->bytes)
		return UPLOAD_TOO_LARGE;
	while (bytes > 0) {
		ssize_t written = write(upload->fd, data, bytes);
		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0)
			return errno == ENOSPC || errno == EDQUOT || errno == EFBIG ? UPLOAD_NO_SPACE : UPLOAD_NO_SPOOL;
		data += written;
		bytes -= (size_t)written;
		upload->bytes += (uint64_t)written;
	}
	if (upload->bytes - receiver->space_checked_at < CHECK_SPACE_BYTES)
		return UPLOAD_OK;
	receiver->space_checked_at = upload->bytes;
	return check_space(receiver, 0);
}

/* ---- its name and type ------------------------------------------------------------------- */

/* What follows the last slash of either kind. False: no name, or one that nobody should be shown. */
static bool take_name(struct upload *upload, const char *sent)
{
	const char *base = sent;
	for (const char *at = sent; *at != '\0'; at++)
		if (*at == '/' || *at == '\\')
			base = at + 1;
	size_t bytes = strlen(base);
	if (bytes == 0 || bytes > UPLOAD_NAME_MAX || strcmp(base, ".") == 0 || strcmp(base, "..") == 0)
		return false;
	for (const unsigned char *at = (const unsigned char *)base; *at != '\0'; at++)
		if (*at < 0x20 || *at == 0x7f || (at[0] == 0xc2 && at[1] >= 0x80 && at[1] < 0xa0)) /* C0, DEL, C1 */
			return false;
	json_t *text = json_string(base); /* NULL: it is not UTF-8 */
	if (text == NULL)
		return false;
	json_decref(text);
	memcpy(upload->name, base, bytes + 1);
	return true;
}

static void take_type(struct upload *upload, const char *sent)
{
	size_t bytes = strlen(sent);
	bool fit = bytes > 0 && bytes < sizeof(upload->content_type);
	for (const char *at = sent; *at != '\0'; at++)
		fit = fit && *at >= 0x20 && *at < 0x7f;
	snprintf(upload->content_type, sizeof(upload->content_type), "%s", fit ? sent : "application/octet-stream");
}

/* ---- a plain body ------------------------------------------------------------------------ */

static enum upload_result receive_plain(struct receiver *receiver)
{
	const struct web_request *request = receiver->request;
	char sent[MULTIPART_NAME_MAX + 1] = "";
	if (request->content_disposition[0] != '\0' &&
	    header_value_parameter(request->content_disposition, "filename", sent, sizeof(sent)) == PARAMETER_BAD)
		return UPLOAD_BAD_NAME;
	if (!take_name(receiver->upload, sent[0] != '\0' ? sent : "unnamed"))
		return UPLOAD_BAD_NAME;
	take_type(receiver->upload, request->content_type);
	char *piece = malloc(PIECE_BYTES);
	if (piece == NULL)
		return UPLOAD_NO_MEMORY;
	enum upload_result result = UPLOAD_OK;
	ssize_t got;
	while (result == UPLOAD_OK && (got = receiver->source.read(receiver, piece, PIECE_BYTES)) != 0)
		result = got < 0 ? UPLOAD_BROKEN : append(receiver, piece, (size_t)got);
	free(piece);
	if (result != UPLOAD_OK)
		return result;
	return receiver->upload->bytes > 0 ? UPLOAD_OK : UPLOAD_NO_FILE;
}

/* ---- a form ------------------------------------------------------------------------------ */

static enum upload_result upload_result_of(enum multipart_result result)
{
	switch (result) {
	case MULTIPART_BROKEN: return UPLOAD_BROKEN;
	case MULTIPART_NO_MEMORY: return UPLOAD_NO_MEMORY;
	case MULTIPART_MALFORMED: return UPLOAD_MALFORMED;
	case MULTIPART_OK:
	case MULTIPART_END: break;
	}
	return UPLOAD_OK;
}

static enum upload_result receive_part(struct receiver *receiver, struct multipart *multipart)
{
	const char *data;
	size_t bytes;
	enum multipart_result read;
	while ((read = multipart_data(multipart, &data, &bytes)) == MULTIPART_OK) {
		enum upload_result result = append(receiver, data, bytes);
		if (result != UPLOAD_OK)
			return result;
	}
	return upload_result_of(read);
}

static enum upload_result receive_parts(struct receiver *receiver, struct multipart *multipart,
    struct multipart_part *part)
{
	bool found = false;
	enum multipart_result read;
	while ((read = multipart_part(multipart, part)) == MULTIPART_OK) {
		/* Other fields are skipped. A file field that nobody filled is sent with an empty name. */
		if (!part->is_file || part->file_name[0] == '\0')
			continue;
		if (found || strcmp(part->field, "file") != 0)
			return UPLOAD_SEVERAL;
		found = true;
		if (!take_name(receiver->upload, part->file_name))
			return UPLOAD_BAD_NAME;
		take_type(receiver->upload, part->content_type);
		enum upload_result result = receive_part(receiver, multipart);
		if (result != UPLOAD_OK)
			return result;
	}
	if (read == MULTIPART_END && !found)
		return UPLOAD_NO_FILE;
	return upload_result_of(read);
}

static enum upload_result receive_form(struct receiver *receiver)
{
	struct multipart *multipart;
	struct multipart_part *part = malloc(sizeof(*part));
	enum upload_result result = UPLOAD_NO_MEMORY;
	if (part != NULL)
		result = upload_result_of(multipart_new(&multipart, receiver->request->content_type, &receiver->source));
	if (result == UPLOAD_OK) {
		result = receive_parts(receiver, multipart, part);
		multipart_free(&multipart);
	}
	free(part);
	return result;
}

/* ---- the whole --------------------------------------------------------------------------- */

/* Reads for the two above. What is no part of the file would else be read for ever. */
static ssize_t read_counted(void *context, char *to, size_t most)
{
	struct receiver *receiver = context;
	ssize_t got = receiver->request->source.read(receiver->request->source.context, to, most);
	if (got > 0)
		receiver->body_bytes += (uint64_t)got;
	receiver->too_large = receiver->body_bytes - receiver->upload->bytes > FORM_BYTES_MAX;
	return receiver->too_large ? -1 : got;
}

static bool is_too_large(const struct web_request *request, const struct upload_limits *limits, bool form)
{
	uint64_t most = limits->most_bytes + (form ? FORM_BYTES_MAX : 0);
	return request->declared_bytes != SIZE_MAX && request->declared_bytes > most;
}

static enum upload_result receive(struct receiver *receiver)
{
	const struct web_request *request = receiver->request;
	bool form = header_value_is(request->content_type, "multipart/form-data");
	if (is_too_large(request, receiver->limits, form))
		return UPLOAD_TOO_LARGE;
	enum upload_result result = open_file(receiver);
	if (result == UPLOAD_OK)
		result = form ? receive_form(receiver) : receive_plain(receiver);
	if (receiver->too_large)
		return UPLOAD_TOO_LARGE;
	if (result == UPLOAD_OK && request->declared_bytes != SIZE_MAX && request->declared_bytes != receiver->body_bytes)
		result = UPLOAD_MALFORMED;
	return result;
}

enum upload_result upload_receive(const struct web_request *request, const struct upload_limits *limits,
    struct upload *upload)
{
	struct receiver receiver = { .request = request, .limits = limits, .upload = upload };
	receiver.source = (struct web_source){ .read = read_counted, .context = &receiver };
	*upload = (struct upload){ .fd = -1 };
	enum upload_result result = UPLOAD_BUSY;
	/* So that other requests always find a thread. */
	if (atomic_fetch_add(&in_flight, 1) < limits->at_once)
		result = receive(&receiver);
	atomic_fetch_sub(&in_flight, 1);
	if (result != UPLOAD_OK)
		upload_clear(upload);
	return result;
}

int upload_take(struct upload *upload)
{
	int fd = upload->fd;
	upload->fd = -1;
	return fd;
}

void upload_clear(struct upload *upload)
{
	int fd = upload_take(upload);
	if (fd >= 0)
		close(fd);
}

/* ---- what a client is told --------------------------------------------------------------- */

static const struct {
	int status;
	const char *text;
	const char *type; /* not NULL: a fault of the field `file`, in the form of 422 */
} refusals[UPLOAD_RESULTS] = {
	[UPLOAD_NO_FILE] = { 422, "Field required", "missing" },
	[UPLOAD_SEVERAL] = { 422, "Exactly one file is taken, in this field", "value_error" },
	[UPLOAD_BAD_NAME] = { 422, "The name must be UTF-8 of 1 to 255 bytes without control characters", "value_error" },
	[UPLOAD_MALFORMED] = { 400, "the body is not what Content-Type and Content-Length say", NULL },
	[UPLOAD_TOO_LARGE] = { 413, "the file is larger than what is taken here", NULL },
	[UPLOAD_BROKEN] = { 408, "the body did not come to its end", NULL },
	[UPLOAD_NO_SPACE] = { 507, "there is no space for this file now", NULL },
	[UPLOAD_BUSY] = { 503, "other files are being received; try again later", NULL },
	[UPLOAD_NO_SPOOL] = { 503, "files cannot be taken right now; try again later", NULL },
	[UPLOAD_NO_MEMORY] = { 503, "out of memory; try again later", NULL },
};

void upload_refuse(enum upload_result result, struct web_answer *answer)
{
	if (refusals[result].type == NULL) {
		*answer = answer_detail(refusals[result].status, refusals[result].text);
		if (refusals[result].status == 503)
			answer->retry_after_s = WEB_RETRY_AFTER_S;
		return;
	}
	*answer = answer_fault("body", "file", refusals[result].type, refusals[result].text);
}
