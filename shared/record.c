/* The record's one encoder, decoder and check: see record.h. */
#include "record.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define DEFAULT_ATTEMPTS 5
#define DEFAULT_BACKOFF_BASE_MS 1000
#define DEFAULT_BACKOFF_CAP_MS 600000

struct record_head {
	uint32_t size; /* of the whole record, a multiple of 8 */
	uint8_t kind, flags;
	uint16_t place;
	struct tr_id id;
	uint16_t places;
	uint8_t handler_bytes, queue_bytes, on_failure_bytes, trace_bytes;
	uint16_t max_attempts;
	uint32_t backoff_base_ms, backoff_cap_ms;
	uint32_t soft_timeout_ms, hard_timeout_ms;
	uint32_t args_bytes;
	uint32_t args_inline; /* how many of them follow: all or none */
	int64_t created_ns, run_at_ms, expires_at_ms;
};
static_assert(sizeof(struct record_head) == 80, "the ring's version covers this layout");

static const char *say(struct tr_error *error, const char *field, const char *got, const char *allowed)
{
	snprintf(error->text, sizeof error->text, "%s: %s; allowed is %s", field, got, allowed);
	return error->text;
}

static const char *say_number(struct tr_error *error, const char *field, int64_t got, int64_t low, int64_t high)
{
	snprintf(error->text, sizeof error->text, "%s: %lld; allowed is %lld to %lld", field, (long long)got,
	    (long long)low, (long long)high);
	return error->text;
}

bool record_name_ok(const char *name, size_t bytes)
{
	/* One bit for each of [A-Za-z0-9._-], ASCII 0..127. */
	static const uint64_t allowed[2] = { 0x03ff600000000000ull, 0x07fffffe87fffffeull };

	if (bytes < 1 || bytes > TR_NAME_MAX || name[0] == '.')
		return false;
	for (size_t i = 0; i < bytes; i++) {
		unsigned char c = (unsigned char)name[i];
		if (c > 127 || !(allowed[c >> 6] >> (c & 63) & 1))
			return false;
	}
	return true;
}

static const char *check_name(const char *field, struct record_text name, struct tr_error *error)
{
	char got[48];

	if (record_name_ok(name.at, name.bytes))
		return NULL;
	snprintf(got, sizeof got, name.bytes ? "%u bytes, not a name" : "empty", name.bytes);
	return say(error, field, got, "1 to 63 of A-Z a-z 0-9 . _ -, not starting with a dot");
}

static const char *check_texts(const struct record *record, struct tr_error *error)
{
	const char *fault = check_name("handler", record->handler, error);

	if (!fault)
		fault = check_name("queue", record->queue, error);
	if (!fault && record->on_failure.bytes)
		fault = check_name("on_failure", record->on_failure, error);
	if (fault)
		return fault;
	if (record->trace.bytes > TR_TRACE_MAX)
		return say_number(error, "trace (bytes)", record->trace.bytes, 0, TR_TRACE_MAX);
	for (uint32_t i = 0; i < record->trace.bytes; i++)
		if (record->trace.at[i] < ' ' || record->trace.at[i] > '~')
			return say(error, "trace", "a byte that is not printable ASCII", "printable ASCII");
	return NULL;
}

static const char *check_args(const struct record *record, struct tr_error *error)
{
	uint32_t most = record->flags & RECORD_SPOOLED ? TR_ARGS_MAX : TR_ARGS_INLINE_MAX;

	if (record->args_bytes < 1 || record->args_bytes > most)
		return say_number(error, "args (bytes)", record->args_bytes, 1, most);
	if (record->args.bytes != (record->flags & RECORD_SPOOLED ? 0 : record->args_bytes))
		return say(error, "args", "in the record and in the spool, or in neither", "one of the two");
	if (record->args.bytes && memchr(record->args.at, 0, record->args.bytes))
		return say(error, "args", "a zero byte", "JSON text");
	return NULL;
}

static inline const char *check_number(struct tr_error *error, const char *field, int64_t got, int64_t low, int64_t high)
{
	return got >= low && got <= high ? NULL : say_number(error, field, got, low, high);
}

/* Not a table: filling one costs ten times what the comparisons do, for each task on both sides of the ring. */
static const char *check_numbers(const struct record *record, struct tr_error *error)
{
	int64_t latest_ms = record->created_ns / 1000000 + TR_DELAY_MS_MAX;
	uint32_t soft_most_ms = record->hard_timeout_ms ? record->hard_timeout_ms : TR_TIMEOUT_MS_MAX;
	const char *fault = check_number(error, "max_attempts", record->max_attempts, 1, TR_ATTEMPTS_MAX);

	if (!fault)
		fault = check_number(error, "backoff_base_ms", record->backoff_base_ms, 1, TR_TIMEOUT_MS_MAX);
	if (!fault)
		fault = check_number(error, "backoff_cap_ms", record->backoff_cap_ms, record->backoff_base_ms, TR_TIMEOUT_MS_MAX);
	if (!fault)
		fault = check_number(error, "soft_timeout_ms", record->soft_timeout_ms, 0, soft_most_ms);
	if (!fault)
		fault = check_number(error, "hard_timeout_ms", record->hard_timeout_ms, 0, TR_TIMEOUT_MS_MAX);
	if (!fault)
		fault = check_number(error, "created_ns", record->created_ns, 0, INT64_MAX);
	if (!fault)
		fault = check_number(error, "run_at_ms", record->run_at_ms, 0, latest_ms);
	if (!fault)
		fault = check_number(error, "expires_at_ms", record->expires_at_ms, 0, latest_ms);
	if (!fault)
		fault = check_number(error, "places", record->places, 1, TR_BATCH_MAX);
	if (!fault)
		fault = check_number(error, "place", record->place, 0, record->places - 1);
	if (!fault)
		fault = check_number(error, "flags", record->flags, 0, RECORD_SEQUENTIAL | RECORD_DISK | RECORD_SPOOLED | RECORD_FILE);
	return fault;
}

const char *record_check(const struct record *record, struct tr_error *error)
{
	switch ((enum record_kind)record->kind) {
	case RECORD_TASK:
		break;
	case RECORD_CANCEL:
	case RECORD_RETRY:
	case RECORD_DISCARD:
	case RECORD_RUN:
	case RECORD_PURGE:
		return NULL; /* an id and a time are all it has */
	case RECORD_PAUSE:
	case RECORD_RESUME:
		return check_name("queue", record->queue, error);
	default:
		return say_number(error, "kind", record->kind, RECORD_TASK, RECORD_PURGE);
	}
	const char *fault = check_texts(record, error);
	if (!fault)
		fault = check_args(record, error);
	return fault ? fault : check_numbers(record, error);
}

void record_defaults(struct record *record)
{
	if (!record->queue.bytes)
		record->queue = (struct record_text){ "default", 7 };
	if (!record->args_bytes) {
		record->args = (struct record_text){ "{}", 2 };
		record->args_bytes = 2;
	}
	if (!record->places)
		record->places = 1;
	if (!record->max_attempts)
		record->max_attempts = DEFAULT_ATTEMPTS;
	if (!record->backoff_base_ms)
		record->backoff_base_ms = DEFAULT_BACKOFF_BASE_MS;
	if (!record->backoff_cap_ms)
		record->backoff_cap_ms = record->backoff_base_ms > DEFAULT_BACKOFF_CAP_MS ?
		    record->backoff_base_ms : DEFAULT_BACKOFF_CAP_MS;
}

static size_t padded(size_t bytes)
{
	return (bytes + 7) & ~(size_t)7;
}

size_t record_size(const struct record *record)
{
	return padded(sizeof(struct record_head) + record->handler.bytes + record->queue.bytes +
	    record->on_failure.bytes + record->trace.bytes + record->args.bytes + 1);
}

static char *put(char *to, struct record_text text)
{
	if (text.bytes) /* a NULL with 0 bytes is an empty text */
		memcpy(to, text.at, text.bytes);
	return to + text.bytes;
}

void record_encode(const struct record *record, void *to)
{
	size_t size = record_size(record);
	struct record_head head = {
		.size = (uint32_t)size,
		.kind = record->kind,
		.flags = record->flags,
		.place = record->place,
		.id = record->id,
		.places = record->places,
		.handler_bytes = (uint8_t)record->handler.bytes,
		.queue_bytes = (uint8_t)record->queue.bytes,
		.on_failure_bytes = (uint8_t)record->on_failure.bytes,
		.trace_bytes = (uint8_t)record->trace.bytes,
		.max_attempts = (uint16_t)record->max_attempts,
		.backoff_base_ms = record->backoff_base_ms,
		.backoff_cap_ms = record->backoff_cap_ms,
		.soft_timeout_ms = record->soft_timeout_ms,
		.hard_timeout_ms = record->hard_timeout_ms,
		.args_bytes = record->args_bytes,
		.args_inline = record->args.bytes,
		.created_ns = record->created_ns,
		.run_at_ms = record->run_at_ms,
		.expires_at_ms = record->expires_at_ms,
	};
	char *at = to;

	memcpy(at, &head, sizeof head);
	at = put(at + sizeof head, record->handler);
	at = put(at, record->queue);
	at = put(at, record->on_failure);
	at = put(at, record->trace);
	at = put(at, record->args);
	memset(at, 0, size - (size_t)(at - (char *)to)); /* the zero after args, and the padding */
}

void record_seal(void *encoded, uint16_t places, uint8_t flags)
{
	char *at = encoded;
	uint8_t joined;

	memcpy(&joined, at + offsetof(struct record_head, flags), sizeof joined);
	joined = (uint8_t)((joined & (RECORD_SPOOLED | RECORD_FILE)) | flags); /* the others may have been set before */
	memcpy(at + offsetof(struct record_head, flags), &joined, sizeof joined);
	memcpy(at + offsetof(struct record_head, places), &places, sizeof places);
}

void record_own_file(void *encoded)
{
	char *flags = (char *)encoded + offsetof(struct record_head, flags);
	uint8_t joined;

	memcpy(&joined, flags, sizeof joined);
	joined |= RECORD_FILE;
	memcpy(flags, &joined, sizeof joined);
}

size_t record_encoded_size(const void *encoded)
{
	uint32_t size;

	memcpy(&size, encoded, sizeof size);
	return size;
}

static struct record_text take(const char **at, uint32_t bytes)
{
	struct record_text text = { *at, bytes };

	*at += bytes;
	return text;
}

/* Its fields, and views of its texts in `from`, of which `head` is the beginning. */
static void read_fields(const char *from, const struct record_head *head, struct record *record)
{
	const char *at = from + sizeof *head;

	*record = (struct record){
		.id = head->id, .kind = head->kind, .flags = head->flags, .place = head->place, .places = head->places,
		.max_attempts = head->max_attempts,
		.backoff_base_ms = head->backoff_base_ms, .backoff_cap_ms = head->backoff_cap_ms,
		.soft_timeout_ms = head->soft_timeout_ms, .hard_timeout_ms = head->hard_timeout_ms,
		.created_ns = head->created_ns, .run_at_ms = head->run_at_ms, .expires_at_ms = head->expires_at_ms,
		.args_bytes = head->args_bytes,
	};
	record->handler = take(&at, head->handler_bytes);
	record->queue = take(&at, head->queue_bytes);
	record->on_failure = take(&at, head->on_failure_bytes);
	record->trace = take(&at, head->trace_bytes);
	record->args = take(&at, head->args_inline);
}

void record_view(const void *encoded, struct record *record)
{
	struct record_head head;

	memcpy(&head, encoded, sizeof head);
	read_fields(encoded, &head, record);
}

const char *record_decode(const void *from, size_t bytes, struct record *record, size_t *used,
    struct tr_error *error)
{
	struct record_head head;

	if (bytes < sizeof head)
		return say_number(error, "record (bytes)", (int64_t)bytes, sizeof head, INT32_MAX);
	memcpy(&head, from, sizeof head);
	uint64_t texts = (uint64_t)head.handler_bytes + head.queue_bytes + head.on_failure_bytes + head.trace_bytes;
	uint64_t needed = (sizeof head + texts + head.args_inline + 1 + 7) & ~7ull;
	if (head.size != needed || needed > bytes)
		return say_number(error, "record (size)", head.size, (int64_t)needed, (int64_t)bytes);
	read_fields(from, &head, record);
	if (record->args.at[record->args.bytes] != '\0')
		return say(error, "args", "no zero after them", "a zero");
	*used = head.size;
	return record_check(record, error);
}
