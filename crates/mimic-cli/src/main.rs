//! The `mimic` command: the only place with terminals, arguments and colours.
#![forbid(unsafe_code)]

mod args;
mod capture;
mod cmd;
mod machine;
mod out;
mod packets;
mod recording;
mod report;
mod report_json;
mod tracer;

use clap::Parser;
use std::process::ExitCode;

/// What a subcommand comes to.
pub(crate) enum Failure {
    /// The input is bad, or something refused it: exit code 1.
    Input(String),
    /// The command line is wrong in a way that its parser does not see: exit code 2.
    Usage(String),
    /// A program was stopped, or needs what is not there: exit code 3.
    Program(String),
    /// It was said already: this exit code.
    Said(u8),
}

/// The result of a subcommand.
pub(crate) type Done = Result<(), Failure>;

impl From<mimic::Error> for Failure {
    fn from(error: mimic::Error) -> Failure {
        match error.kind() {
            mimic::ErrorKind::Run(mimic::vm::RunError::Fault(_)) => Failure::Program(error.to_string()),
            _ => Failure::Input(error.to_string()),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        // A reader that has seen enough (`mimic … | head`) is no failure.
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Failure::Said(0),
            _ => Failure::Input(format!("the output cannot be written: {error}")),
        }
    }
}

fn main() -> ExitCode {
    let args = args::Args::parse();
    match cmd::run(args.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Input(what)) => out::error(&what, 1),
        Err(Failure::Usage(what)) => out::error(&what, 2),
        Err(Failure::Program(what)) => out::error(&what, 3),
        Err(Failure::Said(code)) => code.into(),
    }
}
