/* Entity tags of what is kept in memory: bytes come in, a tag that stands for them goes out. */
#ifndef APP_ETAG_H
#define APP_ETAG_H

#include <stddef.h>

#define ETAG_SIZE 35 /* two quotes, 32 digits, the end */

/* The same for the same bytes in each process, so that it holds behind any of them. */
void etag_make(char etag[ETAG_SIZE], const char *bytes, size_t count);

#endif
