/* Whether a text is a URI. The only file that knows liburiparser is uri.c. */
#ifndef APP_URI_H
#define APP_URI_H

#include <stdbool.h>

/* What makes `text` no absolute URI of RFC 3986, as a sentence; NULL: it is one. */
const char *uri_fault(const char *text);
/* The same for a URL that can be called: its scheme and host. *scheme: it is only the scheme that is wrong. */
const char *uri_http_fault(const char *text, bool *scheme);

#endif
