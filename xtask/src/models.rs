//! `cargo xtask models`: the models in `models/`, a package of its own, under loom.

use crate::Outcome;
use crate::host;
use std::process::Command;

/// Runs all models.
pub(crate) fn run(_args: &[String]) -> Outcome {
    let base = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| host::root().join("target"), Into::into);
    let mut cargo = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
    cargo.current_dir(host::root().join("models")).args(["run", "--quiet", "-j2"]);
    cargo.env("CARGO_TARGET_DIR", base.join("models"));
    let status = cargo.status().map_err(|error| format!("cannot run cargo: {error}"))?;
    if status.success() { Ok(()) } else { Err("a model does not hold".into()) }
}
