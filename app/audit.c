/* See audit.h. */
#include "app/audit.h"

#include <stdio.h>
#include <time.h>

#include "app/log.h"

static bool is_action(const struct web_request *request, const struct web_answer *answer)
{
	const struct route *route = request->route;
	bool refused = answer->status == 401 || answer->status == 403 || answer->status == 429;
	bool changes = request->method != METHOD_GET && request->method != METHOD_HEAD;
	return refused || route->right == RIGHT_STEER || (changes && (request->who[0] != '\0' || answer->set_cookie[0] != '\0'));
}

static void write_time(char text[40])
{
	struct timespec now;
	struct tm utc;
	clock_gettime(CLOCK_REALTIME, &now);
	size_t used = gmtime_r(&now.tv_sec, &utc) != NULL ? strftime(text, 30, "%Y-%m-%dT%H:%M:%S", &utc) : 0;
	snprintf(text + used, 40 - used, ".%03dZ", (int)(now.tv_nsec / 1000000));
}

void audit(const struct web_request *request, const struct web_answer *answer)
{
	static const char *const by[] = { [BY_NOTHING] = "nothing", [BY_BEARER] = "bearer", [BY_COOKIE] = "cookie",
		[BY_WEB_SERVER] = "web-server" };
	char at[40], who[LOG_QUOTED_SIZE], note[LOG_QUOTED_SIZE], path[LOG_QUOTED_SIZE], query[LOG_QUOTED_SIZE];
	if (!is_action(request, answer))
		return;
	write_time(at);
	/* What the client chose comes last: however long it is, it cuts off nothing but itself. */
	log_always("audit", "at=%s id=%s who=%s by=%s from=%s method=%s status=%d note=%s path=%s query=%s", at,
	    request->request_id, log_quote(request->who, who), by[request->by], request->peer, method_name(request->method),
	    answer->status, log_quote(answer->note, note), log_quote(request->path, path), log_quote(request->query, query));
}
