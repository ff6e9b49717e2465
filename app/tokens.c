/* See tokens.h. First the file, then the questions, then the making of tokens. */
#include "app/tokens.h"

#include <errno.h>
#include <fcntl.h>
#include <nettle/memops.h>
#include <nettle/sha2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define TOKEN_PREFIX "tr_" /* so that it is known for what it is where it should not be: in a repository, in a log */
#define TOKEN_RANDOM_BYTES 32
#define TOKEN_BYTES (sizeof(TOKEN_PREFIX) - 1 + 2 * TOKEN_RANDOM_BYTES)
#define HASH_PREFIX "sha256:"
#define LINE_SIZE 256

static const char hex_digits[] = "0123456789abcdef";

struct entry {
	struct token_owner owner;
	bool is_user; /* the web server's to know: has no hash */
	unsigned char hash[SHA256_DIGEST_SIZE];
};

struct tokens {
	enum web_right anybody;
	size_t count;
	struct entry entries[TOKENS_MAX];
};

/* ---- one line ---------------------------------------------------------------------------- */

const char *role_name(enum web_right most)
{
	static const char *const names[] = { [RIGHT_NONE] = "nobody", [RIGHT_READ] = "reader", [RIGHT_SUBMIT] = "submitter",
		[RIGHT_STEER] = "operator" };
	return names[most];
}

/* RIGHT_NONE: there is no such role. */
static enum web_right role_by_name(const char *name)
{
	enum web_right most = RIGHT_STEER;
	while (most > RIGHT_NONE && strcmp(role_name(most), name) != 0)
		most--;
	return most;
}

static bool is_name(const char *name)
{
	size_t bytes = 0;
	for (; name[bytes] != '\0'; bytes++)
		if (name[bytes] <= 0x20 || name[bytes] >= 0x7f)
			return false;
	return bytes >= 1 && bytes <= TOKEN_NAME_MAX && name[0] != '#' && strcmp(name, "anybody") != 0;
}

static bool read_hash(const char *text, unsigned char hash[SHA256_DIGEST_SIZE])
{
	size_t prefix = strlen(HASH_PREFIX);
	if (strncmp(text, HASH_PREFIX, prefix) != 0 || strlen(text) != prefix + 2 * SHA256_DIGEST_SIZE ||
	    strspn(text + prefix, hex_digits) != 2 * SHA256_DIGEST_SIZE)
		return false;
	for (size_t i = 0; i < SHA256_DIGEST_SIZE; i++) {
		const char *digits = text + prefix + 2 * i;
		hash[i] = (unsigned char)((strchr(hex_digits, digits[0]) - hex_digits) * 16 + (strchr(hex_digits, digits[1]) - hex_digits));
	}
	return true;
}

static const char *read_anybody(struct tokens *tokens, const char *role)
{
	enum web_right most = role != NULL ? role_by_name(role) : RIGHT_NONE;
	if (tokens->anybody != RIGHT_NONE)
		return "\"anybody\" stands there already";
	if (most == RIGHT_NONE || most == RIGHT_STEER)
		return "\"anybody\" may be a reader or a submitter, and has no hash";
	tokens->anybody = most;
	return NULL;
}

/* Two lines may have one name: that is how a token is replaced while the old one still works. */
static const char *read_owner(struct tokens *tokens, const char *name, const char *role, const char *hash)
{
	struct entry *entry = &tokens->entries[tokens->count];
	if (tokens->count == TOKENS_MAX)
		return "there are too many tokens; 1000 are allowed";
	if (!is_name(name))
		return "a name is 1 to 63 printable letters";
	entry->owner.most = role != NULL ? role_by_name(role) : RIGHT_NONE;
	if (entry->owner.most == RIGHT_NONE)
		return "the role must be reader, submitter or operator";
	entry->is_user = hash != NULL && strcmp(hash, "user") == 0;
	if (hash == NULL || (!entry->is_user && !read_hash(hash, entry->hash)))
		return "after the role comes sha256: and 64 hexadecimal digits in small letters, or \"user\"";
	for (size_t i = 0; i < tokens->count; i++) {
		const struct entry *other = &tokens->entries[i];
		if (entry->is_user && other->is_user && strcmp(other->owner.name, name) == 0)
			return "this user stands there already";
		if (!entry->is_user && !other->is_user && memcmp(other->hash, entry->hash, sizeof(entry->hash)) == 0)
			return "this hash stands there already";
	}
	memcpy(entry->owner.name, name, strlen(name) + 1);
	tokens->count++;
	return NULL;
}

/* NULL, or what is wrong with the line. */
static const char *read_line(struct tokens *tokens, char *line)
{
	static const char blanks[] = " \t\n";
	char *rest = NULL;
	const char *name = strtok_r(line, blanks, &rest);
	if (name == NULL || name[0] == '#')
		return NULL;
	const char *role = strtok_r(NULL, blanks, &rest);
	if (strcmp(name, "anybody") == 0)
		return strtok_r(NULL, blanks, &rest) == NULL ? read_anybody(tokens, role) : "\"anybody\" has a role and nothing else";
	const char *hash = strtok_r(NULL, blanks, &rest);
	if (strtok_r(NULL, blanks, &rest) != NULL)
		return "a line is NAME ROLE HASH";
	return read_owner(tokens, name, role, hash);
}

/* ---- the file ---------------------------------------------------------------------------- */

static bool refuse(struct tr_error *error, const char *path, const char *why)
{
	snprintf(error->text, sizeof(error->text), "%.120s: %s", path, why);
	return false;
}

static bool read_lines(FILE *file, const char *path, struct tokens *tokens, struct tr_error *error)
{
	char line[LINE_SIZE];
	for (unsigned number = 1; fgets(line, sizeof(line), file) != NULL; number++) {
		size_t bytes = strlen(line);
		bool whole = bytes > 0 && (line[bytes - 1] == '\n' || feof(file));
		const char *fault = whole ? read_line(tokens, line) : "a line has less than 255 letters, and no zeros";
		if (fault != NULL) {
			snprintf(error->text, sizeof(error->text), "%.120s:%u: %s", path, number, fault);
			return false;
		}
	}
	return !ferror(file) || refuse(error, path, strerror(errno));
}

static bool read_file(FILE *file, const char *path, struct tokens *tokens, struct tr_error *error)
{
	struct stat status;
	if (fstat(fileno(file), &status) != 0)
		return refuse(error, path, strerror(errno));
	if (!S_ISREG(status.st_mode))
		return refuse(error, path, "the tokens are not in a regular file");
	if ((status.st_mode & S_IRWXO) != 0)
		return refuse(error, path, "everybody may use this file; chmod o= it");
	return read_lines(file, path, tokens, error);
}

struct tokens *tokens_read(const char *path, struct tr_error *error)
{
	struct tokens *tokens = calloc(1, sizeof(*tokens));
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	FILE *file = fd >= 0 ? fdopen(fd, "r") : NULL;
	if (tokens == NULL || file == NULL) {
		refuse(error, path, strerror(errno));
		if (fd >= 0 && file == NULL)
			close(fd);
		tokens_free(&tokens);
	}
	if (tokens != NULL && !read_file(file, path, tokens, error))
		tokens_free(&tokens);
	if (file != NULL)
		fclose(file);
	return tokens;
}

void tokens_free(struct tokens **tokens)
{
	free(*tokens);
	*tokens = NULL;
}

/* ---- questions --------------------------------------------------------------------------- */

static void hash_of(const char *token, unsigned char hash[SHA256_DIGEST_SIZE])
{
	struct sha256_ctx context;
	sha256_init(&context);
	sha256_update(&context, strlen(token), (const uint8_t *)token);
	sha256_digest(&context, SHA256_DIGEST_SIZE, hash);
}

static bool looks_like_a_token(const char *token)
{
	size_t prefix = strlen(TOKEN_PREFIX);
	return strlen(token) == TOKEN_BYTES && strncmp(token, TOKEN_PREFIX, prefix) == 0 &&
	    strspn(token + prefix, hex_digits) == TOKEN_BYTES - prefix;
}

const struct token_owner *tokens_find(const struct tokens *tokens, const char *token)
{
	unsigned char hash[SHA256_DIGEST_SIZE];
	const struct token_owner *found = NULL;
	if (!looks_like_a_token(token))
		return NULL;
	hash_of(token, hash);
	for (size_t i = 0; i < tokens->count; i++) {
		const struct entry *entry = &tokens->entries[i];
		if (!entry->is_user && memeql_sec(entry->hash, hash, sizeof(hash)))
			found = &entry->owner;
	}
	return found;
}

const struct token_owner *tokens_find_user(const struct tokens *tokens, const char *name)
{
	for (size_t i = 0; i < tokens->count; i++)
		if (tokens->entries[i].is_user && strcmp(tokens->entries[i].owner.name, name) == 0)
			return &tokens->entries[i].owner;
	return NULL;
}

enum web_right tokens_anybody(const struct tokens *tokens)
{
	return tokens->anybody;
}

/* ---- making one -------------------------------------------------------------------------- */

static void to_hex(const unsigned char *bytes, size_t count, char *to)
{
	for (size_t i = 0; i < count; i++) {
		to[2 * i] = hex_digits[bytes[i] >> 4];
		to[2 * i + 1] = hex_digits[bytes[i] & 15];
	}
	to[2 * count] = '\0';
}

bool token_make(const char *name_and_role, FILE *to, struct tr_error *error)
{
	unsigned char random[TOKEN_RANDOM_BYTES], hash[SHA256_DIGEST_SIZE];
	char name[TOKEN_NAME_MAX + 1] = "", token[TOKEN_BYTES + 1] = TOKEN_PREFIX, hashed[2 * SHA256_DIGEST_SIZE + 1];
	const char *colon = strrchr(name_and_role, ':');
	if (colon != NULL && colon - name_and_role <= TOKEN_NAME_MAX)
		snprintf(name, sizeof(name), "%.*s", (int)(colon - name_and_role), name_and_role);
	if (colon == NULL || !is_name(name) || role_by_name(colon + 1) == RIGHT_NONE)
		return refuse(error, name_and_role, "wanted is NAME:ROLE, a role being reader, submitter or operator");
	if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
		return refuse(error, name_and_role, "the system has no random bytes");
	to_hex(random, sizeof(random), token + strlen(TOKEN_PREFIX));
	hash_of(token, hash);
	to_hex(hash, sizeof(hash), hashed);
	if (fprintf(to, "%s\n%s %s %s%s\n", token, name, colon + 1, HASH_PREFIX, hashed) < 0 || fflush(to) != 0)
		return refuse(error, name_and_role, strerror(errno));
	return true;
}
