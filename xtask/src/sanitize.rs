//! `cargo xtask sanitize [address|thread]`: the suite under AddressSanitizer, and what has threads under ThreadSanitizer.
//!
//! Needs a nightly toolchain (`rustup toolchain install nightly`), for the sanitizers' runtimes.

use crate::Outcome;
use crate::host;
use std::process::Command;

/// A sanitizer: its name, compiler flags, the packages whose tests run.
const RUNS: &[(&str, &str, &[&str])] = &[
    (
        "address",
        "-Zsanitizer=address",
        &["mimic-abi", "mimic-object", "mimic-vm", "mimic-linux", "mimic-ebpf", "mimic-tests"],
    ),
    (
        // The standard library comes without instrumentation. What it synchronises with is atomics, inlined into ours.
        "thread",
        "-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer --cfg mimic_tsan",
        &["mimic-vm", "mimic-linux"],
    ),
];

/// Runs the sanitizers named, or all.
pub(crate) fn run(args: &[String]) -> Outcome {
    let wanted = |name: &str| args.is_empty() || args.iter().any(|arg| arg == name);
    if let Some(unknown) = args.iter().find(|arg| !RUNS.iter().any(|(name, ..)| name == arg)) {
        return Err(format!("no sanitizer {unknown}; there are address and thread"));
    }
    let nightly = Command::new("rustc").args(["+nightly", "--version"]).output();
    if !nightly.is_ok_and(|output| output.status.success()) {
        return Err("needs the nightly toolchain: rustup toolchain install nightly".into());
    }
    let mut failed = Vec::new();
    for (name, flags, packages) in RUNS.iter().filter(|(name, ..)| wanted(name)) {
        println!("== {name}");
        let base =
            std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| host::root().join("target"), Into::into);
        let mut cargo = Command::new("cargo");
        cargo.current_dir(host::root()).args([
            "+nightly",
            "test",
            "--target",
            "x86_64-unknown-linux-gnu",
            "--tests",
        ]);
        for package in *packages {
            cargo.args(["--package", package]);
        }
        cargo.env("RUSTFLAGS", flags).env("CARGO_TARGET_DIR", base.join("sanitize").join(name));
        // rustup's proxy and the compiler it chose for this chore are not the one asked for.
        cargo.env_remove("RUSTC").env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
        let status = cargo.status().map_err(|error| format!("cannot run cargo: {error}"))?;
        if !status.success() {
            failed.push(*name);
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(format!("not clean: {}", failed.join(", "))) }
}
