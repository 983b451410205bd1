//! `cargo xtask portability`: the library elsewhere. Tests on AArch64 and on big-endian s390x under qemu-user, builds for
//! Windows and wasm32, a type check for macOS.
//!
//! Installs nothing. Other targets' standard libraries are built from source, so a compiler with its library's source is needed (rustup's
//! `rust-src`, or Debian's `rustc-web` with `rust-web-src`), and a linker and an emulator for each target; what is missing is said.

use crate::Outcome;
use crate::host;
use crate::suites::{self, Runs};
use std::process::Command;

/// What is done for a target.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Goal {
    Test,
    Build,
    Check,
}

struct Target {
    triple: &'static str,
    goal: Goal,
    linker: Option<&'static str>,
    runner: Option<&'static str>,
    std: &'static str,
    /// Where Debian has the tools.
    packages: &'static str,
}

const TARGETS: &[Target] = &[
    Target {
        triple: "aarch64-unknown-linux-gnu",
        goal: Goal::Test,
        linker: Some("aarch64-linux-gnu-gcc"),
        runner: Some("qemu-aarch64 -L /usr/aarch64-linux-gnu"),
        std: "std",
        packages: "gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user",
    },
    Target {
        triple: "s390x-unknown-linux-gnu",
        goal: Goal::Test,
        linker: Some("s390x-linux-gnu-gcc"),
        runner: Some("qemu-s390x -L /usr/s390x-linux-gnu"),
        std: "std",
        packages: "gcc-s390x-linux-gnu libc6-dev-s390x-cross qemu-user",
    },
    Target {
        triple: "x86_64-pc-windows-gnu",
        goal: Goal::Build,
        linker: Some("x86_64-w64-mingw32-gcc"),
        runner: None,
        std: "std",
        packages: "gcc-mingw-w64-x86-64",
    },
    Target {
        triple: "wasm32-unknown-unknown",
        goal: Goal::Build,
        linker: None,
        runner: None,
        std: "std,panic_abort",
        packages: "",
    },
    Target {
        triple: "aarch64-apple-darwin",
        goal: Goal::Check,
        linker: None,
        runner: None,
        std: "std",
        packages: "",
    },
];

/// The library: what runs elsewhere.
const PACKAGES: &[&str] = &["mimic-abi", "mimic-object", "mimic-vm", "mimic-linux", "mimic-ebpf"];

/// Does it for all targets, or for those whose triple begins with an argument.
pub(crate) fn run(args: &[String]) -> Outcome {
    let rustc = host::rustc_with_source()?;
    let wanted =
        |target: &&Target| args.is_empty() || args.iter().any(|arg| target.triple.starts_with(arg.as_str()));
    let mut failed = Vec::new();
    for target in TARGETS.iter().filter(wanted) {
        let verb = match target.goal {
            Goal::Test => "test",
            Goal::Build => "build",
            Goal::Check => "check",
        };
        println!("== {verb} for {}", target.triple);
        if let Err(why) = target.run(verb, &rustc) {
            println!("{}: {why}", target.triple);
            failed.push(target.triple);
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(format!("not done or failed: {}", failed.join(", "))) }
}

impl Target {
    fn run(&self, verb: &str, rustc: &str) -> Outcome {
        let emulator = self.runner.and_then(|runner| runner.split(' ').next());
        let missing: Vec<&str> =
            [self.linker, emulator].into_iter().flatten().filter(|tool| !runs(tool)).collect();
        if !missing.is_empty() {
            return Err(format!("{} missing (Debian: apt install {})", missing.join(" and "), self.packages));
        }
        let mut cargo = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
        cargo.current_dir(host::root()).arg(verb).args(["--target", self.triple]);
        cargo.arg(format!("-Zbuild-std={}", self.std));
        for package in PACKAGES {
            cargo.args(["--package", package]);
        }
        let name = self.triple.to_uppercase().replace('-', "_");
        if self.goal == Goal::Test {
            // Unoptimised code under an emulator takes tens of minutes.
            cargo.env("CARGO_PROFILE_DEV_OPT_LEVEL", "1").env("CARGO_PROFILE_DEV_DEBUG", "line-tables-only");
        }
        // `-Zbuild-std` is the only thing here that is not stable.
        cargo.env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1").env("CARGO_TARGET_DIR", target_dir());
        if let Some(linker) = self.linker {
            cargo.env(format!("CARGO_TARGET_{name}_LINKER"), linker);
        }
        if let (Goal::Test, Some(runner)) = (self.goal, self.runner) {
            // Tests that start other programs (the examples) have to start them the same way.
            return suites::run(cargo, &Runs { runner: Some(runner), vars: &[("MIMIC_RUNNER", runner)] });
        }
        let status = cargo.status().map_err(|error| format!("cannot run cargo: {error}"))?;
        if status.success() { Ok(()) } else { Err(format!("cargo {verb} failed ({status})")) }
    }
}

/// Beside the ordinary one: another compiler would throw the ordinary one's results away.
fn target_dir() -> std::path::PathBuf {
    let base = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| host::root().join("target"), Into::into);
    base.join("portability")
}

fn runs(tool: &str) -> bool {
    Command::new(tool).arg("--version").output().is_ok_and(|output| output.status.success())
}
