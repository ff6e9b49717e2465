/*
 * The table of addresses that are not the public Internet's, after IANA's registries of special-
 * purpose addresses (RFC 6890 and its updates). In: an address that is about to be connected to;
 * out: why not. Called by http.c for the transfer module, and by config_options.c for networks.
 */
#include "taskd/http_address.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#define MAPPED_BITS 96 /* of ::ffff:0:0/96, before an IPv4 address */

static const struct {
	const char *network;
	const char *what;
	bool private; /* what allow_private is about */
} special[] = {
	{ "127.0.0.0/8", "a loopback address", true },
	{ "10.0.0.0/8", "a private address", true },
	{ "172.16.0.0/12", "a private address", true },
	{ "192.168.0.0/16", "a private address", true },
	{ "169.254.0.0/16", "a link-local address", true },
	{ "100.64.0.0/10", "a shared address of a carrier's network", true },
	{ "0.0.0.0/8", "an address of this host", false },
	{ "192.0.0.0/24", "an address of special purpose", false },
	{ "192.0.2.0/24", "an address of documentation", false },
	{ "192.88.99.0/24", "an address of special purpose", false },
	{ "198.18.0.0/15", "an address of benchmarks", false },
	{ "198.51.100.0/24", "an address of documentation", false },
	{ "203.0.113.0/24", "an address of documentation", false },
	{ "224.0.0.0/4", "a multicast address", false },
	{ "240.0.0.0/4", "a reserved address", false },
	{ "::1/128", "a loopback address", true },
	{ "fc00::/7", "a private address", true },
	{ "fec0::/10", "a private address", true },
	{ "fe80::/10", "a link-local address", true },
	{ "ff00::/8", "a multicast address", false },
	{ "2001::/23", "an address of special purpose", false }, /* Teredo and others */
	{ "2001:db8::/32", "an address of documentation", false },
	{ "3fff::/20", "an address of documentation", false },
};

/* Networks whose addresses carry an IPv4 address, which packets to them may reach. */
static const struct {
	const char *network;
	size_t at; /* where it begins */
} carriers[] = {
	{ "64:ff9b::/96", 12 }, /* NAT64 */
	{ "2002::/16", 2 },     /* 6to4 */
};

static bool bit(const uint8_t *address, unsigned at)
{
	return (address[at / 8] >> (7 - at % 8) & 1) != 0;
}

bool http_network_parse(struct http_network *network, const char *text)
{
	char address[INET6_ADDRSTRLEN];
	const char *slash = strchr(text, '/');
	size_t length = slash != NULL ? (size_t)(slash - text) : strlen(text);
	if (length >= sizeof address)
		return false;
	memcpy(address, text, length);
	address[length] = '\0';

	unsigned before = 0;
	*network = (struct http_network){ .address = { [10] = 0xff, [11] = 0xff } };
	if (inet_pton(AF_INET, address, network->address + 12) == 1)
		before = MAPPED_BITS;
	else if (inet_pton(AF_INET6, address, network->address) != 1)
		return false;
	unsigned bits = 128 - before;
	if (slash != NULL) {
		char *end;
		if (slash[1] < '0' || slash[1] > '9')
			return false;
		unsigned long given = strtoul(slash + 1, &end, 10);
		if (*end != '\0' || given > bits)
			return false;
		bits = (unsigned)given;
	}
	network->bits = (uint8_t)(before + bits);
	for (unsigned i = network->bits; i < 128; i++)
		if (bit(network->address, i))
			return false;
	return true;
}

static bool holds(const struct http_network *network, const uint8_t address[16])
{
	unsigned bytes = network->bits / 8u;
	if (memcmp(network->address, address, bytes) != 0)
		return false;
	for (unsigned i = bytes * 8; i < network->bits; i++)
		if (bit(network->address, i) != bit(address, i))
			return false;
	return true;
}

static bool is_in(const char *text, const uint8_t address[16])
{
	struct http_network network;
	return http_network_parse(&network, text) && holds(&network, address);
}

static const char *refused(const struct http_address_rules *rules, const uint8_t address[16])
{
	for (size_t i = 0; i < rules->allowed_count; i++)
		if (holds(&rules->allowed[i], address))
			return NULL;
	for (size_t i = 0; i < sizeof special / sizeof *special; i++)
		if (is_in(special[i].network, address))
			return special[i].private && rules->allow_private ? NULL : special[i].what;
	for (size_t i = 0; i < sizeof carriers / sizeof *carriers; i++) {
		uint8_t inner[16] = { [10] = 0xff, [11] = 0xff };
		memcpy(inner + 12, address + carriers[i].at, 4);
		if (is_in(carriers[i].network, address))
			return refused(rules, inner);
	}
	bool global = is_in("::ffff:0:0/96", address) || is_in("2000::/3", address);
	return global ? NULL : "an address of no public network";
}

const char *http_address_refused(const struct http_address_rules *rules, const struct sockaddr *address)
{
	uint8_t bytes[16] = { [10] = 0xff, [11] = 0xff };
	if (address->sa_family == AF_INET) {
		memcpy(bytes + 12, &((const struct sockaddr_in *)(const void *)address)->sin_addr, 4);
	} else if (address->sa_family == AF_INET6) {
		/* The address alone decides: with a zone (fe80::1%eth0) it is the same address. */
		memcpy(bytes, &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr, 16);
	} else {
		return "no address of the Internet";
	}
	return refused(rules, bytes);
}
