/* Places and sentences come in from whatever checks a request; a JSON list for answer_faults() goes out. */
#include "app/faults.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define NAME_BYTES_MAX 64
#define MESSAGE_SIZE 512

/* How many bytes of a UTF-8 text are shown: cut between characters. */
static size_t shown_bytes(const char *name)
{
	size_t bytes = strnlen(name, NAME_BYTES_MAX + 1);
	if (bytes <= NAME_BYTES_MAX)
		return bytes;
	bytes = NAME_BYTES_MAX;
	while (bytes > 0 && ((unsigned char)name[bytes] & 0xc0) == 0x80)
		bytes--;
	return bytes;
}

/* From the outside in. NULL: out of memory. */
static json_t *location(const struct fault_place *place)
{
	json_t *list = json_array();
	int result = 0;
	for (; place != NULL && result == 0; place = place->parent)
		result = json_array_insert_new(list, 0, place->name != NULL ?
		    json_stringn(place->name, shown_bytes(place->name)) : json_integer((json_int_t)place->index));
	if (result == 0)
		return list;
	json_decref(list);
	return NULL;
}

bool faults_any(const struct faults *faults)
{
	return faults->list != NULL || faults->no_memory;
}

bool faults_full(const struct faults *faults)
{
	return faults->no_memory || json_array_size(faults->list) >= FAULTS_MAX;
}

void faults_add(struct faults *faults, const struct fault_place *place, const char *type, const char *format, ...)
{
	if (faults_full(faults))
		return;
	char message[MESSAGE_SIZE];
	va_list list;
	va_start(list, format);
	int length = vsnprintf(message, sizeof(message), format, list);
	va_end(list);
	if (faults->list == NULL)
		faults->list = json_array();
	if (length < 0 || json_array_append_new(faults->list,
	    json_pack("{s:o, s:s, s:s}", "loc", location(place), "msg", message, "type", type)) != 0)
		faults->no_memory = true;
}

void faults_clear(struct faults *faults)
{
	json_decref(faults->list);
	*faults = (struct faults){ .list = NULL };
}
