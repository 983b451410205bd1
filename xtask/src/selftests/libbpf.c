/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Asks libbpf. "open FILE…" prints a line per file: ok or no, the number of programs, and libbpf's last
 * warning. "link OUT IN…" links objects; twice, since once leaves the variables' places in BTF unfinished.
 * "code FILE…" prints a line per program: the instructions that libbpf would load, relocated. For that it loads into
 * a kernel that says yes to everything: this file is linked with --wrap=syscall, and bpf(2) is answered below.
 */
#define _GNU_SOURCE
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FAKE_MAP_BYTES (1L << 32) /* sparse; an arena is the largest that libbpf maps */

long __real_syscall(long number, ...);

/* Descriptors that can be mapped and closed are all that libbpf wants of maps, programs and BTF. */
static long fake_bpf(enum bpf_cmd cmd)
{
	int fd;

	switch (cmd) {
	case BPF_MAP_CREATE:
	case BPF_PROG_LOAD:
	case BPF_BTF_LOAD:
		fd = memfd_create("fake", MFD_CLOEXEC);
		if (fd >= 0 && ftruncate(fd, FAKE_MAP_BYTES)) {
			close(fd);
			return -1;
		}
		return fd;
	case BPF_MAP_UPDATE_ELEM:
	case BPF_MAP_FREEZE:
	case BPF_PROG_BIND_MAP:
		return 0;
	case BPF_BTF_GET_NEXT_ID:
		errno = ENOENT;
		return -1;
	default:
		errno = EINVAL;
		return -1;
	}
}

long __wrap_syscall(long number, ...)
{
	long args[6];
	va_list list;

	va_start(list, number);
	for (int i = 0; i < 6; i++)
		args[i] = va_arg(list, long);
	va_end(list);
	if (number == __NR_bpf)
		return fake_bpf(args[0]);
	return __real_syscall(number, args[0], args[1], args[2], args[3], args[4], args[5]);
}

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

/* The place of the map among the object's maps, or the descriptor itself if it is none of them. */
static int map_index(struct bpf_object *object, int fd)
{
	struct bpf_map *map;
	int index = 0;

	bpf_object__for_each_map(map, object) {
		if (bpf_map__fd(map) == fd)
			return index;
		index++;
	}
	return fd;
}

static void print_code(const char *path, struct bpf_object *object, struct bpf_program *program)
{
	const struct bpf_insn *insns = bpf_program__insns(program);
	size_t count = bpf_program__insn_cnt(program);

	printf("%s\t%s\tok\t", path, bpf_program__name(program));
	for (size_t i = 0; i < count; i++) {
		struct bpf_insn insn = insns[i];
		const unsigned char *bytes = (void *)&insn;

		if (insn.code == (BPF_LD | BPF_IMM | BPF_DW) &&
		    (insn.src_reg == BPF_PSEUDO_MAP_FD || insn.src_reg == BPF_PSEUDO_MAP_VALUE))
			insn.imm = map_index(object, insn.imm);
		for (size_t j = 0; j < sizeof(insn); j++)
			printf("%02x", bytes[j]);
	}
	printf("\n");
}

/* Loads all programs, or only the one of this index. Returns the number of programs, or a negative errno. */
static int load(const char *path, int only)
{
	struct bpf_object *object = bpf_object__open_file(path, NULL);
	struct bpf_program *program;
	int index = 0, err;

	if (!object)
		return -errno;
	bpf_object__for_each_program(program, object) {
		bpf_program__set_autoload(program, only < 0 || index == only);
		index++;
	}
	err = bpf_object__load(object);
	if (!err) {
		bpf_object__for_each_program(program, object)
			if (bpf_program__autoload(program))
				print_code(path, object, program);
	}
	bpf_object__close(object);
	return err ? err : index;
}

/* All at once is quick; if one of them can't be loaded, each by itself. */
static void code_of(const char *path)
{
	struct bpf_object *object;
	struct bpf_program *program;
	int count = 0;

	if (load(path, -1) >= 0)
		return;
	object = bpf_object__open_file(path, NULL);
	if (!object)
		return;
	bpf_object__for_each_program(program, object) {
		last_warning[0] = 0;
		if (load(path, count) < 0)
			printf("%s\t%s\tno\t%s\n", path, bpf_program__name(program), last_warning);
		count++;
	}
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
	if (argc > 2 && !strcmp(argv[1], "code")) {
		for (int i = 2; i < argc; i++)
			code_of(argv[i]);
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
	fprintf(stderr, "usage: open FILE… | code FILE… | link OUT IN…\n");
	return 2;
}
