/*
 * One line of the log for each action: who did what, when, from where, and what came of it.
 *
 *	audit at=2026-11-23T09:05:00.250Z id=4f1c… who="ada" by=cookie from=192.0.2.7 method=POST status=202
 *	      note="tasks=1" path="/tasks/018f…/retry" query=""
 *
 * Actions are what needs the right to steer, what somebody with a name changes, logging in and out,
 * and whatever was refused for want of a right. What anybody may do is none: the request's own line
 * (level info) says it. These lines are written whatever the level is.
 */
#ifndef APP_AUDIT_H
#define APP_AUDIT_H

#include "app/web.h"

/* Called by web_serve() with each request that has found a route. */
void audit(const struct web_request *request, const struct web_answer *answer);

#endif
