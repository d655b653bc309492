/*
 * Builds filters with libseccomp and prints their BPF, so that the tests can
 * hold this package's answers against it. Text in, binary out:
 *
 *   begin DEFAULT OPTIMIZE                 start a filter (numbers in hex)
 *   arch SCMP_ARCH                         add an architecture
 *   alien                                  remove the machine's own architecture
 *   rule ACTION NAME N [ARG OP A B]*       seccomp_rule_add_array, as runc calls it
 *   end                                    -> int32 error, uint32 n, n instructions
 *   resolve SCMP_ARCH NAME                 -> int32 number (negative: none)
 *   version                                -> uint32 major, minor, micro
 *
 * Like runc, it skips rules whose action is the default and names that
 * libseccomp does not know.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <seccomp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void put32(uint32_t v) { fwrite(&v, 4, 1, stdout); }

static void finish(scmp_filter_ctx ctx, int rc)
{
	int fd = memfd_create("bpf", 0);
	off_t size = 0;
	char *code = NULL;

	if (rc == 0)
		rc = seccomp_export_bpf(ctx, fd);
	if (rc == 0) {
		size = lseek(fd, 0, SEEK_END);
		code = malloc(size);
		if (pread(fd, code, size, 0) != size)
			exit(1);
	}
	put32(rc);
	put32(rc == 0 ? size / 8 : 0);
	fwrite(code, 1, size, stdout);
	fflush(stdout);
	free(code);
	close(fd);
}

int main(void)
{
	char *line = NULL;
	size_t cap = 0;
	scmp_filter_ctx ctx = NULL;
	uint32_t def = 0;
	int rc = 0;

	while (getline(&line, &cap, stdin) > 0) {
		char name[256];
		unsigned int a, b;
		int at;

		if (sscanf(line, "begin %x %u", &a, &b) == 2) {
			if (ctx)
				seccomp_release(ctx);
			def = a;
			ctx = seccomp_init(def);
			rc = ctx ? 0 : -EINVAL;
			if (rc == 0 && b)
				rc = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, b);
		} else if (sscanf(line, "arch %x", &a) == 1) {
			int r = seccomp_arch_add(ctx, a);
			if (rc == 0 && r != -EEXIST)
				rc = r;
		} else if (strcmp(line, "alien\n") == 0) {
			if (rc == 0)
				rc = seccomp_arch_remove(ctx, SCMP_ARCH_NATIVE);
		} else if (sscanf(line, "rule %x %255s %u%n", &a, name, &b, &at) == 3) {
			struct scmp_arg_cmp args[6];
			char *p = line + at;
			int nr;

			for (unsigned int i = 0; i < b && i < 6; i++) {
				args[i].arg = strtoul(p, &p, 16);
				args[i].op = strtoul(p, &p, 16);
				args[i].datum_a = strtoull(p, &p, 16);
				args[i].datum_b = strtoull(p, &p, 16);
			}
			nr = seccomp_syscall_resolve_name(name);
			if (a != def && nr != __NR_SCMP_ERROR && rc == 0)
				rc = seccomp_rule_add_array(ctx, a, nr, b, args);
		} else if (strcmp(line, "end\n") == 0) {
			finish(ctx, rc);
		} else if (sscanf(line, "resolve %x %255s", &a, name) == 2) {
			put32(seccomp_syscall_resolve_name_arch(a, name));
			fflush(stdout);
		} else if (strcmp(line, "version\n") == 0) {
			const struct scmp_version *v = seccomp_version();
			put32(v->major);
			put32(v->minor);
			put32(v->micro);
			fflush(stdout);
		} else {
			fprintf(stderr, "what is %s", line);
			return 1;
		}
	}
	return 0;
}
