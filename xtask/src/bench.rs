//! `cargo xtask bench`: the benchmarks, with all peers: compiles `benches/programs` for this machine, builds `mimic-benches` with its
//! `peers`, and runs it.
//!
//! It needs clang for the native programs, which everything is compared with, and says so when there is none. What else an engine lacks
//! (bpf(2) for the kernel's) the report says.
use std::path::Path;
use std::process::Command;

use crate::Outcome;
use crate::host::{TempDir, output_of, root, tool};

/// Where the programs are.
pub(crate) const PROGRAMS: &str = "benches/programs";

const HELP: &str = "\
  --quick           few and short rounds, nothing but the programs
  --json            one line of JSON: geomean_compute, geomean_loops, and what they are made of
  --only A,B        only programs with A or B in their names
  --engines A,B     only these engines, beside native
  --rounds N        25 unless said otherwise
  --bless           rewrite the README's table and docs/benchmarks.svg
  --no-peers        without the other engines, which take minutes to build
";

/// Runs the chore. Arguments: see [`HELP`].
pub(crate) fn run(args: &[String]) -> Outcome {
    if args.iter().any(|arg| arg == "--help" || arg == "-h") {
        print!("{HELP}");
        return Ok(());
    }
    let scratch = TempDir::new("bench")?;
    let native = scratch.path().join("native.so");
    build_native(&native)?;
    let mut command = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
    command.current_dir(root()).args(["run", "--release", "--quiet", "--package", "mimic-benches"]);
    if !args.iter().any(|arg| arg == "--no-peers") {
        command.args(["--features", "peers"]);
    }
    command.arg("--").arg("--native").arg(&native);
    for arg in args.iter().filter(|arg| *arg != "--no-peers") {
        command.arg(arg);
        if arg == "--bless" {
            command.arg(root());
        }
    }
    let status = command.status().map_err(|err| format!("cannot run cargo: {err}"))?;
    if status.success() { Ok(()) } else { Err("the benchmarks did not run to their end".into()) }
}

/// Compiles all programs into one shared library, as any C program would be.
fn build_native(library: &Path) -> Outcome {
    let clang = tool("CLANG", &["clang-19", "clang"]).ok_or(
        "clang not found (nor named by CLANG): the native programs, which everything is compared with, are compiled on the spot. \
         Debian: apt-get install clang-19",
    )?;
    let mut command = Command::new(clang);
    command.current_dir(root().join(PROGRAMS)).args(["-O2", "-shared", "-fPIC", "-o"]).arg(library);
    for source in sources()? {
        command.arg(source);
    }
    output_of(&mut command).map(|_| ())
}

/// The names of the programs' sources, sorted.
fn sources() -> Result<Vec<String>, String> {
    let path = root().join(PROGRAMS);
    let entries = std::fs::read_dir(&path).map_err(|err| format!("cannot list {}: {err}", path.display()))?;
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".c")).collect();
    names.sort();
    Ok(names)
}
