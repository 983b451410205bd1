//! Compiles the kernel's selftest programs as the selftests' own Makefile does: same flags, headers of the same tree,
//! `vmlinux.h` of the running kernel (or of the BTF file that `VMLINUX_BTF` names).
//!
//! An object that is newer than its source is kept, so that a second run takes a second.
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::host::{in_parallel, output_of, system_includes, tool};

/// Where the BTF comes from that programs are compiled and relocated against.
pub(crate) fn vmlinux_btf() -> PathBuf {
    std::env::var_os("VMLINUX_BTF").map_or_else(|| PathBuf::from("/sys/kernel/btf/vmlinux"), PathBuf::from)
}

/// The compiler and its flags for one kernel tree.
pub(crate) struct Build {
    clang: String,
    flags: Vec<String>,
    sources: Vec<PathBuf>,
    out: PathBuf,
}

impl Build {
    /// Prepares headers in `out` for the tree `kernel`.
    pub(crate) fn prepare(kernel: &Path, out: &Path) -> Result<Build, String> {
        let selftests = kernel.join("tools/testing/selftests/bpf");
        let progs = selftests.join("progs");
        if !progs.is_dir() {
            return Err(format!(
                "{} is no directory: DIR must be an unpacked kernel tree (Debian: linux-source-6.12)",
                progs.display()
            ));
        }
        let clang = tool("CLANG", &["clang-19", "clang"]).ok_or("clang not found (nor named by CLANG)")?;
        let include = out.join("include");
        libbpf_headers(kernel, &include.join("bpf"))?;
        vmlinux_header(&include.join("vmlinux.h"))?;

        let mut flags: Vec<String> =
            ["-g", "-Wall", "-Wno-compare-distinct-pointer-types", "-DENABLE_ATOMICS_TESTS"]
                .map(String::from)
                .to_vec();
        flags.extend(["-O2", "--target=bpf", "-mcpu=v3", "-mlittle-endian"].map(String::from));
        flags.push(format!("-D__TARGET_ARCH_{}", target_arch()));
        for dir in [&include, &selftests, &kernel.join("tools/include/uapi")] {
            flags.push(format!("-I{}", dir.display()));
        }
        for dir in system_includes(&clang)? {
            flags.extend(["-idirafter".to_owned(), dir]);
        }
        Ok(Build { clang, flags, sources: files(&progs, "c")?, out: out.to_path_buf() })
    }

    /// Compiles what is not up to date. Returns the objects, and for each source that did not compile its first error.
    pub(crate) fn run(&self) -> (Vec<PathBuf>, Vec<(String, String)>) {
        let results = in_parallel(&self.sources, |source| self.compile(source));
        let (mut objects, mut failures) = (Vec::new(), Vec::new());
        for (source, result) in self.sources.iter().zip(results) {
            match result {
                Ok(object) => objects.push(object),
                Err(message) => {
                    let first = message.lines().find(|line| line.contains("error:")).unwrap_or(&message);
                    failures.push((stem(source), first.to_owned()));
                }
            }
        }
        (objects, failures)
    }

    fn compile(&self, source: &Path) -> Result<PathBuf, String> {
        let object = self.out.join(format!("{}.bpf.o", stem(source)));
        if is_newer(&object, source) {
            return Ok(object);
        }
        output_of(Command::new(&self.clang).args(&self.flags).arg("-c").arg(source).arg("-o").arg(&object))?;
        Ok(object)
    }
}

/// libbpf's headers with the generated one, under `bpf/` as programs include them.
fn libbpf_headers(kernel: &Path, to: &Path) -> Result<(), String> {
    let io = |what: &Path, err: std::io::Error| format!("{}: {err}", what.display());
    std::fs::create_dir_all(to).map_err(|err| io(to, err))?;
    let from = kernel.join("tools/lib/bpf");
    for entry in std::fs::read_dir(&from).map_err(|err| io(&from, err))? {
        let path = entry.map_err(|err| io(&from, err))?.path();
        if let (Some("h"), Some(name)) = (path.extension().and_then(|ext| ext.to_str()), path.file_name()) {
            std::fs::copy(&path, to.join(name)).map_err(|err| io(&path, err))?;
        }
    }
    let helpers = output_of(
        Command::new("python3")
            .arg(kernel.join("scripts/bpf_doc.py"))
            .args(["--header", "--file"])
            .arg(kernel.join("include/uapi/linux/bpf.h")),
    )?;
    let path = to.join("bpf_helper_defs.h");
    std::fs::write(&path, helpers).map_err(|err| io(&path, err))
}

fn vmlinux_header(path: &Path) -> Result<(), String> {
    let btf = vmlinux_btf();
    let text =
        output_of(Command::new("bpftool").args(["btf", "dump", "file"]).arg(&btf).args(["format", "c"]))
            .map_err(|err| {
                format!(
                    "bpftool could not write vmlinux.h from {} (VMLINUX_BTF names another): {err}",
                    btf.display()
                )
            })?;
    if std::fs::read(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    std::fs::write(path, text).map_err(|err| format!("{}: {err}", path.display()))
}

/// The files of a folder with this extension, sorted.
pub(crate) fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>, String> {
    let entries = std::fs::read_dir(folder).map_err(|err| format!("{}: {err}", folder.display()))?;
    let mut found: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|ext| ext == extension))
        .collect();
    found.sort();
    Ok(found)
}

/// The name of an architecture as the kernel spells it.
fn target_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "x86",
        "aarch64" => "arm64",
        "s390x" => "s390",
        "powerpc64" => "powerpc",
        "riscv64" => "riscv",
        other => other,
    }
}

fn is_newer(object: &Path, source: &Path) -> bool {
    let modified = |path: &Path| std::fs::metadata(path).and_then(|meta| meta.modified()).ok();
    match (modified(object), modified(source)) {
        (Some(object), Some(source)) => object > source,
        _ => false,
    }
}

/// `atomics` of `progs/atomics.c`.
pub(crate) fn stem(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.split('.').next().unwrap_or(&name).to_owned()
}
