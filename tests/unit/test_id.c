/* Ids: UUID version 7 to the bit, their order, their text, and a batch's consecutive ones. */
#include <string.h>

#include "shared/id.h"
#include "tests/unit/runner.h"

static const struct tr_id example = { { 0x01, 0x7f, 0x22, 0xe2, 0x79, 0xb0, 0x7c, 0xc3, 0x98, 0xc4, 0xdc, 0x0c,
	0x0c, 0x07, 0x39, 0x8f } };
static const char example_text[] = "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"; /* RFC 9562, appendix A.6 */

static void test_text(void)
{
	char text[TR_ID_TEXT_SIZE];
	struct tr_id parsed;

	CU_ASSERT_PTR_EQUAL(tr_id_format(&example, text), text);
	CU_ASSERT_STRING_EQUAL(text, example_text);
	CU_ASSERT_TRUE(tr_id_parse(example_text, &parsed));
	CU_ASSERT_TRUE(id_equal(&parsed, &example));
	CU_ASSERT_TRUE(tr_id_parse("017F22E2-79B0-7CC3-98C4-DC0C0C07398F", &parsed));
	CU_ASSERT_TRUE(id_equal(&parsed, &example));
	CU_ASSERT_EQUAL(id_time_ms(&example), 0x17f22e279b0);
}

static void test_text_refused(void)
{
	static const char *const texts[] = { "", "-", "017f22e2", "017f22e2-79b0-7cc3-98c4-dc0c0c07398",
		"017f22e2-79b0-7cc3-98c4-dc0c0c07398f0", "017f22e2-79b0-7cc3-98c4-dc0c0c07398f ",
		"017f22e279b0-7cc3-98c4-dc0c0c07398f0", "017f22e2-79b0-7cc3-98c4_dc0c0c07398f",
		"017f22e2-79b0-7cc3-98c4-dc0c0c07398g", "{17f22e2-79b0-7cc3-98c4-dc0c0c07398f",
		"017f22e2-79b0-7cc3-98c4-", "017f22e2-79b0-7cc3-98c4-dc0c0c07398/", " 17f22e2-79b0-7cc3-98c4-dc0c0c07398f",
		"\377\3777f22e2-79b0-7cc3-98c4-dc0c0c07398f" };
	struct tr_id parsed = example;

	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
		CU_ASSERT_FALSE(tr_id_parse(texts[i], &parsed));
	CU_ASSERT_TRUE(id_equal(&parsed, &example)); /* untouched */
}

static void test_bits(void)
{
	struct id_source source;
	/* 2026-01-02T03:04:05.678 and a quarter of a ms. */
	const int64_t now_ns = 1767323045678250000;

	CU_ASSERT_TRUE(id_source_open(&source));
	for (int i = 0; i < 1000; i++) {
		struct tr_id id = id_make(&source, now_ns);
		CU_ASSERT_EQUAL(id_time_ms(&id), 1767323045678);
		CU_ASSERT_EQUAL(id.bytes[6] >> 4, 7);
		CU_ASSERT_EQUAL((id.bytes[6] & 15) << 8 | id.bytes[7], 1024); /* of 4,096 parts of a ms */
		CU_ASSERT_EQUAL(id.bytes[8] >> 6, 2);
	}
	struct tr_id last = id_make(&source, now_ns - now_ns % 1000000 + 999999);
	CU_ASSERT_EQUAL((last.bytes[6] & 15) << 8 | last.bytes[7], 4095);
}

static int compare(const struct tr_id *a, const struct tr_id *b)
{
	return memcmp(a->bytes, b->bytes, sizeof a->bytes);
}

static void test_order(void)
{
	struct id_source source;
	struct tr_id before;

	CU_ASSERT_TRUE(id_source_open(&source));
	before = id_make(&source, 1767323045000000000);
	/* 250 ns is one part of a ms: whatever the random bits are, the later sorts after. */
	for (int64_t now_ns = 1767323045000000250; now_ns < 1767323045002000000; now_ns += 250) {
		struct tr_id id = id_make(&source, now_ns);
		CU_ASSERT_TRUE(compare(&before, &id) < 0);
		before = id;
	}
}

static void test_unique(void)
{
	struct id_source one, other;
	struct tr_id ids[200];

	CU_ASSERT_TRUE(id_source_open(&one));
	CU_ASSERT_TRUE(id_source_open(&other));
	for (int i = 0; i < 100; i++) {
		ids[i] = id_make(&one, 0);
		ids[100 + i] = id_make(&other, 0);
	}
	for (int i = 0; i < 200; i++)
		for (int j = 0; j < i; j++)
			CU_ASSERT_FALSE(id_equal(&ids[i], &ids[j]));
}

static void test_steps(void)
{
	/* The largest and the smallest that id_make() draws. */
	const struct tr_id largest = { { [6] = 0x70, [8] = 0x9f, 255, 255, 255, 255, 255, 255, 255 } };
	const struct tr_id smallest = { { [6] = 0x70, [8] = 0x80 } };
	const struct tr_id *const firsts[] = { &largest, &smallest, &example };

	for (size_t i = 0; i < 3; i++) {
		struct tr_id before = *firsts[i];
		for (int step = 1; step <= TR_BATCH_MAX; step++) {
			struct tr_id next = id_step(firsts[i], step), back = id_step(&next, -step);
			CU_ASSERT_TRUE(compare(&before, &next) < 0);
			CU_ASSERT_EQUAL(next.bytes[8] >> 6, 2); /* still the variant */
			CU_ASSERT_EQUAL(memcmp(next.bytes, firsts[i]->bytes, 8), 0);
			CU_ASSERT_TRUE(id_equal(&back, firsts[i]));
			before = next;
		}
	}
	struct tr_id next = id_step(&largest, 1);
	CU_ASSERT_EQUAL(next.bytes[8], 0xa0);
	CU_ASSERT_EQUAL(next.bytes[15], 0);
}

/* 48 bits, spread: consecutive ids of batches do not meet in a few buckets. */
static void test_hash(void)
{
	uint32_t buckets[64] = { 0 };

	for (int step = 0; step < 64 * 64; step++) {
		struct tr_id id = id_step(&example, step);
		uint64_t hash = id_hash(&id);
		CU_ASSERT_EQUAL(hash >> 48, 0);
		CU_ASSERT_EQUAL(id_hash(&id), hash);
		buckets[hash >> 42]++;
	}
	for (int i = 0; i < 64; i++)
		CU_ASSERT_TRUE(buckets[i] > 16 && buckets[i] < 256);
}

int main(void)
{
	static const struct suite_test tests[] = {
		{ "text", test_text },
		{ "text refused", test_text_refused },
		{ "bits", test_bits },
		{ "order", test_order },
		{ "unique", test_unique },
		{ "consecutive ids", test_steps },
		{ "hash", test_hash },
	};

	return RUN_TESTS("id", tests);
}
