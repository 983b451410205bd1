//! `cargo xtask fuzz-smoke [SECONDS] [TARGET…]`: each fuzz target for a while, from the committed examples and fixtures on.
//!
//! Needs a nightly toolchain and `cargo install cargo-fuzz`.

use crate::Outcome;
use crate::host;
use std::fs;
use std::path::Path;
use std::process::Command;

/// A target, and the files of the tree that it begins with, by their endings.
const TARGETS: &[(&str, &[&str])] = &[
    ("object_parse", &["o"]),
    ("btf_parse", &[]),
    ("ctx_json", &["json"]),
    ("decode", &["case", "s"]),
    ("interp", &[]),
    ("jit", &[]),
    ("hostile", &[]),
    ("tracepoint_format", &["format"]),
    ("replay", &["json"]),
    ("pcap", &["pcap", "pcapng"]),
];

/// Runs the targets.
pub(crate) fn run(args: &[String]) -> Outcome {
    let seconds = args.first().map_or(Ok(60), |arg| arg.parse::<u32>());
    let seconds = seconds.map_err(|_| format!("{:?} is no number of seconds", args[0]))?;
    let named = args.get(1..).unwrap_or_default();
    if let Some(unknown) = named.iter().find(|name| !TARGETS.iter().any(|(known, _)| known == name)) {
        return Err(format!("no fuzz target {unknown}"));
    }
    let fuzz = host::root().join("fuzz");
    let there = Command::new("cargo").args(["+nightly", "fuzz", "--version"]).output();
    if !there.is_ok_and(|output| output.status.success()) {
        return Err("needs a nightly toolchain and cargo-fuzz: rustup toolchain install nightly; cargo install cargo-fuzz".into());
    }
    let mut failed = Vec::new();
    for (target, endings) in
        TARGETS.iter().filter(|(name, _)| named.is_empty() || named.iter().any(|n| n == name))
    {
        println!("== {target}, {seconds} s");
        let corpus = fuzz.join("corpus").join(target);
        fs::create_dir_all(&corpus).map_err(|error| format!("{}: {error}", corpus.display()))?;
        seed(&corpus, endings)?;
        let mut cargo = Command::new("cargo");
        cargo.current_dir(host::root()).args(["+nightly", "fuzz", "run", target, "--"]);
        cargo.args([
            &format!("-max_total_time={seconds}"),
            "-rss_limit_mb=4096",
            "-timeout=20",
            "-max_len=65536",
        ]);
        cargo.env_remove("RUSTC").env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
        let status = cargo.status().map_err(|error| format!("cannot run cargo: {error}"))?;
        if !status.success() {
            failed.push(*target);
        }
    }
    if failed.is_empty() {
        Ok(())
    } else {
        Err(format!("found something: {} (see fuzz/artifacts)", failed.join(", ")))
    }
}

/// Copies the tree's files with these endings into a corpus.
fn seed(corpus: &Path, endings: &[&str]) -> Outcome {
    for folder in [
        "fuzz/seeds",
        "examples",
        "tests/fixtures",
        "tests/conformance",
        "tests/command",
        "crates/mimic/tests/data",
    ] {
        let Ok(entries) = fs::read_dir(host::root().join(folder)) else { continue };
        for entry in entries.flatten() {
            let path = entry.path();
            let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
            let Some(name) = path.file_name().filter(|_| endings.contains(&ending)) else { continue };
            fs::copy(&path, corpus.join(name)).map_err(|error| format!("{}: {error}", path.display()))?;
        }
    }
    Ok(())
}
