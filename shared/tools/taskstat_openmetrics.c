/* taskstat -p: a view in, metrics text out. */
#include "shared/tools/taskstat.h"

#include <stdio.h>
#include <stdlib.h>

#include "shared/openmetrics.h"

bool print_openmetrics(const struct view *view)
{
	bool up = view->life == TASKD_RUNNING || view->life == TASKD_DRAINING;
	char *text = metrics_text(view->board, up, METRICS_OPENMETRICS);

	if (text == NULL) {
		fprintf(stderr, "taskstat: out of memory\n");
		return false;
	}
	fputs(text, stdout); /* main() looks for write errors */
	free(text);
	return true;
}
