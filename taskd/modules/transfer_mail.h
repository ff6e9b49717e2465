/*
 * Mail on threads beside the event loop. libcurl cannot send it on the loop itself: it waits for the
 * reply to the message's end, and for the one to QUIT, without giving the loop a turn, and servers that
 * look into messages take their time with the first. So each connection has a thread, which is started
 * when more mails wait than threads do, and keeps its connection for the next mail for a while.
 *
 *   mailer_send() ──► waiting ── a thread is free ──► mail_deliver() ──► done() on the loop
 *                         └──── mailer_abort() ──────────┴──► nothing is called
 */
#ifndef TASKD_TRANSFER_MAIL_H
#define TASKD_TRANSFER_MAIL_H

#include <curl/curl.h>
#include <uv.h>

#include "taskd/transfer.h"

/* ---- the threads: transfer_mailer.c ------------------------------------------------------- */

struct mailer;

/* NULL: *error. */
struct mailer *mailer_open(uv_loop_t *loop, uint32_t connections, struct tr_error *error);
/* Waits for its threads, which have nothing to do. The memory goes when the loop has run once more. */
void mailer_close(struct mailer **mailer);
/* As struct transfer_module's mail() and abort_mail(). */
struct delivery *mailer_send(struct mailer *mailer, const struct mail_server *server,
    const struct mail_message *message, mail_done_fn *done, void *context, struct tr_error *error);
void mailer_abort(struct delivery *delivery);

/*
 * The sockets of one thread's connection, so that it can be cut from outside. A delivery that is aborted
 * has its connection cut before libcurl sees that it is to end: it would say that a half-sent message
 * was whole, and wait for the reply.
 */
struct mail_sockets;
bool mail_sockets_add(struct mail_sockets *sockets, int socket); /* false: too many */
int mail_sockets_close(struct mail_sockets *sockets, int socket); /* as close(2) */
void mail_sockets_shut(struct mail_sockets *sockets, int how);    /* as shutdown(2), all of them */
bool mail_sockets_are_cut(struct mail_sockets *sockets);          /* the delivery was aborted */

/* ---- one mail: transfer_mail.c ------------------------------------------------------------ */

/* Sends and waits. Writes a sentence with the server's reply into `text` of `size` bytes. */
enum mail_sent mail_deliver(CURL *curl, struct mail_sockets *sockets, const struct mail_server *server,
    const struct mail_message *message, char *text, size_t size);

#endif
