//! `mimic completions`: shells' completions and man pages, from the table of arguments.

use crate::args::{Args, CompletionTarget, Completions};
use crate::{Done, Failure};
use clap::CommandFactory;
use clap_complete::Shell;
use std::io::Write;

pub(crate) fn run(args: &Completions) -> Done {
    let mut command = Args::command();
    let shell = match args.target {
        CompletionTarget::Bash => Shell::Bash,
        CompletionTarget::Elvish => Shell::Elvish,
        CompletionTarget::Fish => Shell::Fish,
        CompletionTarget::Powershell => Shell::PowerShell,
        CompletionTarget::Zsh => Shell::Zsh,
        CompletionTarget::Man => {
            let Some(out) = &args.out else { return Ok(()) };
            let named = |error| Failure::Input(format!("--out {}: {error}", out.display()));
            std::fs::create_dir_all(out).map_err(named)?;
            return clap_mangen::generate_to(command, out).map_err(named);
        }
    };
    // Into memory first: a closed pipe is an error here, not a panic there.
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command, "mimic", &mut text);
    std::io::stdout().lock().write_all(&text)?;
    Ok(())
}
