/*
 * Reads taskd's configuration file. libconfuse (used only here) takes the text apart and hands each
 * value over with its line; what a value may be is in the table of config_options.c. Faults are
 * written to standard error as they are found; reading goes on after all but faults of syntax and
 * unknown options, where libconfuse stops. Callers: main() and, for a reload, supervisor and dispatcher.
 */
#include "taskd/config.h"

#include <assert.h>
#include <confuse.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "taskd/config_exec.h"
#include "taskd/config_option.h"

/* Where plug-ins and modules are installed. */
#ifndef TASKRING_LIBDIR
#define TASKRING_LIBDIR "/usr/local/lib/taskring"
#endif

#define FILE_BYTES_MAX (1 << 20)
#define OPTIONS_MAX 96
#define SECTIONS_MAX 12

/* What is known while a file is read. libconfuse's callbacks have no argument for it. */
struct loading {
	const char *path; /* as the caller wrote it, for messages */
	struct config *config;
	size_t faults;
	bool in_record;   /* the last record of a titled section is still being read */
	int lines;        /* of the file */
	bool at_end;      /* the end of the file has been read, outside of all sections */
	int line[OPTIONS_MAX]; /* where each option was given; 0: not yet */
	int record_line[CONFIG_TITLED][CONFIG_RECORDS_MAX][OPTIONS_MAX];
	int record_end[CONFIG_TITLED][CONFIG_RECORDS_MAX];
};
static struct loading *loading; /* one thread reads configurations; libconfuse's scanner allows no more */

__attribute__((format(printf, 2, 0))) static void report(int line, const char *format, va_list list)
{
	loading->faults++;
	fprintf(stderr, line > 0 ? "%s:%d: " : "%s: ", loading->path, line);
	vfprintf(stderr, format, list);
	fputc('\n', stderr);
}

__attribute__((format(printf, 2, 3))) static void fault(int line, const char *format, ...)
{
	va_list list;
	va_start(list, format);
	report(line, format, list);
	va_end(list);
}

/*
 * To libconfuse, the end of the file is as good as the brace that is missing. So an option that only
 * the root knows is put there.
 */
#define END_MARK "end-of-file"

__attribute__((format(printf, 2, 0))) static void on_syntax_error(cfg_t *cfg, const char *format, va_list list)
{
	char text[256];
	va_list again;
	va_copy(again, list);
	int length = vsnprintf(text, sizeof(text), format, again);
	va_end(again);
	int line = cfg->line < loading->lines ? cfg->line : loading->lines;
	if (length > 0 && strstr(text, "'" END_MARK "'") != NULL)
		fault(line, "the file ends inside of a section, allowed after its closing brace");
	else
		report(line, format, list);
}

/* ---- the file, value by value ------------------------------------------------------------ */

static size_t find_option(const char *section, const char *name)
{
	for (size_t i = 0; i < config_option_count; i++)
		if (strcmp(config_options[i].section, section) == 0 && strcmp(config_options[i].name, name) == 0)
			return i;
	assert(false && "libconfuse was given the table's options only");
	return 0;
}

/* NULL: it is not a titled section. */
static const struct titled *find_titled(const char *section)
{
	for (size_t i = 0; i < CONFIG_TITLED; i++)
		if (strcmp(config_titled[i].section, section) == 0)
			return &config_titled[i];
	return NULL;
}

static size_t record_count(const struct titled *titled, const struct config *config)
{
	return *(const size_t *)(const void *)((const char *)config + titled->count_at);
}

static void *record_at(const struct titled *titled, const struct config *config, size_t number)
{
	return *(char *const *)(const void *)((const char *)config + titled->at) + number * titled->record_bytes;
}

/* The record of the section that is being read, begun now if this is its first value. NULL: one too many. */
static void *current_record(const struct titled *titled, cfg_t *section)
{
	size_t *count = (size_t *)(void *)((char *)loading->config + titled->count_at);
	if (loading->in_record)
		return record_at(titled, loading->config, *count - 1);
	if (*count == titled->most) {
		fault(section->line, "%s: got one more, allowed at most %u %ss", titled->section, (unsigned)titled->most, titled->section);
		return NULL;
	}
	const char *title = cfg_title(section);
	char *name = record_at(titled, loading->config, (*count)++);
	loading->in_record = true;
	if (record_name_ok(title, strlen(title)))
		memcpy(name, title, strlen(title) + 1);
	else
		fault(section->line, "%s: got the name \"%.80s\", allowed 1 to %d of A-Z a-z 0-9 . _ -, no leading dot",
		    titled->section, title, TR_NAME_MAX);
	return name;
}

/* libconfuse hands over one value, of a list one element. Nonzero: stop reading. */
static int on_value(cfg_t *section, cfg_opt_t *opt, const char *value, void *result)
{
	*(const char **)result = value;
	bool in_root = strcmp(cfg_name(section), "root") == 0;
	size_t index = find_option(in_root ? "" : cfg_name(section), cfg_opt_name(opt));
	const struct option *option = &config_options[index];
	const struct titled *titled = find_titled(option->section);
	void *record = loading->config;
	int *line = &loading->line[index];
	if (titled != NULL) {
		record = current_record(titled, section);
		if (record == NULL)
			return -1;
		line = &loading->record_line[titled - config_titled][record_count(titled, loading->config) - 1][index];
	}
	if (*line != 0 && !option_is_list(option))
		fault(section->line, "%s: got it again, allowed once (line %d)", option->name, *line);
	*line = section->line;
	char allowed[OPTION_ALLOWED_SIZE];
	if (option_set(option, record, value))
		return 0;
	if (errno == ENOMEM)
		fault(section->line, "%s: out of memory", option->name);
	else
		fault(section->line, "%s: got \"%.80s\", allowed %s", option->name, value, option_allowed(option, allowed));
	return 0;
}

static int on_file_end(cfg_t *root, cfg_opt_t *opt, const char *value, void *result)
{
	(void)root;
	(void)opt;
	*(const char **)result = value;
	loading->at_end = true;
	return 0;
}

static int on_record_end(cfg_t *root, cfg_opt_t *opt)
{
	(void)root;
	cfg_t *section = cfg_opt_getnsec(opt, cfg_opt_size(opt) - 1);
	const struct titled *titled = find_titled(cfg_opt_name(opt));
	bool well = current_record(titled, section) != NULL;
	loading->in_record = false;
	if (well)
		loading->record_end[titled - config_titled][record_count(titled, loading->config) - 1] = section->line;
	return well ? 0 : -1;
}

/* Gives libconfuse the table's options and sections, and the text. */
static void parse(const char *text)
{
	cfg_opt_t root[OPTIONS_MAX + 2], rest[OPTIONS_MAX + SECTIONS_MAX];
	size_t roots = 0, rests = 0;
	const cfg_opt_t end = CFG_END();
	const char *section = "";
	for (size_t i = 0; i < config_option_count; i++) {
		const struct option *option = &config_options[i];
		cfg_flag_t flags = option_is_list(option) ? CFGF_LIST : CFGF_NONE;
		const cfg_opt_t one = CFG_STR_CB(option->name, NULL, flags | CFGF_NODEFAULT, on_value);
		if (option->section[0] == '\0') {
			root[roots++] = one;
			continue;
		}
		if (strcmp(option->section, section) != 0) {
			/* The rows of a section stand together: a new one ends the last. */
			if (rests > 0)
				rest[rests++] = end;
			section = option->section;
			bool titled = find_titled(section) != NULL;
			const cfg_opt_t begin = CFG_SEC(section, &rest[rests],
			    titled ? CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES : CFGF_NONE);
			root[roots++] = begin;
			root[roots - 1].validcb = titled ? on_record_end : NULL;
		}
		rest[rests++] = one;
	}
	rest[rests] = end;
	const cfg_opt_t mark = CFG_STR_CB(END_MARK, NULL, CFGF_NODEFAULT, on_file_end);
	root[roots++] = mark;
	root[roots] = end;

	cfg_t *cfg = cfg_init(root, CFGF_NONE);
	if (cfg == NULL) {
		fault(0, "out of memory");
		return;
	}
	cfg_set_error_function(cfg, on_syntax_error);
	/* Out of memory, libconfuse fails without a word. */
	if ((cfg_parse_buf(cfg, text) != CFG_SUCCESS || !loading->at_end) && loading->faults == 0)
		fault(cfg->line, "cannot be read (out of memory?)");
	cfg_free(cfg);
}

/* The whole file, the end marked, zero-terminated; NULL after a fault. */
static char *read_whole(void)
{
	static const char end_line[] = "\n" END_MARK " = yes\n";
	int fd = open(loading->path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0) {
		fault(0, "%s", strerrordesc_np(errno));
		return NULL;
	}
	int failed = fstat(fd, &loading->config->file) < 0 ? errno : 0;
	char *text = malloc(FILE_BYTES_MAX + sizeof(end_line));
	size_t used = 0;
	ssize_t got = 0;
	while (text != NULL && used <= FILE_BYTES_MAX) {
		got = read(fd, text + used, FILE_BYTES_MAX + 1 - used);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		used += (size_t)got;
	}
	if (text == NULL || got < 0)
		failed = text == NULL ? ENOMEM : errno;
	close(fd);
	if (failed != 0)
		fault(0, "%s", strerrordesc_np(failed));
	else if (used > FILE_BYTES_MAX)
		fault(0, "got a file of more than %d bytes, allowed %d", FILE_BYTES_MAX, FILE_BYTES_MAX);
	else if (memchr(text, '\0', used) != NULL)
		fault(0, "got a zero byte, allowed text");
	else {
		loading->lines = 1;
		for (size_t i = 0; i + 1 < used; i++)
			loading->lines += text[i] == '\n';
		memcpy(text + used, end_line, sizeof(end_line));
		return text;
	}
	free(text);
	return NULL;
}

/* ---- what no line of the file says alone ------------------------------------------------- */

static void apply_defaults(void)
{
	struct config *config = loading->config;
	if (config->pool_count == 0 && loading->faults == 0)
		memcpy(config->pools[config->pool_count++].name, "default", sizeof("default"));
	for (size_t i = 0; i < config_option_count; i++) {
		const struct option *option = &config_options[i];
		if (option->initial == NULL)
			continue;
		const struct titled *titled = find_titled(option->section);
		for (size_t k = 0; k < (titled != NULL ? record_count(titled, config) : 1); k++) {
			if ((titled != NULL ? loading->record_line[titled - config_titled][k][i] : loading->line[i]) != 0)
				continue;
			if (option_set(option, titled != NULL ? record_at(titled, config, k) : config, option->initial))
				continue;
			assert(errno == ENOMEM && "a default is allowed");
			fault(0, "%s: out of memory", option->name);
		}
	}
}

/* `path` with %i and %l replaced by the instance and the plug-ins' place, after `directory` if relative. */
static char *full_path(const char *directory, const char *path)
{
	char *full = NULL;
	size_t bytes = 0;
	FILE *stream = open_memstream(&full, &bytes);
	if (stream == NULL)
		return NULL;
	if (path[0] != '/' && strncmp(path, "%l", 2) != 0)
		fprintf(stream, "%s/", directory);
	for (const char *at = path; *at != '\0'; at++) {
		if (at[0] == '%' && (at[1] == 'i' || at[1] == 'l')) {
			fputs(*++at == 'i' ? loading->config->instance : TASKRING_LIBDIR, stream);
		} else {
			fputc(*at, stream);
		}
	}
	bool well = !ferror(stream);
	if (fclose(stream) == 0 && well)
		return full;
	free(full);
	return NULL;
}

static void complete_path(const struct option *option, void *record, const char *directory)
{
	char **field = (char **)(void *)((char *)record + option->at);
	if (*field == NULL)
		return;
	char *full = directory != NULL ? full_path(directory, *field) : NULL;
	if (full == NULL) {
		fault(0, "%s: out of memory", option->name);
		return;
	}
	free(*field);
	*field = full;
}

static void complete_paths(void)
{
	char *slash = strrchr(loading->config->path, '/');
	char *directory = strndup(loading->config->path, (size_t)(slash - loading->config->path));
	for (size_t i = 0; i < config_option_count; i++) {
		if (config_options[i].type != OPTION_PATH)
			continue;
		const struct titled *titled = find_titled(config_options[i].section);
		if (titled == NULL)
			complete_path(&config_options[i], loading->config, directory);
		for (size_t k = 0; titled != NULL && k < record_count(titled, loading->config); k++)
			complete_path(&config_options[i], record_at(titled, loading->config, k), directory);
	}
	free(directory);
}

/* A queue belongs to one pool, and "*" to exactly one. */
static void check_queues(void)
{
	const struct config *config = loading->config;
	size_t queues = find_option("pool", "queues");
	size_t total = 0;
	bool everything = false;
	for (size_t pool = 0; pool < config->pool_count; pool++) {
		const struct config_pool *one = &config->pools[pool];
		int line = loading->record_line[find_titled("pool") - config_titled][pool][queues];
		for (size_t i = 0; i < one->queue_count; i++) {
			const char *queue = one->queues[i];
			everything |= strcmp(queue, "*") == 0;
			for (size_t before = 0; before <= pool; before++)
				for (size_t k = 0; k < (before < pool ? config->pools[before].queue_count : i); k++)
					if (strcmp(config->pools[before].queues[k], queue) == 0)
						fault(line, "queues: got \"%s\" in pool %s, allowed once: pool %s has it", queue,
						    one->name, config->pools[before].name);
		}
		total += one->queue_count;
	}
	if (total > CONFIG_QUEUES_MAX)
		fault(0, "queues: got %zu in all pools, allowed %d", total, CONFIG_QUEUES_MAX);
	if (!everything)
		fault(0, "queues: got no pool with \"*\", allowed exactly one: it runs the queues that no pool names");
}

static void check_mail(void)
{
	const struct config_mail *mail = &loading->config->mail;
	if ((mail->user == NULL) != (mail->password_file == NULL))
		fault(loading->line[find_option("mail", mail->user != NULL ? "user" : "password_file")],
		    "%s: got it alone, allowed only together with %s", mail->user != NULL ? "user" : "password_file",
		    mail->user != NULL ? "password_file" : "user");
}

/* Also on a reload, so that a program that is missing is known before a task names it. */
static void check_programs(void)
{
	const struct config *config = loading->config;
	size_t exec = (size_t)(find_titled("exec") - config_titled);
	struct config_fault found;
	if (config->program_count > 0 && !config_exec_check_keeper(config->exec_keeper, &found))
		fault(loading->line[find_option("", found.option)], "%s: got \"%.160s\", %s", found.option, found.value, found.text);
	for (size_t i = 0; i < config->program_count; i++) {
		if (config_exec_check(&config->programs[i], &found))
			continue;
		int line = loading->record_line[exec][i][find_option("exec", found.option)];
		fault(line != 0 ? line : loading->record_end[exec][i], "%s: got %s%.160s%s, %s", found.option,
		    found.value != NULL ? "\"" : "none in section exec ", found.value != NULL ? found.value : config->programs[i].name,
		    found.value != NULL ? "\"" : "", found.text);
	}
}

struct config *config_load(const char *path)
{
	assert(config_option_count <= OPTIONS_MAX);
	struct loading now = { .path = path, .config = calloc(1, sizeof(*now.config)) };
	loading = &now;
	char *text = NULL;
	if (now.config != NULL) {
		now.config->pools = calloc(CONFIG_POOLS_MAX, sizeof(*now.config->pools));
		now.config->programs = calloc(CONFIG_PROGRAMS_MAX, sizeof(*now.config->programs));
		text = read_whole();
		now.config->path = text != NULL ? realpath(path, NULL) : NULL;
	}
	if (now.config == NULL || now.config->pools == NULL || now.config->programs == NULL || (text != NULL && now.config->path == NULL)) {
		fault(0, "%s", strerrordesc_np(errno));
	} else if (text != NULL) {
		parse(text);
		apply_defaults();
		complete_paths();
		check_mail();
		check_programs();
		if (now.faults == 0)
			check_queues();
	}
	free(text);
	if (now.faults > 0)
		config_free(&now.config);
	loading = NULL;
	return now.config;
}

bool config_file_changed(const struct config *config)
{
	const struct stat *then = &config->file;
	struct stat now;
	return stat(config->path, &now) < 0 || now.st_ino != then->st_ino || now.st_ctim.tv_sec != then->st_ctim.tv_sec ||
	    now.st_ctim.tv_nsec != then->st_ctim.tv_nsec;
}

void config_free(struct config **config)
{
	struct config *old = *config;
	*config = NULL;
	if (old == NULL)
		return;
	for (size_t i = 0; i < config_option_count; i++) {
		const struct titled *titled = find_titled(config_options[i].section);
		if (titled == NULL)
			option_clear(&config_options[i], old);
		for (size_t k = 0; titled != NULL && k < record_count(titled, old); k++)
			option_clear(&config_options[i], record_at(titled, old, k));
	}
	free(old->pools);
	free(old->programs);
	free(old->http.addresses.allowed);
	free(old->path);
	free(old);
}

/* ---- asking a configuration -------------------------------------------------------------- */

int config_pool_of(const struct config *config, const char *queue, size_t bytes)
{
	int everything = -1;
	for (size_t pool = 0; pool < config->pool_count; pool++) {
		for (size_t i = 0; i < config->pools[pool].queue_count; i++) {
			const char *name = config->pools[pool].queues[i];
			if (strcmp(name, "*") == 0)
				everything = (int)pool;
			else if (strlen(name) == bytes && memcmp(name, queue, bytes) == 0)
				return (int)pool;
		}
	}
	return everything;
}

const char *config_restart_needed(const struct config *now, const struct config *next)
{
	for (size_t i = 0; i < config_option_count; i++) {
		const struct option *option = &config_options[i];
		if (!option->restart)
			continue;
		const char *a = (const char *)now + option->at, *b = (const char *)next + option->at;
		bool same;
		if (option->type == OPTION_TEXT || option->type == OPTION_PATH) {
			const char *left = *(char *const *)(const void *)a, *right = *(char *const *)(const void *)b;
			same = left == NULL || right == NULL ? left == right : strcmp(left, right) == 0;
		} else if (option->type == OPTION_NAME) {
			same = strcmp(a, b) == 0;
		} else {
			same = memcmp(a, b, option->bytes) == 0;
		}
		if (!same)
			return option->section[0] != '\0' ? option->section : option->name;
	}
	return NULL;
}
