/*
 * The instance's user, lock and surroundings. Called by main() and the supervisor, before there is
 * any other process or thread.
 */
#include "taskd/instance.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "taskd/log.h"

/* ---- user -------------------------------------------------------------------------------- */

/* True when no call brings root back. */
static bool is_for_good(uid_t uid, gid_t gid)
{
	uid_t real_uid, effective_uid, saved_uid;
	gid_t real_gid, effective_gid, saved_gid;
	if (getresuid(&real_uid, &effective_uid, &saved_uid) < 0 || getresgid(&real_gid, &effective_gid, &saved_gid) < 0)
		return false;
	return real_uid == uid && effective_uid == uid && saved_uid == uid && real_gid == gid &&
	    effective_gid == gid && saved_gid == gid && setuid(0) < 0 && seteuid(0) < 0;
}

bool instance_drop_root(const struct config *config)
{
	if (geteuid() != 0)
		return true;
	if (config->user == NULL) {
		log_event(LOG_WARNING, "runs-as-root", "option=user file=%s", config->path);
		return true;
	}
	errno = 0;
	const struct passwd *entry = getpwnam(config->user);
	if (entry == NULL) {
		log_event(LOG_ERR, "refused", "option=user got=%s allowed=%s file=%s", config->user,
		    "a user of this machine", config->path);
		return false;
	}
	uid_t uid = entry->pw_uid;
	gid_t gid = entry->pw_gid;
	if (uid == 0)
		return true;
	if (initgroups(config->user, gid) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0) {
		log_event(LOG_ERR, "refused", "option=user got=%s error=%m", config->user);
		return false;
	}
	if (!is_for_good(uid, gid)) {
		log_event(LOG_ERR, "refused", "option=user got=%s error=%s", config->user, "root can be had back");
		return false;
	}
	/*
	 * The kernel has given /proc/self to root with the change; back to us: a worker raises its
	 * oom_score_adj there. Nothing secret was read before.
	 */
	if (prctl(PR_SET_DUMPABLE, 1) < 0)
		log_event(LOG_WARNING, "not-dumpable", "error=%m");
	return true;
}

/* ---- lock -------------------------------------------------------------------------------- */

static void on_alarm(int signal)
{
	(void)signal; /* interrupts the wait for the lock, nothing else */
}

/* Waits in the kernel for the whole-file lock; false and errno, EINTR when the time is up. */
static bool wait_for_lock(int fd, unsigned wait_ms)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
		return true;
	if (errno != EAGAIN && errno != EACCES)
		return false;
	log_event(LOG_NOTICE, "waits-for-lock", "wait_ms=%u", wait_ms);

	struct sigaction action = { .sa_handler = on_alarm }, before;
	sigemptyset(&action.sa_mask);
	/* It repeats, in case the first one comes before the call. */
	struct itimerval timer = { { 0, 50000 }, { wait_ms / 1000, (suseconds_t)(wait_ms % 1000) * 1000 + 1 } };
	const struct itimerval none = { { 0, 0 }, { 0, 0 } };
	if (sigaction(SIGALRM, &action, &before) < 0)
		return false;
	bool locked = false;
	if (setitimer(ITIMER_REAL, &timer, NULL) == 0)
		locked = fcntl(fd, F_OFD_SETLKW, &lock) == 0;
	int failed = errno;
	setitimer(ITIMER_REAL, &none, NULL);
	sigaction(SIGALRM, &before, NULL);
	errno = failed;
	return locked;
}

/* True when the path still stands for the locked file: nobody removed it while we waited. */
static bool is_current(int fd, const char *path)
{
	struct stat locked, named;
	return fstat(fd, &locked) == 0 && stat(path, &named) == 0 && locked.st_dev == named.st_dev &&
	    locked.st_ino == named.st_ino;
}

/* Who holds the lock, as it wrote into the file: the kernel does not tell for this kind of lock. */
static void log_holder(int fd, const struct config *config)
{
	char digits[24] = "", reason[TR_NAME_MAX + 4400];
	ssize_t got = pread(fd, digits, sizeof(digits) - 1, 0);
	digits[got > 0 ? strspn(digits, "0123456789") : 0] = '\0';
	snprintf(reason, sizeof(reason), "taskd pid %s already serves instance %s (lock %s)",
	    digits[0] != '\0' ? digits : "unknown", config->instance, config->lock_file);
	log_event(LOG_ERR, "refused", "reason=%s", reason);
}

static bool write_pid(int fd)
{
	char text[24];
	int length = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
	return ftruncate(fd, 0) == 0 && pwrite(fd, text, (size_t)length, 0) == length;
}

int instance_lock(const struct config *config, unsigned wait_ms)
{
	for (;;) {
		int fd = open(config->lock_file, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0644);
		if (fd < 0) {
			log_event(LOG_ERR, "refused", "option=lock_file path=%s error=%m", config->lock_file);
			return -1;
		}
		if (!wait_for_lock(fd, wait_ms)) {
			if (errno == EINTR)
				log_holder(fd, config);
			else
				log_event(LOG_ERR, "refused", "option=lock_file path=%s error=%m", config->lock_file);
			close(fd);
			return -1;
		}
		if (!is_current(fd, config->lock_file)) {
			close(fd);
			continue;
		}
		if (!write_pid(fd))
			log_event(LOG_WARNING, "pid-not-written", "path=%s error=%m", config->lock_file);
		return fd;
	}
}

/* ---- surroundings ------------------------------------------------------------------------ */

static bool check_access(const char *option, const char *path, int mode, bool directory)
{
	struct stat about;
	if (stat(path, &about) == 0 && S_ISDIR(about.st_mode) != directory)
		errno = directory ? ENOTDIR : EISDIR;
	else if (faccessat(AT_FDCWD, path, mode, AT_EACCESS) == 0)
		return true;
	log_event(LOG_ERR, "refused", "option=%s path=%s error=%m", option, path);
	return false;
}

static bool check_parent(const char *option, const char *path)
{
	char *directory = strdup(path);
	if (directory == NULL) {
		log_event(LOG_ERR, "refused", "option=%s path=%s error=%m", option, path);
		return false;
	}
	char *slash = strrchr(directory, '/');
	slash[slash == directory] = '\0';
	bool well = check_access(option, directory, W_OK | X_OK, true);
	free(directory);
	return well;
}

static bool check_limits(const struct config *config)
{
	struct rlimit files;
	if (getrlimit(RLIMIT_NOFILE, &files) < 0) {
		log_event(LOG_ERR, "refused", "option=limit_files error=%m");
		return false;
	}
	bool well = true;
	for (size_t i = 0; i < config->pool_count; i++) {
		if (config->pools[i].limit_files <= files.rlim_max)
			continue;
		log_event(LOG_ERR, "refused", "option=limit_files pool=%s got=%u allowed=%llu", config->pools[i].name,
		    config->pools[i].limit_files, (unsigned long long)files.rlim_max);
		well = false;
	}
	return well;
}

bool instance_check(const struct config *config)
{
	bool well = check_access("plugin_dir", config->plugin_dir, R_OK | X_OK, true);
	well &= check_parent("journal", config->journal);
	well &= check_access("spool_dir", config->spool_dir, W_OK | X_OK, true);
	if (config->mail.server != NULL)
		well &= check_access("transfer_module", config->transfer_module, R_OK, false);
	if (config->mail.password_file != NULL)
		well &= check_access("mail.password_file", config->mail.password_file, R_OK, false);
	return well & check_limits(config);
}
