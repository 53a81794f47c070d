/* Stands for libmpathpersist.so.0 and does what RESERVD_FAKE says, a list of words: on the first command of a process
 * the first word, and so on, the last one again and again. Words: a number is returned; exit, abort, kill, sleep, stop,
 * flood, fds, limit, memory and confined are what they say. A file RESERVD_FAKE_ONCE makes all but the first process of it behave well. */
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

int logsink;
static int raised;

/* Byte 0 to 23 are the parameter list as it goes to the device. */
struct prout_param_descriptor;

int libmpathpersist_init(void)
{
	struct rlimit limit;

	if (getenv("RESERVD_FAKE_NO_INIT"))
		exit(1);
	/* As the real one does, which takes all it can get. */
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = ++limit.rlim_max;
	raised = !setrlimit(RLIMIT_NOFILE, &limit);
	return 0;
}

int libmpathpersist_exit(void)
{
	return 0;
}

int libmp_get_version(int which, unsigned int version[3])
{
	const char *said = getenv("RESERVD_FAKE_VERSION");

	if (which != 3 || !said)
		return 1;
	return sscanf(said, "%u.%u.%u", &version[0], &version[1], &version[2]) != 3;
}

int mpath_persistent_reserve_in(int fd, int action, void *response, int noisy, int verbose)
{
	abort();
}

/* The number of descriptors that are open, without the one that looks. */
static int descriptors(void)
{
	DIR *folder = opendir("/proc/self/fd");
	struct dirent *entry;
	int count = -1;

	while ((entry = readdir(folder)))
		if (entry->d_name[0] != '.') {
			char path[300], target[300];
			ssize_t length;

			snprintf(path, sizeof path, "/proc/self/fd/%s", entry->d_name);
			length = readlink(path, target, sizeof target - 1);
			fprintf(stderr, "fd %s %.*s\n", entry->d_name, (int)(length < 0 ? 0 : length), target);
			count++;
		}
	closedir(folder);
	return count;
}

static void note(const char *log, int action, int scope, unsigned int type, const uint8_t *parameters)
{
	FILE *file = fopen(log, "a");

	fprintf(file, "%d %d %u ", action, scope, type);
	for (int i = 0; i < 24; i++)
		fprintf(file, "%02x", parameters[i]);
	fprintf(file, "\n");
	fclose(file);
}

int mpath_persistent_reserve_out(int fd, int action, int scope, unsigned int type,
				 struct prout_param_descriptor *parameters, int noisy, int verbose)
{
	static int count;
	const char *words = getenv("RESERVD_FAKE"), *once = getenv("RESERVD_FAKE_ONCE"), *log = getenv("RESERVD_FAKE_LOG");
	char word[32] = "0";
	int length;

	if (log)
		note(log, action, scope, type, (const uint8_t *)parameters);
	if (words)
		for (int i = 0; i <= count && sscanf(words, "%31s%n", word, &length) == 1; i++)
			words += length;
	count++;
	if (once) {
		/* The process that makes the file is the one that misbehaves. */
		int file = open(once, O_CREAT | O_EXCL | O_WRONLY, 0600);
		static int first;

		if (file >= 0)
			close(file), first = 1;
		if (!first)
			return 0;
	}
	if (!strcmp(word, "exit"))
		exit(1);
	if (!strcmp(word, "abort"))
		abort();
	if (!strcmp(word, "kill"))
		raise(SIGKILL);
	if (!strcmp(word, "sleep"))
		sleep(30);
	if (!strcmp(word, "stop"))
		raise(SIGSTOP);
	if (!strcmp(word, "flood"))
		for (int i = 0; i < 100000; i++)
			fprintf(stderr, "garbage \377\033[2J %d%c", i, i % 3 ? '\n' : 0), printf("more %d\n", i);
	if (!strcmp(word, "limit"))
		return raised ? 15 : 0;
	if (!strcmp(word, "memory"))
		return malloc(3ul << 30) ? 15 : 0;
	if (!strcmp(word, "confined")) {
		struct rlimit core;

		getrlimit(RLIMIT_CORE, &core);
		return core.rlim_max || prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1 ? 15 : 0;
	}
	if (!strcmp(word, "fds"))
		return descriptors();
	return atoi(word);
}
