/*
 * Making, attaching and leaving the ring. Enters: an instance's name and a wanted geometry.
 * Leaves: a struct ring that the producers' and the consumer's files work with.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "record.h"
#include "ring_layout.h"

static const struct tr_geometry defaults = {
	.lanes = 64, .slots_per_lane = 1024, .slot_bytes = 256, .cells = 16384,
};

/* ---- forked children --------------------------------------------------------------------- */

/*
 * A child must not keep the locks of its parent's lanes alive: they belong to the open file
 * description, which it shares. So it closes the descriptors of every ring that was attached.
 * The list lives outside the memory that fork wipes. No fork comes between the opening or closing
 * of a descriptor and the change of the list: attached_lock is held over both.
 */
struct attached {
	struct attached *next;
	int fd;
};
static struct attached *attached_list;
static pthread_mutex_t attached_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t attached_once = PTHREAD_ONCE_INIT;

static void before_fork(void)
{
	pthread_mutex_lock(&attached_lock);
}

static void after_fork_parent(void)
{
	pthread_mutex_unlock(&attached_lock);
}

static void after_fork_child(void)
{
	for (struct attached *each = attached_list; each; each = each->next)
		close(each->fd);
	attached_list = NULL; /* its few bytes are the parent's; a child that lives on spares them */
	pthread_mutex_unlock(&attached_lock);
}

static void attached_init(void)
{
	pthread_atfork(before_fork, after_fork_parent, after_fork_child);
}

static bool attached_add(int fd)
{
	struct attached *added = malloc(sizeof *added);

	if (!added)
		return false;
	*added = (struct attached){ .next = attached_list, .fd = fd };
	attached_list = added;
	return true;
}

static void attached_remove(int fd)
{
	for (struct attached **at = &attached_list; *at; at = &(*at)->next) {
		if ((*at)->fd == fd) {
			struct attached *gone = *at;
			*at = gone->next;
			free(gone);
			return;
		}
	}
}

/* ---- geometry ---------------------------------------------------------------------------- */

static bool is_power_of_two(uint32_t n)
{
	return n && !(n & (n - 1));
}

/* The one list of what a geometry may be: NULL, or what is allowed in the field that is wrong. */
static const char *geometry_fault(const struct tr_geometry *geometry)
{
	if (geometry->lanes < 1 || geometry->lanes > 1u << CELL_LANE_BITS)
		return "lanes: 1 to 512";
	if (!is_power_of_two(geometry->slots_per_lane) || geometry->slots_per_lane < 64 ||
	    geometry->slots_per_lane > 1u << CELL_FIRST_BITS)
		return "slots_per_lane: a power of two, 64 to 32768";
	if (geometry->slot_bytes % 64 || geometry->slot_bytes < 128 || geometry->slot_bytes > 4096)
		return "slot_bytes: a multiple of 64, 128 to 4096";
	if (!is_power_of_two(geometry->cells) || geometry->cells < 16384 || geometry->cells > 1u << 20)
		return "cells: a power of two, 16384 to 1048576";
	return NULL;
}

static size_t round_page(size_t bytes)
{
	return (bytes + 4095) & ~(size_t)4095;
}

static size_t cells_at(const struct tr_geometry *geometry)
{
	return round_page(RING_HEADER_BYTES + geometry->lanes * sizeof(struct ring_lane_word));
}

static size_t slots_at(const struct tr_geometry *geometry)
{
	return round_page(cells_at(geometry) + geometry->cells * sizeof(uint64_t));
}

static size_t segment_size(const struct tr_geometry *geometry)
{
	return slots_at(geometry) +
	    round_page((size_t)geometry->lanes * geometry->slots_per_lane * geometry->slot_bytes);
}

static struct tr_geometry or_default(const struct tr_geometry *wanted, const struct tr_geometry *otherwise)
{
	return (struct tr_geometry){
		.lanes = wanted->lanes ? wanted->lanes : otherwise->lanes,
		.slots_per_lane = wanted->slots_per_lane ? wanted->slots_per_lane : otherwise->slots_per_lane,
		.slot_bytes = wanted->slot_bytes ? wanted->slot_bytes : otherwise->slot_bytes,
		.cells = wanted->cells ? wanted->cells : otherwise->cells,
	};
}

void ring_fill(void *memory, const void *geometry)
{
	struct ring_header *header = memory;
	const struct tr_geometry *made = geometry;

	/* Cells of lap 0 are empty and zero; positions start in lap 0. */
	header->geometry = *made;
	header->size = segment_size(made);
	header->version = RING_VERSION;
	header->magic = RING_MAGIC;
}

/* ---- attaching --------------------------------------------------------------------------- */

static enum tr_result check_header(const struct segment *segment, const struct tr_geometry *wanted,
    struct tr_geometry *found, struct tr_error *error)
{
	const struct ring_header *header = segment->memory;

	if (segment->bytes < RING_HEADER_BYTES || header->magic != RING_MAGIC || header->version != RING_VERSION) {
		bool ours = segment->bytes >= RING_HEADER_BYTES && header->magic == RING_MAGIC;
		snprintf(error->text, sizeof error->text, ours ? "the ring is of version %u, this program of version %u" :
		    "the segment is not a ring (found version %u, this program has %u)",
		    ours ? header->version : 0, RING_VERSION);
		return TR_VERSION_MISMATCH;
	}
	*found = header->geometry;
	const struct tr_geometry asked = or_default(wanted, found);
	if (memcmp(&asked, found, sizeof asked) != 0) {
		snprintf(error->text, sizeof error->text,
		    "the ring has lanes=%u slots_per_lane=%u slot_bytes=%u cells=%u, "
		    "asked for are lanes=%u slots_per_lane=%u slot_bytes=%u cells=%u",
		    found->lanes, found->slots_per_lane, found->slot_bytes, found->cells,
		    asked.lanes, asked.slots_per_lane, asked.slot_bytes, asked.cells);
		return TR_GEOMETRY_MISMATCH;
	}
	if (geometry_fault(found) || segment_size(found) != segment->bytes) {
		snprintf(error->text, sizeof error->text, "the ring's header does not fit its %zu bytes", segment->bytes);
		return TR_RING_DAMAGED;
	}
	return TR_OK;
}

/* Opens the segment, making it first when there is none; a few rounds, since others come and go. */
static enum tr_result open_or_make(struct segment *segment, const char *name,
    const struct tr_geometry *wanted, uint32_t mode, struct tr_error *error)
{
	enum tr_result result = TR_NOT_FOUND;

	for (int round = 0; round < 10 && result == TR_NOT_FOUND; round++) {
		result = segment_open(segment, name, true, error);
		if (result != TR_NOT_FOUND)
			break;
		if (mode == RING_NOT_MADE) {
			snprintf(error->text, sizeof error->text, "%s", tr_result_text(TR_NO_RING));
			return TR_NO_RING;
		}
		const struct tr_geometry made = or_default(wanted, &defaults);
		bool existed;
		enum tr_result creation =
		    segment_create(name, segment_size(&made), mode ? mode : 0600, ring_fill, &made, &existed, error);
		if (creation != TR_OK)
			return creation;
	}
	return result == TR_NOT_FOUND ? TR_NO_RING : result;
}

/* The wake-up is a FIFO beside the segment: an event loop can wait for it, in any PID namespace. */
static int open_wake(const char *path, int segment_fd)
{
	struct stat segment, wake;

	if (fstat(segment_fd, &segment) != 0 || (mkfifo(path, 0600) != 0 && errno != EEXIST))
		return -1;
	/* Read and write: never fails for want of a reader, never reports an end of file. */
	int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return -1;
	if (fstat(fd, &wake) != 0 || !S_ISFIFO(wake.st_mode)) {
		close(fd);
		errno = EINVAL;
		return -1;
	}
	/* Whoever may write the ring may wake. Its maker may have died before this: the next one does it. */
	if ((wake.st_mode & 0777) != (segment.st_mode & 0777))
		(void)fchmod(fd, segment.st_mode & 0777); /* refused: another user's, who does it itself */
	return fd;
}

static struct ring *ring_allocate(void)
{
	size_t bytes = round_page(sizeof(struct ring));
	struct ring *made = segment_private(bytes);

	if (made == NULL)
		return NULL;
	made->bytes = bytes;
	made->segment.fd = made->wake_fd = -1;
	pthread_mutex_init(&made->claiming, NULL);
	return made;
}

static void ring_point(struct ring *made)
{
	char *base = made->segment.memory;

	made->header = made->segment.memory;
	made->lane_words = (struct ring_lane_word *)(base + RING_HEADER_BYTES);
	made->cells = (_Atomic uint64_t *)(base + cells_at(&made->geometry));
	made->slots = base + slots_at(&made->geometry);
	made->cell_mask = made->geometry.cells - 1;
	made->lap_shift = (uint32_t)__builtin_ctz(made->geometry.cells);
	uint32_t slots = made->geometry.slots_per_lane / 4;
	if (slots > (1u << CELL_SLOTS_BITS) - 1)
		slots = (1u << CELL_SLOTS_BITS) - 1;
	made->batch_max = (size_t)slots * made->geometry.slot_bytes - sizeof(struct ring_frame);
}

static enum tr_result attach(struct ring *made, const struct tr_geometry *wanted, uint32_t mode,
    struct tr_error *error)
{
	pthread_once(&attached_once, attached_init);
	pthread_mutex_lock(&attached_lock);
	enum tr_result result = open_or_make(&made->segment, made->name, wanted, mode, error);
	if (result == TR_OK && !attached_add(made->segment.fd))
		result = TR_NO_MEMORY;
	/* A child must not write its parent's lane, not even by mistake. */
	if (result == TR_OK && madvise(made->segment.memory, made->segment.bytes, MADV_DONTFORK) != 0) {
		snprintf(error->text, sizeof error->text, "%s: %s", made->name, strerror(errno));
		result = TR_SYSTEM;
	}
	pthread_mutex_unlock(&attached_lock);
	if (result == TR_OK)
		result = check_header(&made->segment, wanted, &made->geometry, error);
	if (result != TR_OK)
		return result;
	made->wake_fd = open_wake(made->wake_path, made->segment.fd);
	if (made->wake_fd < 0) {
		snprintf(error->text, sizeof error->text, "%s: %s", made->wake_path, strerror(errno));
		return TR_SYSTEM;
	}
	ring_point(made);
	made->magic = RING_MAGIC;
	return TR_OK;
}

enum tr_result ring_attach(struct ring **ring, const char *instance, const struct tr_geometry *wanted,
    uint32_t mode, struct tr_error *error)
{
	const struct tr_geometry any = { 0 };
	struct tr_geometry checked;

	*ring = NULL;
	if (!record_name_ok(instance, strlen(instance))) {
		snprintf(error->text, sizeof error->text, "instance: allowed are 1 to 63 of A-Z a-z 0-9 . _ -, not starting with a dot");
		return TR_INVALID;
	}
	checked = or_default(wanted ? wanted : &any, &defaults);
	const char *fault = geometry_fault(&checked);
	if (fault) {
		snprintf(error->text, sizeof error->text, "geometry: allowed in %s", fault);
		return TR_INVALID;
	}
	struct ring *made = ring_allocate();
	if (!made)
		return TR_NO_MEMORY;
	segment_name(made->name, instance, "ring");
	snprintf(made->wake_path, sizeof made->wake_path, "/dev/shm/%s.wake", instance);
	enum tr_result result = attach(made, wanted ? wanted : &any, mode, error);
	*ring = made;
	if (result != TR_OK)
		ring_detach(ring);
	return result;
}

void ring_detach(struct ring **ring)
{
	struct ring *gone = *ring;

	*ring = NULL;
	if (!gone || !gone->bytes) /* a forked child: wiped; what it inherited ends with it */
		return;
	for (uint32_t i = 0; i < atomic_load(&gone->owned); i++) {
		free(gone->lanes[i]->outstanding);
		free(gone->lanes[i]);
	}
	pthread_mutex_lock(&attached_lock);
	attached_remove(gone->segment.fd);
	segment_close(&gone->segment); /* with it the lanes' locks: taskd will drain and recycle them */
	pthread_mutex_unlock(&attached_lock);
	if (gone->wake_fd >= 0)
		close(gone->wake_fd);
	pthread_mutex_destroy(&gone->claiming);
	munmap(gone, gone->bytes);
}

struct tr_geometry ring_geometry(const struct ring *ring)
{
	return ring->geometry;
}

size_t ring_batch_max(const struct ring *ring)
{
	return ring->batch_max;
}

bool ring_is_stale(const struct ring *ring)
{
	return segment_is_stale(&ring->segment, ring->name);
}

bool ring_follow_wake(struct ring *ring)
{
	if (!segment_path_is_gone(ring->wake_fd, ring->wake_path))
		return false;
	int fd = open_wake(ring->wake_path, ring->segment.fd);
	if (fd < 0)
		return false;
	/* In one step: other threads write to it. */
	bool followed = dup3(fd, ring->wake_fd, O_CLOEXEC) >= 0;
	close(fd);
	return followed;
}

/* ---- what both sides need ---------------------------------------------------------------- */

int ring_lock_byte(int fd, off_t at, short type)
{
	struct flock lock = { .l_type = type, .l_whence = SEEK_SET, .l_start = at, .l_len = 1 };

	return fcntl(fd, F_OFD_SETLK, &lock) == 0 ? 0 : errno;
}

size_t ring_copy_batch(const struct ring *ring, uint64_t cell, void *to)
{
	const struct tr_geometry *geometry = &ring->geometry;
	uint32_t lane = cell_lane(cell), first = cell_first(cell), slots = cell_slots(cell);
	struct ring_frame frame;

	if (lane >= geometry->lanes || slots < 1 || first + slots > geometry->slots_per_lane)
		return 0;
	const char *from = ring_slot(ring, lane, first);
	memcpy(&frame, from, sizeof frame);
	/* No second look at shared memory: the compiler may not read again what was copied. */
	atomic_signal_fence(memory_order_acq_rel);
	size_t room = (size_t)slots * geometry->slot_bytes - sizeof frame;
	if (frame.bytes < 1 || frame.bytes > room || frame.bytes > ring->batch_max)
		return 0;
	/* A dead owner's generation stays until all that it published is retired, so it must match. */
	if (frame.generation != atomic_load_explicit(&ring->lane_words[lane].generation, memory_order_relaxed))
		return 0;
	memcpy(to, from + sizeof frame, frame.bytes);
	atomic_signal_fence(memory_order_acq_rel);
	return ring_checksum(to, frame.bytes, lane, frame.generation) == frame.checksum ? frame.bytes : 0;
}
