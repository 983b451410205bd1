//! `cargo xtask fixtures`: compiles `examples/*.bpf.c` and those below `tests/fixtures` into the objects committed
//! beside them, or with `--check` says which of those are stale.
//!
//! The result depends on nothing but the sources, clang's version and the UAPI and libbpf headers: paths are
//! kept out of the debug information, and DWARF is stripped (BTF with its line table stays). A source that needs
//! other flags than `-mcpu=v3` says so in a line of its first five: `// cflags: -mcpu=v4`.
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Outcome;
use crate::host::{TempDir, in_parallel, output_of, root, system_includes, tool};

const DIRS: &[&str] = &["examples", "tests/fixtures", "tests/fixtures/foreign"];
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
    let sources: Vec<PathBuf> = sources()?
        .into_iter()
        .filter(|source| names.is_empty() || names.contains(&stem(&source.to_string_lossy())))
        .collect();
    if sources.is_empty() {
        return Err(format!("no source named {names:?} in {}", DIRS.join(" or ")));
    }

    let scratch = TempDir::new("fixtures")?;
    let results = in_parallel(&sources, |source| compiler.build(source, scratch.path(), check));
    let (mut stale, mut failed) = (0, 0);
    for (source, result) in sources.iter().zip(results) {
        match result {
            Ok(Built::Same) => {}
            Ok(Built::Changed) => {
                stale += 1;
                println!(
                    "{} {}",
                    if check { "stale  " } else { "rebuilt" },
                    source.with_extension("o").display()
                );
            }
            Err(message) => {
                failed += 1;
                eprintln!("{}:\n{message}", source.display());
            }
        }
    }
    println!(
        "{} sources, {} {}, {failed} failed",
        sources.len(),
        stale,
        if check { "stale" } else { "rebuilt" }
    );
    match (failed, check && stale > 0) {
        (0, false) => Ok(()),
        (0, true) => Err("the objects above differ from their sources: run `cargo xtask fixtures`".into()),
        _ => Err(format!("{failed} sources did not compile")),
    }
}

enum Built {
    Same,
    Changed,
}

struct Compiler {
    clang: String,
    strip: String,
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
        Ok(Compiler { clang, strip, includes })
    }

    /// Compiles `source` (relative to the root) into `scratch` and puts the result in its place unless `check`.
    fn build(&self, source: &Path, scratch: &Path, check: bool) -> Result<Built, String> {
        let root = root();
        let object = source.with_extension("o");
        let made = scratch.join(object.to_string_lossy().replace(['/', '\\'], "-"));
        let text = std::fs::read_to_string(root.join(source)).map_err(|err| format!("cannot read: {err}"))?;

        let mut command = Command::new(&self.clang);
        command.current_dir(&root).args(["-O2", "-g", "--target=bpf", "-mcpu=v3", "-Wall", "-Werror"]);
        command.arg(format!("-fdebug-prefix-map={}=", root.display()));
        for include in &self.includes {
            command.args(["-idirafter", include]);
        }
        command.args(extra_flags(&text)).arg("-c").arg(source).arg("-o").arg(&made);
        output_of(&mut command)?;
        output_of(Command::new(&self.strip).arg("-g").arg(&made))?;

        let fresh = std::fs::read(&made).map_err(|err| format!("cannot read {}: {err}", made.display()))?;
        let target = root.join(&object);
        if std::fs::read(&target).is_ok_and(|committed| committed == fresh) {
            return Ok(Built::Same);
        }
        if !check {
            std::fs::write(&target, fresh)
                .map_err(|err| format!("cannot write {}: {err}", target.display()))?;
        }
        Ok(Built::Changed)
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

/// Every source, relative to the root, sorted.
fn sources() -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    for dir in DIRS {
        let path = root().join(dir);
        let Ok(entries) = std::fs::read_dir(&path) else { continue };
        for entry in entries {
            let entry = entry.map_err(|err| format!("cannot list {}: {err}", path.display()))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(SOURCE_SUFFIX) {
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
    fn every_source_has_its_object_beside_it() {
        let sources = sources().unwrap();
        assert!(sources.len() > 40);
        for source in sources {
            assert!(
                root().join(source.with_extension("o")).exists(),
                "{}: run cargo xtask fixtures",
                source.display()
            );
        }
    }
}
