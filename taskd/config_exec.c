/*
 * Looks at the files that the sections exec name. In: a program of the configuration; out: what is
 * wrong with it. Called by config.c. It looks with the rights of who reads the configuration, which at
 * the first start may be root: a program that only taskd's user cannot run is found when it runs.
 */
#include "taskd/config_exec.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ALLOWED "allowed an executable file that not everybody may write"

static bool refuse(struct config_fault *fault, const char *reason)
{
	snprintf(fault->text, sizeof(fault->text), ALLOWED ": %s", reason);
	return false;
}

static bool check_file(const char *path, struct config_fault *fault)
{
	struct stat status;
	if (stat(path, &status) != 0)
		return refuse(fault, strerrordesc_np(errno));
	if (!S_ISREG(status.st_mode))
		return refuse(fault, "it is no file");
	if ((status.st_mode & S_IWOTH) != 0)
		return refuse(fault, "everybody may write it");
	if (faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) != 0)
		return refuse(fault, strerrordesc_np(errno));
	return true;
}

bool config_exec_check_keeper(const char *path, struct config_fault *fault)
{
	*fault = (struct config_fault){ .option = "exec_keeper", .value = path };
	return check_file(path, fault);
}

bool config_exec_check(const struct config_program *program, struct config_fault *fault)
{
	struct stat status;
	*fault = (struct config_fault){ .option = "program", .value = program->program };
	if (program->program == NULL) {
		snprintf(fault->text, sizeof(fault->text), ALLOWED);
		return false;
	}
	if (!check_file(program->program, fault))
		return false;
	fault->option = "directory";
	fault->value = program->directory;
	if (stat(program->directory, &status) == 0 && S_ISDIR(status.st_mode))
		return true;
	snprintf(fault->text, sizeof(fault->text), "allowed a directory that exists");
	return false;
}
