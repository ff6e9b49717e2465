/*
 * An SQLite VFS in front of the real one that makes one call fail: the n-th write or sync from
 * now on, as a full or a broken disk would. And an allocator that fails the n-th time. Both count
 * what passes, so that a test can try every n.
 */
#ifndef FAULTY_VFS_H
#define FAULTY_VFS_H

#include <sqlite3.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum fault_point { FAULT_WRITE, FAULT_SYNC, FAULT_MEMORY, FAULT_POINTS };

static struct {
	_Atomic long left[FAULT_POINTS]; /* the call that brings it to 0 fails; negative: none does */
	_Atomic long fired;
	int code; /* what a failing write or sync answers */
} fault;

/* The n-th call from now on, from 1, fails with this code, and none after it. */
static inline void fault_arm(enum fault_point point, long n, int code)
{
	fault.code = code;
	fault.fired = 0;
	fault.left[point] = n;
}

/* True: a call has failed since it was armed. */
static inline bool fault_disarm(void)
{
	for (int i = 0; i < FAULT_POINTS; i++)
		fault.left[i] = -1;
	return fault.fired > 0;
}

static inline bool fault_strikes(enum fault_point point)
{
	if (atomic_load(&fault.left[point]) < 0 || atomic_fetch_sub(&fault.left[point], 1) != 1)
		return false;
	atomic_fetch_add(&fault.fired, 1);
	return true;
}

/* ---- the VFS ----------------------------------------------------------------------------- */

struct faulty_file {
	sqlite3_file base;
	sqlite3_file *real; /* right behind this struct */
};

static sqlite3_vfs *faulty_real;

#define REAL(file) (((struct faulty_file *)(file))->real)
#define FORWARD(name, parameters, call) \
	static int faulty_##name parameters \
	{ \
		return REAL(file)->pMethods->call; \
	}

FORWARD(read, (sqlite3_file *file, void *to, int bytes, sqlite3_int64 at), xRead(REAL(file), to, bytes, at))
FORWARD(truncate, (sqlite3_file *file, sqlite3_int64 bytes), xTruncate(REAL(file), bytes))
FORWARD(size, (sqlite3_file *file, sqlite3_int64 *bytes), xFileSize(REAL(file), bytes))
FORWARD(lock, (sqlite3_file *file, int level), xLock(REAL(file), level))
FORWARD(unlock, (sqlite3_file *file, int level), xUnlock(REAL(file), level))
FORWARD(reserved, (sqlite3_file *file, int *result), xCheckReservedLock(REAL(file), result))
FORWARD(control, (sqlite3_file *file, int what, void *argument), xFileControl(REAL(file), what, argument))
FORWARD(sector, (sqlite3_file *file), xSectorSize(REAL(file)))
FORWARD(features, (sqlite3_file *file), xDeviceCharacteristics(REAL(file)))
FORWARD(shm_map, (sqlite3_file *file, int page, int bytes, int extend, void volatile **at),
    xShmMap(REAL(file), page, bytes, extend, at))
FORWARD(shm_lock, (sqlite3_file *file, int first, int count, int flags), xShmLock(REAL(file), first, count, flags))
FORWARD(shm_unmap, (sqlite3_file *file, int delete_it), xShmUnmap(REAL(file), delete_it))

static void faulty_shm_barrier(sqlite3_file *file)
{
	REAL(file)->pMethods->xShmBarrier(REAL(file));
}

static int faulty_close(sqlite3_file *file)
{
	return REAL(file)->pMethods != NULL ? REAL(file)->pMethods->xClose(REAL(file)) : SQLITE_OK;
}

/* A disk that is full takes the first half. */
static int faulty_write(sqlite3_file *file, const void *from, int bytes, sqlite3_int64 at)
{
	if (!fault_strikes(FAULT_WRITE))
		return REAL(file)->pMethods->xWrite(REAL(file), from, bytes, at);
	REAL(file)->pMethods->xWrite(REAL(file), from, bytes / 2, at);
	return fault.code;
}

/* The disk itself is not waited for: nobody here cuts the power, and thousands of syncs take a minute. */
static int faulty_sync(sqlite3_file *file, int flags)
{
	(void)file;
	(void)flags;
	return fault_strikes(FAULT_SYNC) ? fault.code : SQLITE_OK;
}

static const sqlite3_io_methods faulty_methods = {
	.iVersion = 2, .xClose = faulty_close, .xRead = faulty_read, .xWrite = faulty_write, .xTruncate = faulty_truncate,
	.xSync = faulty_sync, .xFileSize = faulty_size, .xLock = faulty_lock, .xUnlock = faulty_unlock,
	.xCheckReservedLock = faulty_reserved, .xFileControl = faulty_control, .xSectorSize = faulty_sector,
	.xDeviceCharacteristics = faulty_features, .xShmMap = faulty_shm_map, .xShmLock = faulty_shm_lock,
	.xShmBarrier = faulty_shm_barrier, .xShmUnmap = faulty_shm_unmap,
};

static int faulty_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *flags_out)
{
	struct faulty_file *faulty = (struct faulty_file *)file;

	(void)vfs;
	faulty->real = (sqlite3_file *)(faulty + 1);
	int code = faulty_real->xOpen(faulty_real, name, faulty->real, flags, flags_out);
	file->pMethods = faulty->real->pMethods != NULL ? &faulty_methods : NULL;
	return code;
}

/* ---- the allocator ----------------------------------------------------------------------- */

static sqlite3_mem_methods faulty_real_memory;

static void *faulty_malloc(int bytes)
{
	return fault_strikes(FAULT_MEMORY) ? NULL : faulty_real_memory.xMalloc(bytes);
}

static void *faulty_realloc(void *memory, int bytes)
{
	return fault_strikes(FAULT_MEMORY) ? NULL : faulty_real_memory.xRealloc(memory, bytes);
}

/* Before anything else of SQLite: from here on every connection goes through both. */
static inline bool faulty_install(void)
{
	static sqlite3_vfs vfs;
	static sqlite3_mem_methods memory;

	fault_disarm();
	if (sqlite3_config(SQLITE_CONFIG_GETMALLOC, &faulty_real_memory) != SQLITE_OK)
		return false;
	memory = faulty_real_memory;
	memory.xMalloc = faulty_malloc;
	memory.xRealloc = faulty_realloc;
	if (sqlite3_config(SQLITE_CONFIG_MALLOC, &memory) != SQLITE_OK)
		return false;
	faulty_real = sqlite3_vfs_find(NULL);
	if (faulty_real == NULL)
		return false;
	vfs = *faulty_real;
	vfs.zName = "faulty";
	vfs.szOsFile = (int)sizeof(struct faulty_file) + faulty_real->szOsFile;
	vfs.xOpen = faulty_open;
	return sqlite3_vfs_register(&vfs, 1) == SQLITE_OK;
}

#endif
