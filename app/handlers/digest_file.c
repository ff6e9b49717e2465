/*
 * What the demonstration does with an uploaded file. Enters: tasks of POST /files, which own a file;
 * their arguments may hold its "name". Leaves: {"sha256", "bytes", "lines", "name"}; lines are counted as
 * wc(1) does, by their newlines. The file is taskd's to delete. Loaded by taskd's workers.
 *
 * SHA-256 is libnettle's: it uses the processor's instructions for it, and takes a worker 0.3 MB, where
 * OpenSSL's libcrypto takes 1.5.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <nettle/sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "taskring/handler.h"

#define BLOCK_BYTES (256u << 10) /* between two looks whether to stop */

struct digest {
	struct sha256_ctx sha256;
	uint64_t bytes, lines;
};

static void add_block(struct digest *digest, const char *block, size_t bytes)
{
	const char *at = block, *end = block + bytes;

	sha256_update(&digest->sha256, bytes, (const uint8_t *)block);
	digest->bytes += bytes;
	while ((at = memchr(at, '\n', (size_t)(end - at))) != NULL) {
		digest->lines++;
		at++;
	}
}

/* When taskd shuts down, it begins anew another time, and this run counts neither as an attempt nor as a failure. */
static enum tr_outcome stop(struct tr_task *task, enum tr_stop why, uint64_t at)
{
	if (why == TR_SHUTTING_DOWN)
		return tr_snooze(task, 0);
	return tr_fail(task, "stopped after %llu bytes: %s", (unsigned long long)at,
	    why == TR_CANCELLED_NOW ? "cancelled" : "out of time");
}

static enum tr_outcome read_blocks(struct tr_task *task, int fd, uint64_t total, char *block, struct digest *digest)
{
	for (;;) {
		enum tr_stop why = tr_should_stop(task);
		if (why != TR_GO_ON)
			return stop(task, why, digest->bytes);
		ssize_t got = read(fd, block, BLOCK_BYTES);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return tr_fail(task, "the file cannot be read: %s", strerror(errno));
		if (got == 0)
			return TR_SUCCESS;
		add_block(digest, block, (size_t)got);
		tr_progress(task, digest->bytes, total, NULL);
	}
}

static enum tr_outcome digest_open_file(struct tr_task *task, int fd, struct digest *digest)
{
	struct stat status;

	if (fstat(fd, &status) != 0)
		return tr_fail(task, "the file cannot be read: %s", strerror(errno));
	char *block = malloc(BLOCK_BYTES);
	if (block == NULL)
		return tr_fail(task, "out of memory");
	(void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL); /* it is slower without, that is all */
	sha256_init(&digest->sha256);
	enum tr_outcome outcome = read_blocks(task, fd, (uint64_t)status.st_size, block, digest);
	free(block);
	return outcome;
}

/* Without memory the result is missing, which an attempt later need not be. */
static enum tr_outcome show_result(struct tr_task *task, struct digest *digest)
{
	uint8_t sum[SHA256_DIGEST_SIZE];
	char hex[2 * SHA256_DIGEST_SIZE + 1];
	json_t *args = json_loads(tr_task_args(task), 0, NULL);
	const char *name = json_string_value(json_object_get(args, "name"));

	sha256_digest(&digest->sha256, sizeof sum, sum);
	for (size_t i = 0; i < sizeof sum; i++)
		snprintf(hex + 2 * i, 3, "%02x", sum[i]);
	json_t *result = json_pack("{s:s, s:I, s:I, s:s?}", "sha256", hex, "bytes", (json_int_t)digest->bytes, "lines",
	    (json_int_t)digest->lines, "name", name);
	char *text = result == NULL ? NULL : json_dumps(result, JSON_COMPACT);
	bool well = text != NULL && tr_result_json(task, text);
	free(text);
	json_decref(result);
	json_decref(args);
	return well ? TR_SUCCESS : tr_fail(task, "the result cannot be made");
}

static enum tr_outcome digest_file(struct tr_task *task)
{
	struct digest digest = { .bytes = 0 };
	const char *path = tr_task_file(task);
	if (path == NULL)
		return tr_fail_permanently(task, "the task owns no file");

	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return tr_fail(task, "the file cannot be opened: %s", strerror(errno));
	enum tr_outcome outcome = digest_open_file(task, fd, &digest);
	close(fd);
	return outcome == TR_SUCCESS ? show_result(task, &digest) : outcome;
}

static const struct tr_handler handlers[] = {
	{ .name = "digest_file", .doc = "SHA-256, lines and bytes of the task's file", .run = digest_file },
};

const struct tr_plugin taskring_plugin = {
	.abi = TR_PLUGIN_ABI,
	.handler_count = sizeof handlers / sizeof *handlers,
	.handlers = handlers,
};
