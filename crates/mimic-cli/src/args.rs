//! What can be typed: one table that drives parsing, `--help`, completions and man pages.

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Run, test, debug and embed eBPF programs in userspace, with Linux's semantics.
///
/// mimic loads the object file that ships, with no root, no kernel support and no VM image, on any operating system.
///
/// Exit codes: 0 done; 1 the input is bad or was refused; 2 the command line is wrong; 3 a program was stopped (a fault, the budget)
/// or needs a helper that is not there.
#[derive(Parser)]
#[command(name = "mimic", version, propagate_version = true, max_term_width = 100)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List what mimic knows: helpers, kfuncs, maps, program types, instructions
    #[command(after_help = "Examples:\n  mimic list helpers\n  mimic list insns --json")]
    List(List),
    /// Assemble a text in the kernel's or LLVM's syntax
    #[command(
        after_help = "Examples:\n  echo 'r0 = 7; exit' | mimic asm -\n  mimic asm prog.s --format raw > prog.bin"
    )]
    Asm(Asm),
    /// Write completions for a shell, or the man pages
    #[command(
        after_help = "Examples:\n  mimic completions bash > /etc/bash_completion.d/mimic\n  mimic completions man --out man/"
    )]
    Completions(Completions),
}

/// Options that all commands with results for machines have.
#[derive(ClapArgs, Clone, Copy)]
pub(crate) struct Json {
    /// Write JSON to standard output; its `version` is 1
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(ClapArgs)]
pub(crate) struct List {
    /// What to list
    pub(crate) what: Listing,
    /// Only names that contain this
    pub(crate) filter: Option<String>,
    #[command(flatten)]
    pub(crate) json: Json,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Listing {
    /// Helper functions, by number
    Helpers,
    /// Kernel functions
    Kfuncs,
    /// Map types
    Maps,
    /// Program types
    Progs,
    /// Instructions
    Insns,
}

#[derive(ClapArgs)]
pub(crate) struct Asm {
    /// The text; `-` is standard input
    pub(crate) file: PathBuf,
    /// How to write the program
    #[arg(long, value_enum, default_value = "hex")]
    pub(crate) format: AsmFormat,
    /// For big-endian machines
    #[arg(long)]
    pub(crate) big_endian: bool,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum AsmFormat {
    /// One line of hexadecimal bytes
    Hex,
    /// The bytes themselves
    Raw,
    /// A listing
    List,
}

#[derive(ClapArgs)]
pub(crate) struct Completions {
    /// For what
    pub(crate) target: CompletionTarget,
    /// The folder that man pages are written to
    #[arg(long, default_value = ".")]
    pub(crate) out: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum CompletionTarget {
    Bash,
    Elvish,
    Fish,
    Powershell,
    Zsh,
    /// Man pages, one for each command
    Man,
}
