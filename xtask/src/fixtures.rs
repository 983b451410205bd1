//! `cargo xtask fixtures`: compiles `examples/*.bpf.c`, those below `tests/fixtures` and `benches/programs/*.c` into the objects committed
//! beside them, or with `--check` says which of those are stale.
//!
//! The result depends on nothing but the sources, clang's version and the UAPI and libbpf headers: paths are
//! kept out of the debug information, and DWARF is stripped (BTF with its line table stays). A source that needs
//! other flags than `-mcpu=v3` says so in a line of its first five: `// cflags: -mcpu=v4`. A program of the benchmarks becomes three
//! objects: eBPF for userspace, eBPF for the kernel, and wasm where there is a linker for it.
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Outcome;
use crate::bench::PROGRAMS;
use crate::host::{TempDir, in_parallel, output_of, root, system_includes, tool};

const DIRS: &[&str] =
    &["benches/micro", "examples", "tests/fixtures", "tests/fixtures/foreign", "crates/mimic/tests/data"];
const SOURCE_SUFFIX: &str = ".bpf.c";
/// The version whose output is committed.
const CLANG_MAJOR: &str = "19";

/// Runs the chore. Arguments: `--check`, and names of sources to restrict it to (with or without the suffix).
pub(crate) fn run(args: &[String]) -> Outcome {
    let check = args.iter().any(|arg| arg == "--check");
    if let Some(unknown) = args.iter().find(|arg| arg.starts_with('-') && *arg != "--check") {
        return Err(format!("unknown option {unknown}: usage is [--check] [NAME…]"));
    }
    let names: Vec<&str> = args.iter().filter(|arg| !arg.starts_with('-')).map(|arg| stem(arg)).collect();
    let compiler = Compiler::find()?;
    let mut objects = objects()?;
    objects.retain(|object| names.is_empty() || names.contains(&stem(&object.source.to_string_lossy())));
    if objects.is_empty() {
        return Err(format!("no source named {names:?} in {} or {PROGRAMS}", DIRS.join(" or ")));
    }
    if compiler.wasm_linker.is_none() && objects.iter().any(|object| object.form == Form::Wasm) {
        eprintln!(
            "note: no wasm-ld (nor named by WASM_LD): the wasm objects are left alone. Debian: apt-get install lld-{CLANG_MAJOR}"
        );
        objects.retain(|object| object.form != Form::Wasm);
    }

    let scratch = TempDir::new("fixtures")?;
    let results = in_parallel(&objects, |object| compiler.build(object, scratch.path(), check));
    let (mut stale, mut failed) = (0, 0);
    for (object, result) in objects.iter().zip(results) {
        match result {
            Ok(Built::Same) => {}
            Ok(Built::Changed) => {
                stale += 1;
                println!("{} {}", if check { "stale  " } else { "rebuilt" }, object.path.display());
            }
            Err(message) => {
                failed += 1;
                eprintln!("{}:\n{message}", object.source.display());
            }
        }
    }
    println!(
        "{} objects, {} {}, {failed} failed",
        objects.len(),
        stale,
        if check { "stale" } else { "rebuilt" }
    );
    match (failed, check && stale > 0) {
        (0, false) => Ok(()),
        (0, true) => Err("the objects above differ from their sources: run `cargo xtask fixtures`".into()),
        _ => Err(format!("{failed} objects could not be made")),
    }
}

enum Built {
    Same,
    Changed,
}

/// What a source is compiled to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Bpf,
    /// A program of the benchmarks as the kernel can load it.
    Kernel,
    Wasm,
}

/// An object to be made. Paths are relative to the root.
#[derive(Debug)]
struct Object {
    source: PathBuf,
    path: PathBuf,
    form: Form,
}

impl Object {
    fn of_program(source: PathBuf, form: Form) -> Object {
        let extension = match form {
            Form::Bpf => "bpf.o",
            Form::Kernel => "kernel.bpf.o",
            Form::Wasm => "wasm",
        };
        Object { path: source.with_extension(extension), source, form }
    }
}

struct Compiler {
    clang: String,
    strip: String,
    wasm_linker: Option<String>,
    includes: Vec<String>,
}

impl Compiler {
    fn find() -> Result<Compiler, String> {
        let missing = |what: &str, variable: &str| {
            format!(
                "{what} not found (nor named by {variable}). Debian: apt-get install clang-{CLANG_MAJOR} \
                 llvm-{CLANG_MAJOR} libbpf-dev linux-libc-dev"
            )
        };
        let clang = tool("CLANG", &["clang-19", "clang"])
            .ok_or_else(|| missing("clang with the BPF target", "CLANG"))?;
        let strip = tool("LLVM_STRIP", &["llvm-strip-19", "llvm-strip"])
            .ok_or_else(|| missing("llvm-strip", "LLVM_STRIP"))?;
        let version = output_of(Command::new(&clang).arg("-dumpversion"))?;
        let version = String::from_utf8_lossy(&version);
        if version.split('.').next() != Some(CLANG_MAJOR) {
            eprintln!(
                "note: {clang} is version {}, the committed objects are of clang {CLANG_MAJOR}: other bytes are no error",
                version.trim()
            );
        }
        if !Path::new("/usr/include/bpf/bpf_helpers.h").exists() {
            eprintln!("note: no /usr/include/bpf/bpf_helpers.h; Debian has it in libbpf-dev");
        }
        let includes = system_includes(&clang)?;
        let wasm_linker = tool("WASM_LD", &["wasm-ld-19", "wasm-ld"]);
        Ok(Compiler { clang, strip, wasm_linker, includes })
    }

    /// Makes `object` in `scratch` and puts it in its place unless `check`.
    fn build(&self, object: &Object, scratch: &Path, check: bool) -> Result<Built, String> {
        let root = root();
        let made = scratch.join(object.path.to_string_lossy().replace(['/', '\\'], "-"));
        match object.form {
            Form::Bpf => self.compile_bpf(&object.source, &made, &[])?,
            Form::Kernel => self.compile_bpf(&object.source, &made, &["-DKERNEL"])?,
            Form::Wasm => self.compile_wasm(&object.source, &made)?,
        }
        let fresh = std::fs::read(&made).map_err(|err| format!("cannot read {}: {err}", made.display()))?;
        let target = root.join(&object.path);
        if std::fs::read(&target).is_ok_and(|committed| committed == fresh) {
            return Ok(Built::Same);
        }
        if !check {
            std::fs::write(&target, fresh)
                .map_err(|err| format!("cannot write {}: {err}", target.display()))?;
        }
        Ok(Built::Changed)
    }

    fn compile_bpf(&self, source: &Path, made: &Path, flags: &[&str]) -> Result<(), String> {
        let root = root();
        let text = std::fs::read_to_string(root.join(source)).map_err(|err| format!("cannot read: {err}"))?;
        let mut command = Command::new(&self.clang);
        command.current_dir(&root).args(["-O2", "-g", "--target=bpf", "-mcpu=v3", "-Wall", "-Werror"]);
        command.arg(format!("-fdebug-prefix-map={}=", root.display()));
        for include in &self.includes {
            command.args(["-idirafter", include]);
        }
        command.args(extra_flags(&text)).args(flags).arg("-c").arg(source).arg("-o").arg(made);
        output_of(&mut command)?;
        output_of(Command::new(&self.strip).arg("-g").arg(made)).map(|_| ())
    }

    fn compile_wasm(&self, source: &Path, made: &Path) -> Result<(), String> {
        let part = made.with_extension("wasm.o");
        let mut command = Command::new(&self.clang);
        command.current_dir(root()).args(["-O2", "--target=wasm32", "-Wall", "-Werror", "-c"]);
        output_of(command.arg(source).arg("-o").arg(&part))?;
        let linker = self.wasm_linker.as_deref().ok_or("no linker for wasm")?;
        let mut command = Command::new(linker);
        output_of(command.args(["--no-entry", "--strip-all", "-o"]).arg(made).arg(&part)).map(|_| ())
    }
}

/// Flags a source asks for itself.
fn extra_flags(text: &str) -> Vec<&str> {
    text.lines()
        .take(5)
        .find_map(|line| line.strip_prefix("// cflags:"))
        .map(|flags| flags.split_whitespace().collect())
        .unwrap_or_default()
}

/// Everything that is made of a source, by the source's name.
fn objects() -> Result<Vec<Object>, String> {
    let fixtures = sources(DIRS, SOURCE_SUFFIX)?.into_iter();
    let mut objects: Vec<Object> =
        fixtures.map(|source| Object { path: source.with_extension("o"), source, form: Form::Bpf }).collect();
    for source in sources(&[PROGRAMS], ".c")? {
        objects.extend(
            [Form::Bpf, Form::Kernel, Form::Wasm].map(|form| Object::of_program(source.clone(), form)),
        );
    }
    Ok(objects)
}

/// Every source in these folders, relative to the root, sorted.
fn sources(dirs: &[&str], suffix: &str) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    for dir in dirs {
        let path = root().join(dir);
        let Ok(entries) = std::fs::read_dir(&path) else { continue };
        for entry in entries {
            let entry = entry.map_err(|err| format!("cannot list {}: {err}", path.display()))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(suffix) {
                found.push(Path::new(dir).join(name));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// `xdp_firewall` of `examples/xdp_firewall.bpf.c` and the like.
fn stem(path: &str) -> &str {
    let name = path.rsplit(['/', '\\']).next().unwrap_or(path);
    name.split('.').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_taken_from_the_first_five_lines() {
        assert_eq!(extra_flags("// SPDX\n// cflags: -mcpu=v4 -fno-inline\n"), ["-mcpu=v4", "-fno-inline"]);
        assert!(extra_flags("\n\n\n\n\n// cflags: -mcpu=v4\n").is_empty());
        assert!(extra_flags("int x; // cflags: -mcpu=v4").is_empty());
    }

    #[test]
    fn a_name_is_known_by_path_and_by_file() {
        for name in ["alu", "alu.bpf.c", "tests/fixtures/alu.bpf.o", r"tests\fixtures\alu.bpf.c"] {
            assert_eq!(stem(name), "alu");
        }
    }

    #[test]
    fn every_source_has_its_objects_beside_it() {
        let objects = objects().unwrap();
        assert!(objects.len() > 70);
        for object in objects {
            assert!(
                root().join(&object.path).exists(),
                "{}: run cargo xtask fixtures",
                object.path.display()
            );
        }
    }
}
