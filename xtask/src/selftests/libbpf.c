/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Asks libbpf. "open FILE…" prints a line per file: ok or no, the number of programs, and libbpf's last
 * warning. "link OUT IN…" links objects; twice, since once leaves the variables' places in BTF unfinished.
 */
#include <bpf/libbpf.h>
#include <stdio.h>
#include <string.h>

static char last_warning[512];

static int keep_warning(enum libbpf_print_level level, const char *format, va_list args)
{
	if (level == LIBBPF_WARN) {
		vsnprintf(last_warning, sizeof(last_warning), format, args);
		last_warning[strcspn(last_warning, "\n")] = 0;
	}
	return 0;
}

static void open_one(const char *path)
{
	struct bpf_object *object;
	struct bpf_program *program;
	int programs = 0;

	last_warning[0] = 0;
	object = bpf_object__open_file(path, NULL);
	if (object)
		bpf_object__for_each_program(program, object)
			programs++;
	printf("%s\t%s\t%d\t%s\n", path, object ? "ok" : "no", programs, object ? "" : last_warning);
	bpf_object__close(object);
}

static int link_files(const char *out, char **in, int count)
{
	struct bpf_linker *linker = bpf_linker__new(out, NULL);
	int err = !linker;

	for (int i = 0; !err && i < count; i++)
		err = bpf_linker__add_file(linker, in[i], NULL);
	if (!err)
		err = bpf_linker__finalize(linker);
	bpf_linker__free(linker);
	return err;
}

int main(int argc, char **argv)
{
	char once[4096];

	libbpf_set_print(keep_warning);
	if (argc > 2 && !strcmp(argv[1], "open")) {
		for (int i = 2; i < argc; i++)
			open_one(argv[i]);
		return 0;
	}
	if (argc > 3 && !strcmp(argv[1], "link")) {
		char *again = once;

		snprintf(once, sizeof(once), "%s.once", argv[2]);
		if (!link_files(once, argv + 3, argc - 3) && !link_files(argv[2], &again, 1))
			return remove(once);
		fprintf(stderr, "%s\n", last_warning);
		return 1;
	}
	fprintf(stderr, "usage: open FILE… | link OUT IN…\n");
	return 2;
}
