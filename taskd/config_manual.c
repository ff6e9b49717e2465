/* The options as the manual page taskd.conf(5) shows them: mdoc(7), made from the table. Called for `taskd -o`. */
#include <stdio.h>
#include <string.h>

#include "taskd/config.h"
#include "taskd/config_option.h"

static void print_option(FILE *out, const struct option *option)
{
	char allowed[OPTION_ALLOWED_SIZE];
	fprintf(out, ".It Ic %s\n", option->name);
	/* mdoc(7): a sentence begins a line. */
	for (const char *at = option->help; *at != '\0'; at++) {
		bool ends = at[0] == '.' && at[1] == ' ';
		fputs(ends ? ".\n" : (const char[]){ *at, '\0' }, out);
		at += ends;
	}
	fputc('\n', out);
	fprintf(out, "Allowed: %s.\n", option_allowed(option, allowed));
	if (option->initial != NULL)
		fprintf(out, "Default:\n.Ql %s .\n", option->initial);
	else
		fprintf(out, "When not given: %s.\n", option->unset);
	if (option->restart)
		fputs("Cannot change while taskd runs.\n", out);
}

void config_print_options(FILE *out)
{
	const char *section = NULL;
	for (size_t i = 0; i < config_option_count; i++) {
		const struct option *option = &config_options[i];
		if (section == NULL || strcmp(section, option->section) != 0) {
			if (section != NULL)
				fputs(".El\n", out);
			section = option->section;
			if (section[0] == '\0')
				fputs(".Ss Outside of sections\n", out);
			else
				fprintf(out, ".Ss Section %s\n", section);
			fputs(".Bl -tag -width Ds\n", out);
		}
		print_option(out, option);
	}
	fputs(".El\n", out);
}
