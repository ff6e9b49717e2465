#include "sales.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

struct sales {
	sqlite3 *connection;
	sqlite3_stmt *sum;
};

static void close_sales(void *handle)
{
	struct sales *sales = handle;
	sqlite3_finalize(sales->sum);
	sqlite3_close(sales->connection);
	free(sales);
}

static bool open_sales(void **handle, struct tr_error *error)
{
	const char *path = getenv("SALES_DB");
	struct sales *sales = calloc(1, sizeof *sales);
	if (sales == NULL) {
		snprintf(error->text, sizeof error->text, "out of memory");
		return false;
	}
	int code = sqlite3_open_v2(path != NULL ? path : "sales.db", &sales->connection, SQLITE_OPEN_READONLY, NULL);
	if (code == SQLITE_OK)
		code = sqlite3_prepare_v2(sales->connection,
		    "SELECT total(cents) FROM sales WHERE strftime('%Y-%m', day) = printf('%04d-%02d', ?1, ?2)", -1, &sales->sum, NULL);
	if (code == SQLITE_OK) {
		*handle = sales;
		return true;
	}
	snprintf(error->text, sizeof error->text, "the sales: %.200s", sqlite3_errmsg(sales->connection));
	close_sales(sales);
	return false;
}

/* Before each use. One that is broken is closed, and opened anew. */
static bool check_sales(void *handle)
{
	const struct sales *sales = handle;
	return sqlite3_exec(sales->connection, "SELECT 1 FROM sales LIMIT 1", NULL, NULL, NULL) == SQLITE_OK;
}

const struct tr_resource sales_resource = {
	.name = "sales", .doc = "What was sold", .open = open_sales, .check = check_sales, .close = close_sales,
};

bool sales_sum(void *handle, int year, int month, int64_t *cents, struct tr_error *error)
{
	const struct sales *sales = handle;
	sqlite3_bind_int(sales->sum, 1, year);
	sqlite3_bind_int(sales->sum, 2, month);
	bool well = sqlite3_step(sales->sum) == SQLITE_ROW;
	if (well)
		*cents = (int64_t)sqlite3_column_double(sales->sum, 0);
	else
		snprintf(error->text, sizeof error->text, "the sales: %.200s", sqlite3_errmsg(sales->connection));
	sqlite3_reset(sales->sum);
	return well;
}
