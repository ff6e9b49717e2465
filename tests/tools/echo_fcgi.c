/*
 * echo_fcgi SOCKET ARRIVALS: a FastCGI responder that says what a web server passes to it. It makes the
 * socket, serves one request after the other, and answers with a JSON object of the request's parameters
 * and "body_bytes". Each time that more of a body has come it adds a line with the bytes so far to the file
 * ARRIVALS, so that a test sees a body arrive while its client still sends. Ends when killed.
 */
#include <fcgiapp.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define CHUNK 4096

static size_t read_body(FCGX_Stream *in, FILE *arrivals)
{
	char chunk[CHUNK];
	size_t bytes = 0;
	/* One byte waits for a record; what else has come with it is there already. */
	for (int byte; (byte = FCGX_GetChar(in)) != EOF;) {
		bytes++;
		int more = (int)(in->stop - in->rdNext);
		if (more > 0)
			bytes += (size_t)FCGX_GetStr(chunk, more < CHUNK ? more : CHUNK, in);
		fprintf(arrivals, "%zu\n", bytes);
	}
	return bytes;
}

static void answer(FCGX_Request *request, FILE *arrivals)
{
	json_t *body = json_object();
	for (char **each = request->envp; *each != NULL; each++) {
		const char *equals = strchr(*each, '=');
		if (equals != NULL)
			json_object_setn_new(body, *each, (size_t)(equals - *each), json_string(equals + 1));
	}
	json_object_set_new(body, "body_bytes", json_integer((json_int_t)read_body(request->in, arrivals)));
	char *text = json_dumps(body, JSON_INDENT(1) | JSON_SORT_KEYS);
	FCGX_FPrintF(request->out, "Content-Type: application/json\r\n\r\n%s\n", text != NULL ? text : "{}");
	free(text);
	json_decref(body);
}

int main(int argc, char **argv)
{
	FCGX_Request request;
	umask(0); /* the web server may be another user */
	FILE *arrivals = argc == 3 ? fopen(argv[2], "a") : NULL;
	int listening = arrivals != NULL && FCGX_Init() == 0 ? FCGX_OpenSocket(argv[1], 16) : -1;
	if (listening < 0 || FCGX_InitRequest(&request, listening, 0) != 0) {
		fputs("usage: echo_fcgi SOCKET ARRIVALS\n", stderr);
		return 1;
	}
	setvbuf(arrivals, NULL, _IOLBF, 0);
	while (FCGX_Accept_r(&request) == 0) {
		answer(&request, arrivals);
		request.keepConnection = 0; /* others may wait */
	}
	return 0;
}
