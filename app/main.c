/*
 * taskring-app: the responder. The web server's requests come in over FastCGI; answers go back at
 * once, background tasks go into the ring. Started by a supervisor (systemd, conf/run.sh).
 */
#include "app/log.h"
#include "app/master.h"
#include "app/options.h"
#include "app/static.h"

/* A route that was declared wrong is found here and not by the first request. */
static bool routes_are_sound(void)
{
	size_t count;
	const struct route *routes = routes_all(&count);
	bool sound = true;
	for (size_t i = 0; i < count; i++) {
		const char *fault = route_fault(&routes[i]);
		if (fault != NULL)
			log_event(LOG_ERR, "route-wrong", "method=%s path=%s reason=\"%s\"", method_name(routes[i].method),
			    routes[i].path, fault);
		sound = sound && fault == NULL;
	}
	return sound;
}

/* So is a directory of pages that cannot be served. */
static bool pages_are_sound(const char *directory)
{
	struct tr_error error;
	char quoted[LOG_QUOTED_SIZE];
	struct static_files *files = directory != NULL ? static_read(directory, &error) : NULL;
	bool sound = directory == NULL || files != NULL;
	if (!sound)
		log_event(LOG_ERR, "pages-not-read", "reason=%s", log_quote(error.text, quoted));
	static_free(&files);
	return sound;
}

int main(int argc, char **argv)
{
	struct options options;
	int status = options_read(argc, argv, &options);
	if (status >= 0)
		return status;
	log_open(options.log_level);
	if (!routes_are_sound() || !pages_are_sound(options.pages))
		return 1;
	return master_run(&options);
}
