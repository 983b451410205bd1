//! The project's own chores: `cargo xtask COMMAND`.
//!
//! Only the table of commands is here; each lives in a file of its own, takes its arguments as strings and
//! says in its error what to do. Nothing is installed or fetched silently.
#![forbid(unsafe_code)]

mod bench;
mod conformance_plugin;
mod fixtures;
mod fuzz_smoke;
mod host;
mod jit_canary;
mod kernel_calls;
mod kernel_diff;
mod kernel_objects;
mod models;
mod portability;
mod sanitize;
mod selftests;
mod suites;

use std::process::ExitCode;

/// What a chore returns: an error is one message for the person who typed the command.
type Outcome = Result<(), String>;

/// A chore: its name, its arguments for the help, what it does, the function.
type Command = (&'static str, &'static str, &'static str, fn(&[String]) -> Outcome);

const COMMANDS: &[Command] = &[
    (
        "bench",
        "[--quick] [--json] [--bless] …",
        "measure mimic and its peers side by side (--help lists the options)",
        bench::run,
    ),
    (
        "conformance-plugin",
        "[MEMORY] [--elf]",
        "run a program for the public bpf_conformance suite",
        conformance_plugin::run,
    ),
    (
        "fixtures",
        "[--check] [NAME…]",
        "rebuild the committed BPF objects of examples/ and tests/fixtures/",
        fixtures::run,
    ),
    ("fuzz-smoke", "[SECONDS] [TARGET…]", "run each fuzz target for a while (a minute)", fuzz_smoke::run),
    (
        "kernel-diff",
        "[--count N] [--seed S] [--every K] [--no-kernel]",
        "run random programs on all engines and in the kernel, and compare",
        kernel_diff::run,
    ),
    (
        "kernel-calls",
        "[--count N] [--seed S] [--type TYPE]…",
        "run random programs that call helpers in the kernel and in mimic, and compare",
        kernel_calls::run,
    ),
    (
        "kernel-objects",
        "[--all] [--own-types] [--known FILE] [--scenarios N] [--seed S] FILE-OR-FOLDER…",
        "run all programs of objects in the kernel and in mimic, and compare",
        kernel_objects::run,
    ),
    (
        "jit-canary",
        "[--accesses N] [--seed S]",
        "run unverified code as machine code, and see that it changes nothing outside",
        jit_canary::run,
    ),
    ("models", "", "run the lock-free parts of maps through all interleavings of a few threads", models::run),
    ("portability", "[TRIPLE…]", "test and build the library for other machines", portability::run),
    ("sanitize", "[address|thread]", "run the suite under the sanitizers", sanitize::run),
    (
        "selftests",
        "DIR [--run] [--out FOLDER] [--also FOLDER] [--all]",
        "open the kernel tree's own test objects, beside libbpf; run them, beside the kernel",
        selftests::run,
    ),
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some((name, rest)) = args.split_first() else {
        print!("{}", help());
        return ExitCode::FAILURE;
    };
    if matches!(name.as_str(), "help" | "--help" | "-h") {
        print!("{}", help());
        return ExitCode::SUCCESS;
    }
    let Some((_, _, _, run)) = COMMANDS.iter().find(|(known, ..)| known == name) else {
        eprint!("xtask: no command {name:?}\n\n{}", help());
        return ExitCode::FAILURE;
    };
    match run(rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask {name}: {message}");
            ExitCode::FAILURE
        }
    }
}

fn help() -> String {
    let mut text = String::from("usage: cargo xtask COMMAND\n\n");
    for (name, arguments, summary, _) in COMMANDS {
        text.push_str(&format!("  {:<36} {summary}\n", format!("{name} {arguments}")));
    }
    text
}
