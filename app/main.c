/*
 * taskring-app: the responder. The web server's requests come in over FastCGI; answers go back at
 * once, background tasks go into the ring. Started by a supervisor (systemd, conf/run.sh).
 */
#include "app/log.h"
#include "app/master.h"
#include "app/options.h"

int main(int argc, char **argv)
{
	struct options options;
	int status = options_read(argc, argv, &options);
	if (status >= 0)
		return status;
	log_open(options.log_level);
	return master_run(&options);
}
