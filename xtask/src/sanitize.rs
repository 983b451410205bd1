//! `cargo xtask sanitize [address|thread]`: the suite under AddressSanitizer, and what has threads under ThreadSanitizer.
//!
//! The kernel is not asked: what it says is the ordinary suite's matter.
//!
//! AddressSanitizer needs a nightly toolchain (`rustup toolchain install nightly`). ThreadSanitizer has to see the standard library too, or it
//! takes the library's own synchronisation for races: the library is built from source (see `portability`), with clang's runtime.

use crate::Outcome;
use crate::host;
use crate::suites::{self, Runs};
use std::process::Command;

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// A sanitizer, how cargo is made to run under it, and the packages whose tests run.
struct Run {
    name: &'static str,
    cargo: fn() -> Result<Command, String>,
    packages: &'static [&'static str],
    /// Its options.
    options: (&'static str, &'static str),
}

const RUNS: &[Run] = &[
    Run {
        name: "address",
        cargo: address,
        packages: &["mimic-abi", "mimic-object", "mimic-vm", "mimic-linux", "mimic-ebpf", "mimic-tests"],
        // Compiled code in a cage finds out by SIGSEGV what is not there, and says who is to have the others.
        options: ("ASAN_OPTIONS", "allow_user_segv_handler=1:detect_stack_use_after_return=0"),
    },
    Run {
        name: "thread",
        cargo: thread,
        packages: &["mimic-vm", "mimic-linux"],
        options: ("TSAN_OPTIONS", "halt_on_error=1"),
    },
];

/// Runs the sanitizers named, or all.
pub(crate) fn run(args: &[String]) -> Outcome {
    if let Some(unknown) = args.iter().find(|arg| !RUNS.iter().any(|run| run.name == **arg)) {
        return Err(format!("no sanitizer {unknown}; there are address and thread"));
    }
    let wanted = |run: &&Run| args.is_empty() || args.iter().any(|arg| arg == run.name);
    let mut failed = Vec::new();
    for run in RUNS.iter().filter(wanted) {
        println!("== {}", run.name);
        let base =
            std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| host::root().join("target"), Into::into);
        let mut cargo = (run.cargo)()?;
        cargo.current_dir(host::root()).args(["--target", TARGET]);
        for package in run.packages {
            cargo.args(["--package", package]);
        }
        cargo.env("CARGO_TARGET_DIR", base.join("sanitize").join(run.name));
        let vars = [run.options, ("MIMIC_REQUIRE_KERNEL", "never")];
        if let Err(why) = suites::run(cargo, &Runs { runner: None, vars: &vars }) {
            failed.push(format!("{} ({why})", run.name));
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(format!("not clean: {}", failed.join(", "))) }
}

fn address() -> Result<Command, String> {
    let nightly = Command::new("rustc").args(["+nightly", "--version"]).output();
    if !nightly.is_ok_and(|output| output.status.success()) {
        return Err("address needs the nightly toolchain: rustup toolchain install nightly".into());
    }
    let mut cargo = Command::new("cargo");
    cargo.args(["+nightly", "test"]).env("RUSTFLAGS", "-Zsanitizer=address");
    // Those that rustup set for this chore name another toolchain.
    cargo.env_remove("RUSTC").env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
    Ok(cargo)
}

fn thread() -> Result<Command, String> {
    let rustc = host::rustc_with_source()?;
    let clang = host::tool("CLANG", &["clang-19", "clang"]);
    let clang = clang.ok_or(
        "thread needs clang with its sanitizer runtimes (Debian: apt install clang-19 libclang-rt-19-dev)",
    )?;
    let flags = [
        "-Zsanitizer=thread",
        "-Zexternal-clangrt",
        &format!("-Clinker={clang}"),
        "-Clink-arg=-fsanitize=thread",
        "--cfg=mimic_tsan",
    ];
    let mut cargo = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
    cargo
        .args(["test", "-Zbuild-std"])
        .env("RUSTC", rustc)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", flags.join(" "));
    Ok(cargo)
}
