//! `cargo xtask kernel-objects [--all] [--own-types] [--command] [--known FILE] [--scenarios N] [--seed S] [--only PROGRAM] FILE-OR-FOLDER…`: runs
//! every program of objects in the kernel and in mimic, on all engines, on the standard inputs and shows what differs.
//!
//! Programs that the kernel refuses are left out, and so are answers that it does not give twice, and programs that call helpers
//! which would touch this machine. What mimic says that it cannot do is counted, not listed, but with `--all`. `--own-types` links
//! for the types that an object was compiled with, as `mimic test-run` does when it is given no others. `--command` also runs each input
//! alone, through `mimic test-run … --json`.

use crate::Outcome;

#[cfg(target_os = "linux")]
mod annotations;
#[cfg(target_os = "linux")]
mod compare;
#[cfg(target_os = "linux")]
mod tally;

#[cfg(target_os = "linux")]
pub(crate) use compare::{Comparison, Options};

/// Runs the chore.
#[cfg(not(target_os = "linux"))]
pub(crate) fn run(_args: &[String]) -> Outcome {
    Err("this needs Linux's bpf(2)".into())
}

/// Runs the chore.
#[cfg(target_os = "linux")]
pub(crate) fn run(args: &[String]) -> Outcome {
    let mut options = Options::default();
    let (mut paths, mut command) = (Vec::new(), false);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--all" => options.all = true,
            "--own-types" => options.own_types = true,
            "--command" => command = true,
            "--known" => options.known = Some(args.next().ok_or("--known needs a file")?.into()),
            "--scenarios" => options.scenarios.0 = number(args.next())?,
            "--seed" => options.scenarios.1 = number(args.next())?,
            "--only" => options.only = Some(args.next().ok_or("--only needs a program's name")?.into()),
            option if option.starts_with('-') => return Err(format!("unknown option {option}")),
            path => paths.push(path.into()),
        }
    }
    if command {
        options.command = Some(test_run_command(options.own_types)?);
    }
    let mut comparison = Comparison::new(options)?;
    comparison.objects(&compare::objects(&paths)?);
    println!("\n{}", comparison.tally());
    Ok(())
}

/// Builds the command.
#[cfg(target_os = "linux")]
pub(crate) fn test_run_command(own_types: bool) -> Result<mimic_tests::oracle::TestRunCommand, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = std::process::Command::new(cargo);
    build.args(["build", "--quiet", "--release", "-p", "mimic-cli"]).current_dir(crate::host::root());
    match build.status() {
        Ok(status) if status.success() => {}
        Ok(status) => return Err(format!("building the command: {status}")),
        Err(error) => return Err(format!("building the command: {error}")),
    }
    let target = std::env::var_os("CARGO_TARGET_DIR");
    let target = target.map_or_else(|| crate::host::root().join("target"), std::path::PathBuf::from);
    Ok(mimic_tests::oracle::TestRunCommand {
        mimic: target.join("release/mimic"),
        btf: (!own_types).then(|| "/sys/kernel/btf/vmlinux".into()),
    })
}

#[cfg(target_os = "linux")]
fn number(text: Option<&String>) -> Result<u64, String> {
    text.and_then(|text| text.parse().ok()).ok_or_else(|| "--scenarios and --seed want a number".into())
}
