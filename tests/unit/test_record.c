/* The record: what is allowed, in which words the rest is refused, and bytes from anybody. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shared/record.h"
#include "tests/unit/runner.h"

static struct record_text text(const char *at)
{
	return (struct record_text){ at, (uint32_t)strlen(at) };
}

static const char args[] = "{\"email\":\"ada@example.org\"}";

static struct record full_record(void)
{
	return (struct record){
		.id = { { 1, 2, 3, 4, 5, 6, 0x77, 8, 0x99, 10, 11, 12, 13, 14, 15, 16 } },
		.kind = RECORD_TASK,
		.flags = RECORD_SEQUENTIAL | RECORD_DISK,
		.place = 3,
		.places = 200,
		.max_attempts = 1000,
		.backoff_base_ms = 17,
		.backoff_cap_ms = 604800000,
		.soft_timeout_ms = 1999,
		.hard_timeout_ms = 2000,
		.created_ns = 1767323045678250000,
		.run_at_ms = 1767323099999,
		.expires_at_ms = 1767323100000,
		.args_bytes = sizeof args - 1,
		.handler = text("send_email_notification"),
		.queue = text("mail"),
		.on_failure = text("tell-somebody"),
		.trace = text("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
		.args = text(args),
	};
}

static bool text_equal(struct record_text a, struct record_text b)
{
	return a.bytes == b.bytes && (!a.bytes || memcmp(a.at, b.at, a.bytes) == 0);
}

static void expect_equal(const struct record *a, const struct record *b)
{
	CU_ASSERT_EQUAL(memcmp(a->id.bytes, b->id.bytes, 16), 0);
	CU_ASSERT_EQUAL(a->kind, b->kind);
	CU_ASSERT_EQUAL(a->flags, b->flags);
	CU_ASSERT_EQUAL(a->place, b->place);
	CU_ASSERT_EQUAL(a->places, b->places);
	CU_ASSERT_EQUAL(a->max_attempts, b->max_attempts);
	CU_ASSERT_EQUAL(a->backoff_base_ms, b->backoff_base_ms);
	CU_ASSERT_EQUAL(a->backoff_cap_ms, b->backoff_cap_ms);
	CU_ASSERT_EQUAL(a->soft_timeout_ms, b->soft_timeout_ms);
	CU_ASSERT_EQUAL(a->hard_timeout_ms, b->hard_timeout_ms);
	CU_ASSERT_EQUAL(a->created_ns, b->created_ns);
	CU_ASSERT_EQUAL(a->run_at_ms, b->run_at_ms);
	CU_ASSERT_EQUAL(a->expires_at_ms, b->expires_at_ms);
	CU_ASSERT_EQUAL(a->args_bytes, b->args_bytes);
	CU_ASSERT_TRUE(text_equal(a->handler, b->handler));
	CU_ASSERT_TRUE(text_equal(a->queue, b->queue));
	CU_ASSERT_TRUE(text_equal(a->on_failure, b->on_failure));
	CU_ASSERT_TRUE(text_equal(a->trace, b->trace));
	CU_ASSERT_TRUE(text_equal(a->args, b->args));
}

/* Encodes into memory of just that size, so that a byte too far is seen by the sanitizer. */
static char *encode(const struct record *record, size_t *bytes)
{
	*bytes = record_size(record);
	char *encoded = malloc(*bytes);

	CU_ASSERT_PTR_NOT_NULL_FATAL(encoded);
	memset(encoded, 0x55, *bytes);
	record_encode(record, encoded);
	return encoded;
}

static void round_trip(const struct record *record)
{
	struct record decoded;
	struct tr_error error = { "" };
	size_t bytes, used = 0;

	CU_ASSERT_PTR_NULL(record_check(record, &error));
	char *encoded = encode(record, &bytes);
	CU_ASSERT_EQUAL(bytes % 8, 0);
	CU_ASSERT_PTR_NULL(record_decode(encoded, bytes, &decoded, &used, &error));
	CU_ASSERT_EQUAL(used, bytes);
	expect_equal(record, &decoded);
	CU_ASSERT_EQUAL(decoded.args.at[decoded.args.bytes], 0); /* a C string for handlers */
	free(encoded);
}

static void test_round_trip(void)
{
	struct record record = full_record();
	struct record least = { .kind = RECORD_TASK, .handler = text("h") };
	static char large[TR_ARGS_INLINE_MAX + 1];

	round_trip(&record);
	record_defaults(&least);
	round_trip(&least);
	memset(large, 'x', TR_ARGS_INLINE_MAX);
	record.args = text(large);
	record.args_bytes = TR_ARGS_INLINE_MAX;
	round_trip(&record);
	/* Every remainder of the padding. */
	for (uint32_t bytes = 1; bytes <= 16; bytes++) {
		record.args.bytes = record.args_bytes = bytes;
		round_trip(&record);
	}
	record.flags |= RECORD_SPOOLED;
	record.args = (struct record_text){ NULL, 0 };
	record.args_bytes = TR_ARGS_MAX;
	round_trip(&record);
	round_trip(&(struct record){ .kind = RECORD_CANCEL, .id = record.id });
	round_trip(&(struct record){ .kind = RECORD_DISCARD, .id = record.id });
	round_trip(&(struct record){ .kind = RECORD_RUN, .id = record.id, .created_ns = 1 });
	round_trip(&(struct record){ .kind = RECORD_PURGE, .id = record.id });
	round_trip(&(struct record){ .kind = RECORD_PAUSE, .queue = text("mail") });
	round_trip(&(struct record){ .kind = RECORD_RESUME, .queue = text("mail"), .created_ns = 1 });
	round_trip(&(struct record){ .kind = RECORD_RETRY, .id = record.id, .created_ns = 1700000000123456789 });
}

/* What is sealed is what is decoded; sealing again replaces all but what is in the spool. */
static void test_seal(void)
{
	struct record record = full_record(), decoded;
	struct tr_error error;
	size_t bytes, used;

	record.flags = RECORD_SPOOLED;
	record.args = (struct record_text){ NULL, 0 };
	char *encoded = encode(&record, &bytes);
	record_seal(encoded, 7, RECORD_SEQUENTIAL | RECORD_DISK);
	CU_ASSERT_PTR_NULL(record_decode(encoded, bytes, &decoded, &used, &error));
	CU_ASSERT_EQUAL(decoded.places, 7);
	CU_ASSERT_EQUAL(decoded.flags, RECORD_SPOOLED | RECORD_SEQUENTIAL | RECORD_DISK);
	record_own_file(encoded);
	record_seal(encoded, 256, RECORD_DISK);
	CU_ASSERT_PTR_NULL(record_decode(encoded, bytes, &decoded, &used, &error));
	CU_ASSERT_EQUAL(decoded.places, 256);
	CU_ASSERT_EQUAL(decoded.flags, RECORD_SPOOLED | RECORD_FILE | RECORD_DISK);
	record.places = 256;
	record.flags = decoded.flags;
	expect_equal(&record, &decoded);
	free(encoded);
}

static void test_defaults(void)
{
	struct record record = { .kind = RECORD_TASK, .handler = text("h") };

	record_defaults(&record);
	CU_ASSERT_TRUE(text_equal(record.queue, text("default")));
	CU_ASSERT_TRUE(text_equal(record.args, text("{}")));
	CU_ASSERT_EQUAL(record.args_bytes, 2);
	CU_ASSERT_EQUAL(record.places, 1);
	CU_ASSERT_EQUAL(record.max_attempts, 5);
	CU_ASSERT_EQUAL(record.backoff_base_ms, 1000);
	CU_ASSERT_EQUAL(record.backoff_cap_ms, 600000);
	/* What is given stays. */
	struct record given = full_record(), same = given;
	record_defaults(&given);
	expect_equal(&given, &same);
	/* A base above the usual cap lifts the cap. */
	record = (struct record){ .backoff_base_ms = 700000 };
	record_defaults(&record);
	CU_ASSERT_EQUAL(record.backoff_cap_ms, 700000);
}

static void test_names(void)
{
	static const char longest[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";

	CU_ASSERT_EQUAL(sizeof longest - 1, TR_NAME_MAX);
	CU_ASSERT_TRUE(record_name_ok(longest, TR_NAME_MAX));
	CU_ASSERT_TRUE(record_name_ok("a.b-c_d", 7));
	CU_ASSERT_TRUE(record_name_ok("-", 1));
	CU_ASSERT_FALSE(record_name_ok("", 0));
	CU_ASSERT_FALSE(record_name_ok(".a", 2));
	CU_ASSERT_FALSE(record_name_ok("a\0b", 3));
	char tried[TR_NAME_MAX + 1];
	memset(tried, 'a', sizeof tried);
	CU_ASSERT_FALSE(record_name_ok(tried, TR_NAME_MAX + 1));
	for (int c = 0; c < 256; c++) {
		const char one[2] = { 'x', (char)c };
		bool allowed = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
		    c == '_' || c == '-';
		CU_ASSERT_EQUAL(record_name_ok(one, 2), allowed);
	}
}

static void expect_refused(const struct record *record, const char *sentence)
{
	struct tr_error error = { "" };
	const char *fault = record_check(record, &error);

	CU_ASSERT_PTR_NOT_NULL_FATAL(fault);
	CU_ASSERT_PTR_EQUAL(fault, error.text);
	CU_ASSERT_STRING_EQUAL(fault, sentence);
}

/* One field after the other is made wrong, and named. */
#define REFUSED(change, sentence) \
	do { \
		struct record record = full_record(); \
		record.change; \
		expect_refused(&record, sentence); \
	} while (0)

static void test_refused_texts(void)
{
	static const char names[] = "; allowed is 1 to 63 of A-Z a-z 0-9 . _ -, not starting with a dot";
	char sentence[160];

	snprintf(sentence, sizeof sentence, "handler: empty%s", names);
	REFUSED(handler.bytes = 0, sentence);
	snprintf(sentence, sizeof sentence, "handler: 3 bytes, not a name%s", names);
	REFUSED(handler = text("a/b"), sentence);
	snprintf(sentence, sizeof sentence, "queue: 4 bytes, not a name%s", names);
	REFUSED(queue = text("a b "), sentence);
	snprintf(sentence, sizeof sentence, "on_failure: 2 bytes, not a name%s", names);
	REFUSED(on_failure = text(".x"), sentence);
	static char long_trace[TR_TRACE_MAX + 2];
	memset(long_trace, 't', TR_TRACE_MAX + 1);
	REFUSED(trace = text(long_trace), "trace (bytes): 256; allowed is 0 to 255");
	REFUSED(trace = text("a\nb"), "trace: a byte that is not printable ASCII; allowed is printable ASCII");
	REFUSED(trace = text("\xc3\xa4"), "trace: a byte that is not printable ASCII; allowed is printable ASCII");
	REFUSED(args_bytes = 0, "args (bytes): 0; allowed is 1 to 16384");
	REFUSED(args_bytes = TR_ARGS_INLINE_MAX + 1, "args (bytes): 16385; allowed is 1 to 16384");
	REFUSED(args_bytes = 5, "args: in the record and in the spool, or in neither; allowed is one of the two");
	REFUSED(flags |= RECORD_SPOOLED, "args: in the record and in the spool, or in neither; allowed is one of the two");
	struct record record = full_record();
	record.args = (struct record_text){ "{\0}", 3 };
	record.args_bytes = 3;
	expect_refused(&record, "args: a zero byte; allowed is JSON text");
	record.flags |= RECORD_SPOOLED;
	record.args_bytes = TR_ARGS_MAX + 1;
	expect_refused(&record, "args (bytes): 16777217; allowed is 1 to 16777216");
}

static void test_refused_queues(void)
{
	expect_refused(&(struct record){ .kind = RECORD_PAUSE },
	    "queue: empty; allowed is 1 to 63 of A-Z a-z 0-9 . _ -, not starting with a dot");
	expect_refused(&(struct record){ .kind = RECORD_RESUME, .queue = text("../x") },
	    "queue: 4 bytes, not a name; allowed is 1 to 63 of A-Z a-z 0-9 . _ -, not starting with a dot");
}

static void test_refused_numbers(void)
{
	REFUSED(kind = 0, "kind: 0; allowed is 1 to 8");
	REFUSED(kind = 9, "kind: 9; allowed is 1 to 8");
	REFUSED(max_attempts = 0, "max_attempts: 0; allowed is 1 to 1000");
	REFUSED(max_attempts = 1001, "max_attempts: 1001; allowed is 1 to 1000");
	REFUSED(backoff_base_ms = 0, "backoff_base_ms: 0; allowed is 1 to 604800000");
	REFUSED(backoff_base_ms = 604800001, "backoff_base_ms: 604800001; allowed is 1 to 604800000");
	REFUSED(backoff_cap_ms = 16, "backoff_cap_ms: 16; allowed is 17 to 604800000");
	REFUSED(backoff_cap_ms = 604800001, "backoff_cap_ms: 604800001; allowed is 17 to 604800000");
	REFUSED(soft_timeout_ms = 2001, "soft_timeout_ms: 2001; allowed is 0 to 2000");
	REFUSED(hard_timeout_ms = 604800001, "hard_timeout_ms: 604800001; allowed is 0 to 604800000");
	REFUSED(created_ns = -1, "created_ns: -1; allowed is 0 to 9223372036854775807");
	REFUSED(run_at_ms = -5, "run_at_ms: -5; allowed is 0 to 2083547045678");
	REFUSED(run_at_ms = 2083547045679, "run_at_ms: 2083547045679; allowed is 0 to 2083547045678");
	REFUSED(expires_at_ms = 2083547045679, "expires_at_ms: 2083547045679; allowed is 0 to 2083547045678");
	REFUSED(places = 0, "places: 0; allowed is 1 to 256");
	REFUSED(places = 257, "places: 257; allowed is 1 to 256");
	REFUSED(place = 200, "place: 200; allowed is 0 to 199");
	REFUSED(flags = 16, "flags: 16; allowed is 0 to 15");
	struct record soft_alone = full_record();
	struct tr_error error;
	soft_alone.hard_timeout_ms = 0;
	soft_alone.soft_timeout_ms = TR_TIMEOUT_MS_MAX;
	CU_ASSERT_PTR_NULL(record_check(&soft_alone, &error));
}

/* ---- bytes from anybody ------------------------------------------------------------------ */

static void test_cut_short(void)
{
	struct record record = full_record(), decoded;
	struct tr_error error;
	size_t bytes, used;
	char *encoded = encode(&record, &bytes);

	for (size_t length = 0; length < bytes; length++) {
		char *cut = malloc(length ? length : 1);
		CU_ASSERT_PTR_NOT_NULL_FATAL(cut);
		memcpy(cut, encoded, length);
		CU_ASSERT_PTR_NOT_NULL(record_decode(cut, length, &decoded, &used, &error));
		free(cut);
	}
	/* Followed by another, it ends where it ends. */
	char *two = malloc(2 * bytes);
	CU_ASSERT_PTR_NOT_NULL_FATAL(two);
	memcpy(two, encoded, bytes);
	memcpy(two + bytes, encoded, bytes);
	CU_ASSERT_PTR_NULL(record_decode(two, 2 * bytes, &decoded, &used, &error));
	CU_ASSERT_EQUAL(used, bytes);
	free(two);
	encoded[0] += 8; /* its size is not the sum of its parts */
	CU_ASSERT_PTR_NOT_NULL(record_decode(encoded, bytes, &decoded, &used, &error));
	free(encoded);
}

/* Wherever it is damaged, it is refused, or what comes out is allowed and lies inside. */
static void test_damaged(void)
{
	struct record record = full_record(), decoded;
	struct tr_error error;
	size_t bytes, used;
	uint64_t refused = 0, random_state = 1;
	char *encoded = encode(&record, &bytes);
	char *damaged = malloc(bytes);

	CU_ASSERT_PTR_NOT_NULL_FATAL(damaged);
	for (int round = 0; round < 200000; round++) {
		memcpy(damaged, encoded, bytes);
		for (int hits = 1 + round % 3; hits--;) {
			random_state = random_state * 6364136223846793005u + 1442695040888963407u;
			damaged[(random_state >> 33) % bytes] = (char)(random_state >> 25);
		}
		if (record_decode(damaged, bytes, &decoded, &used, &error)) {
			refused++;
			continue;
		}
		CU_ASSERT_EQUAL(used, bytes);
		CU_ASSERT_PTR_NULL(record_check(&decoded, &error));
		CU_ASSERT_TRUE(decoded.args.at + decoded.args.bytes < damaged + bytes);
	}
	CU_ASSERT_TRUE(refused > 50000);
	free(damaged);
	free(encoded);
}

int main(void)
{
	static const struct suite_test tests[] = {
		{ "there and back", test_round_trip },
		{ "sealed", test_seal },
		{ "defaults", test_defaults },
		{ "names", test_names },
		{ "texts refused", test_refused_texts },
		{ "numbers refused", test_refused_numbers },
		{ "queues refused", test_refused_queues },
		{ "cut short", test_cut_short },
		{ "damaged", test_damaged },
	};

	return RUN_TESTS("record", tests);
}
