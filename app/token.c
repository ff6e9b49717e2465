/*
 * The bearer token (RFC 6750) of routes that steer: a file comes in at the start, an Authorization
 * header with each request. Called by options.c, process.c and web_serve().
 */
#include "app/web.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define TOKEN_MIN 16

static bool refuse(const char *path, const char *why, struct tr_error *error)
{
	snprintf(error->text, sizeof(error->text), "%.120s: %s", path, why);
	return false;
}

static bool read_line(int fd, const char *path, char token[WEB_TOKEN_MAX + 1], struct tr_error *error)
{
	static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~+/=-";
	char line[WEB_TOKEN_MAX + 3]; /* a newline, and one more, which tells that it is too long */
	struct stat status;
	if (fstat(fd, &status) != 0)
		return refuse(path, strerror(errno), error);
	if (!S_ISREG(status.st_mode))
		return refuse(path, "the token is not in a regular file", error);
	if ((status.st_mode & S_IRWXO) != 0)
		return refuse(path, "everybody may use this file; chmod o= it", error);
	ssize_t bytes = read(fd, line, sizeof(line) - 1);
	if (bytes < 0)
		return refuse(path, strerror(errno), error);
	if (bytes > 0 && line[bytes - 1] == '\n')
		bytes--;
	line[bytes] = '\0';
	if (bytes < TOKEN_MIN || bytes > WEB_TOKEN_MAX || strspn(line, allowed) != (size_t)bytes)
		return refuse(path, "a token is one line of 16 to 256 characters of A-Z a-z 0-9 . _ ~ + / = -", error);
	memcpy(token, line, (size_t)bytes + 1);
	return true;
}

bool token_read(const char *path, char token[WEB_TOKEN_MAX + 1], struct tr_error *error)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return refuse(path, strerror(errno), error);
	bool well = read_line(fd, path, token, error);
	close(fd);
	return well;
}

bool token_matches(const char *token, const char *authorization)
{
	static const char scheme[] = "Bearer ";
	if (strncasecmp(authorization, scheme, sizeof(scheme) - 1) != 0)
		return false;
	const char *given = authorization + sizeof(scheme) - 1;
	given += strspn(given, " ");
	/*
	 * Both in buffers of one length, all of which is always looked at: how long it takes says nothing
	 * of the token. (How long the client's own text is, it knows.)
	 */
	char left[WEB_TOKEN_MAX + 1] = "", right[WEB_TOKEN_MAX + 1] = "";
	if (strlen(given) > WEB_TOKEN_MAX)
		return false;
	memcpy(left, token, strnlen(token, WEB_TOKEN_MAX));
	memcpy(right, given, strlen(given));
	unsigned char differs = 0;
	for (size_t i = 0; i < sizeof(left); i++) {
		differs |= (unsigned char)(left[i] ^ right[i]);
		__asm__ volatile("" : "+r"(differs)); /* keeps the compiler from leaving the loop early */
	}
	return differs == 0 && token[0] != '\0';
}
