/*
 * UUID version 7 (RFC 9562, section 5.7): 48 bits of ms since 1970, version, 12 bits of the
 * ms's fraction (section 6.2, method 3), variant, 62 random bits. The random bits are SplitMix64
 * (Steele, Lea, Flood, 2014), seeded by the kernel: unique, not secret.
 */
#include "id.h"

#include <string.h>
#include <sys/random.h>

/* Leaves room for TR_BATCH_MAX steps without a carry out of the 62 random bits. */
#define RANDOM_BITS ((1ull << 61) - 1)

static uint64_t load_be(const uint8_t *from)
{
	uint64_t value;

	memcpy(&value, from, sizeof value);
	return __builtin_bswap64(value);
}

static void store_be(uint8_t *to, uint64_t value)
{
	value = __builtin_bswap64(value);
	memcpy(to, &value, sizeof value);
}

bool id_source_open(struct id_source *source)
{
	return getrandom(&source->state, sizeof source->state, 0) == (ssize_t)sizeof source->state;
}

static uint64_t next_random(struct id_source *source)
{
	uint64_t z = source->state += 0x9e3779b97f4a7c15ull;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

struct tr_id id_make(struct id_source *source, int64_t now_ns)
{
	uint64_t ms = (uint64_t)now_ns / 1000000;
	uint64_t fraction = ((uint64_t)now_ns % 1000000) * 4096 / 1000000;
	struct tr_id id;

	store_be(id.bytes, ms << 16 | 0x7000 | fraction);
	store_be(id.bytes + 8, 1ull << 63 | (next_random(source) & RANDOM_BITS));
	return id;
}

struct tr_id id_step(const struct tr_id *id, int steps)
{
	struct tr_id next = *id;

	store_be(next.bytes + 8, load_be(id->bytes + 8) + (uint64_t)(int64_t)steps);
	return next;
}

int64_t id_time_ms(const struct tr_id *id)
{
	return (int64_t)(load_be(id->bytes) >> 16);
}

uint64_t id_hash(const struct tr_id *id)
{
	uint64_t low = load_be(id->bytes + 8);

	return (low ^ load_be(id->bytes) * 0x9e3779b97f4a7c15ull) * 0xbf58476d1ce4e5b9ull >> 16;
}

bool id_equal(const struct tr_id *a, const struct tr_id *b)
{
	return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

char *tr_id_format(const struct tr_id *id, char text[TR_ID_TEXT_SIZE])
{
	static const char digits[] = "0123456789abcdef";
	char *to = text;

	for (size_t i = 0; i < sizeof id->bytes; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*to++ = '-';
		*to++ = digits[id->bytes[i] >> 4];
		*to++ = digits[id->bytes[i] & 15];
	}
	*to = '\0';
	return text;
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

bool tr_id_parse(const char *text, struct tr_id *id)
{
	struct tr_id parsed;

	for (size_t i = 0; i < sizeof parsed.bytes; i++) {
		if ((i == 4 || i == 6 || i == 8 || i == 10) && *text++ != '-')
			return false;
		int high = hex_value(text[0]);
		int low = high < 0 ? -1 : hex_value(text[1]);
		if (low < 0)
			return false;
		parsed.bytes[i] = (uint8_t)(high << 4 | low);
		text += 2;
	}
	if (*text != '\0')
		return false;
	*id = parsed;
	return true;
}
