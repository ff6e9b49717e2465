/*
 * The route table: a method and a path come in, the endpoint that answers them goes out. Called by
 * web_serve(). What a client may ask is said here and nowhere else.
 */
#include "app/web.h"

#include <string.h>

static const struct route routes[] = {
	{ METHOD_POST, "/register", post_register, true, "Sign somebody up and send the welcome mail" },
	{ METHOD_GET, "/tasks/{id}", get_task, true, "The state of one background task" },
	{ METHOD_GET, "/healthz", get_health, false, "Whether the ring is there and taskd is alive" },
};

static const char *const method_names[METHODS] = {
	[METHOD_GET] = "GET",
	[METHOD_HEAD] = "HEAD",
	[METHOD_POST] = "POST",
	[METHOD_PUT] = "PUT",
	[METHOD_PATCH] = "PATCH",
	[METHOD_DELETE] = "DELETE",
	[METHOD_OPTIONS] = "OPTIONS",
	[METHOD_OTHER] = "OTHER",
};

enum method method_by_name(const char *name)
{
	/* Methods are case-sensitive: RFC 9110, section 9.1. */
	for (enum method method = 0; method < METHOD_OTHER; method++)
		if (strcmp(name, method_names[method]) == 0)
			return method;
	return METHOD_OTHER;
}

const char *method_name(enum method method)
{
	return method_names[method];
}

/* `pattern` and `path` both begin with '/'. */
static bool path_matches(const char *pattern, const char *path, char parameter[WEB_PARAMETER_MAX + 1])
{
	parameter[0] = '\0';
	while (*pattern == '/' && *path == '/') {
		size_t wanted = strcspn(++pattern, "/");
		size_t given = strcspn(++path, "/");
		if (*pattern == '{') {
			if (given == 0 || given > WEB_PARAMETER_MAX)
				return false;
			memcpy(parameter, path, given);
			parameter[given] = '\0';
		} else if (given != wanted || memcmp(pattern, path, wanted) != 0) {
			return false;
		}
		pattern += wanted;
		path += given;
	}
	return *pattern == '\0' && *path == '\0';
}

const struct route *route_find(enum method method, const char *path, char parameter[WEB_PARAMETER_MAX + 1],
    unsigned *allow)
{
	enum method wanted = method == METHOD_HEAD ? METHOD_GET : method;
	*allow = 0;
	for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
		if (!path_matches(routes[i].pattern, path, parameter))
			continue;
		if (routes[i].method == wanted)
			return &routes[i];
		*allow |= 1u << routes[i].method;
	}
	if (*allow & 1u << METHOD_GET)
		*allow |= 1u << METHOD_HEAD;
	if (*allow != 0)
		*allow |= 1u << METHOD_OPTIONS;
	return NULL;
}
