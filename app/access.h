/*
 * Who calls, and may it? A request with its route comes in; who it is and what it may go out, or a
 * refusal. Called by web_serve() before anything else of the request is read, and by the endpoints
 * of endpoint_session.c.
 *
 * Who calls is shown by, in this order:
 *   Authorization: Bearer TOKEN     programs
 *   a cookie that holds the token   the dashboard, from POST /login on; scripts cannot read it
 *   the web server's word           a FastCGI parameter that its own authentication sets (option -A)
 * A token that is shown must be right, else the request is refused, whatever it asks for. The last two are sent by
 * browsers on their own, also when another site's page makes them: whoever comes by those and wants
 * to change something must show that it is our page (an X-Requested-With header, which no other
 * site's page can send without our leave, or an Origin that is our own).
 */
#ifndef APP_ACCESS_H
#define APP_ACCESS_H

#include "app/tokens.h"
#include "app/web.h"

#define ACCESS_COOKIE_SIZE (TR_NAME_MAX + 16) /* of its name */

/*
 * Of one process. `tokens`, the caller's, NULL: none are configured. `instance` names the cookie; `user_parameter`, NULL: none,
 * is the web server's word. Both live as long. NULL: out of memory.
 */
struct access *access_new(const struct tokens *tokens, const char *instance, const char *user_parameter);
void access_free(struct access **access);

/* Fills who, by and most. False: *answer is the refusal. */
bool access_check(struct web_request *request, struct web_answer *answer);

/* Whether any tokens are configured. */
bool access_has_tokens(const struct web_request *request);

/* For POST /login, where there are tokens: whose the token is. NULL: *answer is the refusal. */
const struct token_owner *access_owner(const struct web_request *request, const char *token, struct web_answer *answer);

/* Has the client keep the token, or, where it is NULL, forget it. */
void access_set_cookie(const struct web_request *request, const char *token, struct web_answer *answer);

/* How one can show who one is, and what those may who show nothing. */
struct access_ways {
	char cookie[ACCESS_COOKIE_SIZE];
	const char *user_parameter; /* NULL: the web server says nothing */
	enum web_right anybody;
};
/* `access` NULL: as where no tokens are configured. */
struct access_ways access_ways(const struct access *access);

#endif
