/*
 * What a request is to an endpoint, and what an endpoint answers. A request comes from the
 * transport (fcgi.c), goes through web_serve() (serve.c) along the route table (routes.c) to one
 * endpoint, and leaves as the bytes that answer_render() (answer.c) makes. Nothing here knows FastCGI.
 *
 * An endpoint is one function, and one row of the table says all about it: what it is called by,
 * what it takes, what it needs, what it may answer. What does not fit the row is refused before the
 * function is called, so it works with values that are right already:
 *
 *	struct web_answer post_register(const struct web_request *request, struct background_tasks *background)
 *	{
 *		web_add_task(request, background, "record_signup", request->body, NULL);
 *		return answer_accepted(request, background);
 *	}
 */
#ifndef APP_WEB_H
#define APP_WEB_H

#include <jansson.h>
#include <sys/types.h>

#include "app/faults.h"
#include "app/schema.h"
#include "app/stream.h"
#include "app/upload.h"
#include "shared/durable.h"
#include "taskring/taskring.h"

#define WEB_PATH_MAX 1024      /* bytes of a request's path */
#define WEB_PARAMETER_MAX 127  /* bytes of what stands for {id} in a route's path */
#define WEB_PARAMETERS_MAX 4   /* of them in one path */
#define WEB_RESOURCES_MAX 8     /* of one route */
#define WEB_REQUEST_ID_MAX 64
#define WEB_PREFIX_MAX 128     /* bytes of what stands before all paths */
#define WEB_PEER_MAX 45        /* bytes of an address, IPv6 */
#define WEB_USER_MAX 63        /* bytes of a name that the web server gives */
#define WEB_COOKIE_SIZE 512    /* of a Set-Cookie line with its value */
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

/*
 * What a route asks of who calls it; each right but the first is a role's or a token's to give. READ
 * shows tasks and counters, SUBMIT adds tasks, STEER changes what others have added, or shows what is
 * nobody else's to see.
 */
enum web_right {
	RIGHT_NONE, /* anybody may */
	RIGHT_READ,
	RIGHT_SUBMIT,
	RIGHT_STEER,
};

/* How who calls has shown who it is. */
enum web_by { BY_NOTHING, BY_BEARER, BY_COOKIE, BY_WEB_SERVER };

struct access;
struct held;
struct resource_set;
struct static_files;
struct tr_resource;
struct web_added;

/* All pointers live as long as the request. */
struct web_request {
	/* ---- what the client sent; filled by the transport */
	enum method method;
	/* Not 0: the transport could not read the request; it is answered with this status and
	 * sentence, and no endpoint sees it. */
	int fault_status;
	const char *fault;
	/* Percent-decoded, without the query, begins with '/'; or "*". web_serve() takes the prefix off. */
	char path[WEB_PATH_MAX + 1];
	const char *query;           /* what followed the '?', as it was sent; "" when there was none */
	char request_id[WEB_REQUEST_ID_MAX + 1];
	char trace[TR_TRACE_MAX + 1]; /* a W3C traceparent of version 00: the client's, else one of our own */
	const char *content_type;     /* "" when there is none */
	const char *authorization;    /* "" when there is none */
	const char *content_disposition; /* likewise */
	const char *content_encoding;    /* likewise */
	const char *accept;           /* "" when there is none: anything */
	const char *if_none_match;    /* "" when there is none */
	const char *last_event_id;    /* likewise; of a client whose stream of events broke off */
	const char *cookie;           /* "" when there is none; and so the next three */
	const char *origin;
	const char *host;
	const char *requested_with;   /* X-Requested-With: only scripts of our own pages can send it */
	const char *user;             /* whom the web server has recognized, in printable letters; "": nobody */
	char peer[WEB_PEER_MAX + 1];  /* the client's address, "-" when there is none */
	bool is_https;
	struct web_source source;     /* the body, before it is read */
	size_t declared_bytes;        /* CONTENT_LENGTH; SIZE_MAX: there is none */

	/* ---- what the process has for it */
	const char *prefix;             /* of the paths that clients are told; "": none */
	struct taskring *ring;          /* NULL: it cannot be opened now; not where the route needs it */
	struct resource_set *resources; /* the thread's; NULL: there are none */
	struct access *access;          /* who may what; NULL: as where no tokens are configured */

	/* ---- what the route makes of it; filled by web_serve() */
	const struct route *route;
	const char *who;       /* the name of who calls, for the log; "": nobody that is known */
	enum web_by by;
	enum web_right most;   /* what who calls may at most */
	json_t *parameters;    /* an object: those of path and query, of the types that the route says */
	const json_t *body;    /* has passed the route's schema; NULL: the route has none */
	struct upload *upload; /* of a route with `upload` */
	struct web_added *added;
	const struct held *held; /* the route's resources, open */
	/* It is published, and the answer must not go out before the disk has it: web_settle() says how it went. */
	struct durable_wish durable;
};

/* A body that is not JSON, or is JSON that was written already. Empty: type is NULL. */
struct web_content {
	const char *type; /* Content-Type, with its charset */
	const char *bytes;
	size_t count;
	/* Called once with `context`, when the bytes are no longer needed. NULL: they live as long as the process. */
	void (*release)(void *context);
	void *context;
};

/* Texts that are not said to be owned live as long as the process. */
struct web_answer {
	int status;
	json_t *body;               /* owned; NULL: none */
	struct web_content content; /* owned; sent in place of `body` when it has a type */
	char location[64];          /* "": none. One that begins with '/' is told under the prefix */
	unsigned retry_after_s;
	unsigned allow;             /* 1 << enum method for each allowed one; 0: the header is left out */
	bool challenge;             /* WWW-Authenticate: Bearer */
	const char *cache_control;  /* NULL: no-store */
	const char *etag;           /* with its quotes; NULL: none. A 200 whose tag the client has becomes 304 */
	char set_cookie[WEB_COOKIE_SIZE]; /* "": none */
	char note[160];             /* what the audit line is to say besides: "matched=3 asked=3"; "": nothing */
	const char *csp;            /* of a page: Content-Security-Policy, and what goes with it; NULL: none */
	struct stream_wish stream;  /* where it is wanted, a status of 200 is a head without a body, and events follow */
};

/*
 * An endpoint reads the request and adds background tasks. What it added is published after it has
 * answered with a status below 400, all or nothing; after any other status it is forgotten. Once
 * published it runs, whether or not the client is still there to read the answer.
 * `background` is NULL only where the route does without the ring and there is none.
 */
typedef struct web_answer web_endpoint(const struct web_request *request, struct background_tasks *background);

/* ---- routes.c: the table; route.c: what its rows mean ------------------------------------- */

struct route_answer {
	int status;
	const char *description;
	const struct schema *body; /* NULL: {"detail": text} from 400 on, nothing below */
};

struct route {
	enum method method;
	/*
	 * Segments separated by '/'. {name}, {name:int}, {name:uuid} stand for one segment each, which
	 * is checked like a query parameter. Where a path fits several rows, the first one counts.
	 */
	const char *path;
	web_endpoint *endpoint;
	const char *tag, *summary, *description;

	/* A NULL name at the end. NULL: whatever stands in the query is ignored. A list is sent as a=1&a=2. */
	const struct schema_field *query;
	const struct schema *body; /* of application/json; NULL: none is read */
	bool body_optional;        /* a request without one has request->body NULL */
	size_t body_bytes_max;     /* 0: what the responder's options say, which is also the most */
	bool upload;               /* the body is one file, received into request->upload */

	bool needs_ring;                            /* answered with 503 while the ring cannot be opened */
	/* 401 or 403 for who has not got it, 429 for an address that too many wrong tokens came from. */
	enum web_right right;
	bool asks_who; /* with RIGHT_NONE: who calls is found out all the same */
	const struct tr_resource *const *resources; /* NULL at the end; 503 while one cannot be opened */

	/* What the endpoint answers; a status of 0 at the end. route_implies() has what is answered for it. */
	const struct route_answer *answers;
	const char *content_type; /* of answers below 400 that are a web_content; NULL: they are JSON */
};

/* The text that stands for a name in a route's path. */
struct route_match {
	size_t count;
	struct {
		const char *name; /* in the route's path, name_bytes long */
		size_t name_bytes;
		char text[WEB_PARAMETER_MAX + 1];
	} parameters[WEB_PARAMETERS_MAX];
};

/*
 * The route of a method and path. NULL: no such path (*allow == 0), or not with this method (*allow
 * holds those that are). HEAD finds GET's route. The path "*" has every method of the table.
 */
const struct route *route_find(enum method method, const char *path, struct route_match *match, unsigned *allow);

/* The same in another table. */
const struct route *route_find_among(const struct route *routes, size_t count, enum method method, const char *path,
    struct route_match *match, unsigned *allow);
/* The whole table, in its order. */
const struct route *routes_all(size_t *count);
/* What is answered with that status, in general: for rows that imply it. NULL: no row does. */
const char *route_status_text(int status);
/* Whether the row itself makes that status possible, e.g. 422 since it takes a body. */
bool route_implies(const struct route *route, int status);
/*
 * What is wrong with a row (a bug of its author), as a sentence; NULL: nothing. The responder looks
 * at all rows before it starts.
 */
const char *route_fault(const struct route *route);
/* What the type in {name:type} asks for. NULL: there is no such type. */
const struct schema *route_parameter_schema(const char *type, size_t bytes);

/* Whether the first name of a path, as "/tasks/x", begins one of the routes' or pages' paths, too. */
bool web_begins_a_path(const char *path);

enum method method_by_name(const char *name); /* METHOD_OTHER when unknown */
const char *method_name(enum method method);

/* ---- serve.c ----------------------------------------------------------------------------- */

struct web_settings {
	enum tr_durability durability;
	uint32_t durable_timeout_ms; /* how long an answer waits for the disk */
	size_t body_limit_bytes;     /* of a body that is read into memory */
	struct access *access;   /* NULL: no tokens are configured */
	struct upload_limits upload;
	const char *prefix; /* "/tools": what all paths here begin with for clients; NULL: nothing */
	const struct static_files *files; /* what is served besides the routes; NULL: nothing */
};

/*
 * Answers one request: finds its route, reads and checks what the route takes, calls the endpoint,
 * publishes what it added. `background` is empty before and after; NULL where request->ring is. The
 * transport drops what was not read of the body, and the answer of a request whose source has broken.
 * Where request->durable is wanted afterwards, the answer is not complete before web_settle().
 */
struct web_answer web_serve(const struct web_settings *settings, struct web_request *request,
    struct background_tasks *background);
/* Whether the disk has what was published: the answer becomes a refusal where not. Any thread. */
void web_settle(const struct web_request *request, struct web_answer *answer, enum tr_result result);

/*
 * For endpoints: the handle of a resource that the route names; opened, checked, and this thread's alone while the
 * endpoint runs. Naming one that the route does not is a bug.
 */
void *web_resource(const struct web_request *request, const char *name);

/* ---- parameters.c ------------------------------------------------------------------------ */

/* Fills request->parameters from path and query; adds a fault for each that is not what the route says. */
void parameters_read(struct web_request *request, const struct route_match *match, struct faults *faults);

/*
 * For endpoints: the parameter of that name, of path or query, in the type that the route declares
 * (another type is a bug). Where it was not given and has no default: NULL, 0, false.
 */
bool web_given(const struct web_request *request, const char *name);
const char *web_text(const struct web_request *request, const char *name);
int64_t web_integer(const struct web_request *request, const char *name);
double web_number(const struct web_request *request, const char *name);
bool web_boolean(const struct web_request *request, const char *name);
struct tr_id web_id(const struct web_request *request, const char *name); /* format uuid; all zero: not given */
const json_t *web_list(const struct web_request *request, const char *name); /* a JSON array, or NULL */

/* ---- body.c ------------------------------------------------------------------------------ */

/*
 * Reads the body and parses it as JSON, for the caller to json_decref(); *value is NULL where there is none.
 * False: *answer is the refusal (415 another media type, 413 larger than `limit_bytes`, 408 it did not come
 * to its end, 400 not JSON or not as long as declared, 503 no memory).
 */
bool body_json(const struct web_request *request, size_t limit_bytes, json_t **value, struct web_answer *answer);

/* ---- tasks.c: for endpoints -------------------------------------------------------------- */

/*
 * Adds a task with `args`, any JSON, which stays the caller's; NULL stands for "out of memory", as
 * json_pack() has it. Trace and request id go along by themselves. `handler` lives until
 * answer_accepted(), which names it; `options` may be NULL.
 * The result need not be looked at: once one has failed, the request is answered with why, whatever
 * the endpoint answers, and nothing is published. The errors are background_tasks_add()'s, and NO_RING, where
 * `background` is NULL; INVALID, a bug of the endpoint's author, is logged and answered with 500.
 */
enum tr_result web_add_task(const struct web_request *request, struct background_tasks *background,
    const char *handler, const json_t *args, const struct task_options *options);

/*
 * The same where the client has chosen handler and options. After an error the endpoint must answer with it:
 * answer_not_taken().
 */
enum tr_result web_offer_task(const struct web_request *request, struct background_tasks *background,
    const char *handler, const json_t *args, const struct task_options *options);
/* The answer to a failure of web_offer_task(): what is not allowed is the client's fault, in that place of the body. */
struct web_answer answer_not_taken(const struct background_tasks *background, enum tr_result failed,
    const struct fault_place *place);

/* 202: {"tasks": [{"id", "handler", "href"}]}, Location is the last one's. */
struct web_answer answer_accepted(const struct web_request *request, const struct background_tasks *background);

/* The answer to a failure of web_add_task(). */
struct web_answer answer_not_added(enum tr_result failed);

/* What web_add_task() noted; one for each request, made by web_serve(). */
struct web_added {
	enum tr_result failed; /* the first that was not TR_OK */
	const char *handlers[TR_BATCH_MAX];
	size_t count;
	/* A dead task that these replace: discarded as soon as they are published, and not if they are not. */
	bool replaces;
	struct tr_id replaced;
	char *body_text; /* the request's body, written once for all tasks that have it as their arguments; owned */
};

/* ---- answer.c ---------------------------------------------------------------------------- */

/* Takes the reference to `body`; NULL stands for "out of memory" and gives 503. */
struct web_answer answer_json(int status, json_t *body);
struct web_answer answer_empty(int status);
/* 200 with a body that is not JSON. */
struct web_answer answer_content(struct web_content content);
/* {"detail": text}; UTF-8. */
struct web_answer answer_detail(int status, const char *text);
/* What a taskring call answered; 503 comes with Retry-After. `why` NULL: the result's own sentence. */
struct web_answer answer_result(enum tr_result result, const char *why);
/* {"detail": [fault...]} with all that was gathered; empties `faults`. */
struct web_answer answer_faults(int status, struct faults *faults);
/* 422 with one fault of a member of "body", "query" or "path": for what no table can say. */
struct web_answer answer_fault(const char *where, const char *name, const char *type, const char *message);

/* Makes a 200 with an etag that the request's If-None-Match names a 304 without a body. */
void answer_revalidate(struct web_answer *answer, const struct web_request *request);

/* Whether answers with this status can be made: all that routes name. */
bool answer_knows(int status);
void answer_clear(struct web_answer *answer);

/*
 * The answer as a CGI response: header lines beginning with Status, an empty line, the body
 * (left out for HEAD, its length is not). malloc()ed, *bytes long; NULL: out of memory.
 */
char *answer_render(const struct web_answer *answer, const struct web_request *request, size_t *bytes);

#endif
