/*
 * The way into an instance, and how failures are said. Enters: a request. Leaves: its instance, open. Called
 * by the commands.
 */
#include "shared/tools/taskctl.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shared/board.h"
#include "shared/segment.h"

#define ROOM_WAIT_MS 10000 /* for room in a full ring, without --timeout */

void say(const char *format, ...)
{
	va_list arguments;
	char text[1024];

	va_start(arguments, format);
	vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	fputs("taskctl: ", stderr);
	print_text(stderr, text, 0);
	fputc('\n', stderr);
}

int say_result(const char *what, enum tr_result result, const char *text)
{
	say("%s: %s", what, text != NULL && *text != '\0' ? text : tr_result_text(result));
	switch (result) {
	case TR_NOT_FOUND:
	case TR_NO_RING:
	case TR_NO_BOARD:
		return EXIT_NOT_FOUND;
	case TR_NOT_DURABLE:
	case TR_RING_FULL: /* these three have been waited for, see request_open() */
	case TR_LANE_FULL:
	case TR_NO_LANE:
		return EXIT_TIMED_OUT;
	case TR_INVALID:
	case TR_TOO_LARGE:
		return EXIT_USAGE;
	default:
		return EXIT_FAILED;
	}
}

bool read_id(const char *text, struct tr_id *id)
{
	if (tr_id_parse(text, id))
		return true;
	say("%s: an id has the form 01234567-89ab-7cde-8f01-23456789abcd", text);
	return false;
}

/* ---- as whom ----------------------------------------------------------------------------- */

/* Whose the instance is: by its ring, its board or its journal. False: there is nothing of it. */
static bool find_owner(const struct request *request, struct stat *owner)
{
	static const char *const parts[] = { "ring", "board" };
	char name[SEGMENT_NAME_SIZE], path[sizeof "/dev/shm" + SEGMENT_NAME_SIZE];

	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
		segment_name(name, request->instance, parts[i]);
		snprintf(path, sizeof path, "/dev/shm%s", name);
		if (stat(path, owner) == 0)
			return true;
	}
	return stat(request->journal, owner) == 0;
}

static bool become(const struct stat *owner)
{
	const struct passwd *user = getpwuid(owner->st_uid);
	gid_t group = user != NULL ? user->pw_gid : owner->st_gid;
	int groups = user != NULL ? initgroups(user->pw_name, group) : setgroups(0, NULL);

	if (groups == 0 && setgid(group) == 0 && setuid(owner->st_uid) == 0)
		return true;
	say("becoming user %u, who owns the instance: %s", owner->st_uid, strerror(errno));
	return false;
}

int request_open(struct request *request, bool needs_ring)
{
	int64_t room_ms = request->timeout_ms >= 0 ? request->timeout_ms : ROOM_WAIT_MS;
	const struct tr_open_options options = { .spool_dir = request->spool_dir, .journal = request->journal, .look = true,
		.room_wait_ms = (uint32_t)(room_ms < UINT32_MAX ? room_ms : UINT32_MAX) };
	struct tr_health health;
	struct tr_error error;
	struct stat owner;

	if (!find_owner(request, &owner)) {
		say("there is no instance \"%s\": neither in /dev/shm nor %s", request->instance, request->journal);
		return EXIT_NOT_FOUND;
	}
	if (geteuid() == 0 && owner.st_uid != 0 && !become(&owner))
		return EXIT_FAILED;
	enum tr_result result = tr_open(&request->ring, request->instance, &options, &error);
	if (result != TR_OK)
		return say_result(request->instance, result, error.text);
	if (!needs_ring)
		return EXIT_DONE;
	tr_health(request->ring, &health);
	if (health.ring_ok)
		return EXIT_DONE;
	say("the instance \"%s\" has no ring: taskd is stopped; start it first", request->instance);
	return EXIT_NOT_FOUND;
}

void say_if_stopped(const struct request *request)
{
	struct tr_health health;

	if (board_is_held(request->instance) && tr_health(request->ring, &health) == TR_OK && health.taskd_alive)
		return;
	say("taskd does not run now; it will obey when it is back");
}
