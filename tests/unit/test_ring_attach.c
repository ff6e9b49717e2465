/*
 * Making and attaching a ring: geometries, versions, what is refused and in which words, and that
 * nothing half made is ever left or seen.
 */
#include <dirent.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/time.h>

#include "tests/unit/ring_fixture.h"

static enum tr_result try_attach(const struct tr_geometry *geometry, struct tr_error *error)
{
	struct ring *ring = (struct ring *)1;

	error->text[0] = '\0';
	enum tr_result result = ring_attach(&ring, instance, geometry, 0, error);
	if (result == TR_OK)
		ring_detach(&ring);
	CU_ASSERT_PTR_NULL(ring);
	return result;
}

static void test_defaults(void)
{
	struct stat status;
	struct ring *ring = attach(NULL);
	struct tr_geometry geometry = ring_geometry(ring);

	CU_ASSERT_EQUAL(geometry.lanes, 64);
	CU_ASSERT_EQUAL(geometry.slots_per_lane, 1024);
	CU_ASSERT_EQUAL(geometry.slot_bytes, 256);
	CU_ASSERT_EQUAL(geometry.cells, 16384);
	CU_ASSERT_EQUAL(ring_batch_max(ring), 256 * 256 - 16);
	CU_ASSERT_FALSE(ring_is_stale(ring));
	CU_ASSERT_EQUAL(stat(segment_path, &status), 0);
	/* Header and 64 lane words, cells, slots. */
	CU_ASSERT_EQUAL(status.st_size, 8192 + 131072 + 64 * 1024 * 256);
	CU_ASSERT_TRUE(status.st_blocks * 512 >= status.st_size); /* allocated, not promised */
	CU_ASSERT_EQUAL(status.st_mode & 0777, 0600);
	ring_detach(&ring);
	CU_ASSERT_PTR_NULL(ring);
	CU_ASSERT_EQUAL(stat(segment_path, &status), 0); /* what was published stays */
}

static void test_geometry_refused(void)
{
	static const struct {
		struct tr_geometry geometry;
		const char *text;
	} rows[] = {
		{ { .lanes = 513 }, "geometry: allowed in lanes: 1 to 512" },
		{ { .slots_per_lane = 32 }, "geometry: allowed in slots_per_lane: a power of two, 64 to 32768" },
		{ { .slots_per_lane = 96 }, "geometry: allowed in slots_per_lane: a power of two, 64 to 32768" },
		{ { .slots_per_lane = 65536 }, "geometry: allowed in slots_per_lane: a power of two, 64 to 32768" },
		{ { .slot_bytes = 64 }, "geometry: allowed in slot_bytes: a multiple of 64, 128 to 4096" },
		{ { .slot_bytes = 200 }, "geometry: allowed in slot_bytes: a multiple of 64, 128 to 4096" },
		{ { .slot_bytes = 4160 }, "geometry: allowed in slot_bytes: a multiple of 64, 128 to 4096" },
		{ { .cells = 8192 }, "geometry: allowed in cells: a power of two, 16384 to 1048576" },
		{ { .cells = 16385 }, "geometry: allowed in cells: a power of two, 16384 to 1048576" },
		{ { .cells = 2097152 }, "geometry: allowed in cells: a power of two, 16384 to 1048576" },
	};
	struct tr_error error;

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		CU_ASSERT_EQUAL(try_attach(&rows[i].geometry, &error), TR_INVALID);
		CU_ASSERT_STRING_EQUAL(error.text, rows[i].text);
	}
	CU_ASSERT_EQUAL(access(segment_path, F_OK), -1);
	CU_ASSERT_EQUAL(access(wake_path, F_OK), -1);
}

static void test_instance_refused(void)
{
	static const char *const names[] = { "", ".hidden", "a/b", "a b", "\xc3\xa4",
		"0123456789012345678901234567890123456789012345678901234567890123" };
	struct tr_error error;
	struct ring *ring;

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		CU_ASSERT_EQUAL(ring_attach(&ring, names[i], NULL, 0, &error), TR_INVALID);
		CU_ASSERT_PTR_NULL(ring);
		CU_ASSERT_STRING_EQUAL(error.text,
		    "instance: allowed are 1 to 63 of A-Z a-z 0-9 . _ -, not starting with a dot");
	}
}

static void test_geometry_mismatch(void)
{
	struct ring *ring = attach(&small);
	struct tr_geometry other = small;
	struct tr_error error;

	other.lanes = 5;
	CU_ASSERT_EQUAL(try_attach(&other, &error), TR_GEOMETRY_MISMATCH);
	CU_ASSERT_STRING_EQUAL(error.text, "the ring has lanes=4 slots_per_lane=64 slot_bytes=256 cells=16384, "
	    "asked for are lanes=5 slots_per_lane=64 slot_bytes=256 cells=16384");
	/* Nothing asked for: what is there. */
	CU_ASSERT_EQUAL(try_attach(NULL, &error), TR_OK);
	other = (struct tr_geometry){ .slot_bytes = 256 };
	CU_ASSERT_EQUAL(try_attach(&other, &error), TR_OK);
	ring_detach(&ring);
}

static void test_version_refused(void)
{
	struct ring *ring = attach(&small);
	struct ring_header *header = ring->header;
	struct tr_error error;

	header->version = 2;
	CU_ASSERT_EQUAL(try_attach(&small, &error), TR_VERSION_MISMATCH);
	CU_ASSERT_STRING_EQUAL(error.text, "the ring is of version 2, this program of version 1");
	header->version = RING_VERSION;
	header->magic++;
	CU_ASSERT_EQUAL(try_attach(&small, &error), TR_VERSION_MISMATCH);
	CU_ASSERT_STRING_EQUAL(error.text, "the segment is not a ring (found version 0, this program has 1)");
	header->magic--;
	header->geometry.lanes = 1000;
	CU_ASSERT_EQUAL(try_attach(NULL, &error), TR_RING_DAMAGED);
	header->geometry.lanes = 3;
	CU_ASSERT_EQUAL(try_attach(NULL, &error), TR_RING_DAMAGED);
	CU_ASSERT_STRING_EQUAL(error.text, "the ring's header does not fit its 204800 bytes");
	header->geometry.lanes = 4;
	CU_ASSERT_EQUAL(try_attach(NULL, &error), TR_OK);
	ring_detach(&ring);
}

static void test_foreign_file_refused(void)
{
	struct tr_error error;
	int fd = open(segment_path, O_CREAT | O_RDWR, 0600);

	CU_ASSERT_FATAL(fd >= 0);
	CU_ASSERT_EQUAL(try_attach(&small, &error), TR_VERSION_MISMATCH);
	CU_ASSERT_PTR_NOT_NULL(strstr(error.text, ".ring is empty: not a segment of taskring"));
	CU_ASSERT_EQUAL(write(fd, "hello", 5), 5);
	CU_ASSERT_EQUAL(try_attach(&small, &error), TR_VERSION_MISMATCH);
	CU_ASSERT_STRING_EQUAL(error.text, "the segment is not a ring (found version 0, this program has 1)");
	close(fd);
}

static mode_t mode_of(const char *path)
{
	struct stat status;

	return stat(path, &status) == 0 ? status.st_mode & 0777 : 0;
}

/* Whoever may write the ring may wake, whoever made the one and the other, and when it died. */
static void test_modes(void)
{
	struct tr_error error;
	struct ring *ring;
	mode_t before = umask(077);

	CU_ASSERT_EQUAL(ring_attach(&ring, instance, &small, 0660, &error), TR_OK);
	umask(before);
	CU_ASSERT_EQUAL(mode_of(segment_path), 0660);
	CU_ASSERT_EQUAL(mode_of(wake_path), 0660);
	ring_detach(&ring);
	CU_ASSERT_EQUAL(chmod(wake_path, 0600), 0);
	CU_ASSERT_EQUAL(try_attach(&small, &error), TR_OK);
	CU_ASSERT_EQUAL(mode_of(wake_path), 0660);
}

static void test_wake_not_a_fifo(void)
{
	struct tr_error error;
	int fd = open(wake_path, O_CREAT | O_RDWR, 0600);

	CU_ASSERT_FATAL(fd >= 0);
	CU_ASSERT_EQUAL(try_attach(&small, &error), TR_SYSTEM);
	CU_ASSERT_PTR_NOT_NULL(strstr(error.text, ".wake: Invalid argument"));
	close(fd);
}

/* ---- several at once --------------------------------------------------------------------- */

static int make_or_attach(void)
{
	struct tr_error error;
	struct ring *ring;

	if (ring_attach(&ring, instance, &small, 0, &error) != TR_OK)
		return 1;
	if (publish(ring, 100, (uint32_t)getpid(), 0) != TR_OK)
		return 2;
	ring_detach(&ring);
	return 0;
}

/* All of them end up in the same ring, whole, whoever made it. */
static void test_race_to_make(void)
{
	uint64_t position;
	char batch[8192];
	pid_t pids[4];
	int status;

	for (int round = 0; round < 20; round++) {
		remove_names();
		for (int i = 0; i < 4; i++) {
			pids[i] = fork();
			if (pids[i] == 0)
				_exit(make_or_attach());
		}
		for (int i = 0; i < 4; i++) {
			CU_ASSERT_EQUAL(waitpid(pids[i], &status, 0), pids[i]);
			CU_ASSERT_EQUAL(status, 0);
		}
		struct ring_consumer *consumer = consume(&small);
		for (uint64_t i = 0; i < 4; i++) {
			CU_ASSERT_EQUAL(ring_take(consumer, batch, &position), 100);
			CU_ASSERT_EQUAL(position, i);
		}
		retire_all(consumer);
		CU_ASSERT_TRUE(ring_consumer_close(&consumer, true));
	}
}

/* ---- no room ----------------------------------------------------------------------------- */

/* 0: refused as it should be, and nothing is left. */
static int expect_no_space(const char *text)
{
	struct tr_error error = { "" };
	struct ring *ring;

	if (ring_attach(&ring, instance, NULL, 0, &error) != TR_NO_SPACE)
		return 1;
	if (ring || !strstr(error.text, text) || strncmp(error.text, "allocating /dev/shm/", 20) != 0)
		return 2;
	return access(segment_path, F_OK) == 0 || access(wake_path, F_OK) == 0 ? 3 : 0;
}

static int attach_with_file_limit(void)
{
	const struct rlimit limit = { 1 << 20, 1 << 20 };

	signal(SIGXFSZ, SIG_IGN);
	return setrlimit(RLIMIT_FSIZE, &limit) == 0 ? expect_no_space("File too large") : 4;
}

static int attach_on_full_shm(void)
{
	if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
	    mount("tmpfs", "/dev/shm", "tmpfs", 0, "size=4m") != 0)
		return 77;
	int failed = expect_no_space("No space left on device");
	if (failed)
		return failed;
	/* And there is no page of it left either: a ring of nearly all the room can be made. */
	struct tr_error error;
	const struct tr_geometry most = { .lanes = 200, .slots_per_lane = 64, .slot_bytes = 256, .cells = 16384 };
	struct ring *ring;
	if (ring_attach(&ring, instance, &most, 0, &error) != TR_OK)
		return 5;
	ring_detach(&ring);
	return 0;
}

static void test_no_space(void)
{
	CU_ASSERT_EQUAL(run_in_child(attach_with_file_limit), 0);
	int code = run_in_child(attach_on_full_shm);
	if (code == 77)
		printf("[skipped: a full /dev/shm: mount namespaces are not permitted] ");
	else
		CU_ASSERT_EQUAL(code, 0);
}

static void on_alarm(int number)
{
	(void)number;
}

/* A signal that comes while the memory is being allocated is no reason to refuse. */
static void test_interrupted(void)
{
	const struct sigaction action = { .sa_handler = on_alarm };
	struct sigaction before;
	struct tr_error error;

	CU_ASSERT_EQUAL(sigaction(SIGALRM, &action, &before), 0);
	for (int round = 0; round < 20; round++) {
		const struct itimerval soon = { .it_value = { .tv_usec = 100 + round * 200 } };
		CU_ASSERT_EQUAL(setitimer(ITIMER_REAL, &soon, NULL), 0);
		CU_ASSERT_EQUAL(try_attach(NULL, &error), TR_OK);
		remove_names();
	}
	const struct itimerval never = { .it_value = { 0 } };
	CU_ASSERT_EQUAL(setitimer(ITIMER_REAL, &never, NULL), 0);
	CU_ASSERT_EQUAL(sigaction(SIGALRM, &before, NULL), 0);
}

int main(void)
{
	static const struct suite_test tests[] = {
		{ "defaults", test_defaults },
		{ "a geometry out of bounds is refused", test_geometry_refused },
		{ "an instance's name is refused", test_instance_refused },
		{ "another geometry is refused", test_geometry_mismatch },
		{ "another version is refused", test_version_refused },
		{ "a foreign file is refused", test_foreign_file_refused },
		{ "modes", test_modes },
		{ "a wake-up that is no FIFO is refused", test_wake_not_a_fifo },
		{ "four race to make it", test_race_to_make },
		{ "no space", test_no_space },
		{ "interrupted while allocating", test_interrupted },
	};

	return RUN_RING_TESTS("ring_attach", tests);
}
