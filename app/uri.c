/* A text comes in from a request, a fault or NULL goes out. Called by schema_format.c. */
#include "app/uri.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>
#include <uriparser/Uri.h>

static bool is_empty(const UriTextRangeA *part)
{
	return part->first == NULL || part->first == part->afterLast;
}

static bool has_escape(const UriTextRangeA *part)
{
	return !is_empty(part) && memchr(part->first, '%', (size_t)(part->afterLast - part->first)) != NULL;
}

static bool is_scheme(const UriTextRangeA *part, const char *scheme)
{
	size_t bytes = (size_t)(part->afterLast - part->first);
	return bytes == strlen(scheme) && strncasecmp(part->first, scheme, bytes) == 0;
}

/* 1 to 65535, or nothing. */
static bool port_ok(const UriTextRangeA *part)
{
	unsigned port = 0;
	if (part->first == NULL || part->first == part->afterLast)
		return true;
	for (const char *at = part->first; at < part->afterLast; at++) {
		port = port * 10 + (unsigned)(*at - '0'); /* digits: the parser saw to that */
		if (port > 65535)
			return false;
	}
	return port > 0;
}

/* NULL: *uri is to be freed. */
static const char *parse(const char *text, UriUriA *uri)
{
	const char *error_at;
	if (uriParseSingleUriA(uri, text, &error_at) != URI_SUCCESS)
		return "Input should be a valid URL: a character stands where it is not allowed";
	if (!is_empty(&uri->scheme))
		return NULL;
	uriFreeUriMembersA(uri);
	return "Input should be a valid URL: it has no scheme";
}

const char *uri_fault(const char *text)
{
	UriUriA uri;
	const char *fault = parse(text, &uri);
	if (fault == NULL)
		uriFreeUriMembersA(&uri);
	return fault;
}

const char *uri_http_fault(const char *text, bool *scheme)
{
	UriUriA uri;
	const char *fault = parse(text, &uri);
	*scheme = false;
	if (fault != NULL)
		return fault;
	if (!is_scheme(&uri.scheme, "http") && !is_scheme(&uri.scheme, "https")) {
		*scheme = true;
		fault = "URL scheme should be 'http' or 'https'";
	} else if (is_empty(&uri.hostText)) {
		fault = "Input should be a valid URL: it has no host";
	} else if (has_escape(&uri.hostText) || uri.hostData.ipFuture.first != NULL) {
		fault = "Input should be a valid URL: its host is neither a name nor an address";
	} else if (!port_ok(&uri.portText)) {
		fault = "Input should be a valid URL: its port is not a number from 1 to 65535";
	} else if (uri.userInfo.first != NULL) {
		fault = "Input should be a valid URL: it must not contain a user";
	} else if (uri.fragment.first != NULL) {
		fault = "Input should be a valid URL: it must not contain a fragment";
	}
	uriFreeUriMembersA(&uri);
	return fault;
}
