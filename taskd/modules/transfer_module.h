/* What the two kinds of transfers share: transfer_module.c opens a thread's, and prepares each. */
#ifndef TASKD_TRANSFER_MODULE_H
#define TASKD_TRANSFER_MODULE_H

#include "taskd/modules/transfer_channel.h"
#include "taskd/modules/transfer_mail.h"

/* One thread's. */
struct transfers {
	struct channel http;
	struct mailer *mailer;
};

/* What holds for every easy handle; `curl_text` of CURL_ERROR_SIZE bytes is for libcurl's sentences. */
CURLcode module_prepare(CURL *easy, char *curl_text);
/* NULL: the system's certificates. */
CURLcode module_set_trust(CURL *easy, const char *ca_file);
/* Writes libcurl's sentence. Always NULL. */
void *module_refuse(struct tr_error *error, CURLcode code);

/* As struct transfer_module says. */
struct transfer *module_http(struct transfers *transfers, const struct http_request *request, http_done_fn *done,
    void *context, struct tr_error *error);

#endif
