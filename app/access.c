/* See access.h. */
#include "app/access.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "app/guesses.h"

#define TOKEN_MAX 127 /* bytes of what is looked at as a token at all */

struct access {
	const struct tokens *tokens;
	const char *instance, *user_parameter;
	struct guesses *guesses;
};

struct access *access_new(const struct tokens *tokens, const char *instance, const char *user_parameter)
{
	struct access *access = calloc(1, sizeof(*access));
	struct guesses *guesses = guesses_new();
	if (access == NULL || guesses == NULL) {
		free(access);
		guesses_free(&guesses);
		return NULL;
	}
	*access = (struct access){ .tokens = tokens, .instance = instance,
		.user_parameter = user_parameter, .guesses = guesses };
	return access;
}

void access_free(struct access **access)
{
	if (*access == NULL)
		return;
	guesses_free(&(*access)->guesses);
	free(*access);
	*access = NULL;
}

static const struct tokens *tokens_of(const struct web_request *request)
{
	return request->access != NULL ? request->access->tokens : NULL;
}

bool access_has_tokens(const struct web_request *request)
{
	return tokens_of(request) != NULL;
}

/* ---- tokens ------------------------------------------------------------------------------ */

static int64_t monotonic_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

const struct token_owner *access_owner(const struct web_request *request, const char *token, struct web_answer *answer)
{
	struct guesses *guesses = request->access->guesses;
	int64_t now_ms = monotonic_ms();
	unsigned wait_s = guesses_wait_s(guesses, request->peer, now_ms);
	if (wait_s > 0) {
		/* Not even looked at: a right one would be told from a wrong one. */
		*answer = answer_detail(429, "too many wrong tokens came from this address; try again later");
		answer->retry_after_s = wait_s;
		return NULL;
	}
	const struct token_owner *owner = tokens_find(request->access->tokens, token);
	if (owner != NULL)
		return owner;
	guesses_wrong(guesses, request->peer, now_ms);
	*answer = answer_detail(401, "the bearer token is missing or wrong");
	answer->challenge = true;
	return NULL;
}

/* ---- cookies ----------------------------------------------------------------------------- */

/*
 * Named after the instance: a browser sends a cookie to all ports of a host. It holds the token itself: processes share no
 * memory that a session could be kept in, and an encrypted token would open the same doors.
 */
static void cookie_name(const struct access *access, char name[ACCESS_COOKIE_SIZE])
{
	snprintf(name, ACCESS_COOKIE_SIZE, "taskring-%.*s", TR_NAME_MAX, access->instance);
}

void access_set_cookie(const struct web_request *request, const char *token, struct web_answer *answer)
{
	char name[ACCESS_COOKIE_SIZE];
	cookie_name(request->access, name);
	int length = snprintf(answer->set_cookie, sizeof(answer->set_cookie), "%s=%s; Path=%s/; HttpOnly; SameSite=Strict%s%s", name,
	    token != NULL ? token : "", request->prefix, token != NULL ? "" : "; Max-Age=0", request->is_https ? "; Secure" : "");
	if (length < 0 || (size_t)length >= sizeof(answer->set_cookie))
		abort(); /* name, token and prefix are of bounded lengths */
}

/* The value of our cookie among "a=b; c=d" (RFC 6265, section 4.2.1). False: it is not there. */
static bool read_cookie(const struct web_request *request, char value[TOKEN_MAX + 1])
{
	char name[ACCESS_COOKIE_SIZE];
	cookie_name(request->access, name);
	size_t name_bytes = strlen(name);
	for (const char *at = request->cookie; *at != '\0'; at += strspn(at, "; ")) {
		size_t bytes = strcspn(at, ";");
		if (bytes > name_bytes && at[name_bytes] == '=' && strncmp(at, name, name_bytes) == 0) {
			snprintf(value, TOKEN_MAX + 1, "%.*s", (int)(bytes - name_bytes - 1), at + name_bytes + 1);
			return true;
		}
		at += bytes;
	}
	return false;
}

/* ---- who it is --------------------------------------------------------------------------- */

static bool be(struct web_request *request, enum web_by by, const struct token_owner *owner)
{
	request->by = by;
	request->who = owner->name;
	request->most = owner->most;
	return true;
}

static bool identify_token(struct web_request *request, enum web_by by, const char *token, struct web_answer *answer)
{
	const struct token_owner *owner = access_owner(request, token, answer);
	if (owner != NULL)
		return be(request, by, owner);
	/* Whoever has an old cookie is nobody again with the next request. */
	if (by == BY_COOKIE && answer->status == 401)
		access_set_cookie(request, NULL, answer);
	return false;
}

/* False: *answer is the refusal of a wrong token. */
static bool identify(struct web_request *request, struct web_answer *answer)
{
	static const char scheme[] = "Bearer ";
	char value[TOKEN_MAX + 1];
	const struct tokens *tokens = tokens_of(request);
	if (tokens == NULL) {
		request->most = RIGHT_SUBMIT;
		return true;
	}
	if (strncasecmp(request->authorization, scheme, sizeof(scheme) - 1) == 0) {
		const char *given = request->authorization + sizeof(scheme) - 1;
		return identify_token(request, BY_BEARER, given + strspn(given, " "), answer);
	}
	if (read_cookie(request, value))
		return identify_token(request, BY_COOKIE, value, answer);
	request->most = tokens_anybody(tokens);
	if (request->user[0] != '\0') {
		const struct token_owner *owner = tokens_find_user(tokens, request->user);
		request->by = BY_WEB_SERVER;
		request->who = request->user;
		if (owner != NULL)
			be(request, BY_WEB_SERVER, owner);
	}
	return true;
}

/* ---- may it? ----------------------------------------------------------------------------- */

/* "https://example.org:8443" is of the host "example.org:8443". */
static bool is_own_origin(const struct web_request *request)
{
	const char *host = strstr(request->origin, "://");
	return host != NULL && request->host[0] != '\0' && strcasecmp(host + 3, request->host) == 0;
}

/* Whether another site's page may have sent this, with what the browser adds on its own. */
static bool may_be_forged(const struct web_request *request)
{
	return (request->by == BY_COOKIE || request->by == BY_WEB_SERVER) && request->method != METHOD_GET &&
	    request->method != METHOD_HEAD && request->requested_with[0] == '\0' && !is_own_origin(request);
}

static struct web_answer refuse(const struct web_request *request)
{
	if (tokens_of(request) == NULL)
		return answer_detail(403, "no tokens are configured here; tasks are steered on the machine itself, with taskctl");
	if (request->who[0] != '\0')
		return answer_detail(403, request->route->right == RIGHT_STEER ? "this is for operators" :
			request->route->right == RIGHT_SUBMIT ? "this is for submitters and operators" : "this is not for everybody");
	struct web_answer answer = answer_detail(401, "the bearer token is missing or wrong");
	answer.challenge = true;
	return answer;
}

bool access_check(struct web_request *request, struct web_answer *answer)
{
	enum web_right right = request->route->right;
	if (right == RIGHT_NONE && !request->route->asks_who)
		return true;
	if (!identify(request, answer))
		return false;
	if (request->most < right)
		*answer = refuse(request);
	else if (may_be_forged(request))
		*answer = answer_detail(403, "this may come from another site's page; send an X-Requested-With header");
	else
		return true;
	return false;
}

/* ---- what is said of it ------------------------------------------------------------------ */

struct access_ways access_ways(const struct access *access)
{
	struct access_ways ways = { .anybody = RIGHT_SUBMIT };
	if (access == NULL)
		return ways;
	if (access->tokens != NULL)
		ways.anybody = tokens_anybody(access->tokens);
	ways.user_parameter = access->user_parameter;
	cookie_name(access, ways.cookie);
	return ways;
}
