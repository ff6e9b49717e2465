/*
 * Which addresses the handler "http" may connect to. Asked by the transfer module for every socket
 * before it is connected, so that neither a name's resolution nor a redirect gets around it; the
 * networks that the configuration allows are read here too.
 */
#ifndef TASKD_HTTP_ADDRESS_H
#define TASKD_HTTP_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sockaddr;

/* IPv4 networks are kept as the IPv4-mapped ones of IPv6: ::ffff:0:0/96 and so on. */
struct http_network {
	uint8_t address[16];
	uint8_t bits; /* 0..128 */
};

struct http_address_rules {
	bool allow_private; /* loopback, private, link-local and shared addresses too */
	struct http_network *allowed; /* whatever the addresses in them are */
	size_t allowed_count;
};

/* "10.0.0.0/8", "fd00::/8", or one address. False: it is none, or has bits set behind its length. */
bool http_network_parse(struct http_network *network, const char *text);

/* NULL: it may be connected to; else what it is, as the end of "which is ...". */
const char *http_address_refused(const struct http_address_rules *rules, const struct sockaddr *address);

#endif
