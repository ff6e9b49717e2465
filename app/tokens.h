/*
 * Bearer tokens and whose they are: a file comes in, a table goes out that answers whose a token is.
 * The file holds no token but the SHA-256 of each: it gives nothing away to who reads it.
 *
 *	# NAME      ROLE       HASH
 *	grafana     reader     sha256:8f0e…
 *	shop        submitter  sha256:11c7…
 *	ada         operator   sha256:90aa…
 *	grace       operator   user           whom the web server says to be grace
 *	anybody     reader                    who shows no token; without this line: no right
 *
 * A slow, salted hash is for passwords, which people choose. These tokens are 256 random bits, made
 * by token_make() only: nobody finds one by trying, however fast. A hash of something else does no
 * harm, since what does not look like one of our tokens is not even looked for.
 */
#ifndef APP_TOKENS_H
#define APP_TOKENS_H

#include <stdbool.h>
#include <stdio.h>

#include "app/web.h"

#define TOKEN_NAME_MAX WEB_USER_MAX
#define TOKENS_MAX 1000 /* in one file */

/* Of a line. */
struct token_owner {
	char name[TOKEN_NAME_MAX + 1]; /* printable ASCII without spaces */
	enum web_right most;           /* the right of the role, which has those below it, too */
};

struct tokens;

/* NULL: *error names file, line and fault; a file that everybody may use is one. */
struct tokens *tokens_read(const char *path, struct tr_error *error);
void tokens_free(struct tokens **tokens);

/* Whose the token is. NULL: nobody's. Its time depends on the number of tokens, not on what they are. */
const struct token_owner *tokens_find(const struct tokens *tokens, const char *token);
/* Whom the web server has named. NULL: the file has no such user. */
const struct token_owner *tokens_find_user(const struct tokens *tokens, const char *name);
/* What those may who show nothing. */
enum web_right tokens_anybody(const struct tokens *tokens);

/* "reader" "submitter" "operator", or "nobody" for RIGHT_NONE. */
const char *role_name(enum web_right most);

/*
 * Makes a token for NAME:ROLE and writes two lines: the token itself, which is nowhere else, and the
 * line for the file. False: *error says why.
 */
bool token_make(const char *name_and_role, FILE *to, struct tr_error *error);

#endif
