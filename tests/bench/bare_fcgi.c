/*
 * bare_fcgi SOCKET PROCESSES THREADS: the least that a FastCGI program of this kind does, as a measure for
 * the responder. Threads in FCGX_Accept_r(), as in libfcgi's own example; each reads the body, parses it
 * with jansson, looks at the two fields, and answers 202. No routes, no checks, no tasks, no way to stop
 * but a signal. Called by web.sh.
 */
#include <fcgiapp.h>
#include <jansson.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define BODY_MAX 65536
#define BACKLOG 1024

static int listening;

static void answer(FCGX_Request *request, char *body)
{
	int bytes = FCGX_GetStr(body, BODY_MAX, request->in);
	json_t *signup = json_loadb(body, (size_t)bytes, JSON_REJECT_DUPLICATES, NULL);
	const char *email = json_string_value(json_object_get(signup, "email"));
	const char *name = json_string_value(json_object_get(signup, "name"));
	if (email != NULL && name != NULL)
		FCGX_PutS("Status: 202 Accepted\r\nContent-Type: application/json\r\n\r\n{\"status\":\"accepted\"}\n", request->out);
	else
		FCGX_PutS("Status: 422 Unprocessable Entity\r\nContent-Type: application/json\r\n\r\n{}\n", request->out);
	json_decref(signup);
}

static void *serve(void *unused)
{
	FCGX_Request request;
	char *body = malloc(BODY_MAX);
	(void)unused;
	if (body == NULL || FCGX_InitRequest(&request, listening, 0) != 0)
		exit(1);
	while (FCGX_Accept_r(&request) == 0)
		answer(&request, body);
	exit(1);
}

static _Noreturn void serve_with(int threads)
{
	pthread_t thread;
	for (int i = 1; i < threads; i++)
		if (pthread_create(&thread, NULL, serve, NULL) != 0)
			exit(1);
	serve(NULL);
	exit(1);
}

int main(int argc, char **argv)
{
	umask(0); /* the web server may be another user */
	if (argc != 4 || FCGX_Init() != 0 || (listening = FCGX_OpenSocket(argv[1], BACKLOG)) < 0) {
		fputs("usage: bare_fcgi SOCKET PROCESSES THREADS\n", stderr);
		return 1;
	}
	for (long i = strtol(argv[2], NULL, 10); i > 1; i--)
		if (fork() == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL); /* the first one is who gets signalled */
			break;
		}
	serve_with((int)strtol(argv[3], NULL, 10));
}
