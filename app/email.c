/* An address comes in from a request, a fault or NULL goes out. Called by schema_format.c. */
#include "app/email.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* RFC 5321, section 4.5.3.1; 254 is what fits into a path with its angle brackets. */
#define ADDRESS_BYTES_MAX 254
#define LOCAL_BYTES_MAX 64
#define LABEL_BYTES_MAX 63

static const char letters_digits[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
static const char atom_marks[] = "!#$%&'*+-/=?^_`{|}~"; /* RFC 5322, section 3.2.3: atext */

static bool is_one_of(char byte, const char *set)
{
	return byte != '\0' && strchr(set, byte) != NULL;
}

static bool local_ok(const char *local, size_t bytes)
{
	if (bytes < 1 || bytes > LOCAL_BYTES_MAX || local[0] == '.' || local[bytes - 1] == '.')
		return false;
	for (size_t i = 0; i < bytes; i++) {
		if (local[i] == '.' ? local[i - 1] == '.' :
				      !is_one_of(local[i], letters_digits) && !is_one_of(local[i], atom_marks))
			return false;
	}
	return true;
}

static bool label_ok(const char *label, size_t bytes)
{
	if (bytes < 1 || bytes > LABEL_BYTES_MAX || label[0] == '-' || label[bytes - 1] == '-')
		return false;
	for (size_t i = 0; i < bytes; i++)
		if (!is_one_of(label[i], letters_digits) && label[i] != '-')
			return false;
	return true;
}

static bool domain_ok(const char *domain)
{
	size_t labels = 0;
	for (;;) {
		size_t bytes = strcspn(domain, ".");
		if (!label_ok(domain, bytes))
			return false;
		labels++;
		if (domain[bytes] == '\0') /* a top-level domain is never a number, so 127.0.0.1 is none */
			return labels >= 2 && strspn(domain, "0123456789") < bytes;
		domain += bytes + 1;
	}
}

const char *email_fault(const char *address)
{
	if (strlen(address) > ADDRESS_BYTES_MAX)
		return "must have at most 254 characters";
	const char *at = strrchr(address, '@');
	if (at == NULL)
		return "must be an e-mail address: it has no @";
	if (!local_ok(address, (size_t)(at - address)))
		return "must be an e-mail address: the part before the @ is not allowed";
	if (!domain_ok(at + 1))
		return "must be an e-mail address: the part after the @ is not a domain name";
	return NULL;
}
