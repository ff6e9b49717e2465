/* The shop's database of sales: what docs/endpoints.md shows as a resource. */
#ifndef SALES_H
#define SALES_H

#include <stdbool.h>
#include <stdint.h>

#include "taskring/resource.h"

extern const struct tr_resource sales_resource;

/* What was sold in a month, in cents. False: *error says why. */
bool sales_sum(void *handle, int year, int month, int64_t *cents, struct tr_error *error);

#endif
