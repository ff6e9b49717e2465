/*
 * What a request is to an endpoint, and what an endpoint answers. A request comes from the
 * transport (fcgi.c), goes through web_serve() (serve.c) along the route table (routes.c) to one
 * endpoint, and leaves as the bytes that answer_render() (answer.c) makes. Nothing here knows FastCGI.
 */
#ifndef APP_WEB_H
#define APP_WEB_H

#include <jansson.h>
#include <sys/types.h>

#include "taskring/taskring.h"

#define WEB_PATH_MAX 1024      /* bytes of a request's path */
#define WEB_PARAMETER_MAX 127  /* bytes of what stands for {id} in a route's pattern */
#define WEB_REQUEST_ID_MAX 64
#define WEB_RETRY_AFTER_S 1

enum method {
	METHOD_GET,
	METHOD_HEAD,
	METHOD_POST,
	METHOD_PUT,
	METHOD_PATCH,
	METHOD_DELETE,
	METHOD_OPTIONS,
	METHOD_OTHER, /* whatever else the client sent */
	METHODS
};

/* Where a request's body comes from: the transport's, read by the web layer as far as it wants to. */
struct web_source {
	/*
	 * Up to `most` bytes of the body: how many, 0 at its end, -1: the connection broke or was too
	 * slow. May wait for the client. NULL: there is no body.
	 */
	ssize_t (*read)(void *context, char *to, size_t most);
	void *context;
};

/* All pointers live as long as the request. */
struct web_request {
	enum method method;
	/* Not 0: the transport could not read the request; it is answered with this status and
	 * sentence, and no endpoint sees it. */
	int fault_status;
	const char *fault;
	char path[WEB_PATH_MAX + 1]; /* percent-decoded, without the query, begins with '/' */
	char parameter[WEB_PARAMETER_MAX + 1]; /* what stood for {id} in the path; "" if the route has none */
	char request_id[WEB_REQUEST_ID_MAX + 1];
	char trace[TR_TRACE_MAX + 1]; /* the W3C traceparent, "" when there is none */
	const char *content_type;     /* "" when there is none */
	struct web_source source;     /* the body, before it is read */
	size_t declared_bytes;        /* CONTENT_LENGTH; SIZE_MAX: there is none */
	char *body;                   /* read by body_read(), freed by web_serve(); NULL before */
	size_t body_bytes;
	struct taskring *ring; /* NULL: it cannot be opened now */
};

struct web_answer {
	int status;
	json_t *body;       /* owned; NULL: none */
	char location[64];  /* "" : none */
	unsigned retry_after_s;
	unsigned allow;     /* 1 << enum method for each allowed one; 0: the header is left out */
};

/*
 * An endpoint reads the request and adds background tasks. What it added is published after it has
 * answered with a status below 400, all or nothing; after any other status it is forgotten.
 */
typedef struct web_answer web_endpoint(const struct web_request *request, struct background_tasks *background);

web_endpoint post_register, get_task, get_health;

/* ---- routes.c ---------------------------------------------------------------------------- */

struct route {
	enum method method;
	const char *pattern;    /* segments separated by '/'; {id} stands for one segment */
	web_endpoint *endpoint;
	bool needs_ring;        /* answered with 503 while the ring cannot be opened */
	const char *summary;
};

/*
 * The route of a method and path, its {id} written into `parameter`. NULL: no such path
 * (*allow == 0), or not with this method (*allow holds those that are). HEAD finds GET's route.
 */
const struct route *route_find(enum method method, const char *path, char parameter[WEB_PARAMETER_MAX + 1],
    unsigned *allow);

enum method method_by_name(const char *name); /* METHOD_OTHER when unknown */
const char *method_name(enum method method);

/* ---- serve.c ----------------------------------------------------------------------------- */

struct web_settings {
	enum tr_durability durability;
	uint32_t durable_timeout_ms; /* how long an answer waits for the disk */
	size_t body_limit_bytes;     /* of a body that is read into memory */
};

/*
 * Answers one request: finds its endpoint, reads the body, calls it, publishes what it added.
 * `background` is empty before and after; NULL where request->ring is. The transport drops what
 * was not read of the body, and the answer of a request whose source has broken.
 */
struct web_answer web_serve(const struct web_settings *settings, struct web_request *request,
    struct background_tasks *background);

/* ---- body.c ------------------------------------------------------------------------------ */

/*
 * Reads the whole body into request->body. False: *answer is the refusal (413 larger than
 * `limit_bytes`, 400 not as long as declared, 408 it did not come to its end, 503 no memory).
 */
bool body_read(struct web_request *request, size_t limit_bytes, struct web_answer *answer);

/*
 * The request's body as a JSON object, for the caller to json_decref(). NULL: *answer is the
 * refusal (415 another media type, 400 not JSON, 422 not an object).
 */
json_t *body_json_object(const struct web_request *request, struct web_answer *answer);

/* ---- answer.c ---------------------------------------------------------------------------- */

/* Takes the reference to `body`; NULL stands for "out of memory" and gives 503. */
struct web_answer answer_json(int status, json_t *body);
struct web_answer answer_empty(int status);
/* {"detail": text}; UTF-8. */
struct web_answer answer_detail(int status, const char *text);
/* What a taskring call answered; 503 comes with Retry-After. `why` NULL: the result's own sentence. */
struct web_answer answer_result(enum tr_result result, const char *why);

/*
 * Appends {"loc":[where, field], "msg": ..., "type": ...} to a list of faults. `field` NULL: the
 * fault is of the whole of `where`. False: out of memory.
 */
bool faults_add(json_t *faults, const char *where, const char *field, const char *message, const char *type);
/* 422 with {"detail": faults}; takes the reference. */
struct web_answer answer_faults(json_t *faults);

void answer_clear(struct web_answer *answer);

/*
 * The answer as a CGI response: header lines beginning with Status, an empty line, the body
 * (left out for HEAD, its length is not). malloc()ed, *bytes long; NULL: out of memory.
 */
char *answer_render(const struct web_answer *answer, const struct web_request *request, size_t *bytes);

#endif
