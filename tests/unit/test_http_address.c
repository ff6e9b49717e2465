/* Which addresses the handler "http" may connect to, as a table. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include "taskd/http_address.h"
#include "tests/unit/runner.h"

static const struct http_address_rules strict = { 0 }, private_too = { .allow_private = true };

static const char *asked(const struct http_address_rules *rules, const char *text)
{
	struct sockaddr_in four = { .sin_family = AF_INET };
	struct sockaddr_in6 six = { .sin6_family = AF_INET6, .sin6_scope_id = 2 };
	if (inet_pton(AF_INET, text, &four.sin_addr) == 1)
		return http_address_refused(rules, (struct sockaddr *)&four);
	CU_ASSERT_EQUAL_FATAL(inet_pton(AF_INET6, text, &six.sin6_addr), 1);
	return http_address_refused(rules, (struct sockaddr *)&six);
}

static void expect(const struct http_address_rules *rules, const char *address, const char *what)
{
	const char *is = asked(rules, address);
	bool same = what == NULL || is == NULL ? what == is : strcmp(what, is) == 0;
	if (!same)
		printf("\n  %s: %s, not %s", address, is == NULL ? "allowed" : is, what == NULL ? "allowed" : what);
	CU_ASSERT_TRUE(same);
}

/* Each edge of each network, and its neighbour outside. */
static const struct {
	const char *address, *what;
	bool private;
} rows[] = {
	{ "0.0.0.0", "an address of this host", false },
	{ "0.255.255.255", "an address of this host", false },
	{ "1.0.0.0", NULL, false },
	{ "9.255.255.255", NULL, false },
	{ "10.0.0.0", "a private address", true },
	{ "10.255.255.255", "a private address", true },
	{ "11.0.0.0", NULL, false },
	{ "100.63.255.255", NULL, false },
	{ "100.64.0.0", "a shared address of a carrier's network", true },
	{ "100.127.255.255", "a shared address of a carrier's network", true },
	{ "100.128.0.0", NULL, false },
	{ "126.255.255.255", NULL, false },
	{ "127.0.0.0", "a loopback address", true },
	{ "127.0.0.1", "a loopback address", true },
	{ "127.255.255.255", "a loopback address", true },
	{ "128.0.0.0", NULL, false },
	{ "169.253.255.255", NULL, false },
	{ "169.254.169.254", "a link-local address", true },
	{ "169.255.0.0", NULL, false },
	{ "172.15.255.255", NULL, false },
	{ "172.16.0.0", "a private address", true },
	{ "172.31.255.255", "a private address", true },
	{ "172.32.0.0", NULL, false },
	{ "192.0.0.8", "an address of special purpose", false },
	{ "192.0.1.0", NULL, false },
	{ "192.0.2.1", "an address of documentation", false },
	{ "192.88.99.1", "an address of special purpose", false },
	{ "192.167.255.255", NULL, false },
	{ "192.168.0.0", "a private address", true },
	{ "192.168.255.255", "a private address", true },
	{ "192.169.0.0", NULL, false },
	{ "198.17.255.255", NULL, false },
	{ "198.18.0.0", "an address of benchmarks", false },
	{ "198.19.255.255", "an address of benchmarks", false },
	{ "198.20.0.0", NULL, false },
	{ "198.51.100.1", "an address of documentation", false },
	{ "203.0.113.1", "an address of documentation", false },
	{ "223.255.255.255", NULL, false },
	{ "224.0.0.0", "a multicast address", false },
	{ "239.255.255.255", "a multicast address", false },
	{ "240.0.0.0", "a reserved address", false },
	{ "255.255.255.255", "a reserved address", false },
	{ "93.184.216.34", NULL, false },

	{ "::", "an address of no public network", false },
	{ "::1", "a loopback address", true },
	{ "::2", "an address of no public network", false },
	{ "::127.0.0.1", "an address of no public network", false },
	{ "::ffff:127.0.0.1", "a loopback address", true },
	{ "::ffff:10.1.2.3", "a private address", true },
	{ "::ffff:93.184.216.34", NULL, false },
	{ "::ffff:0:127.0.0.1", "an address of no public network", false },
	{ "64:ff9b::7f00:1", "a loopback address", true },
	{ "64:ff9b::a9fe:a9fe", "a link-local address", true },
	{ "64:ff9b::5db8:d822", NULL, false },
	{ "64:ff9b:1::1", "an address of no public network", false },
	{ "100::1", "an address of no public network", false },
	{ "1fff:ffff::1", "an address of no public network", false },
	{ "2000::1", NULL, false },
	{ "2001::1", "an address of special purpose", false },
	{ "2001:1ff:ffff::1", "an address of special purpose", false },
	{ "2001:200::1", NULL, false },
	{ "2001:db8::1", "an address of documentation", false },
	{ "2001:db9::1", NULL, false },
	{ "2002:7f00:1::1", "a loopback address", true },
	{ "2002:c0a8:101::1", "a private address", true },
	{ "2002:5db8:d822::1", NULL, false },
	{ "2606:2800:220:1::1", NULL, false },
	{ "3ffe:ffff::1", NULL, false },
	{ "3fff::1", "an address of documentation", false },
	{ "3fff:1000::1", NULL, false },
	{ "4000::1", "an address of no public network", false },
	{ "fbff::1", "an address of no public network", false },
	{ "fc00::1", "a private address", true },
	{ "fdff:ffff::1", "a private address", true },
	{ "fe00::1", "an address of no public network", false },
	{ "fe80::1", "a link-local address", true },
	{ "febf:ffff::1", "a link-local address", true },
	{ "fec0::1", "a private address", true },
	{ "ff02::1", "a multicast address", false },
	{ "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "a multicast address", false },
};

static void test_table(void)
{
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		expect(&strict, rows[i].address, rows[i].what);
		expect(&private_too, rows[i].address, rows[i].private ? NULL : rows[i].what);
	}
}

static void test_other_families(void)
{
	struct sockaddr_un local = { .sun_family = AF_UNIX };
	const char *what = http_address_refused(&private_too, (struct sockaddr *)&local);
	CU_ASSERT_STRING_EQUAL(what, "no address of the Internet");
}

static void test_allowed_networks(void)
{
	struct http_network networks[4];
	static const char *const texts[] = { "10.1.0.0/16", "fd00:1::/32", "127.0.0.2", "224.0.0.0/9" };
	for (size_t i = 0; i < 4; i++)
		CU_ASSERT_TRUE_FATAL(http_network_parse(&networks[i], texts[i]));
	struct http_address_rules rules = { .allowed = networks, .allowed_count = 4 };
	expect(&rules, "10.1.0.0", NULL);
	expect(&rules, "10.1.255.255", NULL);
	expect(&rules, "10.0.255.255", "a private address");
	expect(&rules, "10.2.0.0", "a private address");
	expect(&rules, "::ffff:10.1.2.3", NULL);
	expect(&rules, "64:ff9b::a01:203", NULL);
	expect(&rules, "2002:a01:203::", NULL);
	expect(&rules, "fd00:1:ffff::1", NULL);
	expect(&rules, "fd00:2::1", "a private address");
	expect(&rules, "127.0.0.1", "a loopback address");
	expect(&rules, "127.0.0.2", NULL);
	expect(&rules, "127.0.0.3", "a loopback address");
	expect(&rules, "224.127.0.1", NULL);
	expect(&rules, "224.128.0.1", "a multicast address");
	expect(&rules, "1.1.1.1", NULL);

	CU_ASSERT_TRUE_FATAL(http_network_parse(&networks[0], "0.0.0.0/0"));
	rules.allowed_count = 1;
	expect(&rules, "127.0.0.1", NULL);
	expect(&rules, "::ffff:127.0.0.1", NULL);
	expect(&rules, "::1", "a loopback address");
	CU_ASSERT_TRUE_FATAL(http_network_parse(&networks[0], "::/0"));
	expect(&rules, "::1", NULL);
}

static void test_not_networks(void)
{
	static const char *const texts[] = { "", "/", "/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/8 ",
		"10.0.0.0/+8", "10.0.0.0/8/8", "10.0.0.1/8", "10/8", "010.0.0.0.0/8", "example.org", "fe80::%eth0/10", "fe80::1/10",
		"::/129", "::ffff:0:0:0:0:0:0:0/1", "localhost/8", "10.0.0.0/99999999999999999999",
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/8" };
	struct http_network network;
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		if (http_network_parse(&network, texts[i]))
			printf("\n  taken: \"%s\"", texts[i]);
		CU_ASSERT_FALSE(http_network_parse(&network, texts[i]));
	}
	CU_ASSERT_TRUE(http_network_parse(&network, "::1"));
	CU_ASSERT_EQUAL(network.bits, 128);
	CU_ASSERT_TRUE(http_network_parse(&network, "10.0.0.0/8"));
	CU_ASSERT_EQUAL(network.bits, 104);
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(test_table),
		SUITE_TEST(test_other_families),
		SUITE_TEST(test_allowed_networks),
		SUITE_TEST(test_not_networks),
	};

	return RUN_TESTS("addresses of http", tests);
}
