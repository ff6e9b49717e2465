/*
 * GET /metrics: the board for Prometheus and its kin. Read from shared memory only, so a scrape costs
 * taskd nothing and is answered while it hangs or is dead: taskring_up is 0 then.
 */
#include <stdlib.h>
#include <string.h>

#include "app/endpoints.h"
#include "shared/client.h"
#include "shared/clock.h"
#include "shared/openmetrics.h"

static const char *const formats[] = { "text", "openmetrics", NULL };

const struct schema_field metrics_query[] = {
	{ "format", OPTIONAL, { .types = SCHEMA_STRING, .choices = formats,
		.description = "Whatever the Accept header says: Prometheus' text format 0.0.4, or OpenMetrics 1.0" } },
	{ 0 },
};

/* OpenMetrics for those that name it: what scrapes names all that it reads, and OpenMetrics where it can. */
static enum metrics_format format_wanted(const struct web_request *request)
{
	const char *asked = web_text(request, "format");
	if (asked != NULL)
		return strcmp(asked, "openmetrics") == 0 ? METRICS_OPENMETRICS : METRICS_TEXT;
	return strstr(request->accept, "application/openmetrics-text") != NULL ? METRICS_OPENMETRICS : METRICS_TEXT;
}

struct web_answer get_metrics(const struct web_request *request, struct background_tasks *background)
{
	(void)background;
	enum metrics_format format = format_wanted(request);
	enum tr_result result;
	const struct board *board = request->ring != NULL ? client_board_again(request->ring, &result) : NULL;
	bool up = board != NULL && board_alive(board, clock_ms(CLOCK_REALTIME));
	char *text = metrics_text(board, up, format);
	if (text == NULL)
		return answer_result(TR_NO_MEMORY, NULL);
	return answer_content((struct web_content){ .type = metrics_content_type(format), .bytes = text,
		.count = strlen(text), .release = free, .context = text });
}
