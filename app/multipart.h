/*
 * multipart/form-data (RFC 7578) as it arrives: a body's bytes are read from a struct web_source,
 * its parts go out one after the other, the content of each a piece at a time. Holds one buffer
 * whatever the size of the body. Called by upload.c.
 *
 * Why not a library: of Debian's, libapreq2 comes with Apache's runtime, keeps parts in brigades
 * or in temporary files of its own, and GMime wants the whole message in a stream that can seek.
 * What is needed is small and is kept strict: what no browser sends is refused, not repaired.
 */
#ifndef APP_MULTIPART_H
#define APP_MULTIPART_H

#include "app/web.h"

#define MULTIPART_NAME_MAX 1023 /* bytes of a field's and of a file's name, as they were sent */
#define MULTIPART_TYPE_MAX 127
#define MULTIPART_PARTS_MAX 64
#define MULTIPART_HEAD_MAX 8192 /* bytes of one part's header lines */

struct multipart;

/* The head of a part. */
struct multipart_part {
	char field[MULTIPART_NAME_MAX + 1];
	bool is_file;                           /* it has a file name, be it an empty one */
	char file_name[MULTIPART_NAME_MAX + 1]; /* hostile: any bytes but control characters */
	char content_type[MULTIPART_TYPE_MAX + 1]; /* "" when there is none, or none that is fit to be shown */
};

enum multipart_result {
	MULTIPART_OK,
	MULTIPART_END,       /* of the part, or of all parts */
	MULTIPART_MALFORMED, /* of no further use from here on */
	MULTIPART_BROKEN,    /* the source has broken off */
	MULTIPART_NO_MEMORY,
};

/*
 * A reader of a body whose Content-Type is this one; the source must live as long as the reader.
 * OK: *multipart is for the caller to free. MALFORMED: no multipart/form-data with a boundary.
 */
enum multipart_result multipart_new(struct multipart **multipart, const char *content_type,
    const struct web_source *source);
void multipart_free(struct multipart **multipart); /* NULL afterwards */

/*
 * The next part's head; what is left of the part before is skipped. END: there is none, and the
 * body has come to its end.
 */
enum multipart_result multipart_part(struct multipart *multipart, struct multipart_part *part);

/* The next piece of the part's content, valid until the next call. END: the part is over. */
enum multipart_result multipart_data(struct multipart *multipart, const char **data, size_t *bytes);

#endif
