//! `mimic-benches`: mimic and its peers on the same programs, in one process, in turns, as ratios to native code.
//!
//! `cargo xtask bench` builds this with all peers, compiles the native programs and hands them over; see there for the options.

mod chart;
mod engine;
mod input;
mod micro;
mod mixes;
mod options;
mod program;
mod report;
mod rounds;

use options::Options;
use report::Report;
use std::process::ExitCode;

fn main() -> ExitCode {
    match Options::parse(std::env::args().skip(1)).and_then(|options| run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("bench: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), String> {
    let mut report = Report::new(options);
    for program in program::all() {
        if !options.wants(program.name) {
            continue;
        }
        options.progress(program.name);
        let engines = engine::all(&program, options)?;
        report.add(&program, rounds::compare(&program, engines, options)?);
    }
    let micro = if options.micro { micro::all(options)? } else { Vec::new() };
    if options.json {
        println!("{}", report.to_json(&micro));
    } else {
        print!("{}", report.to_text(&micro));
    }
    match &options.bless {
        Some(root) => report.bless(root),
        None => Ok(()),
    }
}
